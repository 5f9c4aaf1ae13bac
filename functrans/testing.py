"""Checks of derivatives against finite differences and against each other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from functrans import tree
from functrans.core.tracer import operand
from functrans.core.types import dtype_of, is_differentiable, shape_of
from functrans.transforms.forward import jvp
from functrans.transforms.reverse import vjp

__all__ = ["check_grads"]


def random_like(value: Any, generator: np.random.Generator) -> Any:
    """Normal numbers of the shape and dtype of `value`, complex where it is."""
    numbers = generator.standard_normal(shape_of(value))
    if dtype_of(value).kind == "c":
        numbers = numbers + 1j * generator.standard_normal(shape_of(value))
    return np.asarray(numbers).astype(dtype_of(value))[()]


def pairing(cotangents: Any, tangents: Any) -> float:
    """``Re(sum(ct * tangent))`` over all leaves."""
    return float(sum(np.sum(ct * t).real for ct, t in zip(tree.leaves(cotangents), tree.leaves(tangents))))


def check_grads(
    function: Callable[..., Any],
    args: Sequence[Any],
    order: int = 2,
    modes: Sequence[str] = ("fwd", "rev"),
    *,
    rtol: float = 1e-6,
    atol: float = 1e-6,
    step: float = 1e-6,
    seed: int = 0,
) -> None:
    """Raise unless the derivatives of `function` agree with finite differences, up to `order`, in both modes.

    Forward mode is compared with central differences along one random direction, and reverse mode with forward mode
    through ``Re(sum(ct * tangent))``; then the same is asked of the derivatives themselves.

    Args:
        function: of trees of floating or complex arrays.
        args: where to check; float64 or complex128 for the default tolerances.
        order: the highest order of derivative.
        modes: ``"fwd"``, ``"rev"`` or both.
        rtol, atol: tolerances of the comparison, relative to the larger of the two values.
        step: of the central difference.
        seed: of the random directions.

    Raises:
        AssertionError: a derivative is wrong; says in which mode and of which order.

    Example:
        >>> import numpy as np, functrans as ft
        >>> from functrans.testing import check_grads
        >>> check_grads(lambda x: np.sin(x) * x, (np.array([0.3, 1.2]),), order=3)

    Source: Griewank and Walther, Evaluating Derivatives (2008), section 3.2.
    """
    generator = np.random.default_rng(seed)
    _check(function, tuple(args), order, tuple(modes), rtol, atol, step, generator, "")


def _check(
    function: Callable[..., Any],
    args: tuple[Any, ...],
    order: int,
    modes: tuple[str, ...],
    rtol: float,
    atol: float,
    step: float,
    generator: np.random.Generator,
    path: str,
) -> None:
    tangents = tree.map(lambda leaf: random_like(operand(leaf), generator), args)
    ahead = function(*tree.map(lambda x, t: x + step * t, args, tangents))
    behind = function(*tree.map(lambda x, t: x - step * t, args, tangents))
    outputs = [leaf for leaf in tree.leaves(ahead)]
    cotangents = tree.map(lambda leaf: random_like(operand(leaf), generator), ahead)
    if not all(is_differentiable(dtype_of(operand(leaf))) for leaf in outputs):
        raise AssertionError(f"check_grads{path}: the output is not floating")
    difference = pairing(cotangents, tree.map(lambda a, b: (a - b) / (2 * step), ahead, behind))
    _, pushed = jvp(function, args, tangents)
    forward = pairing(cotangents, pushed)
    if "fwd" in modes:
        np.testing.assert_allclose(
            forward, difference, rtol, atol, err_msg=f"check_grads: forward mode{path}, order {order} left"
        )
    if "rev" in modes:
        _, pullback = vjp(function, *args)
        reverse = pairing(pullback(cotangents), tangents)
        np.testing.assert_allclose(
            reverse, difference, rtol, atol, err_msg=f"check_grads: reverse mode{path}, order {order} left"
        )
    if order > 1:
        if "fwd" in modes:
            _check(
                lambda *primals: jvp(function, primals, tangents)[1],
                args,
                order - 1,
                modes,
                rtol,
                atol,
                step,
                generator,
                f"{path} of forward",
            )
        if "rev" in modes:
            _check(
                lambda *primals: vjp(function, *primals)[1](cotangents),
                args,
                order - 1,
                modes,
                rtol,
                atol,
                step,
                generator,
                f"{path} of reverse",
            )
