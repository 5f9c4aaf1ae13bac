"""`autograd.Function` and checks of gradients."""

import pytest

import functrans.torch as torch
from functrans.torch.autograd import Function, gradcheck, gradgradcheck
from functrans.torch.autograd.function import once_differentiable


class Square(Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**2

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        return 2 * x * g

    @staticmethod
    def jvp(ctx, t):
        return 2 * ctx.saved_tensors[0] * t


class Exponential(Function):
    @staticmethod
    def forward(x, scale):
        return (x * scale).exp()

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(output)
        ctx.scale = inputs[1]

    @staticmethod
    def backward(ctx, g):
        assert ctx.needs_input_grad == (True, False)
        return g * ctx.saved_tensors[0] * ctx.scale, None


def points():
    return torch.linspace(0.2, 1.0, 3, dtype=torch.float64).requires_grad_()


@pytest.mark.parametrize("f", [Square.apply, lambda x: Exponential.apply(x, 0.5), lambda x: Square.apply(x * x).sin()])
def test_first_and_second_derivatives(f):
    assert gradcheck(f, (points(),)) and gradgradcheck(f, (points(),))


def test_name_of_the_node():
    assert Square.apply(points()).grad_fn.name() == "SquareBackward"
    assert not Square.apply(points().detach()).requires_grad


def test_a_wrong_rule_is_found():
    class Wrong(Square):
        @staticmethod
        def backward(ctx, g):
            return 3 * ctx.saved_tensors[0] * g

    with pytest.raises(RuntimeError, match="Jacobian mismatch"):
        gradcheck(Wrong.apply, (points(),))
    assert gradcheck(Wrong.apply, (points(),), raise_exception=False) is False


def test_wrong_counts_and_shapes():
    class Count(Square):
        @staticmethod
        def backward(ctx, g):
            return g, g, g

    class Shape(Square):
        @staticmethod
        def backward(ctx, g):
            return torch.ones(7)

    class Kind(Square):
        @staticmethod
        def backward(ctx, g):
            return 1.0

    x = points()
    with pytest.raises(RuntimeError, match=r"returned an incorrect number of gradients \(expected 1, got 3\)"):
        Count.apply(x).sum().backward()
    with pytest.raises(RuntimeError, match=r"invalid gradient at index 0 - got \[7\] but expected shape compatible with \[3\]"):
        Shape.apply(x).sum().backward()
    with pytest.raises(RuntimeError, match=r"expected Variable or None \(got float\)"):
        Kind.apply(x).sum().backward()
    Square.apply(x).sum().backward()
    assert torch.equal(x.grad, 2 * x.detach())


def test_several_results():
    class Both(Function):
        @staticmethod
        def forward(ctx, x):
            ctx.set_materialize_grads(False)
            mask = x > 0.5
            ctx.mark_non_differentiable(mask)
            return x * 2, mask, x.sum()

        @staticmethod
        def backward(ctx, g, _, s):
            assert s is None
            return g * 2

    x = points()
    doubled, mask, total = Both.apply(x)
    assert not mask.requires_grad and total.requires_grad
    doubled.sum().backward()
    assert x.grad.tolist() == [2.0, 2.0, 2.0]


def test_dirty_arguments():
    class Double(Function):
        @staticmethod
        def forward(ctx, x):
            x.mul_(2)
            ctx.mark_dirty(x)
            return x

        @staticmethod
        def backward(ctx, g):
            return g * 2

    x = points()
    y = x * 1
    assert Double.apply(y) is y and y.grad_fn.name() == "DoubleBackward" and y._version == 1
    y.sum().backward()
    assert x.grad.tolist() == [2.0, 2.0, 2.0]


def test_saved_tensors_are_freed_and_watched():
    x = points()
    y = Square.apply(x).sum()
    y.backward()
    with pytest.raises(RuntimeError, match="second time"):
        y.backward()
    a = x * 1
    z = Square.apply(a).sum()
    a.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        z.backward()


def test_once_differentiable():
    class Once(Square):
        @staticmethod
        @once_differentiable
        def backward(ctx, g):
            return 2 * ctx.saved_tensors[0] * g

    x = points()
    (g,) = torch.autograd.grad(Once.apply(x).sum(), x, create_graph=True)
    Once.apply(x).sum().backward()
    w = x * 1
    (g,) = torch.autograd.grad((Once.apply(w) * w).sum(), w, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        g.sum().backward()


def test_forward_mode():
    import functrans.torch.autograd.forward_ad as forward

    with forward.dual_level():
        out = Square.apply(forward.make_dual(torch.tensor(3.0), torch.tensor(1.0)))
        assert forward.unpack_dual(out).tangent.item() == 6.0
    assert gradcheck(Square.apply, (points(),), check_forward_ad=True)


def test_functions_are_not_instantiated():
    with pytest.warns(DeprecationWarning, match="static"):
        made = Square()
    with pytest.raises(RuntimeError, match="Legacy"):
        made(points())


def test_functional():
    functional = torch.autograd.functional
    x = torch.tensor([1.0, 2.0, 3.0])
    v = torch.tensor([1.0, 0.0, 2.0])
    f = lambda x: (x**3).sum() * x[0]
    h = functional.hessian(f, x)
    assert torch.allclose(functional.hvp(f, x, v)[1], h @ v) and torch.allclose(functional.vhp(f, x, v)[1], h @ v)
    j = functional.jacobian(lambda x: x * x.sum(), x)
    assert torch.allclose(functional.jvp(lambda x: x * x.sum(), x, v)[1], j @ v)
    assert torch.allclose(functional.vjp(lambda x: x * x.sum(), x, v)[1], v @ j)
    a, b = functional.jacobian(lambda x, y: (x * y).sum(), (x, v))
    assert torch.equal(a, v) and torch.equal(b, x)


class Clipped(Function):
    """The identity, whose gradient is clipped: which no derivative of its forward would show."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x, bound):
        return x * 1

    @staticmethod
    def setup_context(ctx, inputs, output):
        x, ctx.bound = inputs
        ctx.save_for_backward(x)

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        return (g * x).clamp(-ctx.bound, ctx.bound), None


def test_transforms_use_the_users_rule():
    import functrans as ft

    x = torch.tensor([1.0, 2.0, 5.0])
    f = lambda x: (Clipped.apply(x, 3.0) * 2).sum()
    leaf = x.clone().requires_grad_()
    f(leaf).backward()
    assert leaf.grad.tolist() == [2.0, 3.0, 3.0]
    assert torch.equal(torch.func.grad(f)(x), leaf.grad) and torch.equal(ft.grad(f)(x), leaf.grad)
    assert torch.func.vmap(torch.func.grad(f))(torch.stack([x, x]))[1].tolist() == [2.0, 3.0, 3.0]
    again = x.clone().requires_grad_()
    torch.compile(f)(again).backward()
    assert torch.equal(again.grad, leaf.grad)
