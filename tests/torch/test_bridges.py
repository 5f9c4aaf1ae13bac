"""`torch.func`, `torch.compile`, and tensors as arguments of functrans' own transforms."""

import numpy as np
import pytest

import functrans as ft
import functrans.torch as torch

F = torch.func


def scalar(x):
    return (x.sin() * x.sum()).sum()


X = torch.tensor([0.3, 1.0, -0.4], dtype=torch.float64)
W = torch.tensor([2.0, -1.0, 0.5], dtype=torch.float64)


def test_gradients_agree():
    x = X.clone().requires_grad_()
    (expected,) = torch.autograd.grad(scalar(x), x)
    hessian = torch.autograd.functional.hessian(scalar, X)
    assert torch.allclose(F.grad(scalar)(X), expected) and torch.allclose(F.hessian(scalar)(X), hessian)
    gradient, value = F.grad_and_value(scalar)(X)
    assert torch.allclose(gradient, expected) and torch.allclose(value, scalar(X))
    assert torch.allclose(F.jacrev(lambda x: x * x.sum())(X), F.jacfwd(lambda x: x * x.sum())(X))
    assert torch.allclose(F.vjp(scalar, X)[1](torch.tensor(2.0, dtype=torch.float64))[0], 2 * expected)
    assert torch.allclose(F.jvp(scalar, (X,), (W,))[1], expected @ W)


def test_vmap():
    batch = torch.stack([X, W])
    assert torch.allclose(F.vmap(scalar)(batch), torch.stack([scalar(X), scalar(W)]))
    assert torch.allclose(F.vmap(F.grad(scalar))(batch), torch.stack([F.grad(scalar)(X), F.grad(scalar)(W)]))
    assert F.vmap(lambda x, y: x + y, in_dims=(0, None), out_dims=1)(batch, X).shape == (3, 2)
    out = F.vmap(lambda d: {"a": d["x"] * 2, "b": (d["x"].max(), d["y"])})({"x": batch, "y": batch})
    assert out["a"].shape == (2, 3) and out["b"][0].shape == (2,)


def test_results_have_a_history():
    x, w = X.clone().requires_grad_(), W.clone().requires_grad_()
    (F.grad(lambda a: ((a * w).sin() ** 2).sum())(x) * X).sum().backward()
    other, weight = X.clone().requires_grad_(), W.clone().requires_grad_()
    (g,) = torch.autograd.grad(((other * weight).sin() ** 2).sum(), other, create_graph=True)
    (g * X).sum().backward()
    assert torch.allclose(x.grad, other.grad) and torch.allclose(w.grad, weight.grad)
    w.grad = None
    F.vmap(lambda a: torch.softmax(a * w, 0).relu().clamp(0, 1)[1:])(torch.eye(3, dtype=torch.float64)).sum().backward()
    assert w.grad is not None


def test_tensors_are_arguments_of_functrans():
    assert torch.allclose(ft.grad(scalar)(X), F.grad(scalar)(X))
    value, gradient = ft.value_and_grad(scalar)(X)
    assert isinstance(value, torch.Tensor) and isinstance(gradient, torch.Tensor)
    assert torch.allclose(ft.jit(scalar)(X), scalar(X))
    assert torch.allclose(ft.hessian(scalar)(X), F.hessian(scalar)(X))
    assert torch.allclose(ft.vmap(scalar)(torch.stack([X, W])), F.vmap(scalar)(torch.stack([X, W])))
    assert torch.allclose(ft.hvp(scalar, (X,), (W,)), F.hessian(scalar)(X) @ W)
    loss = lambda params: ((params["w"] @ X) ** 2 + params["b"]).sum()
    gradient = ft.grad(loss)({"w": W, "b": torch.zeros(1, dtype=torch.float64)})
    assert torch.allclose(gradient["w"], 2 * (W @ X) * X)


