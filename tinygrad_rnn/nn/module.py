"""Module and Parameter: parameters are attributes, found by a walk, without registration."""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from reprlib import recursive_repr
from threading import local
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ParamSpec, Protocol, Self, TypeVar

from ..errors import InvalidTypeError, InvalidValueError, answer_in, boundaries, public, raise_named
from ..tensor import creation
from ..tensor.autodiff import no_grad
from ..tensor.conversion import DType
from ..tensor.observers import RemovableHandle
from ..tensor.tensor import Tensor, TensorLike
from . import options, state_dict
from .checks import flag
from .state_dict import IncompatibleKeys, StateDictError

P = ParamSpec("P")
R = TypeVar("R", covariant=True)
Tensors = list[tuple[str, Tensor]]  # with their names
Modules = list[tuple[str, "Module"]]


class _HasForward(Protocol[P, R]):
    """Lets a type checker give `module(...)` the signature of `module.forward`."""

    def forward(self, *args: P.args, **kwargs: P.kwargs) -> R: ...


class Parameter(Tensor):
    """A learnable tensor of a module; operations on it return Tensors.

    >>> import tinygrad_rnn as tg
    >>> tg.nn.Parameter(tg.ones((2,))).requires_grad
    True
    """

    __slots__ = ()

    stays = True  # frozen, too: it is the module's, so that `p *= 0.9` must not make another

    def __init__(self, data: TensorLike, *, requires_grad: bool = True) -> None:
        if _budget.left is not None:
            _budget.left -= getattr(data, "nbytes", 0)
            if _budget.left < 0:
                raise MemoryError("its parameters would take more memory than expected")
        super().__init__(data, requires_grad=requires_grad)


class _Budget(local):
    """The bytes that a thread's new parameters may take; None for any number."""

    left: int | None = None


_budget = _Budget()


@contextmanager
def inference(model: Module) -> Iterator[None]:
    """Evaluates without dropout and without a graph, then restores the mode of every module.

    >>> import tinygrad_rnn as tg
    >>> model = tg.nn.Dropout(0.5)
    >>> with tg.train.inference(model):
    ...     print(model(tg.ones((3,))))
    tensor([1., 1., 1.])
    >>> model.training
    True
    """
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with no_grad():
            yield
    finally:
        for module, training in modes:
            module.training = training


@contextmanager
def limited(most: int) -> Iterator[None]:
    """Limits the memory of the parameters that are constructed meanwhile; raises MemoryError.

    A parameter is counted before its values are drawn, while the system has not assigned memory.
    """
    before, _budget.left = _budget.left, most
    try:
        yield
    finally:
        _budget.left = before


