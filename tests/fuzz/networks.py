"""Draws valid calls of layers, losses, decoding, optimizers and texts."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

import tinygrad_rnn as tg
from tinygrad_rnn import data, nn
from tinygrad_rnn.nn import decoding, init, utils

from .calls import Arguments, Draw, Template, by_keyword, starred

T, B = 4, 3  # steps and rows


def module(
    cls: Callable[..., Any], built: Arguments, called: Arguments, evaluate: bool = False
) -> tuple[Callable[[Arguments], Any], Arguments]:
    """A module is built and called: the arguments of both are replaced."""

    def run(a: Arguments) -> Any:
        layer = cls(**{n: a[n] for n in built}, generator=tg.Generator(0))
        layer = layer.eval() if evaluate else layer
        return layer(*(a[n] for n in called if n not in KEYWORDS),
                     **{n: a[n] for n in called if n in KEYWORDS})  # fmt: skip

    return run, {**built, **called}


KEYWORDS = {"lengths", "mask", "ids", "reset", "return_states", "reduction"}


def plain(cls: Callable[..., Any]) -> Callable[..., Any]:
    """A class whose constructor takes no generator."""
    return lambda *, generator=None, **given: cls(**given)


def layer(cls: Callable[..., Any], states: int, **options: Any) -> Template:
    """A recurrent layer over a sequence, with everything that it takes."""

    def draw(d: Draw) -> tuple[Callable[[Arguments], Any], Arguments]:
        few = {n: d.one_of(v) for n, v in options.items() if d.one_of([True, False])}
        built = {
            "input_size": 3,
            "hidden_size": 5,
            "num_layers": d.integer(1, 2),
            "bias": "forget_bias" in few or d.one_of([True, False]),
            "batch_first": d.one_of([False, False, True]),
            "dropout": d.one_of([0.0, 0.2]),
            "bidirectional": d.one_of([False, True]),
            "dtype": d.one_of(["float32", "float32", "float64"]),
            **few,
        }
        built["reverse"] = not built["bidirectional"] and d.one_of([False, True])
        masked = d.one_of([False, True])
        if built.get("merge", "") is None:
            built.pop("residual", None)
        dtype, rows = built["dtype"], built["num_layers"] * (1 + built["bidirectional"])
        begin = [
            d.tensor(rows, B, built.get("proj_size") or 5 if i == 0 else 5, dtype=dtype)
            for i in range(states)
        ]
        shape = (B, T) if built["batch_first"] else (T, B)
        table = d.one_of([False, False, True])
        called: Arguments = {
            "x": d.tensor(*((7,) if table else shape), 3, dtype=dtype),
            "state": d.one_of([None, tuple(begin) if states > 1 else begin[0]]),
            "ids": d.ids(7, *shape) if table else None,
            "lengths": d.one_of([None, None if masked else [d.integer(0, T) for _ in range(B)]]),
            "mask": d.reals(shape) > -0.5 if masked else None,
            "reset": d.one_of([None, d.reals(shape) > 0.5]),
            "return_states": d.one_of([False, True]),
        }
        return module(cls, built, called, d.one_of([True, False]))

    return draw


SHARED = {
    "recurrent_dropout": [0.0, 0.3],
    "weight_dropout": [0.3],
    "layer_norm": [True],
    "zoneout": [0.2],
    "residual": [True],
    "learn_initial": [True],
    "merge": ["sum", "mean", None],
    "dropout_same_mask": [True],
}
GATES = {"activation": ["relu", "tanh"], "recurrent_activation": ["sigmoid"]}
LSTM = {
    "proj_size": [2],
    "peephole": [True],
    "coupled_gates": [True],
    "cell_clip": [0.5],
    "forget_bias": [1.0],
    **GATES,
}


def cell(cls: Callable[..., Any], states: int, **options: Any) -> Template:
    """A cell, for one step, or with `Recurrent` over a sequence."""

    def draw(d: Draw) -> tuple[Callable[[Arguments], Any], Arguments]:
        few = {n: d.one_of(v) for n, v in options.items() if d.one_of([True, False])}
        built = {
            "input_size": 3,
            "hidden_size": 4,
            "bias": "forget_bias" in few or d.one_of([True, False]),
            "dtype": "float32",
            **few,
        }
        state = [d.tensor(B, few.get("proj_size") or 4 if i == 0 else 4) for i in range(states)]
        called = {
            "x": d.tensor(B, 3),
            "state": d.one_of([None, tuple(state) if states > 1 else state[0] if state else None]),
        }
        return module(cls, built, called)

    return draw


def elementwise_layer(cls: Callable[..., Any]) -> Template:
    """A layer without parameters or settings."""
    return lambda d: module(lambda **_: cls(), {}, {"x": d.tensor(T, B)})


def own_layer(d: Draw) -> tuple[Callable[[Arguments], Any], Arguments]:
    """`Recurrent` of a cell."""
    kind = d.one_of([nn.GRUCell, nn.JANETCell, nn.MGUCell])
    built = {
        "num_layers": d.integer(1, 2),
        "batch_first": d.one_of([False, True]),
        "dropout": d.one_of([0.0, 0.2]),
        "bidirectional": d.one_of([False, True]),
        "zoneout": d.one_of([0.0, 0.2]),
        "fused": d.one_of([False, True]),
        "merge": d.one_of(["concat", "sum"]),
    }
    shape = (B, T) if built["batch_first"] else (T, B)
    called = {
        "x": d.tensor(*shape, 3),
        "state": None,
        "lengths": d.one_of([None, [d.integer(0, T) for _ in range(B)]]),
        "reset": d.one_of([None, d.reals(shape) > 0.5]),
        "return_states": d.one_of([False, True]),
    }

    def made(cell: Any, **given: Any) -> Any:
        return nn.Recurrent(cell, 3, **given)

    return module(made, {"cell": lambda n: kind(n, 4, generator=tg.Generator(0)), **built}, called)


def attention(cls: Callable[..., Any], **options: Any) -> Template:
    def draw(d: Draw) -> tuple[Callable[[Arguments], Any], Arguments]:
        built = {n: d.one_of(v) for n, v in options.items()}
        called = {
            "query": d.tensor(2, B, 4),
            "memory": d.tensor(T, B, 4),
            "lengths": d.one_of([None, [d.integer(1, T) for _ in range(B)]]),
        }
        return module(cls, built, called)

    return draw


def loss(function: Callable[..., Any], *, classes: bool = False, **options: Any) -> Template:
    """A loss of logits and class ids, or of a pair."""

    def draw(d: Draw) -> tuple[Callable[[Arguments], Any], Arguments]:
        first, *rest = list(LOSS_ARGUMENTS[function.__name__])
        given = {n: d.one_of(v) for n, v in options.items()}
        target = d.ids(5, T, B) if classes else (d.reals((T, B, 5)) > 0).astype("float32")
        return by_keyword(function), {first: d.tensor(T, B, 5), rest[0]: target, **given}

    return draw


LOSS_ARGUMENTS = {
    "cross_entropy": ("logits", "targets"),
    "nll_loss": ("log_probs", "targets"),
    **dict.fromkeys(
        ("mse_loss", "l1_loss", "huber_loss", "gaussian_nll_loss", "student_t_nll_loss"),
        ("prediction", "target"),
    ),
    "binary_cross_entropy_with_logits": ("logits", "target"),
}
REDUCTION = ["mean", "sum", "none"]


def criterion(cls: Callable[..., Any], classes: bool, **options: Any) -> Template:
    """A loss module, and a call of it."""

    def draw(d: Draw) -> tuple[Callable[[Arguments], Any], Arguments]:
        given = {n: d.one_of(v) for n, v in options.items()}
        target = d.ids(5, T, B) if classes else (d.reals((T, B, 5)) > 0).astype("float32")
        return module(plain(cls), given, {"scores": d.tensor(T, B, 5), "target": target})

    return draw


def linear_loss(d: Draw) -> tuple[Callable[[Arguments], Any], Arguments]:
    return by_keyword(nn.linear_cross_entropy), {
        "x": d.tensor(T, B, 3),
        "linear_weight": d.tensor(5, 3),
        "targets": d.ids(5, T, B),
        "linear_bias": d.one_of([None, d.tensor(5)]),
        "ignore_index": d.one_of([-100, 0]),
        "label_smoothing": d.one_of([0.0, 0.1]),
        "reduction": d.one_of(["mean", "sum"]),
    }


def ctc(d: Draw) -> tuple[Callable[[Arguments], Any], Arguments]:
    return by_keyword(nn.ctc_loss), {
        "log_probs": tg.log_softmax(d.tensor(T, B, 5), axis=-1).detach(),
        "targets": d.ids(4, B, 2) + 1,
        "input_lengths": d.one_of([None, [T, T - 1, T]]),
        "target_lengths": d.one_of([None, [2, 1, 0]]),
        "blank": 0,
        "reduction": d.one_of(REDUCTION),
        "zero_infinity": d.one_of([False, True]),
    }


def crf(d: Draw) -> tuple[Callable[[Arguments], Any], Arguments]:
    built = {
        "num_tags": 4,
        "batch_first": False,
        "dtype": "float32",
        "forbidden": d.one_of([(), [(0, 1)]]),
    }
    lengths = d.one_of([None, [T, 1, 2]])
    tags = np.zeros((T, B), int) + 2
    called = {
        "emissions": d.tensor(T, B, 4),
        "tags": tags,
        "lengths": lengths,
        "reduction": d.one_of(REDUCTION),
    }
    return module(nn.CRF, built, called)


def crf_decode(d: Draw) -> tuple[Callable[[Arguments], Any], Arguments]:
    return (
        lambda a: nn.CRF(4, generator=tg.Generator(0)).decode(a["emissions"], lengths=a["lengths"]),
        {"emissions": d.tensor(T, B, 4), "lengths": d.one_of([None, [T, 1, 2]])},
    )


# ---------------------------------------------------------------- encoder-decoder and decoding


def seq2seq(d: Draw) -> tuple[Callable[[Arguments], Any], Arguments]:
    def run(a: Arguments) -> Any:
        g = tg.Generator(0)
        encoder = nn.Encoder(
            nn.Embedding(6, 3, generator=g), nn.GRU(3, 4, generator=g), a["dropout"], generator=g
        )
        looks = nn.DotAttention(4) if a["attention"] is True else None
        decoder = nn.Decoder(
            nn.Embedding(6, 3, generator=g),
            nn.GRU(7 if a["input_feeding"] is True else 3, 4, generator=g),
            looks,
            readout_size=a["readout_size"],
            input_feeding=a["input_feeding"],
            copy=a["copy"],
            generator=g,
        )
        model = nn.Seq2Seq(encoder, decoder, generator=g)
        return model(
            a["source"],
            a["target"],
            lengths=a["lengths"],
            teacher_forcing_ratio=a["teacher_forcing_ratio"],
        )

    return run, {
        "source": d.ids(6, T, B),
        "target": d.ids(6, T, B),
        "lengths": d.one_of([None, [T, 1, 2]]),
        "teacher_forcing_ratio": d.one_of([1.0, 0.5]),
        "attention": True,
        "readout_size": 4,
        "input_feeding": d.one_of([False, True]),
        "copy": False,
        "dropout": d.one_of([0.0, 0.2]),
    }


def _table_step(logits: Any) -> Callable[..., Any]:
    """A model that says what comes next by the last token alone."""

    def step(tokens: Any, state: Any) -> Any:
        return tg.log_softmax(tg.as_tensor(logits)[tokens], axis=-1), state

    return step


def decode(function: Callable[..., Any], **options: Any) -> Template:
    def draw(d: Draw) -> tuple[Callable[[Arguments], Any], Arguments]:
        given = {n: d.one_of(v) for n, v in options.items()}
        if function is decoding.sample:
            given["generator"] = tg.Generator(3)

        def run(a: Arguments) -> Any:
            rest = {n: v for n, v in a.items() if n not in ("logits", "state", "start_tokens")}
            found = function(_table_step(a["logits"]), a["state"], a["start_tokens"], **rest)
            return [list(getattr(h, "tokens", ())) for h in found if not isinstance(h, list)]

        return run, {
            "logits": d.reals((5, 5)),
            "state": tg.zeros((1, B, 2)),
            "start_tokens": [d.integer(0, 4) for _ in range(B)],
            "max_length": d.integer(1, 5),
            "end": d.one_of([None, 4]),
            "batch_axis": 1,
            **given,
        }

    return draw


# ---------------------------------------------------------------- optimizers


def optimizer(cls: Callable[..., Any], **options: Any) -> Template:
    """Two steps of an optimizer, and what has become of its parameters."""

    def draw(d: Draw) -> tuple[Callable[[Arguments], Any], Arguments]:
        given = {n: d.one_of(v) for n, v in options.items()}
        dtype = d.one_of(["float32", "float64"])

        def run(a: Arguments) -> Any:
            o = cls(a["parameters"], **{n: a[n] for n in given})
            for _ in range(2):
                for group in o.param_groups:
                    for p in group["params"]:
                        p.grad = tg.ones_like(p.detach())
                o.step()
            again = cls(a["parameters"], **{n: a[n] for n in given})
            again.load_state_dict(o.state_dict())
            return [p.numpy() for group in o.param_groups for p in group["params"]]

        return run, {"parameters": [d.tensor(2, 3, dtype=dtype), d.tensor(3, dtype=dtype)], **given}

    return draw


def state_of_optimizer(d: Draw) -> tuple[Callable[[Arguments], Any], Arguments]:
    """A state that was changed is refused, or can be used."""

    def run(a: Arguments) -> Any:
        p = tg.tensor([1.0, 2.0], requires_grad=True)
        o = tg.optim.Adam([p], lr=0.1)
        p.grad = tg.ones((2,))
        o.step()
        whole = o.state_dict()
        o.load_state_dict({**whole, **{n: v for n, v in a.items() if v is not None}})
        p.grad = tg.ones((2,))
        o.step()
        return p.detach()

    p = tg.tensor([1.0, 2.0], requires_grad=True)
    o = tg.optim.Adam([p], lr=0.1)
    p.grad = tg.ones((2,))
    o.step()
    return run, dict(o.state_dict())


def _inverse(step: int) -> float:
    return 1 / (1 + step)


def schedule(cls: Callable[..., Any], **options: Any) -> Template:
    def draw(d: Draw) -> tuple[Callable[[Arguments], Any], Arguments]:
        given = {n: d.one_of(v) for n, v in options.items()}

        def run(a: Arguments) -> Any:
            o = tg.optim.SGD([tg.zeros((2,), requires_grad=True)], lr=1.0)
            s = cls(o, **{n: a[n] for n in given})
            for _ in range(3):
                s.observe(a["loss"]) if "loss" in a else s.step()
            return o.param_groups[0]["lr"]

        return run, {**given, **({"loss": 0.5} if cls is tg.optim.ReduceLROnPlateau else {})}

    return draw


def clipping(function: Callable[..., Any], limit: str) -> Template:
    def draw(d: Draw) -> tuple[Callable[[Arguments], Any], Arguments]:
        ps = [d.tensor(2, 3), d.tensor(3)]
        for p in ps:
            p.grad = tg.ones_like(p.detach())

        def run(a: Arguments) -> Any:
            found = function(a["parameters"], a[limit])
            return found, [p.grad for p in ps]

        return run, {"parameters": ps, limit: d.one_of([0.5, 10.0])}

    return draw


def load_state(d: Draw) -> tuple[Callable[[Arguments], Any], Arguments]:
    """Weights that are loaded into a module."""

    def run(a: Arguments) -> Any:
        model = nn.Linear(3, 2, generator=tg.Generator(0))
        model.load_state_dict(a["state"])
        return model(tg.ones((1, 3))).detach()

    return run, {
        "state": {
            "weight": d.reals((2, 3)).astype("float32"),
            "bias": d.reals((2,)).astype("float32"),
        }
    }


# ---------------------------------------------------------------- texts


def pairs_of_files(d: Draw) -> tuple[Callable[[Arguments], Any], Arguments]:
    def run(a: Arguments) -> Any:
        with tempfile.TemporaryDirectory() as folder:
            paths = [Path(folder) / name for name in ("source", "target")]
            for path, name in zip(paths, ("source", "target"), strict=True):
                path.write_bytes(raw if isinstance(raw := a[name], bytes) else str(raw).encode())
            return len(data.read_pairs(*paths))

    raw = d.one_of([b"a\nb\n", b"a b\nc\n", "é\nü\n".encode()])
    return run, {"source": raw, "target": b"x\ny\n"}


def vocabulary(cls: Any) -> Template:
    def draw(d: Draw) -> tuple[Callable[[Arguments], Any], Arguments]:
        text = d.one_of(["the cat sat", "हिन्दी भाषा", "a\nb  c", "👨‍👩‍👧 ok"])

        def run(a: Arguments) -> Any:
            v = cls(a["text"]) if cls is data.CharVocabulary else cls.of(a["texts"], a["most"])
            ids = v.encode(a["text"])
            found = v.decode(ids)
            return np.asarray(ids), found

        return run, {"texts": [text, text], "most": d.one_of([None, 30]), "text": text}

    return draw


def streams(d: Draw) -> tuple[Callable[[Arguments], Any], Arguments]:
    return lambda a: len(list(islice(data.Streams(**a), 9))), {
        "ids": d.ids(5, 40),
        "batch": 2,
        "window": 3,
    }


def _pairs(d: Draw) -> list[tuple[list[int], list[int]]]:
    return [
        (d.ids(9, d.integer(1, 4)).tolist(), d.ids(9, d.integer(1, 4)).tolist()) for _ in range(5)
    ]


class OwnCell(nn.Cell):
    """A cell of one's own."""

    def step(self, x: Any, h: Any) -> Any:
        h = tg.tanh(x @ self.weight_ih.mT + h @ self.weight_hh.mT)
        return h, h


