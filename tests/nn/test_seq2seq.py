"""Encoder, decoder and bridge: in a batch as alone, all steps at once as one by one."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_rnn as tg
from tinygrad_rnn import nn
from tinygrad_rnn.tensor.observers import observe

V = 7  # symbols, of both languages
LAYERS = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}
ATTENTIONS: dict[str, Any] = {
    "none": lambda *_, **__: None,
    "general": nn.GeneralAttention,
    "additive": nn.AdditiveAttention,
    "multi-head": lambda q, m, **o: nn.MultiHeadAttention(q, m, 2, **o),
    "location": nn.LocationAttention,
    "coverage": nn.CoverageAttention,
}


def model(
    attention: str = "additive",
    cell: str = "lstm",
    *,
    both: bool = True,
    depth: tuple[int, int] = (1, 1),
    seed: int = 0,
    dtype: str = "float64",
    **options: Any,
) -> nn.Seq2Seq:
    made: dict[str, Any] = {"dtype": dtype, "generator": tg.Generator(seed)}
    layers = LAYERS[cell](4, 5, depth[0], bidirectional=both, **made)
    encoder = nn.Encoder(nn.Embedding(V, 4, **made), layers)
    fed = (4 if options.get("tied") else 6) if options.get("input_feeding") else 0
    look = ATTENTIONS[attention](6, encoder.memory_size, **made)
    decoder = nn.Decoder(
        nn.Embedding(V, 4, **made), LAYERS[cell](4 + fed, 6, depth[1], **made), look, **options,
        **made,
    )  # fmt: skip
    return nn.Seq2Seq(encoder, decoder, generator=tg.Generator(seed))


def symbols(*shape: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).integers(0, V, shape)


every_model = pytest.mark.parametrize(
    "options",
    [
        *({"attention": attention} for attention in ATTENTIONS),
        *({"cell": cell} for cell in LAYERS),
        {"input_feeding": True},
        {"input_feeding": True, "tied": True, "deep_output": True},
        {"deep_output": True, "attention": "none"},
        {"copy": True, "attention": "location"},
        {"depth": (2, 3), "both": False},
        {"attention": "none", "input_feeding": True},
    ],
    ids=str,
)


@every_model
def test_stepwise_decoding_has_the_teacher_forced_probabilities(options: Any) -> None:
    m, lengths = model(**options), [4, 1, 3]
    source, target = symbols(4, 3), symbols(5, 3, seed=1)
    whole = m(source, target, lengths=lengths).log_softmax(axis=-1).numpy()
    state = m.start(source, lengths=lengths)
    for t, y in enumerate(target):
        logits, state, *_ = m.step(y, state)
        np.testing.assert_allclose(logits.log_softmax(axis=-1).numpy(), whole[t], rtol=1e-9)


@every_model
def test_what_a_beam_finds_has_its_teacher_forced_probability(options: Any) -> None:
    """However its paths are chosen among, each keeps its own state, past and source."""
    m, lengths, start = model(**options, seed=2), [4, 1, 3], 1
    source = symbols(4, 3)
    found = nn.decoding.beam_search(
        m.step, m.start(source, lengths=lengths), [start] * 3, beams=4, n_best=4, max_length=5,
        end=0, batch_axis=m.batch_axis,
    )  # fmt: skip
    for row, (length, paths) in enumerate(zip(lengths, found, strict=True)):
        assert len({path.tokens for path in paths}) == 4
        for path in paths:
            alone, given = source[:length, row, None], np.array([start, *path.tokens[:-1]])[:, None]
            log_p = m(alone, given).log_softmax(axis=-1).numpy()[:, 0]
            assert path.log_prob == pytest.approx(
                log_p[np.arange(len(path.tokens)), path.tokens].sum(), rel=1e-9
            )
            if path.attention is not None:
                looked = m.align(alone, given).numpy()[:, 0]  # type: ignore[union-attr]
                np.testing.assert_allclose(path.attention.numpy()[:, :length], looked, rtol=1e-9)


@every_model
@given(st.lists(st.integers(1, 4), min_size=1, max_size=3), st.integers(0, 2), st.integers(0, 2))
def test_padding_and_company_change_nothing(
    options: Any, lengths: list[int], more: int, longer: int
) -> None:
    m, batch = model(**options), len(lengths)
    source, target = symbols(4 + more, batch), symbols(3 + longer, batch, seed=1)
    whole = m(source, target, lengths=lengths).numpy()
    for row, length in enumerate(lengths):
        alone = slice(row, row + 1)
        y = m(source[:length, alone], target[:3, alone]).numpy()
        np.testing.assert_allclose(whole[:3, alone], y, rtol=1e-9, atol=1e-12)


@every_model
def test_every_parameter_learns(options: Any) -> None:
    m = model(**options)
    nn.cross_entropy(m(symbols(4, 3), symbols(5, 3)), symbols(5, 3, seed=2)).backward()
    for name, p in m.named_parameters():
        assert p.grad is not None, name
        assert np.isfinite(p.grad.numpy()).all()
        assert p.grad.numpy().any(), name


@pytest.mark.parametrize("attention", ["none", "additive", "general", "multi-head"])
def test_all_target_steps_run_at_once(attention: str) -> None:
    """As many operations for forty steps as for four."""
    m, counts = model(attention), []
    for steps in (4, 40):
        recorded: list[Any] = []
        with observe(recorded=recorded.append):
            m(symbols(3, 2), symbols(steps, 2))
        counts.append(len(recorded))
    assert counts[0] == counts[1]


@pytest.mark.parametrize("fed", [False, True])
def test_a_decoder_is_its_equations(fed: bool) -> None:
    """Luong's order with a vanilla recurrence, by hand: recurrence, look, readout, logits."""
    made: dict[str, Any] = {"dtype": "float64", "generator": tg.Generator(0)}
    layers = nn.RNN(7 if fed else 4, 5, bias=False, **made)
    decoder = nn.Decoder(
        nn.Embedding(V, 4, **made), layers, nn.GeneralAttention(5, 6, **made), readout_size=3,
        deep_output=True, input_feeding=fed, **made,
    )  # fmt: skip
    memory = np.random.default_rng(1).normal(size=(4, 1, 6))
    found, _ = decoder([[2], [0], [5]], decoder.prepare_memory(tg.tensor(memory)))

    w = {name: p.numpy() for name, p in decoder.named_parameters()}
    h, r = np.zeros(5), np.zeros(3)
    for t, y in enumerate((2, 0, 5)):
        e = w["embedding.weight"][y]
        x = np.concatenate([e, r]) if fed else e
        h = np.tanh(w["layers.weight_ih_l0"] @ x + w["layers.weight_hh_l0"] @ h)
        scores = memory[:, 0] @ w["attention.key.weight"].T @ h
        c = np.exp(scores) / np.exp(scores).sum() @ memory[:, 0]
        seen = np.concatenate([h, c, e])
        r = np.tanh(w["readout.weight"] @ seen + w["readout.bias"])
        np.testing.assert_allclose(
            found[t, 0].numpy(), w["head.weight"] @ r + w["head.bias"], rtol=1e-9
        )


