"""Runs `tinygrad-rnn` in children of one process that has imported it.

A fork takes milliseconds, a new interpreter most of a second, and tests run hundreds of commands.
A child exits as an interpreter does. What a terminal or a signal changes needs its own interpreter.
"""

from __future__ import annotations

import atexit
import json
import subprocess
import sys
import tempfile
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

Server = subprocess.Popen[str]
_servers: list[tuple[Mapping[str, str], Server]] = []  # one at a time, with its environment


def run_forked(
    environment: Mapping[str, str],
    folder: Path,
    *arguments: str,
    given: bytes = b"",
    timeout: int = 300,
) -> subprocess.CompletedProcess[bytes]:
    """Runs a command in a folder.

    **Arguments** given: its input. timeout: seconds, after which a signal ends it.
    """
    server = _server_in({"OMP_NUM_THREADS": "1", **environment})
    assert server.stdin is not None
    assert server.stdout is not None
    with tempfile.TemporaryDirectory() as place:
        files = [Path(place, name) for name in ("stdin", "stdout", "stderr")]
        for file, contents in zip(files, (given, b"", b""), strict=True):
            file.write_bytes(contents)
        order = {
            "folder": str(folder),
            "arguments": arguments,
            "files": [*map(str, files)],
            "timeout": timeout,
        }
        print(json.dumps(order), file=server.stdin, flush=True)
        status = int(server.stdout.readline())
        _, out, err = (file.read_bytes() for file in files)
    return subprocess.CompletedProcess(["tinygrad-rnn", *arguments], status, out, err)


def _server_in(environment: Mapping[str, str]) -> Server:
    if not _servers or _servers[0][0] != environment:
        _close()
        server = subprocess.Popen(
            [sys.executable, "-c", SERVER], env=environment, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, encoding="utf-8",
        )  # fmt: skip
        _servers.append((environment, server))
    return _servers[0][1]


@atexit.register
def _close() -> None:
    while _servers:
        _servers.pop()[1].communicate()
