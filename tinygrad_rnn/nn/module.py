"""Modules hold parameters as plain attributes: finding them is a walk, not a registration."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Self

from ..errors import InvalidTypeError, TinygradRnnError, public, raise_named
from ..tensor.tensor import Tensor


class StateDictError(TinygradRnnError, ValueError):
    """A state dict that does not fit its module."""


class Parameter(Tensor):
    """A tensor that belongs to a module and is learned; operations on it give plain tensors.

    >>> import tinygrad_rnn as tg
    >>> tg.nn.Parameter(tg.ones((2,))).requires_grad
    True
    """

    __slots__ = ()

    def __init__(self, data: Any, *, requires_grad: bool = True) -> None:
        super().__init__(data, requires_grad=requires_grad)


class Module:
    """The base of layers and models: write `__init__` and `forward`, assign parameters and modules.

    Parameters are found by walking the attributes, and lists, tuples and dicts in them.

    >>> import tinygrad_rnn as tg
    >>> class Model(tg.nn.Module):
    ...     def __init__(self):
    ...         self.out = tg.nn.Linear(3, 2)
    ...     def forward(self, x):
    ...         return tg.tanh(self.out(x))
    >>> [name for name, _ in Model().named_parameters()]
    ['out.weight', 'out.bias']
    """

    training = True

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """What calling the module does."""
        raise InvalidTypeError(f"{type(self).__name__} defines no forward(...)")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return self.forward(*args, **kwargs)
        except Exception as error:
            raise_named(error, type(self).__name__, self.forward, args, kwargs)

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "__init__" in vars(cls):
            cls.__init__ = public(cls.__init__)  # type: ignore[method-assign]

    def children(self) -> Iterable[tuple[str, Any]]:
        """The attributes by name."""
        return vars(self).items()

    # ------------------------------------------------------------ what it holds

    def named_modules(self, prefix: str = "") -> Iterator[tuple[str, Module]]:
        """This module and those in it, with their names."""
        yield prefix, self
        for name, value in _members(self.children(), prefix):
            if isinstance(value, Module):
                yield from value.named_modules(name)

    def _named(self, prefix: str = "") -> Iterator[tuple[str, Parameter]]:
        """Every name of every parameter: a tied one under each of its names."""
        members = list(_members(self.children(), prefix))
        for name, value in members:
            if isinstance(value, Parameter):
                yield name, value
        for name, value in members:
            if isinstance(value, Module):
                yield from value._named(name)

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """The parameters with their names; each once, however many modules share it."""
        seen: set[int] = set()
        for name, p in self._named():
            if id(p) not in seen:
                seen.add(id(p))
                yield name, p

    def parameters(self) -> Iterator[Parameter]:
        """The parameters, each once."""
        return (p for _, p in self.named_parameters())

    def state_dict(self) -> dict[str, Tensor]:
        """The parameters' values by name, constant and sharing memory with the module."""
        return {name: p.detach() for name, p in self._named()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Copies values into the parameters.

        **Arguments** state: arrays or Tensors by name, as `state_dict` gives them, or PyTorch's.
        **Raises** StateDictError naming every key that is missing or unexpected and every shape
        that differs; the module is unchanged then.
        """
        own = dict(self._named())
        given = {name: v if isinstance(v, Tensor) else Tensor(v) for name, v in state.items()}
        faults = [
            f"missing {name!r} {list(p.shape)}" for name, p in own.items() if name not in given
        ]
        faults += [f"unexpected {n!r}{self._remedy(n)}" for n in given if n not in own]
        faults += [
            f"{name!r}: expected shape {list(p.shape)}, got {list(given[name].shape)}"
            for name, p in own.items()
            if name in given and given[name].shape != p.shape
        ]
        if faults:
            raise StateDictError(f"{type(self).__name__}.load_state_dict: {'; '.join(faults)}")
        for name, p in own.items():
            p.data = given[name].to(p.device).data.astype(p.dtype)  # astype copies

    def _remedy(self, name: str) -> str:
        owner, _, key = name.rpartition(".")
        module = dict(self.named_modules()).get(owner)
        remedy = module.why_unexpected(key) if module is not None else ""
        return f" ({remedy})" if remedy else ""

    def why_unexpected(self, key: str) -> str:
        """What to do about a key of a state dict that this module does not have."""
        return ""

    # ------------------------------------------------------------ what can be done with it

    def train(self, mode: bool = True) -> Self:
        """Switches dropout and the like on (or off)."""
        for _, module in self.named_modules():
            module.training = mode
        return self

    def eval(self) -> Self:
        """Switches dropout and the like off."""
        return self.train(False)

    def to(self, target: Any) -> Self:
        """Moves the parameters to a device (`cuda`) or a dtype (`float64`), in place."""
        for p in self.parameters():
            p.move_(target)
        return self

    def apply(self, fn: Callable[[Module], Any]) -> Self:
        """Calls fn on this module and every one in it."""
        for _, module in list(self.named_modules()):
            fn(module)
        return self

    def requires_grad_(self, wanted: bool = True) -> Self:
        """Freezes the parameters, or frees them."""
        for p in self.parameters():
            p.requires_grad = wanted
        return self

    def zero_grad(self) -> None:
        """Forgets the gradients of the parameters."""
        for p in self.parameters():
            if p.requires_grad:
                p.grad = None

    def __repr__(self) -> str:
        inner = [
            f"  {name}: {value!r}".replace("\n", "\n  ")
            for name, value in self.children()
            if isinstance(value, Module)
        ]
        return "\n".join([f"{type(self).__name__}({self.describe()})", *inner])

    def describe(self) -> str:
        """What stands between the parentheses of its repr."""
        return ""


PLAIN = frozenset({int, float, bool, str, type(None)})  # what most attributes are: none of these


def _members(items: Iterable[tuple[Any, Any]], prefix: str) -> Iterator[tuple[str, Any]]:
    """Modules and parameters among named values, those in lists, tuples and dicts too."""
    for key, value in items:
        if type(value) in PLAIN:
            continue
        name = f"{prefix}.{key}" if prefix else str(key)
        if isinstance(value, (Parameter, Module)):
            yield name, value
        elif isinstance(value, (list, tuple)):
            yield from _members(enumerate(value), name)
        elif isinstance(value, dict):
            yield from _members(value.items(), name)


class ModuleList(Module):
    """A list of modules.

    >>> import tinygrad_rnn as tg
    >>> layers = tg.nn.ModuleList(tg.nn.Linear(4, 4) for _ in range(3))
    >>> len(layers), next(name for name, _ in layers.named_parameters())
    (3, '0.weight')
    """

    def __init__(self, modules: Iterable[Module] = ()) -> None:
        self.items = list(modules)

    def children(self) -> Iterable[tuple[str, Any]]:
        """The modules by their position."""
        return ((str(i), module) for i, module in enumerate(self.items))

    def append(self, module: Module) -> None:
        """Adds a module at the end."""
        self.items.append(module)

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, i: int) -> Module:
        return self.items[i]

    def __iter__(self) -> Iterator[Module]:
        return iter(self.items)


class Sequential(ModuleList):
    """Modules, or functions of one tensor, each applied to what the one before gave.

    >>> import tinygrad_rnn as tg
    >>> model = tg.nn.Sequential(tg.nn.Linear(3, 4), tg.tanh, tg.nn.Linear(4, 1))
    >>> model(tg.zeros((5, 3))).shape
    (5, 1)
    """

    def __init__(self, *modules: Any) -> None:
        super().__init__(modules)

    def forward(self, x: Any) -> Any:
        """The last module's output."""
        for module in self.items:
            x = module(x)
        return x
