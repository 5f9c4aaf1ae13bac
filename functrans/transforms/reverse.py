"""Reverse mode: `vjp`, `grad` and `value_and_grad`, over the tape of `tape.py`.

Invariant: `vjp` keeps its tape for further calls of the pullback; the gradients drop each entry once
the backward pass is past it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from functrans import tree
from functrans.core.calling import called, function_title, returned
from functrans.core.matching import auxiliary_pair, leaves_like
from functrans.core.trace import TracedValue
from functrans.core.tracer import operand
from functrans.core.types import PYTHON_SCALARS, ArrayType, describe, dtype_of, is_differentiable, shape_of, type_of
from functrans.errors import DifferentiationError, at_user_line
from functrans.transforms.arguments import check_argnums, split_arguments, wraps
from functrans.transforms.tape import ReverseTrace, backward, fit, record, release

__all__ = ["grad", "gradient_of", "pulled", "value_and_grad", "vjp"]


def released_auxiliary(trace: ReverseTrace, aux: Any) -> Any:
    """Auxiliary data outside the trace: values of any kind."""
    return tree.map(lambda leaf: release(trace, leaf)[0] if isinstance(leaf, TracedValue) else leaf, aux)


def delivered(leaves: Sequence[Any], cotangents: Sequence[Any], taken: Sequence[Any]) -> list[Any]:
    """The cotangents of arguments as the caller's own: zeros where nothing flowed, and no array that is
    read-only, stands for two arguments, or is one of `taken`."""
    seen = set(map(id, taken))
    results = []
    for leaf, ct in zip(leaves, cotangents):
        if ct is None:
            type_ = type_of(leaf)
            ct = np.zeros(type_.shape, type_.dtype)[()]
        elif isinstance(ct, np.ndarray) and (id(ct) in seen or not ct.flags.writeable):
            ct = ct.copy()
        seen.add(id(ct))
        results.append(ct)
    return results


def vjp(function: Callable[..., Any], *primals: Any, has_aux: bool = False) -> Any:
    """The value of `function` and its pullback, which maps cotangents of the output to those of the arguments.

    Args:
        function: of positional arguments, each a pytree of floating or complex arrays.
        primals: the arguments.
        has_aux: whether `function` returns a pair ``(output, auxiliary)``.

    Returns:
        ``(output, pullback)``, and the auxiliary data third with `has_aux`. ``pullback(ct)`` takes a
        tree like the output and returns a tuple, one cotangent tree per argument; it may be called often.
        It reads the plain arrays the function used, so do not write into them before.

    Raises:
        DifferentiationError: an argument is not floating or complex.
        StructureError: the cotangent does not match the output.

    Example:
        >>> import numpy as np, functrans as ft
        >>> value, pullback = ft.vjp(lambda x, y: x * np.sin(y), 2.0, 0.0)
        >>> [float(ct) for ct in pullback(1.0)]
        [0.0, 2.0]

    Source: Griewank and Walther, Evaluating Derivatives (2008), section 3.2.
    """
    return pulled("vjp", function, primals, has_aux)


def pulled(transform: str, function: Callable[..., Any], primals: tuple[Any, ...], has_aux: bool) -> Any:
    """What `vjp` returns, computed in the name of `transform`."""
    leaves, structure = tree.flatten(primals)
    leaves = [_checked_primal(transform, function, primals, position, leaf) for position, leaf in enumerate(leaves)]
    call = lambda tracers: called(transform, function, tree.unflatten(structure, tracers))
    trace, result = record(transform, function, leaves, call)
    aux: Any = None
    if has_aux:
        result, aux = auxiliary_pair(f"{transform} of {function_title(function)}", result)
    out_leaves, out_structure = tree.flatten(result)
    released = [release(trace, leaf) for leaf in out_leaves]
    tape = trace.tape
    types = [type_of(value) for value, _ in released]
    places = [node for _, node in released]

    def pullback(*cotangents: Any) -> Any:
        ct_leaves = _match_cotangents(function, cotangents, out_structure, types)
        seeds = [(node, ct) for node, ct in zip(places, ct_leaves) if node >= 0]
        with np.errstate(all="ignore"):
            found = backward(tape, seeds, len(leaves), keep=True)
        return tree.unflatten(structure, delivered(leaves, found, ct_leaves))

    output = tree.unflatten(out_structure, [value for value, _ in released])
    if has_aux:
        return output, pullback, released_auxiliary(trace, aux)
    return output, pullback


def _match_cotangents(
    function: Callable[..., Any], cotangents: tuple[Any, ...], structure: Any, types: list[ArrayType]
) -> list[Any]:
    """The leaves of the cotangent, if there is one, each of its output's shape and dtype."""
    if len(cotangents) != 1:
        raise TypeError(
            f"vjp of {function_title(function)}: the pullback takes one cotangent, a tree like the output, got {len(cotangents)}"
            f"\n  Remedy: put those of several outputs into a tuple, list or dict like the output.{at_user_line()}"
        )
    (cotangent,) = cotangents
    title, remedy = f"vjp of {function_title(function)}", "call the pullback with a cotangent of the output's structure and shapes"
    leaves = leaves_like(title, "the cotangent", cotangent, "the output", structure, types, remedy)
    return [fit(np.asarray(leaf)[()] if type(leaf) in PYTHON_SCALARS else leaf, type_) for leaf, type_ in zip(leaves, types)]


