"""Trees (pytrees): nested tuples, lists, dicts and named tuples.

The leaves are Tensors and arrays. All other values, such as numbers and None, belong to the
structure.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from .backend import is_array
from .graph import Traced

Predicate = Callable[[Any], bool]


def is_leaf(value: object) -> bool:
    """Whether a value is a Tensor or an array."""
    return isinstance(value, Traced) or is_array(value)


def is_item(value: object) -> bool:
    """Whether a value is neither a container nor None."""
    return value is not None and not isinstance(value, (tuple, list, dict))


def is_entry(value: object) -> bool:
    """Whether a value is no container."""
    return not isinstance(value, (tuple, list, dict))


def leaves(tree: Any, like: Any = None, leaf: Predicate = is_leaf) -> list[Any]:
    """The leaves of a tree, in the order in which a tree of the same structure has them."""
    if isinstance(tree, Traced):
        return [tree]
    if type(tree) is tuple and (like is None or like is tree):  # the usual state, without recursion
        flat = [v for v in tree if isinstance(v, Traced)]
        if len(flat) == len(tree):
            return flat
    result: list[Any] = []
    _collect(tree, tree if like is None else like, leaf, result)
    return result


def _collect(tree: Any, like: Any, leaf: Predicate, result: list[Any]) -> None:
    if isinstance(tree, Traced):
        result.append(tree)
    elif isinstance(tree, (tuple, list)):
        for part, other in zip(tree, like, strict=True):
            _collect(part, other, leaf, result)
    elif isinstance(tree, dict):
        for key in like:
            _collect(tree[key], like[key], leaf, result)
    elif leaf(tree):
        result.append(tree)


def named(tree: Any, leaf: Predicate = is_item, path: str = "") -> Iterator[tuple[str, Any]]:
    """The leaves of a tree with the places where they are, such as [0]['w']."""
    if isinstance(tree, (tuple, list, dict)):
        keys: Iterable[Any] = tree if isinstance(tree, dict) else range(len(tree))
        for key in keys:
            yield from named(tree[key], leaf, f"{path}[{key!r}]")
    elif leaf(tree):
        yield path, tree


def mapped(function: Callable[..., Any], tree: Any, *others: Any, leaf: Predicate = is_leaf) -> Any:
    """Maps a function over the leaves of a tree, and of others of the same structure."""
    if isinstance(tree, Traced):
        return function(tree, *others)
    if type(tree) is tuple:
        parts = zip(tree, *others, strict=True)
        return tuple([mapped(function, *part, leaf=leaf) for part in parts])
    return filled(tree, map(function, *(leaves(v, tree, leaf) for v in (tree, *others))), leaf)


def filled(like: Any, parts: Iterable[Any], leaf: Predicate = is_leaf) -> Any:
    """Creates a tree of the structure of `like` with other leaves (unflatten)."""
    return _filled(like, iter(parts), leaf)


def _filled(like: Any, parts: Iterator[Any], leaf: Predicate) -> Any:
    if isinstance(like, Traced):
        return next(parts)
    if type(like) is tuple:
        return tuple(
            [next(parts) if isinstance(v, Traced) else _filled(v, parts, leaf) for v in like]
        )
    if isinstance(like, (tuple, list)):
        items = [_filled(part, parts, leaf) for part in like]
        return type(like)(*items) if hasattr(like, "_fields") else type(like)(items)
    if isinstance(like, dict):
        new = copy.copy(like)  # of the same class, whatever else that needs
        new.update([(key, _filled(part, parts, leaf)) for key, part in like.items()])
        return new
    return next(parts) if leaf(like) else like


def difference(a: object, b: object, leaf: Predicate = is_leaf, path: str = "") -> str:
    """Describes how the structures of two trees differ; empty if they do not."""
    if (isinstance(a, Traced) and isinstance(b, Traced)) or (leaf(a) and leaf(b)):
        return ""
    if isinstance(a, (tuple, list, dict)) and type(a) is type(b) and len(a) == len(b):
        keys: Iterable[Any] = a if isinstance(a, dict) else range(len(a))
        if isinstance(b, dict) and b.keys() != {*keys}:
            return f"{path}{': ' if path else ''}{_described(a)}, then {_described(b)}"
        differences = (difference(a[k], b[k], leaf, f"{path}[{k!r}]") for k in keys)
        return next(filter(None, differences), "")
    if same_constant(a, b):
        return ""
    return f"{path}{': ' if path else ''}{_described(a)}, then {_described(b)}"


def same_constant(a: object, b: object) -> bool:
    """Whether two values that are not leaves are identical, or equal and of one class."""
    if a is b:
        return True
    if type(a) is not type(b) or is_leaf(a) or isinstance(a, (tuple, list, dict)):
        return False
    if isinstance(a, float):  # NaN is NaN, and 0.0 is not -0.0
        return repr(a) == repr(b)
    return bool(a == b)


def _described(value: Any) -> str:
    """Describes a value briefly."""
    kind = type(value).__name__
    if isinstance(value, dict):
        return f"{kind} of {', '.join(map(repr, value)) or 'nothing'}"
    if isinstance(value, (tuple, list)):
        return f"{kind} of {len(value)}"
    if is_leaf(value):
        return f"{kind} {value.dtype}{list(value.shape)}"
    return repr(value) if value is None else f"{kind} {value!r}"