class Module:
    """Base class of layers and models, which define `__init__` and `forward`.

    A module finds its parameters in its attributes, and in lists, tuples and dicts in them. It
    raises an error for what it would not train: a Tensor that requires grad and is no `Parameter`,
    a layer in a set, whose elements have no order, or as an attribute of the class, which all
    models would share. A Tensor that requires no grad is a constant, which state dicts leave out
    unless it is registered as a buffer.

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
    _hooks: _Hooks | None = None  # those of forward
    _buffers: Mapping[str, bool] = MappingProxyType({})  # names, and whether they are saved

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Computes the output of a call of the module."""
        raise InvalidTypeError(f"{type(self).__name__} defines no forward(...)")

    if TYPE_CHECKING:

        @property
        def __call__(self: _HasForward[P, R]) -> Callable[P, R]:
            """A call has the arguments and the result of `forward`."""

    else:

        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            try:
                if self._hooks is None:
                    return self.forward(*args, **kwargs)
                return self._hooks.call(self, args, kwargs)
            except Exception as error:
                raise_named(error, type(self).__name__, self.forward, args, kwargs)

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if "__init__" in vars(cls):
            cls.__init__ = public(cls.__init__)  # type: ignore[method-assign]

    def attributes(self) -> Iterable[tuple[str, Any]]:
        """The attributes by name, in which modules and parameters are found."""
        return vars(self).items()

    # ------------------------------------------------------------ what it holds

    def named_modules(self, prefix: str = "") -> Iterator[tuple[str, Module]]:
        """This module and those in it, with their names; one that is shared occurs once."""
        return ((name, module) for name, module, _ in _walk(self, prefix, once=True))

    def modules(self) -> Iterator[Module]:
        """This module and those in it, each once."""
        return (module for _, module in self.named_modules())

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """The modules that this one holds itself, with their names; each once."""
        return _once(_members(self.attributes(), "")[1])

    def children(self) -> Iterator[Module]:
        """The modules that this one holds itself, each once."""
        return (module for _, module in self.named_children())

    def named_parameters(self) -> Iterator[tuple[str, Parameter]]:
        """The parameters with their names; one that modules share occurs once."""
        seen: set[int] = set()
        for _, module, tensors in _walk(self, "", once=True):
            for name, p in _parameters(module, tensors):
                if id(p) not in seen:
                    seen.add(id(p))
                    yield name, p

    def own_parameters(self) -> Iterator[Parameter]:
        """The parameters that this module holds itself, outside of other modules."""
        return (p for _, p in _parameters(self, _members(self.attributes(), "")[0]))

    def parameters(self) -> Iterator[Parameter]:
        """The parameters, each once."""
        return (p for _, p in self.named_parameters())

    def register_buffer(
        self, name: str, tensor: TensorLike | None, persistent: bool = True
    ) -> None:
        """Adds a Tensor that is not learned, such as a running mean: an attribute of that name.

        `.to` moves it with the parameters; of the dtypes only reals change. A forward function may
        assign another Tensor to the attribute.

        **Arguments** tensor: a Tensor or an array, shared. persistent: whether state dicts contain
        it.

        >>> import tinygrad_rnn as tg
        >>> class Centre(tg.nn.Module):
        ...     def __init__(self):
        ...         self.register_buffer("mean", tg.zeros((3,)))
        >>> Centre().state_dict()
        {'mean': tensor([0., 0., 0.])}
        """
        what = f"{type(self).__name__}.register_buffer"
        if not isinstance(name, str) or not name.isidentifier():
            raise InvalidValueError(f"{what}: name: expected that of an attribute, got {name!r}")
        if hasattr(self, name) and name not in self._buffers:
            raise InvalidValueError(f"{what}: name: the module has an attribute {name!r} already")
        value = creation.as_tensor(tensor)
        if isinstance(value, Parameter) or value.requires_grad:
            raise InvalidTypeError(
                f"{what}: tensor: expected a constant, got a tensor that requires grad: assign "
                "tg.nn.Parameter(...) to learn it, or register its .detach()"
            )
        self._buffers = {**self._buffers, name: bool(persistent)}
        setattr(self, name, value)

    def named_buffers(self) -> Iterator[tuple[str, Tensor]]:
        """The buffers with their names, each once."""
        held = (buffer for path in self.named_modules() for buffer in _buffers(*path))
        return _once((name, buffer) for name, buffer, _ in held)

    def buffers(self) -> Iterator[Tensor]:
        """The buffers, each once."""
        return (buffer for _, buffer in self.named_buffers())

    def _named(self) -> dict[str, Tensor]:
        """The parameters and saved buffers by name: a tied one under each of its names."""
        named: dict[str, Tensor] = {}
        for path, module, tensors in _walk(self, "", once=False):
            saved = [(name, b) for name, b, persistent in _buffers(path, module) if persistent]
            for name, p in [*_parameters(module, tensors), *saved]:
                if named.setdefault(name, p) is not p:
                    raise StateDictError(
                        f"{type(self).__name__}: two parameters have the name {name!r}: give the "
                        "modules other keys"
                    )
        return named

    def state_dict(self) -> dict[str, Tensor]:
        """Returns the parameters and buffers by name, detached, sharing memory with the module."""
        return {name: p.detach() for name, p in self._named().items()}

    def load_state_dict(self, state: Mapping[str, Any], strict: bool = True) -> IncompatibleKeys:
        """Copies values into the parameters and the buffers.

        **Arguments** state: real arrays or Tensors by name, as `state_dict` gives them, or
        PyTorch's. Of a tied parameter's names one is enough. strict: whether both must have the
        same names; otherwise the others are left out. **Returns** the names that were left out:
        `missing_keys`, which the state dict lacks, and `unexpected_keys`, which the module lacks.
        **Raises** StateDictError naming every key that is missing or unexpected, every shape that
        differs, what is not real, and names of one parameter whose values differ; the module is
        unchanged then.
        """
        name = f"{type(self).__name__}.load_state_dict"
        return state_dict.load(self._named(), state, strict, name, self._remedy)

    def _remedy(self, name: str) -> str:
        owner, _, key = name.rpartition(".")
        held = {name: module for name, module, _ in _walk(self, "", once=False)}
        module = held.get(owner)
        remedy = module.why_unexpected(key) if module is not None else ""
        return f" ({remedy})" if remedy else ""

    def why_unexpected(self, key: str) -> str:
        """Explains an unexpected key of a state dict; empty if unknown."""
        return ""

    # ------------------------------------------------------------ what can be done with it

    def register_forward_hook(
        self, hook: Callable[[Any, tuple[Any, ...], Any], Any]
    ) -> RemovableHandle:
        """Registers a function that every call of the module calls after `forward`.

        **Arguments** hook: takes the module, the positional arguments and the output; its result,
        unless None, replaces the output. **Returns** a handle, whose `remove()` removes the hook.

        >>> import tinygrad_rnn as tg
        >>> layer = tg.nn.Linear(3, 2)
        >>> handle = layer.register_forward_hook(lambda module, args, y: print(y.shape))
        >>> y = layer(tg.zeros((5, 3)))
        (5, 2)
        >>> handle.remove()
        """
        return self._hooked("register_forward_hook", hook, "after")

    def register_forward_pre_hook(
        self, hook: Callable[[Any, tuple[Any, ...]], Any]
    ) -> RemovableHandle:
        """Registers a function that every call of the module calls before `forward`.

        **Arguments** hook: takes the module and the positional arguments; its result, unless None,
        replaces them: a tuple, or one argument. **Returns** a handle, whose `remove()` removes the
        hook.
        """
        return self._hooked("register_forward_pre_hook", hook, "before")

    def _hooked(self, what: str, hook: Callable[..., Any], when: str) -> RemovableHandle:
        if not callable(hook):
            raise InvalidTypeError(
                f"{type(self).__name__}.{what}: hook: expected a function, got {hook!r}"
            )
        if self._hooks is None:
            self._hooks = _Hooks()
        return RemovableHandle(getattr(self._hooks, when), hook)

    def train(self, mode: bool = True) -> Self:
        """Sets training mode (or evaluation mode), which affects dropout and the like."""
        flag(f"{type(self).__name__}.train", mode=mode)
        for _, module in self.named_modules():
            module.training = mode
        return self

    def eval(self) -> Self:
        """Sets evaluation mode."""
        return self.train(False)

    def to(self, target: DType) -> Self:
        """Moves the parameters and buffers to a device (`cuda`) or a dtype (`float64`), in place.

        **Raises** TypeError for a dtype that is not real: its values could not be learned.
        """
        tensors: list[Tensor] = [*self.parameters(), *self.buffers()]
        try:
            kind = creation.zeros((), device="cpu").to(target).dtype.kind if target else "none"
        except TypeError:
            kind = "none"
        if kind != "f":
            raise InvalidTypeError(
                f"{type(self).__name__}.to: expected a device, as 'cuda', or a dtype of reals, as "
                f"'float64'; got {target!r}"
            )
        casts = creation.zeros((), dtype="int64", device="cpu").to(target).dtype.kind == "f"
        for p in tensors:
            if p.dtype.kind == "f" or not casts:
                p.move_(target)
        return self

    def apply(self, fn: Callable[[Module], Any]) -> Self:
        """Calls fn on this module and every one in it, once each."""
        for _, module in list(self.named_modules()):
            fn(module)
        return self

    def requires_grad_(self, wanted: bool = True) -> Self:
        """Sets `requires_grad` of all parameters."""
        for p in self.parameters():
            p.requires_grad = wanted
        return self

    @public
    def zero_grad(self) -> None:
        """Sets the gradients of the parameters to None."""
        for _, _, tensors in _walk(self, "", once=True):
            for _, p in tensors:
                if isinstance(p, Parameter) and p.edge is not None:
                    p.grad = None

    @recursive_repr("...")
    def __repr__(self) -> str:
        inner = [
            f"  {name}: {value!r}".replace("\n", "\n  ")
            for name, value in _members(self.attributes(), "")[1]
        ]
        return "\n".join([f"{type(self).__name__}({self.describe()})", *inner])

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        """Copies the innermost module first, since nesting may be deeper than Python's stack."""
        for _, module in reversed(list(self.named_modules())):
            if id(module) not in memo:
                new = memo[id(module)] = copy.copy(module)
                new.__setstate__({k: copy.deepcopy(v, memo) for k, v in vars(new).items()})
        found: Self = memo[id(self)]
        return found

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Takes the attributes of a copy or of an unpickled module."""
        vars(self).update(state)

    def describe(self) -> str:
        """The text between the parentheses of the repr: sizes, and options that were passed."""
        return options.described(self)

    def held_options(self) -> Mapping[str, Any]:
        """The attributes by name, those among them that are arguments of the constructor."""
        return vars(self)


boundaries.add(Module.__call__.__code__)
answer_in(Module)


class _Hooks:
    """The functions that a call of a module calls before and after `forward`."""

    def __init__(self) -> None:
        self.before, self.after = dict[object, Any](), dict[object, Any]()

    def call(self, module: Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        for hook in (*self.before.values(),):
            replaced = hook(module, args)
            if replaced is not None:
                args = replaced if isinstance(replaced, tuple) else (replaced,)
        y = module.forward(*args, **kwargs)
        for hook in (*self.after.values(),):
            replaced = hook(module, args, y)
            y = y if replaced is None else replaced
        return y


PLAIN = frozenset({int, float, bool, str, type(None)})  # what most attributes are: none of these


def _walk(root: Module, prefix: str, *, once: bool) -> Iterator[tuple[str, Module, Tensors]]:
    """A module and those in it, from the top down, with their names and the Tensors of each.

    Each once, or under each of its names; but none within itself.
    """
    tensors, modules = _members(root.attributes(), prefix)
    yield prefix, root, tensors
    passed, path = {id(root)}, [(id(root), iter(modules))]
    while path:
        for name, module in path[-1][1]:
            if id(module) not in passed:
                tensors, modules = _members(module.attributes(), name)
                passed.add(id(module))
                path.append((id(module), iter(modules)))
                yield name, module, tensors
                break
        else:
            left, _ = path.pop()
            if not once:
                passed.remove(left)


def _once(named: Iterable[tuple[str, R]]) -> Iterator[tuple[str, R]]:
    """Named values, those that come again left out."""
    seen: set[int] = set()
    for name, value in named:
        if id(value) not in seen:
            seen.add(id(value))
            yield name, value


def _parameters(module: Module, tensors: Tensors) -> list[tuple[str, Parameter]]:
    """The parameters that a module holds itself; refuses what looks like one and is not."""
    for owner, name in _shared(type(module)):  # type: ignore[arg-type]  # mypy: no hash
        if name not in vars(module):
            raise InvalidTypeError(
                f"{owner}: {name!r} is an attribute of the class, which all its instances "
                f"would share: assign self.{name} in __init__"
            )
    found: list[tuple[str, Parameter]] = []
    for name, value in tensors:
        if isinstance(value, Parameter):
            found.append((name, value))
        elif value.requires_grad and value.is_leaf:
            raise InvalidTypeError(
                f"{type(module).__name__}: {name!r} is a Tensor that requires grad, but no "
                "Parameter, so that it would be neither learned nor saved: assign "
                "tg.nn.Parameter(...) of it, or its .detach() if it is a constant"
            )
    return found


def _buffers(prefix: str, module: Module) -> Iterator[tuple[str, Tensor, bool]]:
    """The buffers that a module holds itself: name, Tensor, whether it is saved."""
    for name, persistent in module._buffers.items():
        value = getattr(module, name, None)
        if not isinstance(value, Tensor):
            raise InvalidTypeError(
                f"{type(module).__name__}: the buffer {name!r}: expected a Tensor, got "
                f"{type(value).__name__}"
            )
        yield (f"{prefix}.{name}" if prefix else name), value, persistent


@lru_cache(1024)
def _shared(kind: type) -> tuple[tuple[str, str], ...]:
    """The layers that are attributes of a class, not of its instances: the class and their name."""
    return tuple(
        (owner.__name__, name)
        for owner in kind.__mro__
        for name, value in vars(owner).items()
        if isinstance(value, (Parameter, Module))
    )


def _members(
    items: Iterable[tuple[Any, Any]], prefix: str, within: Sequence[Any] = ()
) -> tuple[Tensors, Modules]:
    """Tensors and modules among named values, those in lists, tuples and dicts too."""
    tensors: Tensors = []
    modules: Modules = []
    for key, value in items:
        if type(value) in PLAIN:
            continue
        name = f"{prefix}.{key}" if prefix else str(key)
        if isinstance(value, Tensor):
            tensors.append((name, value))
        elif isinstance(value, Module):
            modules.append((name, value))
        elif isinstance(value, (list, tuple, deque, Mapping)):
            if not any(value is outer for outer in within):
                pairs = value.items() if isinstance(value, Mapping) else enumerate(value)
                inner = _members(pairs, name, (*within, value))
                tensors += inner[0]
                modules += inner[1]
        elif isinstance(value, (set, frozenset)) and any(
            isinstance(v, (Parameter, Module)) for v in value
        ):
            raise InvalidTypeError(
                f"{name!r} is a set of modules or parameters, which have no order and so no names: "
                "make it a list"
            )
    return tensors, modules
