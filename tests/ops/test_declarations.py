"""Every declared primitive, on its samples: value, type rule, both modes to second order, batching, staging."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import functrans as ft
import functrans.ops.special  # noqa: F401  (declared when SciPy's ufuncs are first met)
from functrans.core.primitive import PRIMITIVES, Composite, Control, Elementwise, General, Reduction, Structural
from functrans.core.types import type_of
from functrans.testing import check_declaration, check_derivatives, check_types, complex_samples

# Rules of calls, control flow and effects are tested through the functions that make them; `positions` has no operands, and is tested
# through the places of extrema that the compiler makes of it.
WITHOUT_SAMPLES = {
    "axis_sum", "barrier", "custom_call", "debug_breakpoint", "debug_check", "debug_print", "positions", "pure_callback", "stop_gradient",
}  # fmt: skip
SAMPLED = [primitive for name, primitive in sorted(PRIMITIVES.items()) if primitive.samples is not None]


def test_every_primitive_has_samples():
    declared = {name for name, primitive in PRIMITIVES.items() if not isinstance(primitive, Control)}
    assert {name for name in declared if PRIMITIVES[name].samples is None} == WITHOUT_SAMPLES


@pytest.mark.parametrize("primitive", SAMPLED, ids=str)
def test_declaration(primitive):
    check_declaration(primitive)


# Phases of complex vectors are free, so differences say nothing of their derivatives: `test_decompositions.py` looks at what does not
# depend on them.
WITH_FREE_PHASES = {"eig", "eigh", "qr", "svd"}
COMPLEX = [item for item in SAMPLED if item.name not in {"digamma", *WITH_FREE_PHASES} and complex_samples(item)]


@pytest.mark.parametrize("primitive", COMPLEX, ids=str)
def test_complex(primitive):
    for operands, params in complex_samples(primitive):
        check_types(primitive, operands, params)
        check_derivatives(primitive, operands, params)


@pytest.mark.parametrize("primitive", SAMPLED, ids=str)
def test_float32(primitive):
    """Types and gradients stay float32."""
    for operands, params in primitive.samples():
        single = tuple(value.astype(np.float32) if value.dtype == np.float64 else value for value in operands)
        check_types(primitive, single, params)
        out = primitive(*single, **params)
        for place, value in enumerate(single):
            if value.dtype == np.float32 and all(part.dtype.kind in "fc" for part in ft.tree.leaves(out)):
                _, pullback = ft.vjp(lambda x: primitive(*single[:place], x, *single[place + 1 :], **params), value)
                (gradient,) = pullback(ft.tree.map(np.ones_like, out))
                assert type_of(gradient) == type_of(value)


BESIDE_A_SCALAR = [
    (item, place)
    for item in SAMPLED
    if isinstance(item, Elementwise) and len(item.partials) == 2
    for place in (0, 1)
    if item.partials[place] is not None
]


@pytest.mark.parametrize("primitive, place", BESIDE_A_SCALAR, ids=str)
def test_python_scalars_do_not_widen(primitive, place):
    """The other operand a float: results and derivatives stay float32."""
    value = np.float32([0.5, 1.5])
    function = (lambda x: primitive(x, 2.75)) if place == 0 else (lambda y: primitive(2.75, y))
    out, pullback = ft.vjp(function, value)
    _, tangent = ft.jvp(function, (value,), (value,))
    assert (tangent.dtype, pullback(out)[0].dtype) == (out.dtype, np.float32)


@pytest.mark.parametrize("primitive, place", BESIDE_A_SCALAR, ids=str)
@pytest.mark.parametrize("other", [np.array([True, True]), np.array([2, 3], np.int8), np.array([2, 3])], ids=str)
def test_beside_booleans_and_integers(primitive, place, other):
    """Derivatives are those beside the same numbers as floats."""

    def slope(other):
        function = (lambda x: primitive(x, other)) if place == 0 else (lambda y: primitive(other, y))
        return ft.vjp(function, np.array([0.6, 1.7]))[1](np.ones(2))[0], ft.jvp(
            function, (np.array([0.6, 1.7]),), (np.ones(2),)
        )[1]

    for actual, expected in zip(slope(other), slope(other.astype(float))):
        np.testing.assert_allclose(actual, expected, rtol=1e-12)


SHAPES = st.lists(st.integers(0, 3), max_size=3).map(tuple)
DTYPES = st.sampled_from([np.bool_, np.int8, np.uint16, np.int64, np.float16, np.float32, np.float64, np.complex64])
ELEMENTWISE = [item for item in SAMPLED if isinstance(item, Elementwise) and getattr(item.ufunc, "__name__", "") == item.name]


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(ELEMENTWISE), SHAPES, st.data())
def test_elementwise_types_for_any_shape_and_dtype(primitive, shape, data):
    """The type rule gives what NumPy gives, or raises where NumPy raises, broadcasting included."""
    operands = []
    for _ in range(primitive.ufunc.nin):
        own = tuple(data.draw(st.sampled_from([1, length])) for length in shape[data.draw(st.integers(0, len(shape))) :])
        operands.append(np.ones(own, data.draw(DTYPES)))
    try:
        with np.errstate(all="ignore"):
            expected = type_of(np.asarray(primitive.evaluate(*operands)))
    except TypeError:
        with pytest.raises(TypeError):
            primitive.result_type(list(map(type_of, operands)), {})
        return
    assert primitive.result_type(list(map(type_of, operands)), {}) == expected


LINEAR = [item for item in SAMPLED if isinstance(item, (Structural, Reduction, Composite))]


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(LINEAR), st.integers(0, 2**32 - 1))
def test_other_values(primitive, seed):
    """The samples' shapes with other numbers."""
    generator = np.random.default_rng(seed)
    samples = [
        (tuple(generator.uniform(0.5, 2.0, value.shape).astype(value.dtype) for value in operands), params)
        for operands, params in primitive.samples()
    ]
    check_declaration(primitive, samples)


def test_a_wrong_declaration_is_found():
    wrong = Elementwise("wrong_sine", np.sin, [lambda x: np.sin(x)], samples=PRIMITIVES["sin"].samples)
    try:
        with pytest.raises(AssertionError, match="forward mode"):
            check_declaration(wrong)
    finally:
        del PRIMITIVES["wrong_sine"]


def test_general_primitives_are_few():
    """Classes with rules of their own are the exception; half of them are linear algebra."""
    assert sum(isinstance(primitive, General) for primitive in PRIMITIVES.values()) < 25
