"""`torch.linalg`: factorizations by the checks of gradients, under transforms, and of matrices without a result."""

import numpy as np
import pytest

import functrans.torch as torch

SOURCE = np.random.default_rng(4)
SQUARE, TALL = (torch.tensor(SOURCE.normal(size=shape), requires_grad=True) for shape in ((3, 3), (4, 2)))


def from_factors(values, vectors):
    return (vectors * values.sin()) @ vectors.mT


FUNCTIONS = {
    "eigh": (lambda x: from_factors(*torch.linalg.eigh(x @ x.mT)), SQUARE),
    "eigvals": (lambda x: torch.view_as_real(torch.linalg.eigvals(x)), SQUARE),
    "svd": (lambda x: torch.linalg.svd(x)[1], TALL),
    "qr": (lambda x: tuple(torch.linalg.qr(x)), TALL),
    "pinv": (torch.linalg.pinv, TALL),
    "lstsq": (lambda x: torch.linalg.lstsq(x, x.sin(), driver="gelsd")[:2], TALL),
    "lu": (lambda x: torch.linalg.lu(x)[1:], TALL),
    "lu_solve": (lambda x: torch.linalg.lu_solve(*torch.linalg.lu_factor(x), x.sin()), SQUARE),
    "cholesky_ex": (lambda x: torch.linalg.cholesky_ex(x @ x.mT).L, SQUARE),
    "inv_ex": (lambda x: torch.linalg.inv_ex(x).inverse, SQUARE),
    "matrix_exp": (torch.matrix_exp, SQUARE),
    "cond": (torch.linalg.cond, TALL),
    "cond by inverses": (lambda x: torch.linalg.cond(x, "fro") + torch.linalg.cond(x, 1), SQUARE),
    "nuclear norm": (lambda x: torch.linalg.matrix_norm(x, "nuc"), TALL),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_gradients(name):
    function, x = FUNCTIONS[name]
    assert torch.autograd.gradcheck(function, (x,))
    assert torch.autograd.gradgradcheck(function, (x,))


@pytest.mark.parametrize("name", [name for name in FUNCTIONS if name not in ("lstsq", "lu_solve")])
def test_transforms(name):
    """`vmap` and `compile` of gradients give what a loop gives."""
    function, x = FUNCTIONS[name]

    def loss(x):
        out = function(x)
        return sum((part**2).sum() for part in (out if isinstance(out, tuple) else (out,)))

    many = torch.stack([x, x + 0.1]).detach()
    (expected,) = torch.autograd.grad(loss(x), x)
    batched = torch.func.vmap(torch.func.grad(loss))(many)
    np.testing.assert_allclose(batched[0].numpy(), expected.numpy(), rtol=1e-8)
    compiled = torch.compile(torch.func.grad(loss))(x.detach())
    np.testing.assert_allclose(compiled.numpy(), expected.numpy(), rtol=1e-8)


def test_the_triangle_beside_the_one_that_is_read():
    """Cotangents are shared by both, as torch has them."""
    (gradient,) = torch.autograd.grad(torch.linalg.eigvalsh(SQUARE).sum(), SQUARE)
    np.testing.assert_allclose(gradient.numpy(), np.eye(3), atol=1e-12)
    weights = torch.arange(9.0, dtype=torch.float64).reshape(3, 3)
    (gradient,) = torch.autograd.grad((torch.linalg.cholesky(SQUARE @ SQUARE.mT + torch.eye(3)) * weights).sum(), SQUARE)
    assert gradient.isfinite().all()


def test_equal_eigenvalues():
    x = torch.eye(3, dtype=torch.float64, requires_grad=True)
    loss = torch.linalg.eigvalsh(x).exp().sum() + torch.linalg.svdvals(x).sum() + torch.linalg.pinv(x).sum()
    (gradient,) = torch.autograd.grad(loss, x)
    np.testing.assert_allclose(gradient.numpy(), (np.e + 1) * np.eye(3) - np.ones((3, 3)), rtol=1e-12)


def test_matrices_without_a_result():
    bad = torch.tensor([[0.0, 0.0], [0.0, 1.0]])
    for function, message in (
        (torch.linalg.inv_ex, "singular"), (lambda x, **more: torch.linalg.solve_ex(x, x, **more), "singular"),
        (torch.linalg.lu_factor_ex, "singular"), (lambda x, **more: torch.linalg.cholesky_ex(-x, **more), "not positive-definite"),
    ):  # fmt: skip
        assert function(bad)[-1].item() == 1
        with pytest.raises(torch.linalg.LinAlgError, match=rf"(?s){message}.*test_linalg.py"):
            function(bad, check_errors=True)
    for function in (torch.linalg.inv, torch.linalg.cholesky, lambda x: torch.linalg.solve(x, x)):
        with pytest.raises(torch.linalg.LinAlgError, match=r"(?s)linalg.*test_linalg.py"):
            function(bad.requires_grad_())