# ---------------------------------------------------------------- the bridge


@pytest.mark.parametrize(
    ("source", "target", "both", "depth"),
    [(*cells, both, depth) for cells in itertools.product(LAYERS, LAYERS)
     for both in (False, True) for depth in ((1, 1), (2, 1), (1, 3))],
)  # fmt: skip
def test_states_are_bridged(source: str, target: str, both: bool, depth: tuple[int, int]) -> None:
    encoder = LAYERS[source](3, 4, depth[0], bidirectional=both)
    decoder = LAYERS[target](3, 5, depth[1])
    _, state = encoder(tg.randn(6, 2, 3))
    made = nn.Bridge(encoder, decoder)(state)
    parts = made if isinstance(made, tuple) else (made,)
    assert [part.shape for part in parts] == [(depth[1], 2, 5)] * (2 if target == "lstm" else 1)
    decoder(tg.randn(1, 2, 3), made)  # it takes them


def test_each_layer_begins_with_its_own() -> None:
    """The decoder's layer reads both directions of the encoder's of its depth, or of the last."""
    encoder = nn.GRU(3, 4, num_layers=2, bidirectional=True)
    bridge = nn.Bridge(encoder, nn.LSTM(3, 5, num_layers=3), dtype="float64")
    state = np.random.default_rng(0).normal(size=(4, 2, 4))
    h, c = bridge(tg.tensor(state))
    for row, moved in enumerate(([0], [0], [1, 2], [1, 2])):
        other = state.copy()
        other[row] += 1
        for part, before in zip(bridge(tg.tensor(other)), (h, c), strict=True):
            differs = np.abs(part.numpy() - before.numpy()).max(axis=(1, 2)) > 1e-6
            assert np.flatnonzero(differs).tolist() == moved


