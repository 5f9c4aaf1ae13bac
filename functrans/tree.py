"""Pytrees: nested containers of arrays, a thin face over ``optree``.

Lists, tuples, dicts, named tuples and classes registered with `register` or `register_dataclass` are
containers; ``None`` is a container without leaves; everything else is a leaf.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any

import optree

__all__ = ["flatten", "unflatten", "leaves", "structure", "map", "paths", "register", "register_dataclass"]

Structure = optree.PyTreeSpec
NAMESPACE = "functrans"
LEAF: Structure = optree.tree_structure(0, namespace=NAMESPACE)  # type: ignore[arg-type]


def flatten(tree: Any, is_leaf: Callable[[Any], bool] | None = None) -> tuple[list[Any], Structure]:
    """The leaves of `tree`, left to right, and its structure; what `is_leaf` says yes to is not looked into.

    Example:
        >>> import functrans as ft
        >>> leaves, structure = ft.tree.flatten({"b": 2.0, "a": [1.0, None]})
        >>> leaves
        [1.0, 2.0]
        >>> ft.tree.unflatten(structure, [10.0, 20.0])
        {'b': 20.0, 'a': [10.0, None]}
    """
    return optree.tree_flatten(tree, is_leaf, namespace=NAMESPACE)


def unflatten(structure: Structure, leaves: Iterable[Any]) -> Any:
    """The tree of `structure` with these leaves; the inverse of `flatten`."""
    return optree.tree_unflatten(structure, leaves)


def leaves(tree: Any) -> list[Any]:
    """The leaves of `tree`, left to right.

    Example:
        >>> import functrans as ft
        >>> ft.tree.leaves(([1, 2], {"x": 3}))
        [1, 2, 3]
    """
    return optree.tree_leaves(tree, namespace=NAMESPACE)


def structure(tree: Any) -> Structure:
    """The structure of `tree`: its containers without its leaves."""
    return optree.tree_structure(tree, namespace=NAMESPACE)


def map(function: Callable[..., Any], tree: Any, *rest: Any) -> Any:
    """`function` of the leaves of one or several trees of one structure, as a tree.

    Example:
        >>> import functrans as ft
        >>> ft.tree.map(lambda w, g: w - 0.1 * g, {"w": 1.0}, {"w": 5.0})
        {'w': 0.5}
    """
    return optree.tree_map(function, tree, *rest, namespace=NAMESPACE)


def paths(tree: Any) -> list[str]:
    """Where each leaf of `tree` stands, as Python writes it: ``['layers'][0]``; ``''`` for a lone leaf.

    Example:
        >>> import functrans as ft
        >>> ft.tree.paths({"w": [1.0, 2.0]})
        ["['w'][0]", "['w'][1]"]
    """
    return [accessor.codify("") for accessor in optree.tree_accessors(tree, namespace=NAMESPACE)]


def broadcast_prefix(prefix: Any, tree: Any, is_leaf: Callable[[Any], bool] | None = None) -> list[Any]:
    """One leaf of `prefix` for each leaf of `tree`, where `prefix` is a tree prefix of `tree`."""
    return optree.broadcast_prefix(prefix, tree, is_leaf=is_leaf, namespace=NAMESPACE)


def register(
    cls: type,
    flatten: Callable[[Any], tuple[Sequence[Any], Hashable]],
    unflatten: Callable[[Hashable, Sequence[Any]], Any],
) -> type:
    """Make `cls` a container: `flatten` gives children and static data, `unflatten` takes (data, children).

    Example:
        >>> import functrans as ft
        >>> class Pair:
        ...     def __init__(self, a, b):
        ...         self.a, self.b = a, b
        >>> _ = ft.tree.register(Pair, lambda p: ((p.a, p.b), None), lambda _, ab: Pair(*ab))
        >>> ft.tree.leaves(Pair(1.0, 2.0))
        [1.0, 2.0]
    """
    return optree.register_pytree_node(cls, flatten, unflatten, namespace=NAMESPACE)  # type: ignore[arg-type]


def register_dataclass(cls: type, static: Sequence[str] = ()) -> type:
    """Make a dataclass a container of its fields; fields named in `static` are part of the structure.

    Use it as a decorator, below ``functools.partial`` where there are static fields.

    Example:
        >>> import dataclasses, functrans as ft
        >>> @ft.tree.register_dataclass
        ... @dataclasses.dataclass
        ... class Layer:
        ...     w: float
        ...     b: float
        >>> ft.tree.map(lambda x: 2 * x, Layer(1.0, 2.0))
        Layer(w=2.0, b=4.0)
    """
    names = [field.name for field in dataclasses.fields(cls)]
    children = [name for name in names if name not in static]

    def flatten_fields(instance: Any) -> tuple[list[Any], tuple[Any, ...], list[str]]:
        data = tuple(getattr(instance, name) for name in static)
        return [getattr(instance, name) for name in children], data, children

    def unflatten_fields(data: tuple[Any, ...], values: Sequence[Any]) -> Any:
        instance: Any = object.__new__(cls)
        for name, value in (*zip(children, values), *zip(static, data)):
            object.__setattr__(instance, name, value)
        return instance

    return optree.register_pytree_node(cls, flatten_fields, unflatten_fields, namespace=NAMESPACE)  # type: ignore[arg-type]
