"""`tinygrad-rnn export`, `import` and `inspect`: models and weights in other formats."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from .. import io
from ..io import CheckpointError, load_checkpoint
from ..io.header import read_header
from ..nn import Sequential
from ..recipes import CharLM, CharModel, SettingError, Translator
from ..recipes.runs import made_by, refuse_results
from ..tensor.tensor import Tensor
from .options import Checkpoint

File = Annotated[Path, typer.Argument(help="The file to read.")]
SUFFIXES = ".onnx, .h or .safetensors"


def export(
    checkpoint: Checkpoint,
    file: Annotated[Path, typer.Argument(help=f"The file to write: {SUFFIXES}.")],
    step: Annotated[
        bool, typer.Option("--step", help=".onnx: one step; its state is an input and an output.")
    ] = False,
    int8: Annotated[bool, typer.Option("--int8", help=".h: weight matrices in 8 bits.")] = False,
) -> None:
    """Export a trained model: as ONNX, as a C header, or its weights as safetensors."""
    suffix = file.suffix
    if suffix not in (".onnx", ".h", ".safetensors"):
        raise SettingError(f"the file must end in {SUFFIXES}, not {suffix or 'nothing'!r}")
    if step and suffix != ".onnx":
        raise SettingError("--step is for .onnx: a C header is a step anyway")
    if int8 and suffix != ".h":
        raise SettingError("--int8 is for .h")
    refuse_results(checkpoint, "export")
    state = load_checkpoint(checkpoint)
    recipe = state.get("recipe")
    if recipe == "charlm":
        _export_charlm(CharLM.load(checkpoint).model, file, step, int8)
    elif recipe == "translate" and suffix == ".onnx":
        model = Translator.load(checkpoint).model
        paths = [file.with_suffix(f".{part}.onnx") for part in ("encoder", "decoder")]
        source = np.zeros((2, 2), np.int64)
        io.export_seq2seq(model, paths[0], paths[1], source, lengths=[2, 1])
        print(f"wrote {paths[0]} and {paths[1]}")
        return
    elif suffix == ".safetensors" and isinstance(state.get("model"), dict):
        io.save(file, state["model"])
    else:
        raise SettingError(
            f"the run in {checkpoint} is of train {made_by(state)}, which cannot be exported as "
            f"{suffix}: expected .safetensors, which every model can; .onnx is for models of "
            "charlm and translate, .h for charlm's: type tinygrad-rnn export "
            f"{checkpoint} {file.with_suffix('.safetensors')}"
        )
    print(f"wrote {file}")


def _export_charlm(model: CharModel, file: Path, step: bool, int8: bool) -> None:
    if file.suffix == ".h":
        chain = Sequential(model.embedding, model.layers, model.head)
        io.export_c(chain, file, int8=int8)
    elif file.suffix == ".safetensors":
        io.save(file, model.state_dict())
    elif step:
        io.export_onnx(model, file, {"ids": np.zeros(2, np.int64)}, method="step")
    else:
        io.export_onnx(model, file, {"ids": np.zeros((2, 2), np.int64)})


def import_(
    file: File,
    out: Annotated[
        Path | None,
        typer.Option(help="The safetensors file to write.", show_default="FILE.safetensors"),
    ] = None,
) -> None:
    """Convert weights to safetensors: of torch.save, or of an ONNX graph."""
    for one, use in ((file, "read"), (out, "write")):
        if one is not None and one.is_dir():
            raise SettingError(f"{one} is a folder; expected a file to {use}")
    target = file.with_suffix(".safetensors") if out is None else out
    if target == file:
        raise SettingError(f"{file} is to be written, too: choose another --out")
    if out is None and target.exists():
        raise SettingError(f"{target} exists: --out {target} replaces it, another --out keeps it")
    tensors = {name: value for name, value in _tensors(file) if isinstance(value, Tensor)}
    if not tensors:
        raise CheckpointError(f"{file} has no tensors")
    io.save(target, tensors)
    print(f"wrote {len(tensors)} tensor{'s'[: len(tensors) != 1]} to {target}")


def inspect(file: File) -> None:
    """Show tensors and configuration of a file or a checkpoint; nothing in it is executed."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=str(file), title_justify="left")
    for column, justify in (("tensor", "left"), ("shape", "left"), ("type", "left"),
                            ("bytes", "right")):  # fmt: skip
        table.add_column(column, justify=justify, overflow="fold")  # type: ignore[arg-type]
    notes: list[str] = []
    total, rows = 0, 0
    for name, shape, dtype, size in _rows(file, notes):
        table.add_row(name, str(list(shape)), dtype, f"{size:,}")
        total, rows = total + size, rows + 1
    table.add_section()
    table.add_row(f"{rows} tensor{'s'[: rows != 1]}", "", "", f"{total:,}")
    console = Console(highlight=False, markup=False)
    console.print(table)
    for note in notes:
        console.print(note)


def _rows(file: Path, notes: list[str]) -> Iterator[tuple[str, Any, str, int]]:
    """The tensors of a file or of a checkpoint folder, and notes about the rest."""
    if file.is_dir():
        for name, value in sorted(io.load_checkpoint(file).items()):
            arrays = [(n, v) for n, v in _flat(name, value) if hasattr(v, "nbytes")]
            if not arrays:
                notes.append(f"{name}: {repr(value)[:500]}")
            for inner, array in arrays:
                yield inner, array.shape, str(array.dtype), array.nbytes
        return
    with io.files.open_to_read(file) as opened:
        start = opened.read(8)
    if start[:2] == b"PK" or file.suffix == ".onnx":
        for name, value in _tensors(file):
            if isinstance(value, Tensor):
                yield name, value.shape, str(value.dtype), value.data.nbytes
            else:
                notes.append(f"{name}: {str(value)[:500]}")
        return
    header = read_header(file)
    for name, entry in sorted(header.entries.items()):
        yield name, entry.shape, entry.dtype, entry.size
    notes += [f"{name}: {words[:2000]}" for name, words in sorted(header.metadata.items())]


def _tensors(file: Path) -> Iterator[tuple[str, Any]]:
    """Named tensors and other values, of a file of torch.save, safetensors or ONNX."""
    if file.suffix == ".onnx":
        model = io.import_onnx(file)
        yield from ((n.removeprefix("weights."), p) for n, p in model.state_dict().items())
        yield "graph", model.describe()
        return
    yield from _flat("", io.load(file))


def _flat(prefix: str, value: object) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict | list | tuple):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for name, inner in items:
            yield from _flat(f"{prefix}.{name}" if prefix else str(name), inner)
    else:
        yield prefix, value
