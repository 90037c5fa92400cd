"""What language models need: words that drop out, tied weights, regularised activations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tinygrad_rnn as tg


def test_embedding_dropout_zeroes_whole_words_wherever_they_stand() -> None:
    embed = tg.nn.Embedding(50, 4, dropout=0.5, generator=tg.Generator(0))
    ids = np.arange(50).repeat(2).reshape(50, 2)
    y, plain = embed(ids).numpy(), embed.weight.numpy()
    gone = (y == 0).all(axis=-1)
    np.testing.assert_array_equal(gone[:, 0], gone[:, 1])
    assert 10 < gone[:, 0].sum() < 40
    np.testing.assert_allclose(y[~gone[:, 0], 0], 2 * plain[~gone[:, 0]], rtol=1e-6)
    np.testing.assert_array_equal(embed.eval()(ids).numpy()[:, 0], plain)
    with pytest.raises(ValueError, match="Embedding: dropout: expected a probability"):
        tg.nn.Embedding(5, 4, dropout=1.0)


class LanguageModel(tg.nn.Module):
    def __init__(self, seed: int) -> None:
        g = tg.Generator(seed)
        self.embed = tg.nn.Embedding(7, 4, dropout=0.1, generator=g)
        self.lstm = tg.nn.LSTM(4, 4, weight_dropout=0.2, dropout_same_mask=True, generator=g)
        self.out = tg.nn.Linear(4, 7, generator=g)
        self.out.weight = self.embed.weight

    def forward(self, ids: Any, state: Any = None) -> Any:
        y, state = self.lstm(self.embed(ids), state)
        return self.out(y), state


def test_a_tied_weight_is_learned_once_and_saved_under_both_names(tmp_path: Path) -> None:
    model, other = LanguageModel(0), LanguageModel(1)
    names = [name for name, _ in model.named_parameters()]
    assert "embed.weight" in names
    assert "out.weight" not in names
    ids = np.random.default_rng(0).integers(0, 7, (5, 2))
    before = model.embed.weight.numpy().copy()
    tg.nn.cross_entropy(model(ids)[0], ids).backward()
    gradient = model.embed.weight.grad.numpy().copy()
    tg.optim.SGD(model.parameters(), lr=0.5).step()
    np.testing.assert_allclose(model.out.weight.numpy(), before - 0.5 * gradient, rtol=1e-6)
    tg.save(tmp_path / "model.safetensors", model.state_dict())
    other.load_state_dict(tg.load(tmp_path / "model.safetensors"))
    assert other.out.weight is other.embed.weight
    model.eval(), other.eval()
    np.testing.assert_array_equal(model(ids)[0].numpy(), other(ids)[0].numpy())
    other.to("float64")
    assert other.out.weight is other.embed.weight


def test_regularised_activations_are_means_over_valid_steps() -> None:
    y = np.random.default_rng(0).normal(size=(4, 3, 2))
    t, lengths = tg.tensor(y), [4, 1, 0]
    ar, tar = tg.nn.activation_regularization, tg.nn.temporal_activation_regularization
    np.testing.assert_allclose(ar(t).item(), (y**2).mean())
    np.testing.assert_allclose(tar(t).item(), (np.diff(y, axis=0) ** 2).mean())
    valid = np.concatenate([y[:4, 0], y[:1, 1]])
    np.testing.assert_allclose(ar(t, lengths=lengths).item(), (valid**2).mean())
    np.testing.assert_allclose(
        tar(t, lengths=lengths).item(), (np.diff(y[:, 0], axis=0) ** 2).mean()
    )
    assert (
        tar(t[:1]).item() == tar(t, lengths=[1, 1, 0]).item() == ar(t, lengths=[0] * 3).item() == 0
    )
    with pytest.raises(tg.ShapeError, match=r"expected \(T, B, H\)"):
        ar(t[0])
    with pytest.raises(tg.ShapeError, match="3 integers"):
        tar(t, lengths=[1, 2])
