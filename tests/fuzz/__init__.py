"""A fuzzer: valid calls of everything public, with arguments replaced by wrong and odd ones.

`python -m tests.fuzz --calls 100000` (or `make fuzz`) draws calls from a seed. Each is made twice,
in a process with native kernels and in one with array code, and must end in the same right value or
in one of the package's own errors, whose message names the argument.

    values     replacements for arguments
    calls      draws a valid call of each public name
    networks   the same for layers, losses, decoding, optimizers
    outcome    makes a call and judges it
    batch      a process that makes some calls and writes their outcomes to a file
"""