ATTENTIONS: Iterable[tuple[Any, Arguments]] = [
    (
        nn.AdditiveAttention,
        {
            "query_size": [4],
            "memory_size": [4],
            "hidden_size": [None, 3],
            "normalize": ["softmax", "sparsemax"],
        },
    ),
    (nn.CoverageAttention, {"query_size": [4], "memory_size": [4], "hidden_size": [None, 3]}),
    (plain(nn.DotAttention), {"size": [4], "scaled": [False, True]}),
    (nn.GeneralAttention, {"query_size": [4], "memory_size": [4]}),
    (nn.LocationAttention, {"query_size": [4], "memory_size": [4], "filters": [2], "reach": [1]}),
    (
        nn.MultiHeadAttention,
        {"query_size": [4], "memory_size": [4], "heads": [2], "hidden_size": [None, 4]},
    ),
]
ATTENTION_NAMES = [
    "AdditiveAttention",
    "CoverageAttention",
    "DotAttention",
    "GeneralAttention",
    "LocationAttention",
    "MultiHeadAttention",
]

NETWORKS: dict[str, Template] = {
    "RNN": layer(nn.RNN, 1, nonlinearity=["tanh", "relu"], **SHARED),
    "GRU": layer(nn.GRU, 1, reset_after=[True], **SHARED, **GATES),
    "LSTM": layer(nn.LSTM, 2, **SHARED, **LSTM),
    "Recurrent": own_layer,
    "MinGRU": lambda d: module(
        nn.MinGRU,
        {
            "input_size": 3,
            "hidden_size": 4,
            "bias": True,
            "batch_first": False,
            "reverse": d.one_of([False, True]),
        },
        {
            "x": d.tensor(T, B, 3),
            "state": d.one_of([None, tg.full((B, 4), 0.5)]),
            "lengths": d.one_of([None, [T, 0, 2]]),
        },
    ),
    "MinLSTM": lambda d: module(
        nn.MinLSTM,
        {
            "input_size": 3,
            "hidden_size": 4,
            "bias": True,
            "batch_first": False,
            "reverse": d.one_of([False, True]),
        },
        {
            "x": d.tensor(T, B, 3),
            "state": d.one_of([None, tg.full((B, 4), 0.5)]),
            "lengths": d.one_of([None, [T, 0, 2]]),
        },
    ),
    "RNNCell": cell(nn.RNNCell, 1, nonlinearity=["tanh", "relu"], layer_norm=[True]),
    "GRUCell": cell(nn.GRUCell, 1, reset_after=[True], layer_norm=[True], **GATES),
    "LSTMCell": cell(nn.LSTMCell, 2, layer_norm=[True], **LSTM),
    "Cell": cell(OwnCell, 1),
    "IndRNNCell": cell(nn.IndRNNCell, 1, nonlinearity=["relu", "tanh"]),
    "JANETCell": cell(nn.JANETCell, 1, beta=[0.5]),
    "MGUCell": cell(nn.MGUCell, 1),
    "MLSTMCell": cell(nn.MLSTMCell, 0, num_heads=[2]),
    "MinGRUCell": cell(nn.MinGRUCell, 1),
    "MinLSTMCell": cell(nn.MinLSTMCell, 1),
    "SLSTMCell": cell(nn.SLSTMCell, 0),
    "SRUCell": cell(nn.SRUCell, 1),
    "ConvLSTMCell": lambda d: module(
        nn.ConvLSTMCell,
        {
            "input_channels": 2,
            "hidden_channels": 3,
            "kernel_size": (3, 3),
            "peephole_size": d.one_of([None, (4, 4)]),
        },
        {"x": d.tensor(B, 2, 4, 4), "state": None},
    ),
    "Linear": lambda d: module(
        nn.Linear,
        {"in_features": 3, "out_features": 2, "bias": d.one_of([True, False]), "dtype": "float32"},
        {"x": d.tensor(B, 3)},
    ),
    "BatchNorm1d": lambda d: module(
        plain(nn.BatchNorm1d),
        {"num_features": 3, "momentum": d.one_of([0.1, None]), "affine": True},
        {"x": d.tensor(B, 3)},
    ),
    "Conv1d": lambda d: module(
        nn.Conv1d,
        {
            "in_channels": 2,
            "out_channels": 4,
            "kernel_size": d.integer(1, 3),
            "stride": d.integer(1, 2),
            "padding": d.one_of([0, 1, "valid"]),
            "groups": d.one_of([1, 2]),
        },
        {"x": d.tensor(B, 2, 5)},
    ),
    "Conv2d": lambda d: module(
        nn.Conv2d,
        {
            "in_channels": 2,
            "out_channels": 3,
            "kernel_size": d.one_of([2, (1, 3)]),
            "padding": d.one_of([0, (1, 0), "same"]),
            "dilation": d.integer(1, 2),
        },
        {"x": d.tensor(B, 2, 5, 6)},
    ),
    "LayerNorm": lambda d: module(
        plain(nn.LayerNorm), {"features": 3, "eps": 1e-5, "dtype": "float32"}, {"x": d.tensor(B, 3)}
    ),
    "Embedding": lambda d: module(
        nn.Embedding,
        {
            "num_embeddings": 5,
            "embedding_dim": 3,
            "padding_idx": d.one_of([None, 0, -1]),
            "dtype": "float32",
            "dropout": d.one_of([0.0, 0.3]),
        },
        {"indices": d.ids(5, T, B)},
    ),
    "Dropout": lambda d: module(
        nn.Dropout,
        {"p": d.one_of([0.0, 0.5]), "shared_axis": d.one_of([None, 0])},
        {"x": d.tensor(T, B)},
    ),
    **{
        cls.__name__: elementwise_layer(cls)
        for cls in (nn.ReLU, nn.Tanh, nn.Sigmoid, nn.SiLU, nn.Identity)
    },
    "GELU": lambda d: module(
        plain(nn.GELU), {"approximate": d.one_of(["none", "tanh"])}, {"x": d.tensor(B, 3)}
    ),
    "Flatten": lambda d: module(
        plain(nn.Flatten),
        {"start_dim": d.one_of([0, 1]), "end_dim": d.one_of([-1, 2])},
        {"x": d.tensor(T, B, 3)},
    ),
    "ModuleDict": lambda d: (
        lambda a: len(nn.ModuleDict(a["modules"])),
        {"modules": {"a": nn.Linear(2, 2)}},
    ),
    "summary": lambda d: (
        lambda a: str(nn.summary(a["model"], a["x"])),
        {"model": nn.Linear(3, 2), "x": d.tensor(B, 3)},
    ),
    "dropout": lambda d: (
        by_keyword(nn.dropout),
        {
            "x": d.tensor(T, B),
            "p": d.one_of([0.0, 0.5]),
            "generator": tg.Generator(2),
            "shared_axis": None,
        },
    ),
    "CRF": crf,
    "CRF.decode": crf_decode,
    **{
        name: attention(cls, **options)
        for name, (cls, options) in zip(ATTENTION_NAMES, ATTENTIONS, strict=True)
    },
    "cross_entropy": loss(
        nn.cross_entropy,
        classes=True,
        weight=[None, [1.0, 0.5, 2.0, 1.0, 3.0]],
        ignore_index=[-100, 0],
        label_smoothing=[0.0, 0.1],
        reduction=REDUCTION,
    ),
    "nll_loss": loss(
        nn.nll_loss,
        classes=True,
        weight=[None, [1.0, 0.5, 2.0, 1.0, 3.0]],
        ignore_index=[-100, 0],
        reduction=REDUCTION,
    ),
    **{f.__name__: loss(f, reduction=REDUCTION) for f in (nn.mse_loss, nn.l1_loss)},
    "huber_loss": loss(nn.huber_loss, delta=[1.0, 0.5], reduction=REDUCTION),
    "gaussian_nll_loss": loss(
        nn.gaussian_nll_loss,
        var=[1.0, [1.0, 2.0, 1.0, 1.0, 0.5]],
        full=[False, True],
        eps=[1e-6],
        reduction=REDUCTION,
    ),
    "student_t_nll_loss": loss(
        nn.student_t_nll_loss, scale=[1.0, 0.5], df=[3.0, 4], reduction=REDUCTION
    ),
    "binary_cross_entropy_with_logits": loss(
        nn.binary_cross_entropy_with_logits,
        pos_weight=[None, 2.0, [1.0, 2.0, 3.0, 4.0, 5.0]],
        reduction=REDUCTION,
    ),
    "CrossEntropyLoss": criterion(
        nn.CrossEntropyLoss,
        True,
        weight=[None, [1.0, 0.5, 2.0, 1.0, 3.0]],
        label_smoothing=[0.0, 0.1],
    ),
    "NLLLoss": criterion(nn.NLLLoss, True, weight=[None, [1.0, 0.5, 2.0, 1.0, 3.0]]),
    "MSELoss": criterion(nn.MSELoss, False),
    "L1Loss": criterion(nn.L1Loss, False),
    "HuberLoss": criterion(nn.HuberLoss, False, delta=[1.0, 2.0]),
    "BCEWithLogitsLoss": criterion(nn.BCEWithLogitsLoss, False, pos_weight=[None, [2.0]]),
    "GaussianNLLLoss": lambda d: module(
        plain(nn.GaussianNLLLoss),
        {"full": d.one_of([False, True]), "eps": 1e-6},
        {"prediction": d.tensor(T, B), "target": d.reals((T, B)), "var": tg.ones((T, B))},
    ),
    "StudentTNLLLoss": lambda d: module(
        plain(nn.StudentTNLLLoss),
        {"reduction": d.one_of(REDUCTION)},
        {"prediction": d.tensor(T, B), "target": d.reals((T, B)), "scale": 1.0, "df": 3.0},
    ),
    "CTCLoss": lambda d: module(
        plain(nn.CTCLoss),
        {"blank": 0, "zero_infinity": d.one_of([False, True])},
        {
            "log_probs": tg.log_softmax(d.tensor(T, B, 5), axis=-1).detach(),
            "targets": d.ids(4, B, 2) + 1,
        },
    ),
    "linear_cross_entropy": linear_loss,
    "ctc_loss": ctc,
    "activation_regularization": lambda d: (
        by_keyword(nn.activation_regularization),
        {"y": d.tensor(T, B, 2), "lengths": d.one_of([None, [T, 0, 2]])},
    ),
    "temporal_activation_regularization": lambda d: (
        by_keyword(nn.temporal_activation_regularization),
        {"y": d.tensor(T, B, 2), "lengths": d.one_of([None, [T, 0, 2]])},
    ),
    "Seq2Seq Encoder Decoder": seq2seq,
    "Bridge": lambda d: (
        lambda a: nn.Bridge(nn.GRU(2, a["hidden_size"]), nn.GRU(2, 4), generator=tg.Generator(0))(
            a["state"]
        ),
        {"hidden_size": 3, "state": d.tensor(1, B, 3)},
    ),
    "Pointer": lambda d: module(
        nn.Pointer,
        {"features": 3},
        {
            "logits": d.tensor(B, 5),
            "seen": d.tensor(B, 3),
            "weights": tg.softmax(d.tensor(B, T), axis=-1).detach(),
            "symbols": tg.as_tensor(d.ids(5, B, T)),
        },
    ),
    "Parameter": lambda d: (
        by_keyword(nn.Parameter),
        {"data": d.one_of([d.reals((2,)), [1.0, 2.0]]), "requires_grad": True},
    ),
    "ModuleList": lambda d: (
        lambda a: len(nn.ModuleList(a["modules"])),
        {"modules": [nn.Linear(2, 2)]},
    ),
    "Sequential": lambda d: (
        lambda a: nn.Sequential(*starred(a["modules"]))(a["x"]),
        {"modules": [nn.Linear(3, 2, generator=tg.Generator(0)), tg.tanh], "x": d.tensor(B, 3)},
    ),
    "Module.load_state_dict": load_state,
    "beam_search": decode(
        decoding.beam_search,
        beams=[1, 3],
        n_best=[1],
        coverage_penalty=[0.0],
        groups=[1],
        diversity=[0.5],
    ),
    "greedy": decode(decoding.greedy, constraints=[None, decoding.Constraints(min_length=1)]),
    "sample": decode(
        decoding.sample,
        temperature=[1.0, 0.5],
        top_k=[None, 2],
        top_p=[None, 0.9],
        min_p=[None, 0.1],
    ),
    "ctc_beam_search": lambda d: (
        by_keyword(decoding.ctc_beam_search),
        {
            "log_probs": tg.log_softmax(d.tensor(T, B, 4), axis=-1).detach(),
            "lengths": d.one_of([None, [T, 0, 2]]),
            "beams": 3,
            "n_best": 1,
            "blank": 0,
            "weight": 1.0,
            "bonus": 0.0,
        },
    ),
    "ctc_greedy": lambda d: (
        by_keyword(decoding.ctc_greedy),
        {
            "log_probs": tg.log_softmax(d.tensor(T, B, 4), axis=-1).detach(),
            "lengths": d.one_of([None, [T, 0, 2]]),
            "blank": 0,
        },
    ),
    "Constraints": lambda d: (
        by_keyword(decoding.Constraints),
        {
            "min_length": 0,
            "no_repeat_ngram": d.integer(0, 2),
            "forbidden": (),
            "prefix": (),
            "allowed": None,
        },
    ),
    "average": lambda d: (by_keyword(decoding.average), {"length": 3}),
    "gnmt": lambda d: (lambda a: decoding.gnmt(a["alpha"])(3), {"alpha": 0.6}),
    "check_sampling": lambda d: (
        by_keyword(decoding.check_sampling),
        {"temperature": 1.0, "top_k": None, "top_p": 0.9, "min_p": None},
    ),
    "draw": lambda d: (
        by_keyword(decoding.draw),
        {"p": tg.softmax(d.tensor(B, 4), axis=-1).detach(), "generator": tg.Generator(1)},
    ),
    "probabilities": lambda d: (
        by_keyword(decoding.probabilities),
        {
            "logits": d.tensor(B, 4, grad=False),
            "temperature": d.one_of([1.0, 0.5]),
            "top_k": d.one_of([None, 2]),
            "top_p": d.one_of([None, 0.9]),
            "min_p": None,
        },
    ),
    "select": lambda d: (
        by_keyword(decoding.select),
        {"state": tg.zeros((1, B, 2)), "index": [0, 2, 1, 1], "batch_axis": 1},
    ),
    **{
        f"nn.init.{f.__name__}": (
            lambda d, f=f, given=given: (
                by_keyword(f),
                {"x": d.tensor(3, 4), **given, "generator": tg.Generator(0)},
            )
        )
        for f, given in [
            (init.uniform_, {"low": -1.0, "high": 1.0}),
            (init.normal_, {"mean": 0.0, "std": 1.0}),
            (init.xavier_uniform_, {"gain": 1.0}),
            (init.xavier_normal_, {"gain": 1.0}),
            (init.kaiming_uniform_, {"gain": 1.0}),
            (init.kaiming_normal_, {"gain": 1.0}),
            (init.orthogonal_, {"gain": 1.0}),
        ]
    },
    "nn.init.constant_": lambda d: (
        by_keyword(init.constant_),
        {"x": d.tensor(3, 4), "value": 0.5},
    ),
    "nn.init.chrono_": lambda d: (
        lambda a: init.chrono_(a["layer"], a["longest"], generator=tg.Generator(0)).parameters(),
        {"layer": d.one_of([nn.LSTM(2, 3), nn.GRU(2, 3)]), "longest": 5},
    ),
    "detach": lambda d: (
        by_keyword(utils.detach),
        {"state": d.one_of([d.tensor(2), (d.tensor(2), d.tensor(2)), None])},
    ),
    "truncated": lambda d: (
        lambda a: [
            y
            for _, y, _ in utils.truncated(
                nn.GRU(2, 3, generator=tg.Generator(0)),
                a["x"],
                a["k1"],
                a["k2"],
                a["state"],
                axis=a["axis"],
            )
        ],
        {"x": d.tensor(T, B, 2), "k1": 2, "k2": d.one_of([None, 3]), "state": None, "axis": 0},
    ),
    "activations": lambda d: (
        lambda a: list(
            utils.activations(m := nn.GRU(2, 3, generator=tg.Generator(0)), lambda: m(a["x"]))
        ),
        {"x": d.tensor(T, B, 2)},
    ),
    "gate_saturation": lambda d: (
        lambda a: list(utils.gate_saturation(nn.GRU(2, 3, generator=tg.Generator(0)), **a)),
        {"x": d.tensor(T, B, 2), "state": None, "lengths": None, "margin": 0.1},
    ),
    "gradient_flow": lambda d: (
        lambda a: list(
            utils.gradient_flow(
                nn.Sequential(m := nn.GRU(2, 3, generator=tg.Generator(0))),
                lambda: m(a["x"])[0].sum(),
            )
        ),
        {"x": d.tensor(T, B, 2)},
    ),
    "quantized": lambda d: (
        lambda a: utils.quantized(a["model"]) and None,
        {"model": nn.GRU(2, 3)},
    ),
    "optim.SGD": optimizer(
        tg.optim.SGD, lr=[0.1], momentum=[0.0, 0.9], nesterov=[False], weight_decay=[0.0, 0.1]
    ),
    "optim.Adam": optimizer(
        tg.optim.Adam, lr=[0.1], betas=[(0.9, 0.99)], eps=[1e-8], weight_decay=[0.0, 0.1]
    ),
    "optim.AdamW": optimizer(
        tg.optim.AdamW, lr=[0.1], betas=[(0.9, 0.99)], eps=[1e-8], weight_decay=[0.0, 0.1]
    ),
    "optim.RMSprop": optimizer(
        tg.optim.RMSprop, lr=[0.1], alpha=[0.9], eps=[1e-8], weight_decay=[0.0], momentum=[0.0, 0.5]
    ),
    "optim.Optimizer.load_state_dict": state_of_optimizer,
    "optim.ExponentialLR": schedule(tg.optim.ExponentialLR, gamma=[0.5]),
    "optim.MultiStepLR": schedule(tg.optim.MultiStepLR, milestones=[[1, 3]], gamma=[0.5]),
    "optim.LambdaLR": schedule(tg.optim.LambdaLR, lr_lambda=[_inverse]),
    "optim.OneCycleLR": schedule(
        tg.optim.OneCycleLR,
        max_lr=[0.5, [0.5]],
        total_steps=[9],
        pct_start=[0.3],
        anneal_strategy=["cos", "linear"],
        div_factor=[10.0],
        three_phase=[False, True],
    ),
    "optim.StepLR": schedule(tg.optim.StepLR, step_size=[1, 2], gamma=[0.5]),
    "optim.CosineLR": schedule(
        tg.optim.CosineLR, total_steps=[5], warmup_steps=[0, 2], minimum=[0.0, 0.1]
    ),
    "optim.ReduceLROnPlateau": schedule(
        tg.optim.ReduceLROnPlateau,
        reduction=[0.5],
        patience=[0, 2],
        threshold=[1e-4],
        minimum=[0.0],
    ),
    "optim.clip_grad_norm_": clipping(tg.optim.clip_grad_norm_, "max_norm"),
    "optim.clip_grad_value_": clipping(tg.optim.clip_grad_value_, "clip_value"),
    "CharVocabulary": vocabulary(data.CharVocabulary),
    "WordVocabulary": vocabulary(data.WordVocabulary),
    "read_pairs": pairs_of_files,
    "Streams": streams,
    "collate": lambda d: (lambda a: data.collate(**a), {"samples": [(1, 2.0), (3, 4.0)]}),
    "collate_pairs": lambda d: (
        lambda a: list(data.collate_pairs(a["pairs"])),
        {"pairs": _pairs(d)},
    ),
    "pad_sequence": lambda d: (
        lambda a: data.pad_sequence(**a),
        {
            "sequences": [d.tensor(n, 2) for n in (3, 1)],
            "batch_first": d.one_of([False, True]),
            "padding_value": 0.5,
        },
    ),
    "unpad_sequence": lambda d: (
        lambda a: data.unpad_sequence(**a),
        {"padded": d.tensor(4, 3), "lengths": [4, 0, 2], "batch_first": False},
    ),
    "DataLoader": lambda d: (
        lambda a: list(data.DataLoader(**a)),
        {
            "dataset": [1, 2, 3, 4, 5],
            "batch_size": 2,
            "drop_last": d.one_of([False, True]),
            "lengths": d.one_of([None, [3, 1, 2, 1, 3]]),
            "prefetch": d.one_of([0, 2]),
            "device": d.one_of([None, "cpu"]),
        },
    ),
    "TensorDataset": lambda d: (
        lambda a: data.TensorDataset(a["x"], a["y"])[1],
        {"x": d.tensor(3, 2), "y": d.tensor(3)},
    ),
    "Windows": lambda d: (
        lambda a: data.Windows(**a)[0],
        {"series": d.tensor(9, 2), "length": 3, "horizon": 2, "stride": 2},
    ),
    "random_split": lambda d: (
        lambda a: [list(part) for part in data.random_split(**a, generator=tg.Generator(0))],
        {"dataset": [1, 2, 3, 4], "fractions": [0.5, 0.5]},
    ),
    "in_order": lambda d: (
        lambda a: len(list(data.in_order(a["pairs"], a["batch"]))),
        {"pairs": _pairs(d), "batch": 2},
    ),
}
