"""`ft.scipy.linalg`: values against SciPy, derivatives against finite differences, in every transform."""

import numpy as np
import pytest
import scipy.linalg

import functrans as ft
from functrans.scipy import linalg
from functrans.testing import check_grads

GENERATOR = np.random.default_rng(8)
SQUARE, TALL, OTHER = GENERATOR.normal(size=(4, 4)), GENERATOR.normal(size=(5, 3)), GENERATOR.normal(size=(5, 4))
MATRICES = {
    "square": SQUARE, "tall": TALL, "wide": TALL.T, "complex square": SQUARE + 1j * OTHER[:4],
    "complex tall": TALL + 1j * OTHER[:, :3], "complex wide": (TALL + 1j * OTHER[:, :3]).T,
}  # fmt: skip
SQUARES = ["square", "complex square"]


def close(actual, expected, tolerance=1e-10):
    for one, other in zip(ft.tree.leaves(actual), ft.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance)
        assert (np.shape(one), np.asarray(one).dtype.kind) == (np.shape(other), np.asarray(other).dtype.kind)


def lu_solution(trans):
    return lambda a: linalg.lu_solve(linalg.lu_factor(a), OTHER[:4, :2], trans)


CASES = {
    "expm": (linalg.expm, scipy.linalg.expm, SQUARES), "lu": (linalg.lu, scipy.linalg.lu, MATRICES),
    "lu_factor": (linalg.lu_factor, scipy.linalg.lu_factor, MATRICES),
    **{
        f"lu_solve {trans}": (lu_solution(trans), lambda a, trans=trans: scipy.linalg.lu_solve(scipy.linalg.lu_factor(a), OTHER[:4, :2], trans), SQUARES)
        for trans in (0, 1, 2)
    },
}  # fmt: skip


@pytest.mark.parametrize("name, kind", [(name, kind) for name, case in CASES.items() for kind in case[2]])
def test_values_and_derivatives(name, kind):
    function, expected, _ = CASES[name]
    a = MATRICES[kind]
    close(function(a), expected(a))
    close(ft.jit(function)(a), expected(a))
    close(ft.vmap(function)(np.stack([a, 2 * a])), ft.tree.map(lambda *parts: np.stack(parts), expected(a), expected(2 * a)))
    floating = lambda a: [part for part in ft.tree.leaves(function(a)) if part.dtype.kind in "fc"]
    check_grads(floating, (a,), order=3, rtol=1e-4, atol=1e-4)
    norm = lambda a: sum(np.sum(np.abs(part) ** 2) for part in floating(a))
    gradient = ft.grad(norm)(a)
    close(ft.jit(ft.grad(norm))(a), gradient, 1e-8)
    close(ft.grad(ft.jit(norm))(a), gradient, 1e-8)
    close(ft.vmap(ft.grad(norm))(np.stack([a, a])), np.stack([gradient, gradient]), 1e-8)


def test_exponentials():
    """Of matrices with equal eigenvalues, without enough eigenvectors, and of none."""
    for a in (np.eye(3), np.eye(3, k=1), np.zeros((3, 3))):
        check_grads(linalg.expm, (a,), order=2)
    assert linalg.expm(np.zeros((0, 0))).shape == (0, 0)
    assert ft.jit(linalg.expm)(SQUARE.astype(np.float32)).dtype == np.float32
    close(linalg.expm(np.array([[0, 1], [0, 0]])), np.array([[1.0, 1.0], [0.0, 1.0]]))


def test_right_hand_sides():
    factors = linalg.lu_factor(np.stack([SQUARE, SQUARE + 1]))
    close(linalg.lu_solve(linalg.lu_factor(SQUARE), OTHER[0]), np.linalg.solve(SQUARE, OTHER[0]))
    close(linalg.lu_solve(factors, OTHER[:4]), np.linalg.solve(np.stack([SQUARE, SQUARE + 1]), OTHER[:4]))
    check_grads(lambda a, b: linalg.lu_solve(linalg.lu_factor(a), b), (SQUARE, OTHER[0]))


ERRORS = {
    "expm": (linalg.expm, TALL, np.linalg.LinAlgError, "must be of one length"),
    "lu": (lambda a: linalg.lu_factor(a)[0], TALL[0], np.linalg.LinAlgError, "at least two-dimensional"),
    "singular": (lambda a: linalg.lu(a * 0)[2], SQUARE, np.linalg.LinAlgError, "Singular"),
}


@pytest.mark.parametrize("name", ERRORS)
def test_errors(name):
    function, a, kind, message = ERRORS[name]
    with pytest.raises(kind, match=message) as caught:
        ft.jit(ft.grad(lambda a: np.sum(function(a))))(a)
    assert "test_linalg.py" in str(caught.value)
