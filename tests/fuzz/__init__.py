"""A fuzzer: valid calls of everything public, with arguments replaced by wrong and odd ones.

`python -m tests.fuzz --calls 100000` (or `make fuzz`) draws calls from a seed. Each is made twice,
in a process with native kernels and in one with array code, and must end in the same right value or
in one of the package's own errors, whose message names the argument.

    values     what an argument is replaced by
    calls      how a valid call of each public name is drawn
    networks   the same for layers, losses, decoding, optimizers
    outcome    what a call ended in, and whether that is allowed
    batch      the process that makes some calls and writes down how they end
"""
