"""In a notebook, a training shows one line that is replaced, without escape codes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import tinygrad_rnn as tg

CELL = """
import tinygrad_rnn as tg
model = tg.nn.Linear(1, 1)
data = tg.data.DataLoader([[float(n)] for n in range(6)], 2, collate=tg.tensor)
trainer = tg.train.Trainer(
    model, data, lambda model, batch: (model(batch) ** 2).mean(),
    tg.optim.SGD(model.parameters(), lr=0.01), epochs=20)
history = trainer.fit()
"""


def test_an_executed_notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    monkeypatch.setenv("PYTHONPATH", str(Path(tg.__file__).parents[1]), prepend=":")
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(CELL)])
    nbclient.NotebookClient(notebook, timeout=300, kernel_name="python3").execute()
    [output] = notebook.cells[0].outputs
    assert output.output_type == "display_data"
    text = output.data["text/plain"]
    assert re.fullmatch(r"step 60/60  loss [\d.]+  [\d.,k]+ steps/s  0:00 left", text)