def test_compiled_functions_have_derivatives_of_any_order():
    w = W.clone().requires_grad_()
    f = lambda x, power=2: ((x * w).sin() ** power).sum()
    compiled = torch.compile(f)
    for power in (2, 3):
        found = []
        for g in (f, compiled):
            x = X.clone().requires_grad_()
            value = g(x, power=power)
            (first,) = torch.autograd.grad(value, x, create_graph=True)
            second = torch.autograd.grad(first.sum(), [x, w])
            found.append([value.detach(), first.detach(), *second])
        assert all(torch.allclose(a, b) for a, b in zip(*found))


def test_compiled_functions_follow_what_they_close_over():
    w = W.clone().requires_grad_()
    scale = torch.tensor(2.0, dtype=torch.float64)
    compiled = torch.compile(lambda x: (x * w).relu().sum() * scale)
    assert compiled(X).item() == pytest.approx((X * w).relu().sum().item() * 2)
    with torch.no_grad():
        w.mul_(-3)
        scale.fill_(5.0)
    assert compiled(X).item() == pytest.approx((X * w).relu().sum().item() * 5)
    compiled(X).backward()
    assert torch.allclose(w.grad, torch.where(X * w > 0, X, 0.0).detach() * 5)


def test_compiled_functions_give_containers():
    compiled = torch.compile(lambda d: {"double": d["x"] * 2, "name": "x", "pair": (d["x"].sum(), 3)})
    out = compiled({"x": X})
    assert torch.equal(out["double"], X * 2) and out["name"] == "x" and out["pair"][1] == 3


def test_what_cannot_be_compiled_says_so():
    with pytest.raises(TypeError, match="Remedy"):
        torch.compile(lambda x: x if x.sum() > 0 else -x)(X)
    assert np.allclose(torch.compile(lambda x: x * 2)(X).numpy(), (X * 2).numpy())


def test_functrans_does_not_import_the_shim():
    import subprocess
    import sys

    code = "import sys, functrans; sys.exit('functrans.torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_in_place_code_and_ranks_inside_transforms():
    def writes(x):
        y = x * 2
        y[0] = 5.0
        y.mul_(x)
        z = torch.zeros(3, dtype=torch.float64)
        z[1] = x[0] * x[2]
        return (y + z).sum()

    leaf = X.clone().requires_grad_()
    (expected,) = torch.autograd.grad(writes(leaf), leaf)
    assert torch.allclose(F.grad(writes)(X), expected) and torch.allclose(torch.compile(writes)(X), writes(X))
    batch = torch.stack([X, W])
    for f in (lambda x: x.sort()[0], lambda x: x.max(0)[0], lambda x: x.topk(2)[0], lambda x: x.median(), lambda x: x.argmax()):
        assert torch.equal(F.vmap(f)(batch), torch.stack([f(X), f(W)])) and torch.equal(torch.compile(f)(X), f(X))


@pytest.mark.parametrize("reduce", [lambda y: y.mean(), lambda y: y.sum(), lambda y: y.mean(0).norm(), lambda y: y.var()])
def test_transforms_of_functions_that_close_over_parameters(reduce):
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 2)).double()
    x = torch.randn(5, 3, dtype=torch.float64)
    f = lambda x: reduce(model(x) ** 2)
    leaf = x.clone().requires_grad_()
    (expected,) = torch.autograd.grad(f(leaf), leaf)
    for gradient in (ft.grad(f)(x), ft.jit(ft.grad(f))(x), torch.func.grad(f)(x)):
        np.testing.assert_allclose(gradient.detach().numpy(), expected.numpy(), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("convert", [float, complex, int])
def test_numbers_of_tensors_do_not_drop_derivatives_without_a_word(convert):
    """As those of arrays; ``item()`` and ``detach()`` are the ways out, and `torch.func` has torch's."""
    x = torch.tensor([1.0, 2.0])
    for transform in (ft.grad, lambda f: lambda x: ft.jvp(f, (x,), (x,))):
        with pytest.raises(ft.errors.ConcretizationError, match="drop its derivative"):
            transform(lambda x: convert(x.sum()) * x.sum())(x)
        transform(lambda x: x.sum().item() * x.sum())(x)
    assert torch.func.grad(lambda x: float(x.sum()) * x.sum())(x).tolist() == [3.0, 3.0]
