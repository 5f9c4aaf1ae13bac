"""Every declared primitive, on its samples: value, type rule, both modes to second order, batching, staging."""

import numpy as np
import pytest

import functrans as ft
import functrans.ops.special  # noqa: F401  (declared when SciPy's ufuncs are first met)
from functrans.core.primitive import PRIMITIVES, Composite, Elementwise, General, Reduction, Structural
from functrans.core.program import check
from functrans.core.staging import stage
from functrans.core.types import dtype_of, is_differentiable, type_of
from functrans.testing import check_grads

CASES = [
    pytest.param(primitive, operands, params, id=f"{name}-{number}")
    for name, primitive in sorted(PRIMITIVES.items())
    if primitive.samples is not None
    for number, (operands, params) in enumerate(primitive.samples())
]
# Rules of calls are tested through the functions that make them.
WITHOUT_SAMPLES = {"axis_sum", "custom_call", "stop_gradient"}


def differentiable(primitive, operands):
    """The places of the operands the primitive can be differentiated with respect to."""
    if isinstance(primitive, Elementwise):
        return [i for i, partial in enumerate(primitive.partials) if partial is not None]
    if isinstance(primitive, Reduction) and primitive.partial is None or primitive.name == "argsort":
        return []
    return [i for i, value in enumerate(operands) if is_differentiable(dtype_of(value))]


def closed(primitive, operands, params, places):
    """The primitive as a function of the operands at `places`."""

    def function(*chosen):
        complete = list(operands)
        for place, value in zip(places, chosen):
            complete[place] = value
        return primitive(*complete, **params)

    return function, tuple(operands[place] for place in places)


def assert_same(actual, expected):
    np.testing.assert_allclose(actual, expected, rtol=1e-12, atol=1e-12)
    assert np.shape(actual) == np.shape(expected)
    assert np.asarray(actual).dtype == np.asarray(expected).dtype


def test_every_primitive_has_samples():
    assert {name for name, primitive in PRIMITIVES.items() if primitive.samples is None} == WITHOUT_SAMPLES


@pytest.mark.parametrize("primitive, operands, params", CASES)
def test_type_rule_and_staging(primitive, operands, params):
    expected = primitive(*operands, **params)
    type_ = primitive.result_type([type_of(value) for value in operands], params)
    assert (type_.shape, type_.dtype) == (np.shape(expected), np.asarray(expected).dtype)
    program = check(stage(lambda *values: primitive(*values, **params), operands, transform="test"))
    assert_same(program(*operands), expected)


@pytest.mark.parametrize("primitive, operands, params", CASES)
def test_derivatives(primitive, operands, params):
    places = differentiable(primitive, operands)
    if not places:
        tangents = (
            ft.jvp(lambda x: np.sum(1.0 * primitive(x, *operands[1:], **params)), operands[:1], operands[:1])[1]
            if (is_differentiable(dtype_of(operands[0])))
            else 0.0
        )
        assert np.all(tangents == 0)
        return
    check_grads(*closed(primitive, operands, params, places), order=2, rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("primitive, operands, params", CASES)
def test_batching(primitive, operands, params):
    """Against a loop, with every operand batched, and each alone."""
    for axes in [
        (0,) * len(operands),
        *(tuple(0 if i == j else None for i in range(len(operands))) for j in range(len(operands))),
    ]:
        stacked = [
            np.stack(
                [
                    value,
                    value[..., ::-1]
                    if value.ndim and isinstance(primitive, (Elementwise, Reduction, Structural, Composite))
                    else value * 1,
                ]
            )
            if axis == 0
            else value
            for value, axis in zip(operands, axes)
        ]
        results = [
            primitive(*(value[k] if axis == 0 else value for value, axis in zip(stacked, axes)), **params) for k in range(2)
        ]
        assert_same(ft.vmap(lambda *values: primitive(*values, **params), in_axes=axes)(*stacked), np.stack(results))


@pytest.mark.parametrize("primitive, operands, params", CASES)
def test_batched_gradient(primitive, operands, params):
    places = differentiable(primitive, operands)
    if not places:
        pytest.skip("not differentiable")
    function, chosen = closed(primitive, operands, params, places)
    gradient = ft.grad(lambda *values: np.sum(np.abs(function(*values)) ** 2), argnums=tuple(range(len(chosen))))
    batched = ft.vmap(gradient)(*(np.stack([value, value]) for value in chosen))
    for both, one in zip(batched, gradient(*chosen)):
        np.testing.assert_allclose(both, np.stack([one, one]), rtol=1e-10, atol=1e-10)


def test_general_primitives_are_few():
    """Classes with rules of their own are the exception."""
    assert sum(isinstance(primitive, General) for primitive in PRIMITIVES.values()) < 15
