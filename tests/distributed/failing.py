"""A program for mpiexec: the last rank dies, freezes, raises, ends, or leaves, in its 6th step."""

import os
import signal
import sys

import numpy as np

import tinygrad_rnn as tg

ranks = tg.distributed.communicator()
for step in range(10):
    if step == 5 and sys.argv[1] in ("freeze", "end"):
        ranks.timeout = 4.0  # by now all have started, which takes long on a busy machine
    if step == 5 and ranks.rank == ranks.size - 1:
        match sys.argv[1]:
            case "die":
                os.kill(os.getpid(), signal.SIGKILL)
            case "freeze":
                os.kill(os.getpid(), signal.SIGSTOP)
            case "raise":
                raise ValueError("of the last rank")
            case "end":
                sys.exit()
    ranks.sum(np.ones(3))
