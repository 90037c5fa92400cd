"""Containers of modules: ModuleList, Sequential, ModuleDict."""

from __future__ import annotations

from collections.abc import ItemsView, Iterable, Iterator, KeysView, Mapping, ValuesView
from operator import index
from typing import Any, ClassVar, SupportsIndex, cast

from ..errors import InvalidTypeError, InvalidValueError, OutOfRangeError
from ..tensor.tensor import Tensor, TensorLike
from .module import Module


class ModuleList(Module):
    """A list of modules, with append, extend, insert, slices and del.

    >>> import tinygrad_rnn as tg
    >>> layers = tg.nn.ModuleList(tg.nn.Linear(4, 4) for _ in range(3))
    >>> len(layers), next(name for name, _ in layers.named_parameters())
    (3, '0.weight')
    >>> len(layers[1:])
    2
    """

    expected: ClassVar[str] = "a module"  # of each item

    def __init__(self, modules: Iterable[Module] = ()) -> None:
        self._items = self._checked(modules)

    def accepts(self, item: object) -> bool:
        """Whether something may be in the list."""
        return isinstance(item, Module)

    def attributes(self) -> Iterable[tuple[str, Any]]:
        """The modules by their position, and the other attributes by name."""
        yield from ((str(i), module) for i, module in enumerate(self._items))
        yield from ((name, value) for name, value in vars(self).items() if name != "_items")

    def append(self, module: Module) -> None:
        """Adds a module at the end."""
        self._items += self._checked([module])

    def extend(self, modules: Iterable[Module]) -> None:
        """Adds modules at the end."""
        self._items += self._checked(modules)

    def insert(self, i: int, module: Module) -> None:
        """Adds a module before the i-th."""
        at = self._position(i)
        self._items[at:at] = self._checked([module])

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._items)

    def __getitem__(self, i: Any) -> Any:
        """The i-th module; for a slice, a list or a chain of the same modules."""
        if isinstance(i, slice):
            return self._of(self._items[i])
        return self._items[self._within(i)]

    def __setitem__(self, i: int, module: Module) -> None:
        self._items[self._within(i)] = self._checked([module])[0]

    def __delitem__(self, i: Any) -> None:
        del self._items[i if isinstance(i, slice) else self._within(i)]

    def _of(self, items: list[Any]) -> ModuleList:
        return ModuleList(items)

    def _checked(self, modules: Iterable[Any]) -> list[Any]:
        """A list of what may be in this one."""
        name = type(self).__name__
        if not isinstance(modules, Iterable):
            raise InvalidTypeError(
                f"{name}: expected modules, got {type(modules).__name__}: put one into a list"
            )
        items = list(modules)
        for i, item in enumerate(items):
            if not self.accepts(item):
                kind = f"the class {item.__name__}" if isinstance(item, type) else repr(item)
                raise InvalidTypeError(f"{name}: item {i}: expected {self.expected}, got {kind}")
        return items

    def _position(self, i: SupportsIndex) -> int:
        try:
            return index(i)
        except TypeError:
            raise InvalidTypeError(
                f"{type(self).__name__}: expected an integer or a slice, got {i!r}"
            ) from None

    def _within(self, i: SupportsIndex) -> int:
        """The position of an item, from the end if it is negative."""
        at = self._position(i)
        if not -len(self) <= at < len(self):
            raise OutOfRangeError(f"{type(self).__name__}: {at} is outside its {len(self)} items")
        return at


class Sequential(ModuleList):
    """Chains modules or functions of one tensor.

    >>> import tinygrad_rnn as tg
    >>> model = tg.nn.Sequential(tg.nn.Linear(3, 4), tg.tanh, tg.nn.Linear(4, 1))
    >>> model(tg.zeros((5, 3))).shape
    (5, 1)
    >>> model[:2](tg.zeros((5, 3))).shape
    (5, 4)
    """

    expected = "a module or a function of one tensor, each an argument of its own"

    def __init__(self, *modules: Any) -> None:
        super().__init__(modules)

    def accepts(self, item: object) -> bool:
        """Modules and functions, but no classes of modules."""
        return callable(item) and not (isinstance(item, type) and issubclass(item, Module))

    def forward(self, x: TensorLike) -> Tensor:
        """The last module's output."""
        for module in self._items:
            x = module(x)
        return cast(Tensor, x)  # or what the last module gives: a recurrent layer, a tuple

    def _of(self, items: list[Any]) -> Sequential:
        return Sequential(*items)


class ModuleDict(Module):
    """A dict of modules by name, in the order in which they were added.

    **Arguments** modules: a dict, or pairs of a name and a module.

    >>> import tinygrad_rnn as tg
    >>> heads = tg.nn.ModuleDict({"tags": tg.nn.Linear(4, 9), "score": tg.nn.Linear(4, 1)})
    >>> heads["score"](tg.zeros((2, 4))).shape
    (2, 1)
    >>> [name for name, _ in heads.named_parameters()]
    ['tags.weight', 'tags.bias', 'score.weight', 'score.bias']
    """

    def __init__(self, modules: Mapping[str, Module] | Iterable[tuple[str, Module]] = ()) -> None:
        self._items: dict[str, Module] = {}
        self.update(modules)

    def attributes(self) -> Iterable[tuple[str, Any]]:
        """The modules by their names, and the other attributes."""
        yield from self._items.items()
        yield from ((name, value) for name, value in vars(self).items() if name != "_items")

    def update(self, modules: Mapping[str, Module] | Iterable[tuple[str, Module]]) -> None:
        """Adds modules; one of a name that exists replaces the other."""
        pairs = modules.items() if isinstance(modules, Mapping) else modules
        try:
            named = dict(pairs)
        except (TypeError, ValueError):
            raise InvalidTypeError(
                f"ModuleDict: expected a dict of modules, got {type(modules).__name__}"
            ) from None
        for name, module in named.items():
            self._check(name, module)
        self._items.update(named)

    def _check(self, name: object, module: object) -> None:
        if not isinstance(name, str) or not name or "." in name:
            raise InvalidTypeError(
                f"ModuleDict: expected a name without dots for each module, got {name!r}"
            )
        if not isinstance(module, Module):
            kind = f"the class {module.__name__}" if isinstance(module, type) else repr(module)
            raise InvalidTypeError(f"ModuleDict: {name!r}: expected a module, got {kind}")

    def keys(self) -> KeysView[str]:
        """The names."""
        return self._items.keys()

    def values(self) -> ValuesView[Any]:
        """The modules."""
        return self._items.values()

    def items(self) -> ItemsView[str, Any]:
        """The names and the modules."""
        return self._items.items()

    def pop(self, name: str) -> Any:
        """Removes a module. **Returns** it."""
        module = self[name]
        del self[name]
        return module

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __contains__(self, name: object) -> bool:
        return name in self._items

    def __getitem__(self, name: str) -> Any:
        self._must_have(name)
        return self._items[name]

    def __setitem__(self, name: str, module: Module) -> None:
        self.update([(name, module)])

    def __delitem__(self, name: str) -> None:
        self._must_have(name)
        del self._items[name]

    def _must_have(self, name: object) -> None:
        if name not in self._items:
            raise InvalidValueError(f"ModuleDict: expected one of {list(self)}, got {name!r}")
