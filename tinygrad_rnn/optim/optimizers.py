"""Optimizers: the update rule of each is one method, `update`, which works in place.

Formulas, names and state dicts follow PyTorch's. State stays on the parameters' device.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import ModuleType
from typing import Any, ClassVar

import numpy as np

from .. import kernels
from ..annotations import described
from ..errors import InvalidTypeError, InvalidValueError, answer_in, public
from ..tensor import backend, conversion
from ..tensor.shapes import flag
from ..tensor.tensor import Tensor
from .checks import between, keys, listed, pair, whole

Array = backend.Array
Group = dict[str, Any]


def _fraction(value: object, what: str) -> float:
    return between(value, what, 0, 1)


SETTINGS: dict[str, Callable[[Any, str], Any]] = {  # their checks, in any optimizer
    "lr": between, "weight_decay": between, "eps": between,
    "momentum": _fraction, "alpha": _fraction, "betas": pair, "nesterov": flag,
}  # fmt: skip

# Further settings in PyTorch's state dicts: those that do not exist here, and those that do not
# change the result.
OTHERS = frozenset({"amsgrad", "centered", "dampening", "maximize"})
WITHOUT_EFFECT = frozenset(
    {
        *("capturable", "differentiable", "foreach", "fused"),
        *("decoupled_weight_decay", "initial_lr", "param_names"),
    }
)


class Optimizer:
    """The base of optimizers: groups of parameters with their own settings, and state for each.

    **Arguments** parameters: Tensors that require grad, or dicts with a list of them under `params`
    and settings of their own. **Raises** ValueError for no parameters, for one that occurs twice,
    and if none requires grad; TypeError, ValueError for settings out of range.

    >>> import tinygrad_rnn as tg
    >>> layer = tg.nn.Linear(2, 3)
    >>> groups = [{"params": [layer.weight]}, {"params": [layer.bias], "lr": 0.5}]
    >>> optimizer = tg.optim.SGD(groups, lr=0.1)
    >>> [group["lr"] for group in optimizer.param_groups]
    [0.1, 0.5]
    """

    # The entries of a parameter's state, and whether each is required; None allows any.
    entries: ClassVar[Mapping[str, bool] | None] = None

    @public
    def __init__(self, parameters: Iterable[Any], **defaults: Any) -> None:
        name = type(self).__name__
        self._settings(defaults, name)
        items = listed(parameters, name)
        grouped = [isinstance(item, dict) for item in items]
        if any(grouped) and not all(grouped):
            raise InvalidTypeError(f"{name}: expected tensors or groups of them, got both")
        self.param_groups: list[Group] = []
        for i, group in enumerate(items if grouped[0] else [{"params": items}]):
            what = f"{name}: group {i}" if grouped[0] else name
            keys(group, what, ["params"], defaults)
            params = listed(group["params"], f"{what}: params")
            self.param_groups.append(
                {**defaults, **self._settings({**defaults, **group}, what), "params": params}
            )
        every = [p for group in self.param_groups for p in group["params"]]
        for p in every:
            if not isinstance(p, Tensor) or not p.is_leaf:
                raise InvalidTypeError(
                    f"{name}: parameters: expected leaf tensors, got {described(p)}"
                )
        if len({id(p) for p in every}) < len(every):
            raise InvalidValueError(f"{name}: a parameter occurs twice")
        if not any(p.requires_grad for p in every):
            raise InvalidValueError(
                f"{name}: none of the {len(every)} parameters requires grad: expected one or more"
            )
        self.state: dict[int, dict[str, Any]] = {i: {} for i in range(len(every))}

    def _settings(self, group: Mapping[str, Any], what: str) -> Group:
        """Checks a group's settings by name, except those of a user's own optimizer."""
        settings = {k: v for k, v in group.items() if k != "params"}
        known = [name for name in SETTINGS if name in settings]
        settings |= {name: SETTINGS[name](settings[name], f"{what}: {name}") for name in known}
        if settings.get("nesterov") and not settings.get("momentum"):
            raise InvalidValueError(f"{what}: nesterov needs a momentum above 0")
        return settings

    def update(
        self, p: Array, g: Array, state: dict[str, Any], group: Group, xp: ModuleType
    ) -> None:
        """Updates p in place, and leaves its gradient g unchanged; both are raw arrays."""
        raise InvalidTypeError(f"{type(self).__name__} defines no update")

    @public
    def step(self) -> None:
        """Updates every parameter that has a gradient; the graphs that used it become stale."""
        count = 0
        for group in self.param_groups:
            each = enumerate(group["params"], count)
            count += len(group["params"])
            self.update_group([(p, self.state[i]) for i, p in each if p.grad is not None], group)

    def update_group(self, items: list[tuple[Tensor, dict[str, Any]]], group: Group) -> None:
        """Updates the parameters of a group that have a gradient, with their states."""
        xp = backend.module_of(items[0][0].data) if items else np
        together = xp is not np and self.update_together(items, group, xp)
        for p, state in items:
            if not together:
                xp = backend.module_of(p.data)
                assert p.grad is not None
                g = xp.asarray(p.grad.data, order="C")  # the order of p
                self.update(p.data, g, state, group, xp)
            p.data = p.data  # the same array: marks the graphs that used it

    def update_together(self, items: list[Any], group: Group, xp: ModuleType) -> bool:
        """Updates as `update_group`, in one launch on a GPU; False if it cannot."""
        return False

    def __init_subclass__(cls) -> None:
        if "update" in vars(cls) and "update_together" not in vars(cls):  # the base's is another
            cls.update_together = Optimizer.update_together  # type: ignore[method-assign]

    @public
    def zero_grad(self) -> None:
        """Removes the gradients."""
        for p, _ in self._each():
            if p.requires_grad:
                p.grad = None

    def _each(self) -> list[tuple[Tensor, Group]]:
        return [(p, group) for group in self.param_groups for p in group["params"]]

    def __repr__(self) -> str:
        lines = []
        for group in self.param_groups:
            settings = "".join(f"{k}={v!r}, " for k, v in group.items() if k != "params")
            count, elements = len(group["params"]), sum(p.size for p in group["params"])
            noun = "parameter" if count == 1 else "parameters"
            lines.append(f"{settings}{count} {noun} of {elements:,} elements")
        inner = lines[0] if len(lines) == 1 else "".join(f"\n  {line}" for line in lines) + "\n"
        return f"{type(self).__name__}({inner})"

    def state_dict(self) -> dict[str, Any]:
        """Returns the settings, and the state of each parameter by its position."""
        groups, first = [], 0
        for group in self.param_groups:
            count = len(group["params"])
            groups.append({**group, "params": list(range(first, first + count))})
            first += count
        state = {
            str(i): {k: v.copy() if backend.is_array(v) else v for k, v in s.items()}
            for i, s in self.state.items()
        }
        return {"state": state, "param_groups": groups}

    @public
    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Restores a state dict, ours or PyTorch's, which identifies parameters by number.

        **Raises** ValueError if its groups, settings, entries or shapes differ, and leaves the
        optimizer unchanged.
        """
        what = f"{type(self).__name__}.load_state_dict"
        keys(state_dict, what, ["state", "param_groups"])
        groups, each = state_dict["param_groups"], self._each()
        counts = [len(g["params"]) for g in self.param_groups]
        for group in groups:
            keys(group, f"{what}: a group", ["params"], group)
        if [len(g["params"]) for g in groups] != counts:
            raise InvalidValueError(
                f"{what}: expected groups of {counts} parameters, got "
                f"{[len(g['params']) for g in groups]}"
            )
        settings = [
            self._group_settings(own, group, f"{what}: group {i}")
            for i, (own, group) in enumerate(zip(self.param_groups, groups, strict=True))
        ]
        numbers = [str(n) for group in groups for n in group["params"]]
        states = {str(k): v for k, v in state_dict["state"].items()}
        unknown = [k for k in states if k not in numbers]
        if unknown or len(states) < len(state_dict["state"]) or len({*numbers}) < len(numbers):
            raise InvalidValueError(
                f"{what}: expected states of parameters {numbers}, each once, got those of "
                f"{list(state_dict['state'])}"
            )
        self.state = {
            i: self._entries(states.get(n) or {}, p, f"parameter {i}", what)
            for i, (n, (p, _)) in enumerate(zip(numbers, each, strict=True))
        }
        for own, new in zip(self.param_groups, settings, strict=True):
            own.update(new)

    def _group_settings(self, own: Group, saved: Mapping[str, Any], what: str) -> Group:
        """Returns the settings of a saved group, without those of PyTorch that change nothing."""
        decoupled = saved.get("decoupled_weight_decay")
        if saved.get("weight_decay") and decoupled not in (None, getattr(self, "decoupled", None)):
            raise InvalidValueError(
                f"{what}: decoupled_weight_decay={decoupled}: "
                f"{'AdamW' if decoupled else 'Adam'} wrote it"
            )
        for name in OTHERS & saved.keys() - own.keys():
            if saved[name]:
                raise InvalidValueError(
                    f"{what}: {name}={saved[name]}: there is no such option here"
                )
        rest = {k: v for k, v in saved.items() if k in own or k not in OTHERS | WITHOUT_EFFECT}
        keys(rest, what, own)
        return self._settings(rest, what)

    def _entries(self, saved: Any, p: Tensor, which: str, what: str) -> dict[str, Any]:
        """Converts a parameter's state to numbers, and arrays of its shape, dtype and device."""
        if not isinstance(saved, Mapping):
            raise InvalidTypeError(f"{what}: {which}: expected a dict, got {type(saved).__name__}")
        present = {name: value for name, value in saved.items() if value is not None}
        if self.entries is not None and present:
            keys(
                present,
                f"{what}: {which}",
                [n for n, must in self.entries.items() if must],
                self.entries,
            )
        entries: dict[str, Any] = {}
        for name, value in present.items():
            where = f"{what}: {name} of {which}"
            if name == "step":
                entries[name] = whole(value, where)
            elif self.entries is not None or getattr(value, "shape", None):
                entries[name] = _like(value, p, where)
            else:
                entries[name] = value
        return entries


