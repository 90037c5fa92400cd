"""Time series with a label each: the .ts format of the UEA and UCR archives.

Lines of `#` are comments, and lines of `@` describe the data. After `@data` each line is a case:
its channels with colons between them, their values with commas, and last the label.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .datasets import lines
from .tables import TableError, number, read_input

Case = tuple[NDArray[np.float32], str]  # values (T, channels), and a label


def read_ts(path: str | Path, labelled: bool = True) -> list[Case]:
    """Reads the cases of a file. **Arguments** labelled: whether they must have labels."""
    return parse_ts(read_input(path), str(path), labelled)


def parse_ts(text: str, name: str, labelled: bool = True) -> list[Case]:
    r"""Parses the text of a file; a label is empty where the file has none.

    **Raises** TableError, which names the row, and the channel and the step of a value.

    >>> [(x, label)] = parse_ts("@classLabel true a b\n@data\n1,2,3:4,5,6:b\n", "x.ts")
    >>> x.tolist(), label
    ([[1.0, 4.0], [2.0, 5.0], [3.0, 6.0]], 'b')
    """
    cases: list[Case] = []
    known: dict[str, list[str]] = {}
    in_data = False
    for row, line in enumerate(lines(text), start=1):
        line = line.strip()
        if not in_data:
            if not line.startswith(("@", "#")) and line:
                raise TableError(f"{name}: row {row}: expected a line of @ or #, until @data")
            words = line[1:].lower().split()
            if line.startswith("@") and words:
                known[words[0]] = line.split()[1:]
            in_data = "data" in known
            if in_data and known.get("timestamps", ["false"])[0].lower() == "true":
                raise TableError(f"{name}: @timeStamps true is not supported: write values only")
            if in_data and labelled and not _has_labels(known):
                raise TableError(f"{name}: no labels: expected a line such as @classLabel true a b")
        elif line and not line.startswith("#"):
            width = cases[0][0].shape[1] if cases else 0
            cases.append(_case(line, f"{name}: row {row}", known, labelled, width))
    if not cases:
        raise TableError(f"{name} has no {'cases' if in_data else 'line @data'}")
    return cases


def _has_labels(known: dict[str, list[str]]) -> bool:
    return known.get("classlabel", ["false"])[:1] in (["true"], ["True"])


def _case(line: str, at: str, known: dict[str, list[str]], labelled: bool, width: int) -> Case:
    channels, label = line.split(":"), ""
    if _has_labels(known):
        label, allowed = channels.pop().strip(), known["classlabel"][1:]
        if labelled and label in ("", "?"):
            raise TableError(f"{at}: the label is missing")
        if label not in ("", "?") and allowed and label not in allowed:
            raise TableError(
                f"{at}: the label {label!r} is none of @classLabel ({', '.join(allowed)})"
            )
    if len(channels) != (width or max(1, len(channels))):
        raise TableError(f"{at} has {len(channels)} channels, expected {width or 1}")
    values = [_numbers(channel, f"{at}, channel {c}") for c, channel in enumerate(channels, 1)]
    for c, one in enumerate(values, 1):
        if len(one) != len(values[0]):
            raise TableError(
                f"{at}, channel {c} has {len(one)} values, but channel 1 has {len(values[0])}"
            )
    return np.stack(values, axis=1).astype(np.float32), label


def _numbers(channel: str, at: str) -> NDArray[np.float64]:
    found = []
    for step, field in enumerate(channel.split(","), 1):
        try:
            if (text := field.strip()).lower() in ("", "?", "nan"):
                raise ValueError("missing value: fill it in, or remove the row")
            found.append(number(text))
        except ValueError as error:
            raise TableError(f"{at}, step {step}: {error}") from None
    return np.array(found)
