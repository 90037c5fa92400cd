"""Prints the modules that differ from main, as arguments of mypy: `python -m tests.changed`.

Modules rather than files, so that mypy prefers a module's stub. If git cannot tell, for lack of
a repository or of a main, it prints the whole package.
"""

from __future__ import annotations

import subprocess

SOURCES = "tinygrad_rnn/*.py*"


def git(*arguments: str) -> list[str]:
    """The lines that git prints. **Raises** CalledProcessError, FileNotFoundError."""
    done = subprocess.run(["git", *arguments], check=True, capture_output=True, encoding="utf-8")
    return done.stdout.splitlines()


def arguments() -> list[str]:
    """`-m` and the name of each module that differs from main, or `-p` and the package."""
    for main in ("main", "origin/main"):
        try:
            [base] = git("merge-base", "HEAD", main)
            files = git("diff", "--name-only", "--diff-filter=d", base, "--", SOURCES)
            files += git("ls-files", "--others", "--exclude-standard", "--", SOURCES)
        except (subprocess.CalledProcessError, FileNotFoundError):
            continue
        names = {file.rsplit(".", 1)[0].removesuffix("/__init__") for file in files}
        modules = sorted({name.replace("/", ".") for name in names} | {"tinygrad_rnn"})
        return [part for name in modules for part in ("-m", name)]
    return ["-p", "tinygrad_rnn"]


if __name__ == "__main__":
    print(*arguments())
