"""Optimizers: what each does with a gradient is one method, written in place.

Formulas, names and state dicts follow PyTorch's. State stays on the parameters' device.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from .. import kernels
from ..errors import InvalidTypeError, InvalidValueError
from ..tensor import backend
from ..tensor.tensor import Tensor

Array = backend.Array
Group = dict[str, Any]


class Optimizer:
    """The base of optimizers: groups of parameters with their own settings, and state for each.

    **Arguments** parameters: Tensors that require grad, or dicts with a list of them under `params`
    and settings of their own. **Raises** ValueError for no parameters, or one given twice.
    """

    def __init__(self, parameters: Iterable[Any], **defaults: Any) -> None:
        items = list(parameters)
        if not items:
            raise InvalidValueError(f"{type(self).__name__}: no parameters were given")
        groups = items if isinstance(items[0], dict) else [{"params": items}]
        self.param_groups: list[Group] = [
            {**defaults, **group, "params": list(group["params"])} for group in groups
        ]
        every = [p for group in self.param_groups for p in group["params"]]
        for p in every:
            if not isinstance(p, Tensor) or not p.is_leaf:
                raise InvalidTypeError(f"{type(self).__name__}: expected leaf tensors, got {p!r}")
        if len({id(p) for p in every}) < len(every):
            raise InvalidValueError(f"{type(self).__name__}: a parameter was given twice")
        self.state: dict[int, dict[str, Any]] = {i: {} for i in range(len(every))}

    def update(self, p: Array, g: Array, state: dict[str, Any], group: Group, xp: Any) -> None:
        """Changes p in place, by its gradient g, which stays; both are raw arrays."""
        raise InvalidTypeError(f"{type(self).__name__} defines no update")

    def step(self) -> None:
        """Updates every parameter that has a gradient. Graphs that used them are stale then."""
        for i, (p, group) in enumerate(self._each()):
            if p.grad is not None:
                xp = backend.module_of(p.data)
                g = xp.asarray(p.grad.data, order="C")  # as p is: to go over both in one order
                self.update(p.data, g, self.state[i], group, xp)
                p.data = p.data  # the same array: this tells the graphs that used it

    def zero_grad(self) -> None:
        """Forgets the gradients."""
        for p, _ in self._each():
            if p.requires_grad:
                p.grad = None

    def _each(self) -> list[tuple[Tensor, Group]]:
        return [(p, group) for group in self.param_groups for p in group["params"]]

    def state_dict(self) -> dict[str, Any]:
        """Settings, and the state of each parameter by its position: numbers and raw arrays."""
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

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Takes over a state dict. **Raises** ValueError if its groups or shapes differ."""
        groups, each = state_dict["param_groups"], self._each()
        if [len(g["params"]) for g in groups] != [len(g["params"]) for g in self.param_groups]:
            raise InvalidValueError(
                f"{type(self).__name__}.load_state_dict: expected groups of "
                f"{[len(g['params']) for g in self.param_groups]} parameters, got "
                f"{[len(g['params']) for g in groups]}"
            )
        loaded: dict[int, dict[str, Any]] = {i: {} for i in self.state}
        for i, (p, _) in enumerate(each):
            for name, value in state_dict["state"].get(str(i), {}).items():
                value = value.data if isinstance(value, Tensor) else value
                if backend.is_array(value) and value.ndim:
                    if value.shape != p.shape:
                        raise InvalidValueError(
                            f"{type(self).__name__}.load_state_dict: {name} of parameter {i}: "
                            f"expected {list(p.shape)}, got {list(value.shape)}"
                        )
                    value = backend.to_device(value, p.device).astype(p.dtype)
                loaded[i][name] = value
        self.state = loaded
        for own, given in zip(self.param_groups, groups, strict=True):
            own.update({k: v for k, v in given.items() if k != "params"})


