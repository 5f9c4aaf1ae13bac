"""What follows from `vjp`, `jvp` and `vmap`: Jacobians, Hessians and their products."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from functrans import tree
from functrans.core.calling import called, check_function, function_title
from functrans.core.tracer import operand
from functrans.core.types import ArrayType, shape_of, type_of
from functrans.transforms.arguments import check_argnums, split_arguments, wraps
from functrans.transforms.batch import vmap
from functrans.transforms.forward import pushforward
from functrans.transforms.reverse import gradient_of, pulled

__all__ = ["hessian", "hvp", "jacfwd", "jacobian", "jacrev"]


def basis(types: Sequence[ArrayType]) -> list[Any]:
    """For each type an array with one leading axis: together, the standard basis of all their elements."""
    sizes = [math.prod(type_.shape) for type_ in types]
    start, total = 0, sum(sizes)
    arrays = []
    for type_, size in zip(types, sizes):
        arrays.append(np.eye(total, size, -start, type_.dtype).reshape(total, *type_.shape))
        start += size
    return arrays


def jacfwd(function: Callable[..., Any], argnums: int | Sequence[int] = 0, has_aux: bool = False) -> Callable[..., Any]:
    """The Jacobian of `function`, column by column in forward mode: best for few inputs.

    Args:
        function: returns a tree of arrays, or ``(tree, auxiliary)`` with `has_aux`.
        argnums: which positional arguments to differentiate with respect to.
        has_aux: whether `function` also returns auxiliary data.

    Returns:
        A function that returns, for each output leaf, a tree like the arguments of arrays of shape
        ``output.shape + argument.shape``.

    Example:
        >>> import numpy as np, functrans as ft
        >>> ft.jacfwd(lambda x: x**2)(np.array([1.0, 2.0])).tolist()
        [[2.0, 0.0], [0.0, 4.0]]
    """
    check_argnums("jacfwd", argnums)

    @wraps(jacfwd, function, argnums, has_aux)
    def jacobian_function(*args: Any, **keywords: Any) -> Any:
        return by_columns("jacfwd", function, argnums, has_aux, args, keywords)

    return jacobian_function


def by_columns(
    transform: str, function: Callable[..., Any], argnums: Any, has_aux: bool, args: tuple[Any, ...], keywords: dict[str, Any]
) -> Any:
    """The Jacobian in forward mode, in the name of `transform`."""
    chosen, rebuild = split_arguments(transform, function, argnums, args)
    leaves, structure = tree.flatten(chosen)
    types = [type_of(operand(leaf, transform)) for leaf in leaves]
    call = named(function, lambda tree_: called(transform, function, rebuild(tree_), keywords))

    def push(*tangents: Any) -> Any:
        result = pushforward(transform, call, (chosen,), (tree.unflatten(structure, tangents),), has_aux)
        return result[1:] if has_aux else result[1]

    pushed = vmap(push, out_axes=(-1, None) if has_aux else -1)(*basis(types))
    columns, aux = pushed if has_aux else (pushed, None)
    jacobian_ = tree.map(lambda leaf: tree.unflatten(structure, _split_last(leaf, types)), columns)
    return (jacobian_, aux) if has_aux else jacobian_


def named(function: Callable[..., Any], call: Callable[..., Any]) -> Callable[..., Any]:
    """`call` by the name of `function`."""
    call.__name__ = function_title(function)
    return call


def _split_last(array: Any, types: Sequence[ArrayType]) -> list[Any]:
    """Stretches of the last axis in the shapes of `types`."""
    parts, start = [], 0
    for type_ in types:
        size = math.prod(type_.shape)
        part = array[..., start : start + size]
        parts.append(np.reshape(part, (*shape_of(array)[:-1], *type_.shape)))
        start += size
    return parts


def jacrev(function: Callable[..., Any], argnums: int | Sequence[int] = 0, has_aux: bool = False) -> Callable[..., Any]:
    """The Jacobian of `function`, row by row in reverse mode: best for few outputs.

    Arguments and result are those of `jacfwd`.

    Example:
        >>> import numpy as np, functrans as ft
        >>> ft.jacrev(np.sum)(np.ones(3)).tolist()
        [1.0, 1.0, 1.0]
    """
    check_argnums("jacrev", argnums)

    @wraps(jacrev, function, argnums, has_aux)
    def jacobian_function(*args: Any, **keywords: Any) -> Any:
        return by_rows("jacrev", function, argnums, has_aux, args, keywords)

    return jacobian_function


def by_rows(
    transform: str, function: Callable[..., Any], argnums: Any, has_aux: bool, args: tuple[Any, ...], keywords: dict[str, Any]
) -> Any:
    """The Jacobian in reverse mode, in the name of `transform`."""
    chosen, rebuild = split_arguments(transform, function, argnums, args)
    call = named(function, lambda tree_: called(transform, function, rebuild(tree_), keywords))
    output, pullback, *aux = pulled(transform, call, (chosen,), has_aux)
    leaves, structure = tree.flatten(output)
    types = [type_of(operand(leaf)) for leaf in leaves]
    rows = vmap(lambda *cts: pullback(tree.unflatten(structure, cts))[0])(*basis(types))
    row_leaves, row_structure = tree.flatten(rows)
    parts = [_split_first(leaf, types) for leaf in row_leaves]
    jacobians = [tree.unflatten(row_structure, [part[i] for part in parts]) for i in range(len(types))]
    jacobian_ = tree.unflatten(structure, jacobians)
    return (jacobian_, aux[0]) if has_aux else jacobian_


def _split_first(array: Any, types: Sequence[ArrayType]) -> list[Any]:
    """Stretches of the first axis in the shapes of `types`."""
    parts, start = [], 0
    for type_ in types:
        size = math.prod(type_.shape)
        parts.append(np.reshape(array[start : start + size], (*type_.shape, *shape_of(array)[1:])))
        start += size
    return parts


def jacobian(function: Callable[..., Any], argnums: int | Sequence[int] = 0, has_aux: bool = False) -> Callable[..., Any]:
    """The Jacobian of `function`: the same as `jacrev`.

    Example:
        >>> import numpy as np, functrans as ft
        >>> ft.jacobian(lambda x: 3 * x)(np.ones(2)).tolist()
        [[3.0, 0.0], [0.0, 3.0]]
    """
    check_argnums("jacobian", argnums)

    @wraps(jacobian, function, argnums, has_aux)
    def jacobian_function(*args: Any, **keywords: Any) -> Any:
        return by_rows("jacobian", function, argnums, has_aux, args, keywords)

    return jacobian_function


def hessian(function: Callable[..., Any], argnums: int | Sequence[int] = 0) -> Callable[..., Any]:
    """The Hessian of a scalar `function`, forward over reverse.

    Args:
        function: returns a real scalar.
        argnums: which positional arguments to differentiate with respect to.

    Returns:
        A function that returns arrays of shape ``argument.shape + argument.shape`` (trees of trees of them).

    Example:
        >>> import numpy as np, functrans as ft
        >>> ft.hessian(lambda x: np.prod(x))(np.array([2.0, 3.0])).tolist()
        [[0.0, 1.0], [1.0, 0.0]]
    """
    check_argnums("hessian", argnums)
    slope = slope_of("hessian", function, argnums)

    @wraps(hessian, function, argnums)
    def hessian_function(*args: Any, **keywords: Any) -> Any:
        return by_columns("hessian", slope, argnums, False, args, keywords)

    return hessian_function


def slope_of(transform: str, function: Callable[..., Any], argnums: Any) -> Callable[..., Any]:
    """What `grad` returns, in the name of `transform`."""
    check_function(transform, function)
    return named(function, lambda *args, **keywords: gradient_of(transform, function, argnums, False, args, keywords)[1])


def hvp(function: Callable[..., Any], primals: Sequence[Any], tangents: Sequence[Any]) -> Any:
    """The product of the Hessian of a scalar `function` with a direction, forward over reverse.

    Args:
        function: of positional arguments; returns a real scalar.
        primals: the arguments, as a tuple.
        tangents: the direction, trees like the arguments.

    Returns:
        A tree like the argument if there is one, else a tuple, one per argument. The cost is a small
        multiple of the gradient's.

    Example:
        >>> import numpy as np, functrans as ft
        >>> ft.hvp(lambda x: np.sum(x**3), (np.array([1.0, 2.0]),), (np.array([1.0, 1.0]),)).tolist()
        [6.0, 12.0]

    Source: Pearlmutter, Fast exact multiplication by the Hessian (1994).
    """
    argnums = 0 if len(primals) == 1 else tuple(range(len(primals)))
    return pushforward("hvp", slope_of("hvp", function, argnums), primals, tangents)[1]
