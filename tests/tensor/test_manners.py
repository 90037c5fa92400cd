"""Tensors behave as Python's numbers do, and answer to PyTorch's names with what to type."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_rnn as tg
from tinygrad_rnn import torch_names
from tinygrad_rnn.tensor import ops

# ---------------------------------------------------------------- numbers


@pytest.mark.quick
@given(st.floats(-1e6, 1e6), st.sampled_from([None, 0, 2, -1]))
def test_a_tensor_of_one_element_rounds_as_a_python_number(
    value: float, digits: int | None
) -> None:
    x = tg.tensor(value, "float64")
    assert round(x, digits) == round(value, digits)
    assert type(round(x, digits)) is type(round(value, digits))
    assert f"{x:.3e}" == f"{value:.3e}"
    assert math.floor(x) == math.floor(value)
    with pytest.raises(TypeError, match=r"round: .* x\.round\(\) rounds all elements"):
        round(tg.zeros((2,)))


def test_unary_plus_is_a_value_of_its_own_and_differentiable() -> None:
    x = tg.tensor([1.0, -2.0], requires_grad=True)
    y = +x
    assert y.tolist() == x.tolist()
    (y * y).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [2.0, -4.0]
    with tg.no_grad():
        y = +x
        y += 1
    assert x.tolist() == [1.0, -2.0]


# ---------------------------------------------------------------- lists of Tensors


def test_lists_of_tensors_are_stacked_differentiably() -> None:
    x = tg.tensor([1.0, 2.0], "float64", requires_grad=True)
    y = tg.tensor([[x[0] * x[1], 0.1], (3, x.sum())])
    assert y.dtype == "float64"
    assert y.tolist() == [[2.0, 0.1], [3.0, 3.0]]
    (g,) = tg.grad(y.sum(), [x])
    assert g.tolist() == [3.0, 2.0]
    assert tg.tensor([x, x], dtype="float32").dtype == "float32"
    assert tg.as_tensor([x, 2 * x]).shape == (2, 2)


def test_a_list_of_constants_becomes_a_leaf() -> None:
    x = tg.tensor([tg.tensor(1.0), tg.tensor(2.0)], requires_grad=True)
    assert x.is_leaf
    assert x.requires_grad
    assert tg.tensor([tg.tensor(1), 2]).tolist() == [1, 2]
    assert tg.nn.Parameter([tg.ones((2,)), tg.zeros((2,))]).shape == (2, 2)


def test_lists_of_tensors_that_do_not_stack_are_refused() -> None:
    with pytest.raises(tg.ShapeError, match="tensor: expected equal shapes"):
        tg.tensor([tg.zeros((2,)), tg.zeros((3,))])
    with pytest.raises(tg.GraphError, match=r"x\.detach\(\)"):
        tg.tensor([tg.ones((), requires_grad=True)], requires_grad=True)
    with pytest.raises(TypeError, match="numbers"):
        tg.tensor([tg.zeros((2,)), "text"])


# ---------------------------------------------------------------- PyTorch's names


def mean_error(model: Any, batch: Any) -> Any:
    """A loss, as a Trainer takes it."""
    x, y = batch
    return tg.nn.mse_loss(model(x), y[:, :2])


def environment() -> dict[str, Any]:
    """The names that the remedies use."""
    p = tg.nn.Parameter(tg.ones((2, 3)))
    model = tg.nn.Linear(3, 2)
    optimizer = tg.optim.SGD(model.parameters(), lr=0.1)
    batches = [(tg.ones((2, 3)), tg.ones((2, 3)))]
    return {
        "tg": tg,
        "trainer": tg.train.Trainer(model, batches, mean_error, optimizer, steps=1),
        "x": tg.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]),
        "y": tg.ones((2, 3)),
        "p": p,
        "ids": tg.tensor([[0, 1], [2, 0]]),
        "mask": tg.tensor([[True, False, True], [False, False, True]]),
        "array": np.ones((2, 3)),
        "model": model,
        "optimizer": optimizer,
    }


OWNERS = {
    "tg": tg, "Tensor": tg.zeros((2, 3)), "Module": tg.nn.Linear(3, 2), "nn": tg.nn,
    "optim": tg.optim, "nn.utils": tg.nn.utils, "Trainer": environment()["trainer"],
    "Optimizer": environment()["optimizer"],
}  # fmt: skip


ANSWERED = torch_names.REMEDIES | torch_names.KERAS


@pytest.mark.parametrize("name", ANSWERED)
def test_a_name_of_pytorchs_or_keras_says_what_to_type_and_that_runs(
    name: str, tmp_path: Path
) -> None:
    owner, _, last = name.rpartition(".")
    thing, remedy = OWNERS[owner], ANSWERED[name]
    assert not hasattr(thing, last)
    with pytest.raises(AttributeError) as caught:
        getattr(thing, last)
    assert isinstance(caught.value, tg.UnknownNameError)
    assert str(caught.value) == f"{name}: there is no such name here; type {remedy}"
    try:
        path = tmp_path / "m.safetensors"
        tg.save(path, tg.nn.Linear(3, 2).state_dict())
        exec(remedy, environment() | {"path": path, "loss": mean_error})
    except tg.DeviceError:
        assert "cuda" in remedy


def test_remedies_do_what_pytorchs_names_do() -> None:
    torch = pytest.importorskip("torch")
    theirs = {"Tensor": torch.zeros(2, 3), "tg": torch, "Module": torch.nn.Linear(3, 2),
              "nn": torch.nn, "optim": torch.optim, "nn.utils": torch.nn.utils,
              "Optimizer": torch.optim.SGD([torch.zeros(2, requires_grad=True)])}  # fmt: skip
    unknown = {"Module.register_full_backward_hook", "Module.flatten_parameters"}
    unknown |= {
        "tg.asarray",
        *(n for n in torch_names.REMEDIES if n.startswith("optim.")),
    }  # of subclasses, and of submodules
    for name in torch_names.REMEDIES.keys() - unknown:
        owner, _, last = name.rpartition(".")
        assert hasattr(theirs[owner], last), f"{name} is no name of PyTorch's"
    x, env = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]), environment()
    mask = torch.tensor(env["mask"].numpy())
    for name, expected in {
        "Tensor.view": x.reshape(2, 3),
        "Tensor.unsqueeze": x.unsqueeze(0),
        "Tensor.permute": x.permute(1, 0),
        "Tensor.transpose": x.transpose(0, 1),
        "Tensor.masked_fill": x.masked_fill(mask, 0),
        "Tensor.masked_select": x.masked_select(mask),
        "Tensor.gather": x.gather(1, torch.tensor(env["ids"].numpy())),
        "Tensor.index_select": x.index_select(0, torch.tensor([0, 1])),
        "Tensor.repeat_interleave": x.repeat_interleave(2, 0),
        "Tensor.movedim": x.movedim(0, -1),
        "Tensor.expand": x.expand(4, 2, 3),
        "Tensor.clamp": x.clamp(-1, 1),
        "Tensor.norm": x.norm(),
        "Tensor.roll": x.roll(1, 0),
        "tg.cat": torch.cat([x, torch.ones(2, 3)]),
        "tg.hstack": torch.hstack([x, torch.ones(2, 3)]),
        "tg.bmm": x @ torch.ones(3, 2),
        "tg.bincount": torch.bincount(torch.tensor(env["ids"].numpy()).reshape(-1)),
        "tg.lerp": torch.lerp(x, torch.ones(2, 3), 0.5),
        "tg.diff": torch.diff(x),
        "Tensor.index_add": x.index_add(0, torch.tensor([0, 1]), torch.ones(2, 3)),
    }.items():
        found = eval(torch_names.REMEDIES[name], env)
        np.testing.assert_allclose(found.numpy(), expected.numpy(), err_msg=name)


def test_calls_of_pytorchs_that_mean_another_thing_here_say_what_to_type() -> None:
    x: Any = tg.ones((2, 3))
    for call, words in [
        (lambda: x.repeat(1, 2, 1), r"PyTorch's repeat is tg\.tile\(x, \(2, 1\)\)"),
        (lambda: tg.zeros(2, 3), r"one argument, as in tg\.zeros\(\(2, 3\)\)"),
        (lambda: x.var(unbiased=False), "the keyword is correction=, 0 for a population"),
        (lambda: x.std(ddof=1), "the keyword is correction="),
    ]:
        with pytest.raises(TypeError, match=words):
            call()


def test_functions_that_are_no_methods_and_numpys_names_are_answered_too() -> None:
    x = tg.ones((2,))
    with pytest.raises(tg.UnknownNameError, match=r"type tg\.isnan\(x\)$"):
        x.isnan  # type: ignore[attr-defined]  # noqa: B018
    with pytest.raises(tg.UnknownNameError, match=r"type tg\.concat$"):
        tg.concatenate  # noqa: B018
    with pytest.raises(tg.UnknownNameError, match=r"nn\.relu: .* type tg\.relu$"):
        tg.nn.relu  # noqa: B018
    functions = [name for name in ops.__all__ if not hasattr(x, name)]
    assert "isnan" in functions


class Saved:
    def save(self) -> str:
        return "saved"

    @property
    def summary(self) -> str:
        return "short"


def test_a_class_of_ones_own_may_have_the_names() -> None:
    class Model(tg.nn.Module, Saved):
        def __init__(self) -> None:
            self.float = 3

        def fit(self) -> str:
            super().fit()  # type: ignore[misc]
            return "unreached"

    model = Model()
    assert (model.save(), model.summary, model.float) == ("saved", "short", 3)
    assert {"save", "summary", "float", "fit"} <= set(dir(model))
    with pytest.raises(tg.UnknownNameError, match=r"^Module\.fit: "):
        model.fit()
    with pytest.raises(tg.UnknownNameError, match=r"^Module\.predict: "):
        model.predict  # noqa: B018

    class Wrapper(tg.nn.Module):
        def __getattr__(self, name: str) -> str:
            return f"of the inner model: {name}"

    assert Wrapper().predict == "of the inner model: predict"


@pytest.mark.parametrize("thing", [tg.ones((2,)), tg.nn.Linear(2, 3)])
def test_names_that_do_not_exist_are_not_offered(thing: Any) -> None:
    absent = torch_names.names("Tensor" if isinstance(thing, tg.Tensor) else "Module")
    assert not absent & set(dir(thing))
    assert {"requires_grad", "weight"} & set(dir(thing))


@pytest.mark.parametrize("kind", [tg.Tensor, tg.nn.Parameter, tg.nn.LSTM, tg.nn.GRUCell])
def test_attributes_are_read_the_fast_way(kind: type) -> None:
    # CPython caches where an attribute is only for classes that leave the look-up to it.
    for name in ("__getattr__", "__getattribute__"):
        assert not [base for base in kind.__mro__[:-1] if name in vars(base)]


@pytest.mark.parametrize("thing", OWNERS.values(), ids=list(OWNERS))
def test_other_names_are_unknown_as_usual(thing: Any) -> None:
    with pytest.raises(AttributeError, match=r"has no attribute 'tenh'$") as caught:
        thing.tenh  # noqa: B018
    assert not isinstance(caught.value, tg.TinygradRnnError)
    assert caught.value.name == "tenh"
    assert getattr(thing, "tenh", 3) == 3


@pytest.mark.parametrize("name", ["sum", "mean", "softmax", "argmax", "concat", "stack", "unstack"])
def test_dim_is_axis(name: str) -> None:
    x = tg.ones((2, 3))
    given: Any = [x, x] if name in ("concat", "stack") else x
    with pytest.raises(TypeError, match=r"'dim': the keyword is axis="):
        getattr(tg, name)(given, dim=0)


def test_keepdim_is_keepdims() -> None:
    with pytest.raises(TypeError, match=r"'keepdim': the keyword is keepdims="):
        tg.ones((2, 3)).max(axis=1, keepdim=True)  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("call", "remedy"),
    [
        (lambda: tg.data.DataLoader([1], 1, collate_fn=list), "the keyword is collate="),  # type: ignore[call-arg]
        (lambda: tg.optim.SGD([], 0.1, units=3), "layers take input_size"),  # type: ignore[call-arg]
        (lambda: tg.nn.LSTM(3, 4, go_backwards=True), "the keyword is reverse="),  # type: ignore[call-arg]
        (lambda: tg.nn.LSTM(3, 4).zero_grad(set_to_none=True), "leave it out"),  # type: ignore[call-arg]
        (lambda: tg.zeros(2, 3), r"as in tg\.zeros\(\(2, 3\)\)"),  # type: ignore[call-arg, misc]
        (lambda: tg.ones((2,)).to(tg.device("cpu")), "tg.device is for `with` blocks"),
        (lambda: tg.nn.mse_loss(tg.ones((2, 1)), tg.ones((2,))), r"target\.reshape\(prediction"),
        (lambda: tg.nn.cross_entropy(tg.ones((2, 3)), tg.ones((2,))), r"targets\.astype\(int\)"),
    ],
)
def test_habits_from_elsewhere_are_answered(call: Any, remedy: str) -> None:
    with pytest.raises(tg.TinygradRnnError, match=remedy):
        call()


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: tg.tensor([1.0], requires_gard=True), "tensor: got an unexpected"),
        (lambda: tg.tensor(), "tensor: missing 1 required"),
        (lambda: tg.nn.Linear(2, 3)(), "Linear: missing 1 required"),
        (lambda: tg.nn.Linear(2, 3)(1, 2), "Linear: takes 2 positional"),
        (lambda: tg.nn.cross_entropy(tg.ones((2, 3))), "cross_entropy: missing 1 required"),
        (lambda: tg.nn.LSTM(2, 3, proj=3), "LSTM: got an unexpected"),
    ],
)
def test_arguments_that_do_not_bind_are_refused_in_the_words_of_the_call(
    call: Any, said: str
) -> None:
    with pytest.raises(tg.InvalidTypeError, match=f"^{said}"):
        call()


@pytest.mark.parametrize(
    "call",
    [
        lambda x, no: x.sum().backward(retain_graph=no),
        lambda x, no: tg.grad(x.sum(), [x], create_graph=no),
        lambda x, no: tg.grad(x.sum(), [x], retain_graph=no),
        lambda x, no: tg.scan(lambda h, x: (h + x, h), tg.zeros(()), x, fused=no),
        lambda x, no: tg.scan(lambda h, x: (h + x, h), tg.zeros(()), x, reverse=no),
        lambda x, no: tg.associative_scan(tg.add, x, reverse=no),
        lambda x, no: tg.sort(x, descending=no),
        lambda x, no: tg.topk(x, 1, largest=no),
        lambda x, no: tg.optim.clip_grad_norm_([x], 1.0, error_if_nonfinite=no),
    ],
)
def test_a_word_is_no_truth_value(call: Any) -> None:
    """It would count as true, whatever it says."""
    x = tg.tensor([1.0, 2.0], requires_grad=True)
    with pytest.raises(tg.InvalidTypeError, match="expected True or False, got 'no'"):
        call(x, "no")


def test_errors_inside_name_what_was_called() -> None:
    with pytest.raises(tg.ShapeError, match=r"^Conv1d: windows of \[9\] .* do not fit into \[5\]"):
        tg.nn.Conv1d(2, 3, 9)(tg.ones((1, 2, 5)))
    with pytest.raises(tg.InvalidTypeError, match=r"^manual_seed: seed: expected an integer"):
        tg.manual_seed(1.5)  # type: ignore[arg-type]
