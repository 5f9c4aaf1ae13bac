"""Decompositions: what does not depend on the choice of vectors, to third order; equal eigenvalues; identities; every transform."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import functrans as ft
from functrans.testing import check_grads

GENERATOR = np.random.default_rng(3)
SQUARE, TALL = GENERATOR.normal(size=(4, 4)), GENERATOR.normal(size=(5, 3))
IMAGINARY = GENERATOR.normal(size=(4, 4)), GENERATOR.normal(size=(5, 3))
RIGHT = GENERATOR.normal(size=(5, 2))
MATRICES = {
    "square": SQUARE, "tall": TALL, "wide": TALL.T, "complex square": SQUARE + 1j * IMAGINARY[0],
    "complex tall": TALL + 1j * IMAGINARY[1], "complex wide": (TALL + 1j * IMAGINARY[1]).T,
}  # fmt: skip
SQUARES = [name for name in MATRICES if "square" in name]


def adjoint(x):
    return np.conj(np.swapaxes(x, -1, -2))


def close(actual, expected, tolerance=1e-9):
    for one, other in zip(ft.tree.leaves(actual), ft.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance)


def of_eigh(UPLO="L"):
    def function(a):
        w, v = np.linalg.eigh(a, UPLO)
        return (v * np.sin(w)) @ adjoint(v), v[:, 1:3] @ adjoint(v[:, 1:3])

    return function


def of_eig(a):
    w, v = np.linalg.eig(a)
    return (v * np.sin(w)) @ np.linalg.inv(v), np.abs(v) ** 2


def of_svd(a):
    u, s, vh = np.linalg.svd(a, full_matrices=False)
    return (u * np.sin(s)) @ vh, u[:, :2] @ adjoint(u[:, :2])


def of_full_svd(a):
    """Also of the spaces beyond those of the matrix."""
    u, s, vh = np.linalg.svd(a)
    count = len(s)
    return (u[:, :count] * s**2) @ vh[:count], u[:, count:] @ adjoint(u[:, count:]), adjoint(vh[count:]) @ vh[count:]


def of_complete_qr(a):
    q, r = np.linalg.qr(a, "complete")
    count = min(a.shape)
    return q[:, :count], r, q[:, count:] @ adjoint(q[:, count:])


FUNCTIONS = {
    "eigh": (of_eigh(), SQUARES), "eigh of the upper triangle": (of_eigh("U"), SQUARES), "eig": (of_eig, SQUARES),
    "svd": (of_svd, MATRICES), "full svd": (of_full_svd, MATRICES), "qr": (lambda a: tuple(np.linalg.qr(a)), MATRICES),
    "complete qr": (of_complete_qr, MATRICES), "pinv": (np.linalg.pinv, MATRICES),
    "lstsq": (lambda a: np.linalg.lstsq(a, RIGHT[: len(a)])[0], MATRICES), "nuclear norm": (lambda a: np.linalg.norm(a, "nuc"), MATRICES),
    "spectral norm": (lambda a: np.linalg.norm(a, 2), MATRICES), "smallest": (lambda a: np.linalg.norm(a, -2), MATRICES),
    "condition": (lambda a: np.log(np.linalg.cond(a)), SQUARES), "residuals": (lambda a: np.linalg.lstsq(a, RIGHT)[1], ["tall", "complex tall"]),
}  # fmt: skip


@pytest.mark.parametrize("name, kind", [(name, kind) for name, (_, kinds) in FUNCTIONS.items() for kind in kinds])
def test_derivatives_of_third_order(name, kind):
    check_grads(FUNCTIONS[name][0], (MATRICES[kind],), order=3, rtol=1e-4, atol=1e-4)


def test_pseudo_inverses_of_rank_deficient_matrices():
    """Among matrices of the same rank."""
    for function in (
        lambda x: np.linalg.pinv(x @ x.T, 1e-10),
        lambda x: np.linalg.pinv(x @ x.T, 1e-10, hermitian=True),
        lambda x: np.linalg.lstsq(x @ x.T, RIGHT, rcond=1e-10)[0],
    ):
        check_grads(function, (TALL,), order=2)


def symmetric(a):
    return (a + a.T) / 2


EQUAL = {
    "all": np.eye(3), "two": np.diag([2.0, 1.0, 2.0]), "two, turned": 3 * np.eye(3) + np.ones((3, 3)),
    "zeros": np.zeros((3, 3)), "opposite": np.diag([1.0, -1.0, 0.5]),
}  # fmt: skip


@pytest.mark.parametrize("name", EQUAL)
def test_sums_over_equal_eigenvalues(name):
    a = EQUAL[name]
    check_grads(lambda a: np.sum(np.sin(np.linalg.eigvalsh(symmetric(a)))), (a,), order=1)
    check_grads(lambda a: np.sum(np.sin(np.linalg.eigh(symmetric(a))[0])), (a,), order=1)
    check_grads(lambda a: np.sum(np.linalg.svd(a)[1] ** 4), (a,), order=1)
    check_grads(lambda a: np.sum(np.linalg.svdvals(a) ** 4), (a,), order=1)
    if name != "zeros":
        check_grads(np.linalg.pinv, (a,), order=2)
    if name not in ("zeros", "opposite"):
        check_grads(lambda a: np.linalg.norm(a, "nuc"), (a,), order=1)


@pytest.mark.parametrize("name", ["two", "two, turned"])
def test_projections_on_spaces_of_equal_eigenvalues(name):
    def projection(a):
        v = np.linalg.eigh(symmetric(a))[1]
        two = v[:, :2] if name == "two, turned" else v[:, 1:]
        return two @ two.T

    def of_singular_vectors(a):
        u, _, vh = np.linalg.svd(a)
        two = slice(1, 3) if name == "two, turned" else slice(0, 2)
        return u[:, two] @ u[:, two].T, vh[two].T @ vh[two], u[:, two] @ vh[two]

    check_grads(projection, (EQUAL[name],), order=1, modes=("rev",))
    check_grads(of_singular_vectors, (EQUAL[name],), order=1, modes=("rev",))


def from_factors(f):
    """Functions of a matrix by way of its eigenvalues and vectors, or singular ones."""

    def by_eigenvectors(a):
        w, v = np.linalg.eigh(symmetric(a))
        return np.sum(np.cos(np.arange(9.0)).reshape(3, 3) * ((v * f(w)) @ v.T))

    def by_singular_vectors(a):
        u, s, vh = np.linalg.svd(a)
        return np.sum(np.cos(np.arange(9.0)).reshape(3, 3) * ((u * f(s)) @ vh))

    return by_eigenvectors, by_singular_vectors


@pytest.mark.parametrize(
    "derivative", [ft.grad, lambda f: ft.jit(ft.grad(f)), lambda f: lambda x: ft.jvp(f, (x,), (np.ones((3, 3)),))[1]]
)
@pytest.mark.parametrize("name", ["all", "two", "two, turned", "zeros"])
def test_what_equal_eigenvalues_do_not_determine_is_nan(derivative, name):
    """``f(A)`` has a derivative there, which rules of eigenvalues and of eigenvectors cannot give: no wrong number."""
    for function in from_factors(lambda x: x**3 + x):
        assert np.any(np.isnan(derivative(function)(EQUAL[name])))


def test_vectors_of_other_eigenvalues_have_derivatives():
    a = EQUAL["two"]  # the lowest eigenvalue is single
    weights = np.array([0.3, -0.5, 0.7])
    check_grads(lambda a: np.abs(np.linalg.eigh(symmetric(a))[1][:, 0] @ weights) * np.linalg.eigvalsh(symmetric(a))[0], (a,), order=1)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 5), st.integers(1, 5), st.booleans(), st.integers(0, 2**32 - 1))
def test_identities(rows, columns, is_complex, seed):
    """What the factors multiply to is the matrix, so its derivative is the identity, and other ways give the same gradients."""
    generator = np.random.default_rng(seed)
    a = generator.normal(size=(rows, columns)) + is_complex * 1j * generator.normal(size=(rows, columns))
    da = generator.normal(size=a.shape).astype(a.dtype)
    square, dsquare = a @ adjoint(a) + np.diag(np.arange(1.0, rows + 1)), da @ adjoint(da)

    def same(function, x, dx, expected=lambda x: x):
        close(ft.jvp(function, (x,), (dx,)), ft.jvp(expected, (x,), (dx,)), 1e-6)
        ct = np.cos(np.arange(expected(x).size)).reshape(expected(x).shape).astype(expected(x).dtype)
        symmetry = symmetric if function is from_eigenvectors and not is_complex else lambda x: x
        if not (function is from_eigenvectors and is_complex):
            close(*(symmetry(ft.vjp(each, x)[1](ct)[0]) for each in (function, expected)), 1e-6)

    def from_eigenvectors(a):
        w, v = np.linalg.eigh(a)
        return (v * w) @ adjoint(v)

    def from_singular_vectors(a):
        u, s, vh = np.linalg.svd(a, full_matrices=False)
        return (u * s) @ vh

    same(from_eigenvectors, square, dsquare)
    same(from_singular_vectors, a, da)
    same(lambda a: np.matmul(*np.linalg.qr(a)), a, da)
    same(lambda a: np.sum(np.linalg.svdvals(a) ** 2)[None], a, da, lambda a: np.sum(np.abs(a) ** 2)[None])
    same(np.linalg.pinv, square, dsquare, np.linalg.inv)
    same(
        lambda a: np.sum(np.log(np.abs(np.diagonal(np.linalg.qr(a, "r")))))[None],
        square,
        dsquare,
        lambda a: np.linalg.slogdet(a)[1][None],
    )
    same(lambda a: np.prod(np.linalg.eigvals(a))[None] + 0j, square, dsquare, lambda a: np.linalg.det(a)[None] + 0j)


COMPOSED = {
    "eigh": lambda a: np.sum(np.abs(of_eigh()(a @ adjoint(a))[0])), "svd": lambda a: np.sum(np.abs(of_svd(a)[0])),
    "qr": lambda a: np.sum(np.abs(np.linalg.qr(a)[1])), "pinv": lambda a: np.sum(np.abs(np.linalg.pinv(a))),
    "lstsq": lambda a: np.sum(np.abs(np.linalg.lstsq(a, RIGHT[: len(a)])[0])), "eig": lambda a: np.sum(np.abs(of_eig(a @ adjoint(a))[0])),
    "norms": lambda a: np.linalg.norm(a, 2) + np.linalg.norm(a, "nuc") + np.linalg.cond(a),
}  # fmt: skip


@pytest.mark.parametrize("name", COMPOSED)
def test_transforms_compose(name):
    function, gradient = COMPOSED[name], ft.grad(COMPOSED[name])
    many = np.stack([TALL, 2 * TALL[::-1], TALL + RIGHT[:, :1]])
    close(ft.vmap(function)(many), np.stack([function(a) for a in many]))
    close(ft.vmap(gradient)(many), np.stack([gradient(a) for a in many]))
    close(ft.jit(function)(TALL), function(TALL))
    close(ft.jit(gradient)(TALL), gradient(TALL))
    close(ft.grad(ft.jit(function))(TALL), gradient(TALL))
    close(ft.jit(ft.vmap(gradient))(many), np.stack([gradient(a) for a in many]))
    direction = np.cos(np.arange(15.0)).reshape(5, 3)
    hvp = lambda a: ft.jvp(gradient, (a,), (direction,))[1]
    close(ft.jit(hvp)(TALL), hvp(TALL), 1e-8)
    close(ft.jvp(ft.jit(gradient), (TALL,), (direction,))[1], hvp(TALL), 1e-8)


@pytest.mark.parametrize("name", ["eigh", "svd", "qr", "pinv"])
def test_compiled_programs_list_the_call(name):
    function = lambda a: ft.tree.leaves(getattr(np.linalg, name)(a))[0] * 2
    assert name in ft.jit(function).lower(SQUARE @ SQUARE.T).kernels()


def test_values_alone_need_no_products_with_zeros():
    """The gradient of singular values is one product of their vectors, scaled."""
    program = ft.make_program(ft.grad(lambda a: np.sum(np.linalg.svdvals(a))))(TALL)
    assert sum(equation.primitive.name == "contract" for equation in program.equations) == 1


def test_the_triangle_that_is_read():
    """The other one has no influence, and gradient 0."""
    for triangle, other in (("L", np.triu), ("U", np.tril)):
        gradient = ft.grad(lambda a: np.sum(of_eigh(triangle)(a)[0]))(SQUARE)
        assert not other(gradient, 1 if triangle == "L" else -1).any() and gradient.all(where=np.eye(4, dtype=bool))


def test_ranks():
    low = TALL @ TALL.T
    for function in (ft.jit(np.linalg.matrix_rank), lambda a: ft.vjp(np.linalg.matrix_rank, a)[0]):
        assert function(low) == np.linalg.matrix_rank(low) == 3
    assert ft.jit(np.linalg.matrix_rank)(np.zeros(3)) == 0 and ft.jit(np.linalg.matrix_rank)(np.ones(3)) == 1
    np.testing.assert_array_equal(ft.vmap(np.linalg.matrix_rank)(np.stack([low, low * 0])), [3, 0])


def test_eigenvalues_of_real_matrices_are_complex():
    a = np.array([[2.0, 1.0], [0.0, 3.0]])
    assert ft.jit(np.linalg.eigvals)(a).dtype == np.complex128
    assert ft.jit(np.linalg.eig)(a.astype(np.float32))[1].dtype == np.complex64
    assert ft.grad(lambda a: np.sum(np.linalg.eigvals(a).real ** 2))(a).dtype == np.float64


ERRORS = {
    "not square": (np.linalg.eigh, TALL, np.linalg.LinAlgError, "must be square|of one length"),
    "vector": (np.linalg.svd, TALL[0], np.linalg.LinAlgError, "at least two-dimensional"),
    "triangle": (lambda a: np.linalg.eigh(a, "X"), SQUARE, ValueError, "UPLO must be 'L' or 'U'"),
    "mode": (
        lambda a: np.linalg.qr(a, "raw"),
        TALL,
        ft.errors.UnsupportedError,
        "mode='raw' is not supported on traced values",
    ),
    "shapes": (lambda a: np.linalg.lstsq(a, RIGHT[:2]), TALL, np.linalg.LinAlgError, "do not match"),
    "both cutoffs": (lambda a: np.linalg.pinv(a, 0.1, rtol=0.1), TALL, ValueError, "can't be both set"),
    "norm": (lambda a: np.linalg.norm(a, 3), TALL, ValueError, "Invalid norm order for matrices"),
    "qr of a singular matrix": (lambda a: np.linalg.qr(a * 0)[0], SQUARE, np.linalg.LinAlgError, "Singular"),
}


@pytest.mark.parametrize("transform", [ft.grad, lambda f: ft.jit(ft.grad(f))])
@pytest.mark.parametrize("name", ERRORS)
def test_errors(name, transform):
    function, a, kind, message = ERRORS[name]
    with pytest.raises(kind, match=message) as caught:
        transform(lambda a: np.sum(ft.tree.leaves(function(a))[0]))(a)
    assert "test_decompositions.py" in str(caught.value)