def _checked_primal(transform: str, function: Callable[..., Any], args: Any, position: int, leaf: Any) -> Any:
    """`leaf`, if it can be differentiated with respect to."""
    leaf = operand(leaf, transform)
    if is_differentiable(dtype_of(leaf)):
        return leaf
    path = tree.paths(args)[position]
    raise DifferentiationError(
        f"{transform} of {function_title(function)}: the argument{path and f' leaf {path}'} is {describe(leaf)}, and only "
        "floating and complex arrays have derivatives"
        "\n  Remedy: pass a float (x.astype(float), 3.0 for 3), or differentiate with respect to other arguments "
        f"(argnums).{at_user_line()}"
    )


def value_and_grad(function: Callable[..., Any], argnums: int | Sequence[int] = 0, has_aux: bool = False) -> Callable[..., Any]:
    """A function that returns the value of a scalar `function` and its gradient.

    Args:
        function: returns a real scalar, float``[]``, or ``(scalar, auxiliary)`` with `has_aux`.
        argnums: which positional arguments to differentiate with respect to: one, or a sequence.
        has_aux: whether `function` also returns auxiliary data.

    Returns:
        A function of the same arguments that returns ``(value, gradient)``, or
        ``((value, auxiliary), gradient)``. The gradient has the shapes, dtypes and structure of the
        argument, and is a tuple where `argnums` is a sequence. For complex arguments it is
        ``df/dx - i df/dy``: descend along its conjugate.

    Raises:
        DifferentiationError: the output is not a real scalar, or an argument is not floating.

    Example:
        >>> import numpy as np, functrans as ft
        >>> value, gradient = ft.value_and_grad(lambda w, x: np.sum((w * x) ** 2))(2.0, np.array([1.0, 2.0]))
        >>> float(value), float(gradient)
        (20.0, 20.0)

    Source: Griewank and Walther, Evaluating Derivatives (2008), section 3.2.
    """
    check_argnums("value_and_grad", argnums)

    @wraps(value_and_grad, function, argnums, has_aux)
    def value_and_gradient(*args: Any, **keywords: Any) -> Any:
        return gradient_of("value_and_grad", function, argnums, has_aux, args, keywords)

    return value_and_gradient


def grad(function: Callable[..., Any], argnums: int | Sequence[int] = 0, has_aux: bool = False) -> Callable[..., Any]:
    """A function that returns the gradient of a scalar `function`.

    Arguments, errors and conventions are those of `value_and_grad`. With `has_aux` the result is
    ``(gradient, auxiliary)``.

    Example:
        >>> import numpy as np, functrans as ft
        >>> gradient = ft.grad(lambda x: np.sum(x**3))(np.array([1.0, 2.0]))
        >>> gradient.tolist()
        [3.0, 12.0]
        >>> float(ft.grad(ft.grad(np.sin))(0.5)) == -float(np.sin(0.5))
        True

    Source: Griewank and Walther, Evaluating Derivatives (2008), section 3.2.
    """
    check_argnums("grad", argnums)

    @wraps(grad, function, argnums, has_aux)
    def gradient(*args: Any, **keywords: Any) -> Any:
        value, result = gradient_of("grad", function, argnums, has_aux, args, keywords)
        return (result, value[1]) if has_aux else result

    return gradient


def gradient_of(
    transform: str, function: Callable[..., Any], argnums: Any, has_aux: bool, args: tuple[Any, ...], keywords: dict[str, Any]
) -> tuple[Any, Any]:
    """What `value_and_grad` returns, computed in the name of `transform`.

    The result may be a container that says it stands for its one array, as tensors of `functrans.torch` do, by having
    ``__functrans_array__``.
    """
    chosen, rebuild = split_arguments(transform, function, argnums, args)
    leaves, structure = tree.flatten(chosen)
    leaves = [_checked_primal(transform, function, chosen, position, leaf) for position, leaf in enumerate(leaves)]
    call = lambda tracers: called(transform, function, rebuild(tree.unflatten(structure, tracers)), keywords)
    trace, result = record(transform, function, leaves, call)
    aux: Any = None
    if has_aux:
        result, aux = auxiliary_pair(f"{transform} of {function_title(function)}", result)
        aux = released_auxiliary(trace, aux)
    container = tree.structure(result) if hasattr(type(result), "__functrans_array__") else None
    if container is not None:
        (result,) = tree.leaves(result)
    value, node = release(trace, _scalar(transform, function, result))
    seeds = [(node, dtype_of(value).type(1))] if node >= 0 else []
    with np.errstate(all="ignore"):
        cotangents = backward(trace.tape, seeds, len(leaves), keep=False)
    if container is not None:
        value = tree.unflatten(container, [value])
    return (value, aux) if has_aux else value, tree.unflatten(structure, delivered(leaves, cotangents, ()))


def _scalar(transform: str, function: Callable[..., Any], result: Any) -> Any:
    """`result`, if it is a real floating scalar."""
    title = function_title(function)
    if tree.structure(result) != tree.LEAF:
        raise DifferentiationError(
            f"{transform} of {title}: the output must be a scalar, got {describe(result)}"
            f"\n  Remedy: {'end the function with return' if result is None else 'return one number'}; with auxiliary results use "
            f"has_aux=True.{at_user_line()}"
        )
    (value,) = returned(transform, function, [result])
    if shape_of(value) != ():
        raise DifferentiationError(
            f"{transform} of {title}: the output must be a scalar, got {describe(value)}"
            f"\n  Remedy: reduce it (np.sum, np.mean), or use ft.jacobian or ft.vjp.{at_user_line()}"
        )
    if dtype_of(value).kind != "f":
        raise DifferentiationError(
            f"{transform} of {title}: the output must be a real floating scalar, got {describe(value)}"
            f"\n  Remedy: return a float, for example np.abs(z) ** 2 or z.real for complex z.{at_user_line()}"
        )
    return value
