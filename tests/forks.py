"""The command `tinygrad-rnn` in children of one process, which has imported it: a fork takes
milliseconds, and a new interpreter most of a second, several hundred times.

A child exits as an interpreter does. What depends on the environment, on a terminal or on signals
needs a process of its own.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

SERVER = """
import json, os, signal, sys
import tinygrad_rnn.recipes
from tinygrad_rnn.cli import main

for line in iter(sys.stdin.readline, ""):
    order = json.loads(line)
    if child := os.fork():
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
        continue
    signal.alarm(order["timeout"])  # it ends the child
    os.chdir(order["folder"])
    for fd, name in enumerate(order["files"]):
        os.dup2(os.open(name, os.O_WRONLY if fd else os.O_RDONLY), fd)
    sys.argv[1:] = order["arguments"]
    main()
    break
"""


class Forks:
    """Starts the process, in an environment."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._server = subprocess.Popen(
            [sys.executable, "-c", SERVER],
            env={"OMP_NUM_THREADS": "1", **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            encoding="utf-8",
        )

    def run(
        self, folder: Path, files: Path, *arguments: str, given: bytes = b"", timeout: int
    ) -> subprocess.CompletedProcess[bytes]:
        """Runs the command in a folder. `files` is one for its input and its outputs."""
        texts = [files / name for name in ("stdin", "stdout", "stderr")]
        for text, contents in zip(texts, (given, b"", b""), strict=True):
            text.write_bytes(contents)
        order = {
            "folder": str(folder), "arguments": arguments, "files": [*map(str, texts)],
            "timeout": timeout,
        }  # fmt: skip
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.write(json.dumps(order) + "\n")
        self._server.stdin.flush()
        status = int(self._server.stdout.readline())
        _, out, err = (text.read_bytes() for text in texts)
        return subprocess.CompletedProcess(["tinygrad-rnn", *arguments], status, out, err)

    def close(self) -> None:
        """Ends the process."""
        self._server.communicate()