answer_in(Optimizer)


class SGD(Optimizer):
    """Stochastic gradient descent, with momentum (Polyak 1964; Nesterov 1983).

    **Arguments** lr: the learning rate. momentum: the factor of the last step. nesterov: looks
    ahead by one step of momentum. weight_decay: the coefficient of an L2 penalty.

    >>> import tinygrad_rnn as tg
    >>> w = tg.tensor([1.0], requires_grad=True)
    >>> (w * w).sum().backward()
    >>> tg.optim.SGD([w], lr=0.25).step(); w.tolist()
    [0.5]
    """

    entries: ClassVar[Mapping[str, bool]] = {"momentum_buffer": False}

    @public
    def __init__(
        self,
        parameters: Iterable[Any],
        lr: float = 1e-3,
        momentum: float = 0.0,
        *,
        nesterov: bool = False,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(
            parameters, lr=lr, momentum=momentum, nesterov=nesterov, weight_decay=weight_decay
        )

    def update(
        self, p: Array, g: Array, state: dict[str, Any], group: Group, xp: ModuleType
    ) -> None:
        """v = momentum v + g; p -= lr v."""
        if group["weight_decay"]:
            g = g + group["weight_decay"] * p
        if group["momentum"]:
            v = _running(state, "momentum_buffer", p, xp)
            v *= group["momentum"]
            v += g
            g = g + group["momentum"] * v if group["nesterov"] else v
        p -= group["lr"] * g

    def update_together(self, items: list[Any], group: Group, xp: ModuleType) -> bool:
        """Updates in one launch on a GPU, where the parameters have one dtype."""
        states = ["momentum_buffer"] * bool(group["momentum"])
        return _at_once(kernels.cuda.sgd, xp, items, states, group)


class RMSprop(Optimizer):
    """Divides by a running root mean square of the gradient (Hinton 2012).

    **Arguments** lr: the learning rate. alpha: the decay of the running mean. eps: keeps the
    division finite. weight_decay, momentum: as `SGD`.

    >>> import tinygrad_rnn as tg
    >>> w = tg.tensor([1.0], requires_grad=True)
    >>> (w * w).sum().backward()
    >>> tg.optim.RMSprop([w], lr=0.01).step(); round(w.item(), 3)
    0.9
    """

    entries: ClassVar[Mapping[str, bool]] = {
        "square_avg": True,
        "momentum_buffer": False,
        "step": False,
    }

    @public
    def __init__(
        self,
        parameters: Iterable[Any],
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum: float = 0.0,
    ) -> None:
        super().__init__(
            parameters, lr=lr, alpha=alpha, eps=eps, weight_decay=weight_decay, momentum=momentum
        )

    def update(
        self, p: Array, g: Array, state: dict[str, Any], group: Group, xp: ModuleType
    ) -> None:
        """s = alpha s + (1 - alpha) g^2; p -= lr g / (sqrt(s) + eps)."""
        if group["weight_decay"]:
            g = g + group["weight_decay"] * p
        s = _running(state, "square_avg", p, xp)
        s *= group["alpha"]
        s += (1 - group["alpha"]) * (g * g)
        g = g / (xp.sqrt(s) + group["eps"])
        if group["momentum"]:
            v = _running(state, "momentum_buffer", p, xp)
            v *= group["momentum"]
            v += g
            g = v
        p -= group["lr"] * g

    def update_together(self, items: list[Any], group: Group, xp: ModuleType) -> bool:
        """Updates in one launch on a GPU, where the parameters have one dtype."""
        states = ["square_avg", *["momentum_buffer"] * bool(group["momentum"])]
        return _at_once(kernels.cuda.rmsprop, xp, items, states, group)


class Adam(Optimizer):
    """Divides a running mean of the gradient by its root mean square (Kingma and Ba 2015).

    **Arguments** lr: the learning rate. betas: the decay of the running means of g and g^2. eps:
    keeps the division finite. weight_decay: the coefficient of an L2 penalty.

    >>> import tinygrad_rnn as tg
    >>> w = tg.tensor([1.0], requires_grad=True)
    >>> (w * w).sum().backward()
    >>> tg.optim.Adam([w], lr=0.1).step(); round(w.item(), 3)
    0.9
    """

    decoupled = False

    entries: ClassVar[Mapping[str, bool]] = {"step": True, "exp_avg": True, "exp_avg_sq": True}

    @public
    def __init__(
        self,
        parameters: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(parameters, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay)

    def update(
        self, p: Array, g: Array, state: dict[str, Any], group: Group, xp: ModuleType
    ) -> None:
        """m = b1 m + (1 - b1) g; v = b2 v + (1 - b2) g^2; p -= lr m^ / (sqrt(v^) + eps)."""
        state["step"] = state.get("step", 0) + 1
        m, v = _running(state, "exp_avg", p, xp), _running(state, "exp_avg_sq", p, xp)
        kernels.adam(
            xp, p, g, m, v, step=state["step"], lr=group["lr"], betas=group["betas"],
            eps=group["eps"], decay=group["weight_decay"], decoupled=self.decoupled,
        )  # fmt: skip

    def update_together(self, items: list[Any], group: Group, xp: ModuleType) -> bool:
        """Updates in one launch on a GPU, where the parameters have one dtype and age."""
        steps = {state.get("step", 0) + 1 for _, state in items}
        launched = len(steps) == 1 and _at_once(
            kernels.cuda.adam, xp, items, ["exp_avg", "exp_avg_sq"], group,
            step=max(steps), decoupled=self.decoupled,
        )  # fmt: skip
        for _, state in items if launched else ():
            state |= {"step": max(steps)}
        return launched


class AdamW(Adam):
    """Adam whose weight decay shrinks p itself, not through the gradient (Loshchilov 2019).

    **Arguments** as `Adam`.

    >>> import tinygrad_rnn as tg
    >>> w = tg.tensor([1.0], requires_grad=True)
    >>> (w * 0).sum().backward()
    >>> tg.optim.AdamW([w], lr=0.1, weight_decay=0.5).step(); round(w.item(), 3)
    0.95
    """

    decoupled = True

    @public
    def __init__(
        self,
        parameters: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
    ) -> None:
        super().__init__(parameters, lr, betas, eps, weight_decay)


def _like(value: object, p: Tensor, what: str) -> Array:
    """Copies a saved array, with the dtype and on the device of p."""
    array = value.data if isinstance(value, Tensor) else value
    if not backend.is_array(array):
        array = conversion.from_python(array, what=what)
    array = conversion.normalized(array, what)
    conversion.check_cast(array.dtype, p.dtype, what)
    if array.shape != p.shape:
        raise InvalidValueError(f"{what}: expected {list(p.shape)}, got {list(array.shape)}")
    return Tensor(array, p.dtype, p.device).data


def _running(state: dict[str, Any], name: str, p: Array, xp: ModuleType) -> Array:
    """Returns a running mean of the state, initially zero."""
    if name not in state:
        state[name] = xp.zeros_like(p)
    return state[name]


def _at_once(
    launch: Callable[..., None], xp: ModuleType, items: list[Any], names: list[str], group: Group,
    **more: Any,
) -> bool:  # fmt: skip
    """Updates parameters with the named states in one launch; False if it cannot."""
    ps = [p.data for p, _ in items]
    gs = [xp.ascontiguousarray(p.grad.data) for p, _ in items]
    states = [[_running(state, name, p.data, xp) for p, state in items] for name in names]
    columns = [ps, gs, *states]
    if not kernels.cuda.fits(xp, [a for column in columns for a in column]):
        return False
    settings = {name: value for name, value in group.items() if name in SETTINGS}
    launch(xp, *columns, decay=settings.pop("weight_decay"), **settings, **more)
    return True