class SGD(Optimizer):
    """Stochastic gradient descent, with momentum (Polyak 1964; Nesterov 1983).

    **Arguments** lr: the step size. momentum: the share of the last step that is kept. nesterov:
    looks ahead by one step of momentum. weight_decay: adds this share of p to its gradient.

    >>> import tinygrad_rnn as tg
    >>> w = tg.tensor([1.0], requires_grad=True)
    >>> (w * w).sum().backward()
    >>> tg.optim.SGD([w], lr=0.25).step(); w.tolist()
    [0.5]
    """

    def __init__(
        self,
        parameters: Iterable[Any],
        lr: float = 1e-3,
        momentum: float = 0.0,
        *,
        nesterov: bool = False,
        weight_decay: float = 0.0,
    ) -> None:
        if nesterov and not momentum:
            raise InvalidValueError("SGD: nesterov needs a momentum above 0")
        _check("SGD", lr=lr, momentum=momentum, weight_decay=weight_decay)
        super().__init__(
            parameters, lr=lr, momentum=momentum, nesterov=nesterov, weight_decay=weight_decay
        )

    def update(self, p: Array, g: Array, state: dict[str, Any], group: Group, xp: Any) -> None:
        """v = momentum v + g; p -= lr v."""
        if group["weight_decay"]:
            g = g + group["weight_decay"] * p
        if group["momentum"]:
            if "momentum_buffer" in state:
                v = state["momentum_buffer"]
                v *= group["momentum"]
                v += g
            else:
                v = state["momentum_buffer"] = g.copy()
            g = g + group["momentum"] * v if group["nesterov"] else v
        p -= group["lr"] * g


class RMSprop(Optimizer):
    """Divides by a running root mean square of the gradient (Hinton 2012).

    **Arguments** lr: the step size. alpha: how much of the running mean is kept. eps: keeps the
    division finite. weight_decay, momentum: as `SGD`.

    >>> import tinygrad_rnn as tg
    >>> w = tg.tensor([1.0], requires_grad=True)
    >>> (w * w).sum().backward()
    >>> tg.optim.RMSprop([w], lr=0.01).step(); round(w.item(), 3)
    0.9
    """

    def __init__(
        self,
        parameters: Iterable[Any],
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum: float = 0.0,
    ) -> None:
        _check("RMSprop", lr=lr, alpha=alpha, weight_decay=weight_decay, momentum=momentum)
        super().__init__(
            parameters, lr=lr, alpha=alpha, eps=eps, weight_decay=weight_decay, momentum=momentum
        )

    def update(self, p: Array, g: Array, state: dict[str, Any], group: Group, xp: Any) -> None:
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


class Adam(Optimizer):
    """Divides a running mean of the gradient by its root mean square (Kingma and Ba 2015).

    **Arguments** lr: the step size. betas: how much of the running means of g and g^2 is kept. eps:
    keeps the division finite. weight_decay: adds this share of p to its gradient.

    >>> import tinygrad_rnn as tg
    >>> w = tg.tensor([1.0], requires_grad=True)
    >>> (w * w).sum().backward()
    >>> tg.optim.Adam([w], lr=0.1).step(); round(w.item(), 3)
    0.9
    """

    decoupled = False

    def __init__(
        self,
        parameters: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        name = type(self).__name__
        _check(name, lr=lr, beta1=betas[0], beta2=betas[1], weight_decay=weight_decay)
        super().__init__(parameters, lr=lr, betas=list(betas), eps=eps, weight_decay=weight_decay)

    def update(self, p: Array, g: Array, state: dict[str, Any], group: Group, xp: Any) -> None:
        """m = b1 m + (1 - b1) g; v = b2 v + (1 - b2) g^2; p -= lr m^ / (sqrt(v^) + eps)."""
        state["step"] = state.get("step", 0) + 1
        m, v = _running(state, "exp_avg", p, xp), _running(state, "exp_avg_sq", p, xp)
        kernels.adam(
            xp, p, g, m, v, step=state["step"], lr=group["lr"], betas=group["betas"],
            eps=group["eps"], decay=group["weight_decay"], decoupled=self.decoupled,
        )  # fmt: skip


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

    def __init__(
        self,
        parameters: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
    ) -> None:
        super().__init__(parameters, lr, betas, eps, weight_decay)


def _running(state: dict[str, Any], name: str, p: Array, xp: Any) -> Array:
    """A running mean of the state, zero at first."""
    if name not in state:
        state[name] = xp.zeros_like(p)
    return state[name]


def _check(name: str, **settings: float) -> None:
    for setting, value in settings.items():
        unbounded = setting in ("lr", "weight_decay")
        if not value >= 0 or not (unbounded or value < 1):
            raise InvalidValueError(
                f"{name}: {setting}: expected 0 or more{'' if unbounded else ' and below 1'}, got "
                f"{value}"
            )