def test_a_state_that_fits_is_handed_over() -> None:
    made: dict[str, Any] = {"generator": tg.Generator(0)}
    encoder = nn.Encoder(nn.Embedding(V, 4, **made), nn.LSTM(4, 6, **made))
    m = nn.Seq2Seq(encoder, nn.Decoder(nn.Embedding(V, 4, **made), nn.LSTM(4, 6, **made)))
    assert m.bridge is None
    source = symbols(3, 2)
    _, state = encoder(source)
    np.testing.assert_array_equal(m.encode(source)[1][1].numpy(), state[1].numpy())
    nothing = nn.Seq2Seq(encoder, m.decoder, bridge=lambda _: None)
    assert nothing.encode(source)[1] is None


def test_bridge_refuses_other_states() -> None:
    bridge = nn.Bridge(nn.GRU(3, 4, bidirectional=True), nn.GRU(3, 4))
    with pytest.raises(tg.ShapeError, match=r"Bridge: state: expected \(2, B, 4\)"):
        bridge(tg.zeros((1, 2, 4)))


# ---------------------------------------------------------------- scheduled sampling


def test_without_truth_it_reads_what_it_writes() -> None:
    m, source = model(), symbols(4, 3)
    target = np.full((6, 3), 2)
    sampled = m(source, target, teacher_forcing_ratio=0.0)
    state, read = m.start(source), target[0]
    for t in range(6):
        logits, state, *_ = m.step(read, state)
        np.testing.assert_allclose(sampled[t].numpy(), logits.numpy(), rtol=1e-9)
        read = logits.numpy().argmax(-1)


def test_with_almost_all_truth_it_is_teacher_forcing() -> None:
    m, source, target = model(), symbols(4, 3), symbols(6, 3)
    np.testing.assert_allclose(
        m(source, target, teacher_forcing_ratio=1 - 1e-12).numpy(),
        m(source, target).numpy(),
        rtol=1e-9,
    )
    for ratio in (-0.1, 1.1, float("nan")):
        with pytest.raises(ValueError, match="teacher_forcing_ratio: expected a probability"):
            m(source, target, teacher_forcing_ratio=ratio)


def test_schedules() -> None:
    schedules = nn.teacher_forcing
    falling = [
        schedules.linear(0.01),
        schedules.exponential(0.99),
        schedules.inverse_sigmoid(20.0),
    ]
    for schedule in falling:
        values = [schedule(step) for step in (0, 10, 50, 100, 10**6)]
        assert values == sorted(values, reverse=True)
        assert 0.9 < values[0] <= 1
        assert values[-1] == pytest.approx(0, abs=1e-9)
    assert schedules.constant()(10**9) == 1.0
    for wrong in (
        lambda: schedules.exponential(1.5),
        lambda: schedules.inverse_sigmoid(0.5),
        lambda: schedules.linear(-1),
        lambda: schedules.constant(2.0),
    ):
        with pytest.raises(ValueError, match="expected"):
            wrong()


# ---------------------------------------------------------------- the pointer


def test_a_pointer_mixes_two_distributions() -> None:
    pointer = nn.Pointer(2, dtype="float64")
    pointer.gate.weight.data = np.zeros((1, 2))
    pointer.gate.bias.data = np.array([np.log(0.25 / 0.75)])
    logits, weights = np.log([[0.1, 0.2, 0.3, 0.4]]), np.array([[0.5, 0.2, 0.3]])
    y = pointer(
        tg.tensor(logits), tg.zeros((1, 2), dtype="float64"), tg.tensor(weights),
        tg.tensor([[3, 0, 3]]),
    )  # fmt: skip
    want = 0.25 * np.array([0.1, 0.2, 0.3, 0.4]) + 0.75 * np.array([0.2, 0, 0, 0.8])
    np.testing.assert_allclose(np.exp(y.numpy())[0], want, atol=1e-9)


