"""Checks of results against others, of derivatives against finite differences, and of an op's declaration by its samples."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from functrans import tree
from functrans.core.primitive import Composite, Elementwise, Primitive, Reduction, Structural
from functrans.core.program import check
from functrans.core.staging import stage
from functrans.core.tracer import operand
from functrans.core.types import dtype_of, is_differentiable, shape_of, type_of
from functrans.transforms.batch import vmap
from functrans.transforms.forward import jvp
from functrans.transforms.reverse import grad, vjp

__all__ = [
    "assert_close",
    "check_batching",
    "check_declaration",
    "check_derivatives",
    "check_grads",
    "check_types",
    "complex_samples",
]

Operands = Sequence[Any]


def random_like(value: Any, generator: np.random.Generator) -> Any:
    """Normal numbers of the shape and dtype of `value`, complex where it is."""
    numbers = generator.standard_normal(shape_of(value))
    if dtype_of(value).kind == "c":
        numbers = numbers + 1j * generator.standard_normal(shape_of(value))
    return np.asarray(numbers).astype(dtype_of(value))[()]


def pairing(cotangents: Any, tangents: Any) -> float:
    """``Re(sum(ct * tangent))`` over all leaves."""
    return float(sum(np.sum(ct * t).real for ct, t in zip(tree.leaves(cotangents), tree.leaves(tangents))))


def assert_close(actual: Any, expected: Any, rtol: float = 1e-12, atol: float = 1e-13, message: str = "") -> None:
    """Raise unless two trees have the same structure, shapes and dtypes, and values that are close.

    Args:
        actual: a tree of arrays.
        expected: another one.
        rtol: how far values may be apart, relative to those expected,
        atol: and beside that.
        message: what the error begins with.

    Raises:
        AssertionError: they are not alike; names the leaf.

    Example:
        >>> import numpy as np, functrans as ft
        >>> ft.testing.assert_close({"w": np.arange(2.0)}, {"w": np.array([0.0, 1.0 + 1e-14])})
    """
    leaves, structure = tree.flatten(actual)
    others, wanted = tree.flatten(expected)
    begin = message and f"{message}: "
    if structure != wanted:
        raise AssertionError(f"{begin}the structure is {structure} where {wanted} was expected")
    for leaf, other, path in zip(leaves, others, tree.paths(expected)):
        at = path and f" at {path}"
        if (got := type_of(np.asarray(leaf))) != (type_ := type_of(np.asarray(other))):
            raise AssertionError(f"{begin}the type{at} is {got} where {type_} was expected")
        np.testing.assert_allclose(leaf, other, rtol=rtol, atol=atol, err_msg=f"{message}{at}")


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
    cotangents = tree.map(lambda leaf: random_like(operand(leaf), generator), ahead)
    if not all(is_differentiable(dtype_of(operand(leaf))) for leaf in tree.leaves(ahead)):
        raise AssertionError(f"check_grads{path}: the output is not floating")
    difference = pairing(cotangents, tree.map(lambda a, b: (a - b) / (2 * step), ahead, behind))

    def compare(mode: str, derivative: float) -> None:
        message = f"check_grads: {mode} mode{path}, order {order} left"
        np.testing.assert_allclose(derivative, difference, rtol, atol, err_msg=message)

    def descend(mode: str, derivative: Callable[..., Any]) -> None:
        if order > 1:
            _check(derivative, args, order - 1, modes, rtol, atol, step, generator, f"{path} of {mode}")

    if "fwd" in modes:
        compare("forward", pairing(cotangents, jvp(function, args, tangents)[1]))
        descend("forward", lambda *primals: jvp(function, primals, tangents)[1])
    if "rev" in modes:
        compare("reverse", pairing(vjp(function, *args)[1](cotangents), tangents))
        descend("reverse", lambda *primals: vjp(function, *primals)[1](cotangents))


def check_declaration(primitive: Primitive, samples: Any = None, *, order: int = 2) -> None:
    """Raise unless every rule that follows from the declaration of `primitive` holds on its samples.

    It runs `check_types`, `check_derivatives` and `check_batching` on each sample.

    Args:
        primitive: what is tested.
        samples: pairs ``(operands, params)``; those of the declaration by default.
        order: the highest order of derivative.

    Raises:
        AssertionError: a rule gives something else than evaluation does.

    Example:
        >>> from functrans.core.primitive import PRIMITIVES
        >>> from functrans.testing import check_declaration
        >>> check_declaration(PRIMITIVES["tanh"])
    """
    samples = primitive.samples() if samples is None and primitive.samples is not None else samples
    if not samples:
        raise ValueError(f"check_declaration: {primitive} has no samples; declare some, or pass them")
    for operands, params in samples:
        check_types(primitive, operands, params)
        check_derivatives(primitive, operands, params, order=order)
        check_batching(primitive, operands, params)


def complex_samples(primitive: Primitive) -> list[tuple[Operands, dict[str, Any]]]:
    """The samples of `primitive` with an imaginary part, where it takes complex numbers; else none."""
    samples = []
    for operands, params in primitive.samples() if primitive.samples is not None else ():
        turned = tuple(
            value + 0.2j * np.sin(1.0 + np.arange(value.size)).reshape(value.shape) if dtype_of(value).kind == "f" else value
            for value in operands
        )
        if any(dtype_of(value).kind == "c" for value in turned) and _accepts(primitive, turned, params):
            samples.append((turned, params))
    return samples


def _accepts(primitive: Primitive, operands: Operands, params: dict[str, Any]) -> bool:
    try:
        primitive(*operands, **params)
    except TypeError:
        return False
    return True


def results_of(primitive: Primitive, out: Any) -> list[Any]:
    """The results, of which some primitives have several."""
    return list(out) if primitive.multiple else [out]


def check_types(primitive: Primitive, operands: Operands, params: dict[str, Any]) -> None:
    """Raise unless the type rule and the staged program agree with evaluation."""
    expected = results_of(primitive, primitive(*operands, **params))
    declared = results_of(primitive, primitive.result_type([type_of(value) for value in operands], params))
    found = [type_of(np.asarray(value)) for value in expected]
    if declared != found:
        raise AssertionError(f"{primitive}: the type rule gives {declared}, evaluation {found}")
    program = check(stage(lambda *values: primitive(*values, **params), tuple(operands), transform="check_types"))
    assert_close(results_of(primitive, program(*operands)), expected, message=f"{primitive}, staged")


def differentiable_places(primitive: Primitive, operands: Operands, params: dict[str, Any]) -> list[int]:
    """The operands `primitive` is declared to have a derivative with respect to."""
    if not any(is_differentiable(dtype_of(value)) for value in results_of(primitive, primitive(*operands, **params))):
        return []
    if isinstance(primitive, Reduction) and primitive.partial is None:
        return []
    places = [place for place, value in enumerate(operands) if is_differentiable(dtype_of(value))]
    if isinstance(primitive, Elementwise):
        return [place for place in places if primitive.differentiable and primitive.partials[place] is not None]
    return places


def _closed(primitive: Primitive, operands: Operands, params: dict[str, Any], places: Sequence[int]) -> Callable[..., Any]:
    """`primitive` as a function of the operands at `places`; of several results, those that have derivatives."""

    def function(*chosen: Any) -> Any:
        complete = list(operands)
        for place, value in zip(places, chosen):
            complete[place] = value
        out = primitive(*complete, **params)
        return [part for part in out if is_differentiable(dtype_of(part))] if primitive.multiple else out

    return function


def check_derivatives(primitive: Primitive, operands: Operands, params: dict[str, Any], *, order: int = 2) -> None:
    """Raise unless both modes agree with finite differences; where there is no derivative, unless it is 0."""
    places = differentiable_places(primitive, operands, params)
    if places:
        function = _closed(primitive, operands, params, places)
        check_grads(function, tuple(operands[place] for place in places), order, rtol=2e-5, atol=2e-6)
        return
    floating = [place for place, value in enumerate(operands) if is_differentiable(dtype_of(value))]
    chosen = tuple(operands[place] for place in floating)
    flat = _closed(primitive, operands, params, floating)
    _, tangent = jvp(lambda *values: (flat(*values) + 0.0).sum(), chosen, chosen)
    _, pullback = vjp(lambda *values: (flat(*values) + 0.0).sum(), *chosen)
    for derivative in (tangent, *pullback(tangent)):
        assert_close(derivative, np.zeros_like(derivative), message=f"{primitive}, which has no derivative")


def check_batching(primitive: Primitive, operands: Operands, params: dict[str, Any]) -> None:
    """Raise unless `vmap` of the op, and of its gradient, agrees with a loop: all operands batched, and each alone."""
    count = len(operands)
    for mask in [(True,) * count, *(tuple(i == j for i in range(count)) for j in range(count))]:
        axes = tuple(0 if own else None for own in mask)
        stacked = [_two(primitive, value) if own else value for value, own in zip(operands, mask)]
        loop = [primitive(*(value[item] if own else value for value, own in zip(stacked, mask)), **params) for item in range(2)]
        batched = vmap(lambda *values: primitive(*values, **params), axes)(*stacked)
        columns = zip(*(results_of(primitive, out) for out in loop))
        stacks = [np.stack(items) for items in columns]
        assert_close(results_of(primitive, batched), stacks, message=f"{primitive}, batched over {axes}")
    places = differentiable_places(primitive, operands, params)
    if places:
        function = _closed(primitive, operands, params, places)
        squares = lambda *values: sum(np.sum(np.abs(out) ** 2) for out in results_of(primitive, function(*values)))
        gradient = grad(squares, tuple(range(len(places))))
        chosen = [operands[place] for place in places]
        for batch, one in zip(vmap(gradient)(*[np.stack([value, value]) for value in chosen]), gradient(*chosen)):
            np.testing.assert_allclose(batch, np.stack([one, one]), 1e-10, 1e-10, err_msg=f"{primitive}, batched gradient")


def _two(primitive: Primitive, value: Any) -> Any:
    """Two different operands, where any values will do."""
    free = np.ndim(value) and isinstance(primitive, (Elementwise, Reduction, Structural, Composite))
    return np.stack([value, value[..., ::-1] if free else value])
