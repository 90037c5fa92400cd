"""Class Tensor, with the operations as operators and methods."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any, ClassVar, Self, TypeGuard, TypeVar

import numpy as np

from ..errors import (
    ExportError,
    GraphError,
    InvalidTypeError,
    InvalidValueError,
    ShapeError,
    answer_in,
)
from . import autodiff, backend, conversion, interop, ops
from .backend import Array
from .conversion import DType
from .graph import Leaf, Traced, grad_mode, wrap
from .observers import RemovableHandle, concretize, hooked, refuse_in_trace, report_overwrite
from .ops.indexing import Index

T = TypeVar("T", bound=Traced)


def reflected(op: Callable[[Any, Any], Tensor]) -> Callable[[Tensor, Any], Tensor]:
    """The operator for a Tensor on the right, as `__rsub__`: 1 - x."""

    def operator(self: Tensor, other: TensorLike) -> Tensor:
        return op(other, self)

    return operator


def augmented(sign: str, op: Callable[[Any, Any], Tensor]) -> Callable[[Tensor, Any], Tensor]:
    """The operator of `x += y`: a new value, or x itself if it is written in place."""
    doing, instead = f"x {sign}= y", f"write x = x {sign} y"

    def operator(self: Tensor, other: TensorLike) -> Tensor:
        written = self._written(doing, instead)
        value = op(self, other)
        if not written:
            return value
        self._write(value, doing)
        return self

    return operator


class Tensor(Traced):
    """A differentiable array: it records the operations that computed it.

    **Arguments** data: numbers, nested lists, or an array of NumPy or CuPy, which is copied; Python
    floats become float32, arrays keep their dtype. Lists of Tensors are stacked, differentiably.
    dtype: by NumPy's name. device: `cpu`, `cuda`; the default one, if None. requires_grad: whether
    `backward` accumulates in `.grad`.
    **Raises** DeviceError if the device is not there; TypeError for a gradient of other than reals,
    for masked arrays, and for anything but numbers; ValueError for integers that the dtype does not
    hold.

    In operations with a Tensor, Python numbers and NumPy scalars take its dtype; arrays keep
    theirs. Under `no_grad`, `x += y` and `x[i] = v` write to a leaf that requires grad in place;
    otherwise they bind x to a new value, without aliasing.

    >>> import tinygrad_rnn as tg
    >>> x = tg.tensor([1.0, 2.0], requires_grad=True)
    >>> (x * x).sum().backward()
    >>> x.grad
    tensor([2., 4.])
    """

    __slots__ = ()

    def __init__(
        self,
        data: Any,
        dtype: DType = None,
        device: str | None = None,
        *,
        requires_grad: bool = False,
    ) -> None:
        wanted = None if dtype is None else conversion.number_dtype(dtype, "tensor")
        edge, nested = None, isinstance(data, (list, tuple))
        if nested and conversion.holds_tensors(data):
            data = _stacked(data)
            edge = data.edge
        if isinstance(data, Traced):
            array = data.array
        elif not nested and backend.is_array(data):
            array = conversion.normalized(data)
        else:
            array = conversion.from_python(data, wanted)
        if device is None and not isinstance(data, Traced) and isinstance(array, np.ndarray):
            device = backend.default_device()
        if edge is not None:
            same = wanted is None or wanted == array.dtype
            data = data if same else ops.astype(data, wanted)
            data = data if device is None else ops.to_device(data, device)
            self.array, self.edge = data.array, data.edge
        else:
            array = backend.copied(array, wanted or array.dtype)
            self.array = array if device is None else backend.to_device(array, device)
            self.edge = None
        if edge is None or requires_grad:
            self.requires_grad = requires_grad

    # ------------------------------------------------------------ attributes

    @property
    def data(self) -> Array:
        """The array. Assigning to it overwrites a leaf, whose earlier graphs then raise
        GraphError."""
        return concretize(self)

    @data.setter
    def data(self, value: TensorLike) -> None:
        report_overwrite(self)
        leaf = self._leaf("assigning to .data")
        array = value.array if isinstance(value, Traced) else value
        if array is not self.array:
            array = self._like(array, "assigning to .data")
            if array.shape != self.array.shape:
                raise GraphError(
                    f"assigning to .data: expected shape {list(self.shape)}, got "
                    f"{list(array.shape)}: make a new tensor instead"
                )
        self._overwrite(leaf, array, None if leaf is None else leaf.grad)

    def _overwrite(self, leaf: Leaf | None, array: Array, grad: Array | None) -> None:
        """Replaces the array and the gradient; hooks stay, graphs that used the tensor are
        stale."""
        self.array = array
        if leaf is not None:
            leaf.changed = True
            fresh = Leaf(array)
            fresh.grad, self.edge = grad, (fresh, 0)
            if leaf in hooked:
                fresh.hooks = leaf.hooks
                hooked.add(fresh)

    @property
    def requires_grad(self) -> bool:
        """Whether the tensor has a gradient. Can be set on a leaf."""
        return self.edge is not None

    @requires_grad.setter
    def requires_grad(self, wanted: bool) -> None:
        leaf = self._leaf("setting requires_grad")
        if not isinstance(wanted, (bool, np.bool_)):
            raise InvalidTypeError(f"requires_grad: expected True or False, got {wanted!r}")
        if wanted and self.array.dtype.kind != "f":
            raise InvalidTypeError(
                f"requires_grad: only reals have gradients, not {self.array.dtype}"
            )
        if wanted != (leaf is not None):
            self.edge = (Leaf(self.array), 0) if wanted else None

    @property
    def grad(self) -> Tensor | None:
        """The accumulated gradient of a leaf; None before `backward` and for other tensors."""
        leaf = self.edge and self.edge[0]
        if not isinstance(leaf, Leaf) or leaf.grad is None:
            return None
        gradient = wrap(_Gradient, leaf.grad, None)
        gradient.leaf = leaf
        return gradient

    @grad.setter
    def grad(self, value: Any) -> None:
        report_overwrite(self)
        leaf = self._leaf("assigning to .grad")
        if leaf is None:
            raise GraphError("assigning to .grad: the tensor does not require a gradient")
        if value is None:
            leaf.grad = None
            return
        array = value.array if isinstance(value, Traced) else value
        if getattr(array, "dtype", None) != self.dtype or backend.device_of(array) != self.device:
            array = self._like(array, "assigning to .grad")
        if array.shape != self.shape:
            raise GraphError(
                f"assigning to .grad: expected shape {list(self.shape)}, got {list(array.shape)}"
            )
        leaf.grad = conversion.normalized(array, "assigning to .grad")

    def _like(self, value: Any, doing: str) -> Array:
        """Copies an assigned value to the device and the dtype of this tensor."""
        if not backend.is_array(value):
            value = conversion.from_python(value, what=doing)
        value = backend.to_device(conversion.normalized(value, doing), self.device)
        conversion.check_cast(value.dtype, self.dtype, doing)
        return backend.copied(value, self.dtype)

    def _leaf(self, doing: str) -> Leaf | None:
        """The leaf node of the tensor, if it requires grad; refuses a computed tensor."""
        node = self.edge and self.edge[0]
        if node is not None and not isinstance(node, Leaf):
            raise GraphError(
                f"{doing}: this tensor was computed by {node.op.name!r}, and its graph cannot come "
                "along: expected one that you made; x.detach() gives its value"
            )
        return node

    @property
    def is_leaf(self) -> bool:
        """Whether the tensor is a leaf: not computed from one that requires grad."""
        return self.edge is None or isinstance(self.edge[0], Leaf)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.array.shape

    @property
    def ndim(self) -> int:
        return self.array.ndim

    @property
    def size(self) -> int:
        return self.array.size

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.array.dtype

    @property
    def device(self) -> str:
        return backend.device_of(self.array)

    @property
    def mT(self) -> Tensor:
        """The last two axes exchanged."""
        return ops.matrix_transpose(self)

    @property
    def T(self) -> Tensor:
        """The axes in reverse."""
        return ops.permute_dims(self)

    # ------------------------------------------------------------ in and out

    def numpy(self) -> np.ndarray[Any, Any]:
        """Returns the values as a NumPy array; on the CPU without a copy."""
        return backend.to_host(concretize(self))

    def item(self) -> Any:
        """Returns the only element as a Python number."""
        return self._only("item", ": reduce it, or see tolist()", InvalidValueError)

    def _only(self, what: str, remedy: str = "", error: type[Exception] = InvalidTypeError) -> Any:
        """The only element as a Python number."""
        if self.array.size != 1:
            raise error(f"{what}: expected one element, got shape {list(self.shape)}{remedy}")
        return host(concretize(self)).item()

    def tolist(self) -> Any:
        """Returns the values as nested lists."""
        return host(concretize(self)).tolist()

    def detach(self) -> Tensor:
        """Returns a constant with the same array, detached from the graph."""
        return wrap(Tensor, self.array, None)

    def to(self, target: DType) -> Tensor:
        """Converts to a device (`cpu`, `cuda`) or a dtype (`float64`), differentiably."""
        if _names_device(target):
            return ops.to_device(self, target)
        return ops.astype(self, target)

    def move_(self, target: DType) -> Self:
        """Moves this leaf in place to another device or dtype, without its gradient."""
        report_overwrite(self)
        leaf, moved = self._leaf("move_"), self.array
        if _names_device(target):
            moved = backend.to_device(moved, target)
            if moved is not self.array:  # another library's array begins anywhere
                moved = backend.copied(moved, moved.dtype)
        elif (dtype := conversion.number_dtype(target, "move_")) != moved.dtype:
            moved = backend.copied(moved, dtype)
        self._overwrite(leaf, moved, None)
        return self

    def backward(self, gradient: TensorLike | None = None, *, retain_graph: bool = False) -> None:
        """Accumulates the gradient of this scalar in `.grad` of every leaf that it depends on.

        **Arguments** gradient: the cotangent, if this is not a scalar. retain_graph: allows another
        backward pass. **Raises** GraphError if the graph was freed, overwritten or never recorded.
        """
        autodiff.backward(self, gradient, retain_graph=retain_graph)

    def register_hook(self, hook: Callable[[Tensor], Any]) -> RemovableHandle:
        """Registers a function that every backward pass calls with the gradient of this tensor.

        A leaf keeps its hooks through optimizer steps, `load_state_dict` and moves to other devices
        and dtypes, until its `requires_grad` is set to False.

        **Arguments** hook: its result, unless None, replaces the gradient. **Returns** a
        handle, whose `remove()` removes the hook. **Raises** GraphError if the tensor does not
        require grad.

        >>> import tinygrad_rnn as tg
        >>> x = tg.tensor([1.0, 2.0], requires_grad=True)
        >>> y = x * x
        >>> handle = y.register_hook(lambda g: 10 * g)
        >>> y.sum().backward(); x.grad
        tensor([20., 40.])
        >>> handle.remove()
        """
        refuse_in_trace("a hook on a value", "hook what the loop returns")
        if self.edge is None:
            raise GraphError("register_hook: the tensor does not require a gradient")
        if not callable(hook):
            raise InvalidTypeError(f"register_hook: expected a function, got {hook!r}")

        def call(g: Any) -> Any:
            found = hook(g if isinstance(g, Tensor) else wrap(Tensor, g, None))
            if found is None:
                return g
            return found if isinstance(g, Traced) else getattr(found, "array", found)

        node, output = self.edge
        if node not in hooked:
            node.hooks = {}
            hooked.add(node)
        return RemovableHandle(node.hooks, (output, call))

    def __repr__(self) -> str:
        values = np.array2string(self.numpy(), separator=", ", prefix="tensor(", threshold=100)
        notes = "" if self.dtype in (np.float32, np.int64, bool) else f", dtype={self.dtype}"
        if self.device != "cpu":
            notes += f", device={self.device!r}"
        if self.edge is not None:
            node = self.edge[0]
            leaf = isinstance(node, Leaf)
            notes += ", requires_grad=True" if leaf else f", made_by={node.op.name}"
        return f"tensor({values}{notes})"

    def _repr_html_(self) -> str:
        from . import html  # only in notebooks

        text = repr(self)
        notes = f"{self.shape}, {self.dtype}" + (", requires_grad" if self.edge else "")
        return html.of_values(self.numpy(), f"Tensor {notes}", text)

    def __len__(self) -> int:
        if not self.shape:
            raise InvalidTypeError("a tensor without axes has no length")
        return int(self.shape[0])

    def __iter__(self) -> Iterator[Tensor]:
        len(self)
        return iter(ops.unstack(self))

    def __bool__(self) -> bool:
        return bool(self._only("bool", ": use x.any() or x.all()", InvalidValueError))

    def __float__(self) -> float:
        return float(self._only("float"))

    def __int__(self) -> int:
        return int(self._only("int"))

    def __round__(self, digits: int | None = None) -> Any:
        """The only element rounded to a Python number; `x.round()` rounds all elements."""
        return round(self._only("round", ": x.round() rounds all elements"), digits)

    def __index__(self) -> int:
        if self.dtype.kind not in "iu" or self.shape:
            raise InvalidTypeError(
                f"an index: expected an integer without axes, got {self.dtype}{list(self.shape)}"
            )
        return int(host(concretize(self)))

    def __format__(self, spec: str) -> str:
        if not spec:
            return str(self)
        if self.shape:
            raise InvalidTypeError(
                f"format {spec!r}: expected a tensor without axes, got shape {list(self.shape)}: "
                "format its elements, those of tolist()"
            )
        try:
            return format(self.item(), spec)
        except ValueError as error:
            raise InvalidValueError(f"format: spec {spec!r}: {error}") from error

    def __array__(self, dtype: DType = None, copy: bool | None = None) -> Any:
        if self.edge is not None:
            raise InvalidTypeError(
                "NumPy's functions would drop the graph: use tinygrad_rnn's of the same name, "
                "or .detach().numpy()"
            )
        return np.array(self.numpy(), dtype=dtype, copy=copy)

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **settings: Any) -> Any:
        if "out" in settings:
            raise InvalidTypeError(
                f"numpy.{ufunc.__name__}: a Tensor cannot be written into a NumPy array: "
                "a = a + x, in place of a += x, makes a Tensor"
            )
        called = method == "__call__"
        answer = interop.operator(ufunc.__name__) if called and not settings else None
        if answer is None:
            raise interop.refusal(ufunc.__name__ if called else f"{ufunc.__name__}.{method}")
        return answer(*inputs)

    def __array_function__(self, function: Callable[..., Any], *_: Any) -> Any:
        module = function.__module__.removeprefix("numpy").removeprefix(".")
        raise interop.refusal(f"{module}.{function.__name__}" if module else function.__name__)

    def __dlpack__(self, **request: Any) -> Any:
        """Exports the array to another library (DLPack)."""
        if self.edge is not None:
            raise ExportError(
                "__dlpack__: expected a constant, got a tensor that requires grad, whose graph "
                "would be dropped: pass x.detach()"
            )
        return backend.to_dlpack(concretize(self), request)

    def __dlpack_device__(self) -> Any:
        return self.array.__dlpack_device__()

    def __copy__(self) -> Self:
        return wrap(type(self), self.array, self.edge)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        self._leaf("copy.deepcopy")
        return _restored(type(self), self.array, self.requires_grad)

    def __reduce__(self) -> Any:
        self._leaf("pickle")
        return _restored, (type(self), self.array, self.requires_grad)

    # ------------------------------------------------------------ indexing

    def __getitem__(self, index: Index) -> Tensor:
        return ops.getitem(self, index=index)

    def __setitem__(self, index: Index, value: TensorLike) -> None:
        """Assigns to elements: binds a new value, differentiably and without aliasing."""
        report_overwrite(self)
        if not isinstance(value, Traced):
            number = type(value) in (bool, int, float)
            if not backend.is_array(value):
                array = conversion.from_python(value, what="x[...] =")
                conversion.check_cast(array.dtype, self.dtype, "x[...] =")
                array = conversion.from_python(value, self.dtype, "x[...] =")
                value = value if number else backend.module_of(self.array).asarray(array)
            if not number:  # a number stays a constant of a compiled loop
                value = conversion.normalized(value, "x[...] =")
        if hasattr(value, "dtype"):
            conversion.check_cast(value.dtype, self.dtype, "x[...] =")
        written = self._written("x[...] =", "write to a copy (y = x + 0)")
        updated = ops.index_update(self, value, index=index)
        if written:
            self._write(updated, "x[...] =")
        else:
            self.array, self.edge = updated.array, updated.edge

    # ------------------------------------------------------------ augmented assignment

    stays: ClassVar[bool] = False  # whether statements write to it in place, as to a Parameter

    def _written(self, doing: str, instead: str) -> bool:
        """Whether a statement writes to this tensor in place: a leaf that requires grad.

        **Raises** GraphError while recording, when its gradient would be lost.
        """
        leaf = isinstance(self.edge and self.edge[0], Leaf)
        if leaf and grad_mode.on:
            raise GraphError(
                f"{doing} on a leaf that requires grad would lose its gradient: {instead}, or "
                "change the leaf within tg.no_grad()"
            )
        return leaf or (self.stays and self.edge is None)

    def _write(self, value: Tensor, doing: str) -> None:
        """Copies the values of another tensor into this one."""
        if value.edge is not None:
            raise GraphError(
                f"{doing}: a parameter cannot hold a value computed from one that requires grad: "
                "detach it, or compute within tg.no_grad()"
            )
        if value.shape != self.shape:
            raise ShapeError(
                f"{doing}: expected a y that leaves the shape {list(self.shape)}, got "
                f"{list(value.shape)}"
            )
        if value.dtype.kind != self.dtype.kind:
            raise InvalidTypeError(
                f"{doing}: expected a result that {self.dtype} holds, got {value.dtype}"
            )
        self.data = value

    __iadd__, __isub__ = augmented("+", ops.add), augmented("-", ops.subtract)
    __imul__, __imatmul__ = augmented("*", ops.multiply), augmented("@", ops.matmul)
    __itruediv__, __ifloordiv__ = augmented("/", ops.divide), augmented("//", ops.floor_divide)
    __imod__, __ipow__ = augmented("%", ops.remainder), augmented("**", ops.pow)
    __iand__, __ior__ = augmented("&", ops.logical_and), augmented("|", ops.logical_or)
    __ixor__ = augmented("^", ops.logical_xor)

    # ------------------------------------------------------------ operators

    __add__ = __radd__ = ops.add
    __sub__, __rsub__ = ops.subtract, reflected(ops.subtract)
    __mul__ = __rmul__ = ops.multiply
    __truediv__, __rtruediv__ = ops.divide, reflected(ops.divide)
    __floordiv__, __rfloordiv__ = ops.floor_divide, reflected(ops.floor_divide)
    __mod__, __rmod__ = ops.remainder, reflected(ops.remainder)
    __pow__, __rpow__ = ops.pow, reflected(ops.pow)
    __matmul__, __rmatmul__ = ops.matmul, reflected(ops.matmul)
    __neg__, __pos__, __abs__, __invert__ = ops.negative, ops.alias, ops.abs, ops.logical_not
    __and__ = __rand__ = ops.logical_and
    __or__ = __ror__ = ops.logical_or
    __xor__ = __rxor__ = ops.logical_xor
    __lt__, __le__, __gt__, __ge__ = ops.less, ops.less_equal, ops.greater, ops.greater_equal
    __eq__, __ne__ = ops.equal, ops.not_equal  # type: ignore[assignment]
    __hash__ = object.__hash__

    # ------------------------------------------------------------ methods

    abs, exp, log, sqrt, square = ops.abs, ops.exp, ops.log, ops.sqrt, ops.square
    expm1, log1p, rsqrt, sin, cos = ops.expm1, ops.log1p, ops.rsqrt, ops.sin, ops.cos
    relu, sigmoid, tanh, erf, clip = ops.relu, ops.sigmoid, ops.tanh, ops.erf, ops.clip
    round, maximum, minimum = ops.round, ops.maximum, ops.minimum
    sum, mean, max, min, prod = ops.sum, ops.mean, ops.max, ops.min, ops.prod
    var, std, cumsum, cumprod = ops.var, ops.std, ops.cumsum, ops.cumprod
    any, all, argmax, argmin = ops.any, ops.all, ops.argmax, ops.argmin
    log_softmax, logsumexp, softmax = ops.log_softmax, ops.logsumexp, ops.softmax
    sparsemax = ops.sparsemax
    broadcast_to, expand_dims, squeeze = ops.broadcast_to, ops.expand_dims, ops.squeeze
    swapaxes, moveaxis, flip, repeat = ops.swapaxes, ops.moveaxis, ops.flip, ops.repeat
    diagonal, trace, take, argsort = ops.diagonal, ops.trace, ops.take, ops.argsort
    nonzero, searchsorted, topk = ops.nonzero, ops.searchsorted, ops.topk

    def reshape(self, *shape: Any) -> Tensor:
        """Reshapes: `x.reshape(2, -1)` or `x.reshape((2, -1))`."""
        return ops.reshape(self, shape=shape[0] if len(shape) == 1 else shape)

    def permute_dims(self, *axes: int) -> Tensor:
        """Permutes the axes: `x.permute_dims(1, 0, 2)`."""
        return ops.permute_dims(self, axes=axes or None)

    def astype(self, dtype: DType) -> Tensor:
        """Converts to a dtype."""
        return ops.astype(self, dtype)

    def unstack(self, axis: int = 0) -> tuple[Tensor, ...]:
        """The slices along an axis."""
        return ops.unstack(self, axis=axis)


class _Gradient(Tensor):
    """The type of `.grad`: a constant whose elements can be assigned in place."""

    __slots__ = ("leaf",)

    leaf: Leaf

    def __setitem__(self, index: Index, value: TensorLike) -> None:
        super().__setitem__(index, getattr(value, "array", value))
        self.leaf.grad = self.array

    def __copy__(self) -> Any:
        return self.detach()

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        return self.detach().__deepcopy__(memo)

    def __reduce__(self) -> Any:
        return self.detach().__reduce__()


# What an operation accepts for a Tensor, beside another one; the arrays of a device have no type.
TensorLike = Tensor | np.ndarray[Any, Any] | np.generic | float | list[Any] | tuple[Any, ...]

answer_in(Tensor, {name: f"tg.{name}(x)" for name in ops.__all__ if not hasattr(Tensor, name)})  # type: ignore[has-type]
Tensor.result_class = Traced.result_class = Tensor  # the latter for calls with Python numbers only


def _stacked(data: Any) -> Any:
    """Stacks nested lists of Tensors and numbers, which take the dtype of the Tensors."""
    if not isinstance(data, (list, tuple)):
        return data
    parts = [_stacked(v) for v in data]
    like = next((v for v in parts if isinstance(v, Tensor)), None)
    if like is None:
        return Tensor(parts)
    return ops.stack(
        [v if isinstance(v, Tensor) else Tensor(v, like.dtype, like.device) for v in parts]
    )


def _names_device(target: object) -> TypeGuard[str]:
    """Whether the target of a conversion is a device, not a dtype."""
    if isinstance(target, AbstractContextManager):
        raise InvalidTypeError(
            "to: expected the name of a device or a dtype, as 'cuda' or 'float64'; tg.device is "
            "for `with` blocks"
        )
    return isinstance(target, str) and target.partition(":")[0] in backend.platforms


def host(array: Array) -> Array:
    """An array on the host: as it is, if it is there."""
    return array if type(array) is np.ndarray else backend.to_host(array)


def _restored(cls: type[T], array: Array, requires_grad: bool) -> T:
    """Restores a leaf or a constant from a pickle or a copy."""
    array = conversion.normalized(array)
    return wrap(
        cls, backend.copied(array, array.dtype), (Leaf(array), 0) if requires_grad else None
    )