# ---------------------------------------------------------------- to disk, and mistakes


@every_model
def test_saved_and_loaded_it_says_the_same(options: Any, tmp_path: Path) -> None:
    m, other = model(**options), model(**options, seed=1)
    tg.save(tmp_path / "m.safetensors", m.state_dict())
    other.load_state_dict(tg.load(tmp_path / "m.safetensors"))
    source, target = symbols(4, 3), symbols(5, 3)
    np.testing.assert_array_equal(m(source, target).numpy(), other(source, target).numpy())


def test_tied_weights_are_one_parameter() -> None:
    m = model(tied=True)
    assert m.decoder.head.weight is m.decoder.embedding.weight
    assert sum(p is m.decoder.head.weight for p in m.parameters()) == 1


def test_one_symbol_one_row_and_vectors_as_source() -> None:
    assert model(dtype="float32")(symbols(1, 1), symbols(1, 1)).shape == (1, 1, V)
    encoder = nn.Encoder(nn.Linear(3, 4), nn.GRU(4, 6))
    decoder = nn.Decoder(nn.Embedding(V, 4), nn.GRU(4, 6), nn.DotAttention(6))
    m = nn.Seq2Seq(encoder, decoder)
    assert m(tg.randn(5, 2, 3), symbols(3, 2), lengths=[5, 2]).shape == (3, 2, V)
    assert m.align(tg.randn(5, 2, 3), symbols(3, 2)).shape == (3, 2, 5)  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("build", "said"),
    [
        (lambda: nn.Decoder(nn.Embedding(V, 4), nn.GRU(5, 6)), "expected input_size 4 .*got 5"),
        (
            lambda: nn.Decoder(nn.Embedding(V, 4), nn.GRU(4, 6), input_feeding=True),
            r"expected input_size 10 \(4 of the embedding \+ 6 for input feeding\), got 4",
        ),
        (
            lambda: nn.Decoder(nn.Embedding(V, 4), nn.GRU(4, 6, bidirectional=True)),
            "expected bidirectional=False",
        ),
        (
            lambda: nn.Decoder(nn.Embedding(V, 4), nn.GRU(4, 6), nn.DotAttention(5)),
            "expected query_size 6, .* got 5",
        ),
        (
            lambda: nn.Decoder(nn.Embedding(V, 4), nn.GRU(4, 6), tied=True, readout_size=5),
            "tied: expected readout_size 4",
        ),
        (lambda: nn.Decoder(nn.Embedding(V, 4), nn.GRU(4, 6), copy=True), "copy: expected an att"),
        (
            lambda: nn.Decoder(nn.Embedding(V, 4), nn.GRU(4, 6), readout_size=0),
            "readout_size: expected an integer from 1",
        ),
        (lambda: nn.Encoder(nn.Embedding(V, 4), nn.GRU(4, 6, batch_first=True)), "batch_first"),
    ],
)
def test_parts_that_do_not_fit(build: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        build()


def test_a_source_that_is_missing() -> None:
    decoder = model("additive").decoder
    for call in (decoder, lambda _: decoder.start()):
        with pytest.raises(
            TypeError, match=r"source: expected the result of prepare_memory\(memory\)"
        ):
            call(symbols(3, 2))
    with pytest.raises(TypeError, match=r"symbols of the source, \(S, B\)"):
        model(copy=True).decoder.prepare_memory(tg.zeros((4, 2, 10), dtype="float64"))


def test_an_empty_source_is_named() -> None:
    with pytest.raises(tg.ShapeError, match=r"lengths\[1\] = 0 is outside 1..4"):
        model()(symbols(4, 2), symbols(3, 2), lengths=[4, 0])
    empty = model("none", both=False)  # without attention there is nothing to look at anyway
    assert np.isfinite(empty(symbols(4, 2), symbols(3, 2), lengths=[4, 0]).numpy()).all()
