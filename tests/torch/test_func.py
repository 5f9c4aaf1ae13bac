"""`torch.func` with modules, random numbers, writes and a user's own `Function`; and tensors in transforms of functrans."""

import copy

import numpy as np
import pytest

import functrans as ft
import functrans.torch as torch
from functrans.torch import nn

F = torch.func
X = torch.tensor([1.0, 2.0, 3.0, 4.0], dtype=torch.float64)


class Sine(torch.autograd.Function):
    """sin(k x), with all rules; `calls` counts those of its batching rule."""

    calls = 0

    @staticmethod
    def forward(x, k):
        return torch.sin(x * k)

    @staticmethod
    def setup_context(ctx, inputs, output):
        x, ctx.k = inputs
        ctx.save_for_backward(x)
        ctx.save_for_forward(x)

    @staticmethod
    def backward(ctx, g):
        (x,) = ctx.saved_tensors
        return g * ctx.k * torch.cos(x * ctx.k), None

    @staticmethod
    def jvp(ctx, t, _):
        (x,) = ctx.saved_tensors
        return t * ctx.k * torch.cos(x * ctx.k)

    @staticmethod
    def vmap(info, in_dims, x, k):
        Sine.calls += 1
        assert info.batch_size == x.shape[0] and in_dims == (0, None)
        return Sine.apply(x, k), 0


class Generated(Sine):
    vmap = torch.autograd.Function.vmap
    generate_vmap_rule = True


def ensemble():
    torch.manual_seed(0)
    make = lambda: nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 2))
    return [make() for _ in range(3)]


@pytest.mark.parametrize("cls", [Sine, Generated])
def test_transforms_of_a_function_of_ones_own(cls):
    f, plain = (lambda x: cls.apply(x, 2.0).sum()), lambda x: (2 * x).sin().sum()
    batch = torch.stack([X, 2 * X])
    before = Sine.calls
    assert torch.allclose(F.grad(f)(X), F.grad(plain)(X)) and torch.allclose(F.hessian(f)(X), F.hessian(plain)(X))
    assert torch.allclose(F.jacfwd(lambda x: cls.apply(x, 2.0))(X), F.jacfwd(lambda x: (2 * x).sin())(X))
    assert torch.allclose(F.vmap(F.grad(f))(batch), F.vmap(F.grad(plain))(batch))
    assert torch.allclose(F.grad(lambda b: F.vmap(f)(b).sum())(batch), F.vmap(F.grad(plain))(batch))
    assert torch.allclose(F.vmap(F.hessian(f))(batch), F.vmap(F.hessian(plain))(batch))
    assert torch.allclose(ft.grad(f)(X), F.grad(plain)(X))
    assert (Sine.calls > before) == (cls is Sine)
    leaf = X.clone().requires_grad_()
    torch.compile(f)(leaf).backward()
    assert torch.allclose(leaf.grad, F.grad(plain)(X))


def test_second_derivatives_through_a_saved_result_are_the_users():
    class Exponential(torch.autograd.Function):
        @staticmethod
        def forward(x):
            return x.exp()

        @staticmethod
        def setup_context(ctx, inputs, output):
            ctx.save_for_backward(output)

        @staticmethod
        def backward(ctx, g):
            return 3 * g * ctx.saved_tensors[0]  # three times the derivative

    x = torch.tensor(0.5, dtype=torch.float64)
    assert F.grad(F.grad(Exponential.apply))(x).item() == pytest.approx(9 * np.exp(0.5))
    leaf = x.clone().requires_grad_()
    (first,) = torch.autograd.grad(Exponential.apply(leaf), leaf, create_graph=True)
    assert torch.autograd.grad(first, leaf)[0].item() == pytest.approx(9 * np.exp(0.5))


def test_marked_results_and_several_results_in_transforms():
    class Both(torch.autograd.Function):
        @staticmethod
        def forward(x):
            return x * 2, x * 3, x.argmax()

        @staticmethod
        def setup_context(ctx, inputs, output):
            ctx.mark_non_differentiable(output[1], output[2])

        @staticmethod
        def backward(ctx, g, *_):
            return g * 2

    assert F.grad(lambda x: sum(part.sum() for part in Both.apply(x)[:2]))(X).tolist() == [2.0] * 4


def test_batched_gradients_are_one_pass():
    w = X.clone().requires_grad_()
    calls = []
    out = Sine.apply(w, 2.0) * w.exp()
    out.grad_fn.register_prehook(lambda g: calls.append(1))
    rows = torch.eye(4, dtype=torch.float64)
    (jacobian,) = torch.autograd.grad(out, w, rows, is_grads_batched=True, retain_graph=True)
    assert len(calls) == 1 and not jacobian.requires_grad
    looped = torch.stack([torch.autograd.grad(out, w, row, retain_graph=True)[0] for row in rows])
    assert torch.allclose(jacobian, looped)
    (jacobian,) = torch.autograd.grad(out, w, rows, is_grads_batched=True, create_graph=True)
    expected = F.hessian(lambda x: ((2 * x).sin() * x.exp()).sum())(X).sum(0)
    assert torch.allclose(torch.autograd.grad(jacobian.sum(), w)[0], expected)
    with pytest.raises(RuntimeError, match="not have been used"):
        torch.autograd.grad(w * 1, torch.ones(2, requires_grad=True), rows, is_grads_batched=True)


def test_randomness_of_vmap():
    x = torch.zeros(3, 2)
    f = lambda x: x + torch.rand(2)
    different, same = F.vmap(f, randomness="different")(x), F.vmap(f, randomness="same")(x)
    assert not torch.equal(different[0], different[1]) and torch.equal(same[0], same[1])
    orders = F.vmap(lambda x: torch.randperm(5), randomness="different")(x)
    assert orders.sort(1)[0].tolist() == [[0, 1, 2, 3, 4]] * 3
    nested = F.vmap(F.vmap(f, randomness="different"), randomness="same")(torch.zeros(2, 3, 2))
    assert torch.equal(nested[0], nested[1]) and not torch.equal(nested[0, 0], nested[0, 1])
    dropped = F.vmap(F.grad(lambda x: nn.functional.dropout(x, 0.5).sum()), randomness="different")(torch.ones(20, 4))
    assert 0 < (dropped == 0).sum().item() < 80
    for transform in (F.vmap, ft.vmap):
        with pytest.raises(RuntimeError, match="randomness error mode"):
            transform(f)(x)
    with pytest.raises(RuntimeError, match="torch.compile"):
        ft.jit(f)(x)


def test_ensembles():
    models = ensemble()
    parameters, buffers = F.stack_module_state(models)
    base = copy.deepcopy(models[0])
    x = torch.randn(16, 4)
    call = F.vmap(lambda p, b, x: F.functional_call(base, (p, b), (x,)), in_dims=(0, 0, None), randomness="different")
    out = call(parameters, buffers, x)
    out.sum().backward()
    assert out.shape == (3, 16, 2) and parameters["0.weight"].grad.shape == (3, 8, 4)
    for place, model in enumerate(models):
        model(x)
        for name, buffer in model.named_buffers():  # the stacked buffers were written into
            assert torch.allclose(buffers[name][place], buffer, atol=1e-6)
        model.eval()
    base.eval()
    assert torch.allclose(call(parameters, buffers, x), torch.stack([model(x) for model in models]), atol=1e-5)


def test_gradients_per_sample():
    layer = nn.Linear(4, 2)
    parameters = {name: each.detach() for name, each in layer.named_parameters()}
    x, target = torch.randn(5, 4), torch.randn(5, 2)
    loss = lambda p, x, y: ((F.functional_call(layer, p, (x,)) - y) ** 2).sum()
    for chunk_size in (None, 2):
        found = F.vmap(F.grad(loss), in_dims=(None, 0, 0), chunk_size=chunk_size)(parameters, x, target)
        for place in range(5):
            layer.zero_grad()
            loss({}, x[place], target[place]).backward()
            assert torch.allclose(found["weight"][place], layer.weight.grad, atol=1e-5)


def test_derivatives_with_respect_to_parameters():
    layer = nn.Linear(3, 2).double()
    parameters = dict(layer.named_parameters())
    x = torch.ones(3, dtype=torch.float64)
    f = lambda p: F.functional_call(layer, p, (x,)).pow(2).sum()
    plain = {name: each.detach() for name, each in parameters.items()}
    for transform in (F.grad, ft.grad, F.hessian, ft.hessian, F.jacrev, ft.jacfwd):
        found, expected = transform(f)(parameters), transform(f)(plain)
        for name in plain:
            a, b = found[name], expected[name]
            a, b = (a, b) if isinstance(a, torch.Tensor) else (a["bias"], b["bias"])
            assert type(a) is torch.Tensor and torch.allclose(a, b)
    assert torch.allclose(F.jvp(f, (parameters,), (plain,))[1], F.jvp(f, (plain,), (plain,))[1])
    assert torch.allclose(F.linearize(f, parameters)[1](plain), F.jvp(f, (plain,), (plain,))[1])


def test_hooks_that_would_not_be_called_are_refused():
    model = nn.Sequential(nn.Linear(4, 2), nn.ReLU()).double()
    handle = model[0].register_full_backward_hook(lambda *args: None)
    for call in (F.grad(lambda x: model(x).sum()), ft.grad(lambda x: model(x).sum()), torch.compile(model)):
        with pytest.raises(NotImplementedError, match="backward hooks of Linear"):
            call(X)
    handle.remove()

    def hooked(x):
        y = x * 2
        y.register_hook(print)
        return y

    with pytest.raises(NotImplementedError, match="hooks inside torch.compile"):
        torch.compile(hooked)(X.clone().requires_grad_())


def test_functional_call_replaces_tied_parameters():
    model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False))
    model[1].weight = model[0].weight
    new = torch.eye(2) * 3
    x = torch.ones(2)
    assert F.functional_call(model, {"0.weight": new}, x).tolist() == [9.0, 9.0]
    loose = F.functional_call(model, {"0.weight": new}, x, tie_weights=False)
    assert torch.allclose(loose, model[1](new @ x))
    assert model[0].weight is model[1].weight and not torch.equal(model[0].weight, new)


def test_buffers_written_under_grad():
    layer = nn.BatchNorm1d(4)
    x = torch.randn(16, 4)
    parameters = {name: each.detach() for name, each in layer.named_parameters()}
    buffers = {name: each.clone() for name, each in layer.named_buffers()}
    gradient = F.grad(lambda p, b: F.functional_call(layer, (p, b), (x,)).pow(3).sum())(parameters, buffers)
    out = layer(x)
    out.pow(3).sum().backward()
    assert torch.allclose(gradient["weight"], layer.weight.grad, atol=1e-4)
    argument = torch.ones(2)
    with pytest.raises(RuntimeError, match="a leaf Variable that requires grad"):
        F.grad(lambda t: t.mul_(3).sum())(argument)

    def update(t):
        with torch.no_grad():
            t.mul_(3)
        return (t * t).sum()

    assert F.grad(update)(argument).tolist() == [6.0, 6.0] and argument.tolist() == [3.0, 3.0]


def test_axes_chunks_and_containers():
    x = torch.randn(6, 4)
    two = F.vmap(lambda x, y: (x + y, {"x": x}), in_dims=(0, None), out_dims=(1, {"x": 0}), chunk_size=4)(x, x[0])
    assert torch.equal(two[0], (x + x[0]).T) and torch.equal(two[1]["x"], x)
    assert torch.equal(F.vmap(lambda x, k: x * k, in_dims=(-1, None))(x, 2.0), x.T * 2)
    assert F.vmap(lambda x: torch.ones(2))(x).tolist() == [[1.0, 1.0]] * 6
    f = lambda x, y: (x.sin() * y.sum(), x)
    rows, aux = F.jacrev(f, argnums=(0, 1), has_aux=True, chunk_size=3)(x[0], x[1])
    full, _ = F.jacrev(f, argnums=(0, 1), has_aux=True)(x[0], x[1])
    assert torch.allclose(rows[0], full[0]) and torch.allclose(rows[1], full[1]) and torch.equal(aux, x[0])
    columns, _ = F.jacfwd(f, argnums=(0, 1), has_aux=True)(x[0], x[1])
    assert torch.allclose(columns[1], full[1], atol=1e-6)


def test_indices_that_are_mapped():
    assert F.vmap(lambda i: X[i])(torch.tensor([2, 0])).tolist() == [3.0, 1.0]
    assert F.vmap(lambda row, i: row[i, 1:] * row[0, i])(torch.ones(2, 3, 3), torch.tensor([1, 2])).shape == (2, 2)
    gradient = F.vmap(F.grad(lambda x, i: (x[i] * x).sum()))(torch.stack([X, X]), torch.tensor([0, 3]))
    assert gradient[0].tolist() == [11.0, 1.0, 1.0, 1.0]
    assert torch.compile(lambda x, i: x[i])(X, torch.tensor(2)).item() == 3.0

    def written(x, i):
        y = x * 1
        y[i] = x.sum()
        return y

    rows = F.vmap(written)(torch.stack([X, X]), torch.tensor([0, 3]))
    assert rows[0].tolist() == [10.0, 2.0, 3.0, 4.0] and rows[1].tolist() == [1.0, 2.0, 3.0, 10.0]


def test_linearize():
    calls = []

    def f(x):
        calls.append(1)
        return (x.sin() * x).sum()

    value, push = F.linearize(f, X)
    assert torch.allclose(value, f(X)) and torch.allclose(push(X), F.jvp(f, (X,), (X,))[1])
    assert torch.allclose(F.vmap(push)(torch.eye(4, dtype=torch.float64)), F.grad(f)(X))
    assert len(calls) == 4  # not again in push


def no_grad_inside(x):
    with torch.no_grad():
        h = x * x
    return (h * x).sum() + (x.detach() * x).sum()


def written_in_no_grad(x):
    y = x * 2
    with torch.no_grad():
        y.add_(1)
        y[0] = 7.0
    return (y * y).sum()


def written_through_views(x):
    y = x * 1
    part, square = y[1:], y.view(2, 2).t()
    part.mul_(3)
    y[0] = x[1]
    square[0].add_(x[2])
    z = torch.zeros(4, dtype=x.dtype)
    z[1:3].copy_(x[:2])
    z.view(2, 2)[1, 1] = x[0]
    d = torch.zeros(3, 3, dtype=x.dtype)
    d.diagonal().copy_(x[:3])
    d.view(9)[1::2].add_(x[0])
    return (y * y).sum() + (part**3).sum() + (square * square[0]).sum() + (z**2).sum() + (d**2).sum()


@pytest.mark.parametrize("f", [no_grad_inside, written_in_no_grad, written_through_views])
def test_recording_and_writes_mean_the_same_everywhere(f):
    x = X.clone().requires_grad_()
    f(x).backward()
    expected = x.grad
    assert torch.allclose(F.grad(f)(x), expected) and torch.allclose(ft.grad(f)(X), expected)
    assert torch.allclose(F.vmap(F.grad(f))(torch.stack([X, X]))[1], expected)
    x.grad = None
    torch.compile(f)(x).backward()
    assert torch.allclose(x.grad, expected)
    with torch.no_grad():  # around a transform, it says that results have no history
        assert torch.allclose(F.grad(f)(x), expected) and not F.grad(f)(x).requires_grad
        assert torch.allclose(ft.grad(f)(X), expected)


def test_overlapping_and_detached_writes_are_refused():
    with pytest.raises(RuntimeError, match="single memory location"):
        F.grad(lambda x: (x * 1)[:1].expand(3).add_(1).sum())(X)
    with pytest.raises(NotImplementedError, match="detached"):
        F.grad(lambda x: (x * 1).detach().add_(1).sum())(X)


def test_tensors_made_outside_are_not_written_into():
    outside = torch.zeros(4, dtype=torch.float64)
    with pytest.raises(RuntimeError, match="mutate a captured Tensor"):
        F.grad(lambda x: outside.add_(x).sum())(X)
    leaf = X.clone().requires_grad_()
    with pytest.raises(RuntimeError, match="does not require grad"):
        F.grad(lambda x: (leaf * x).sum().backward())(X)
    with pytest.raises(NotImplementedError, match="torch.autograd.grad"):
        torch.compile(lambda x: (leaf * x).sum().backward())(X)
    assert outside.tolist() == [0.0] * 4 and leaf.grad is None


def test_trees_of_tensors_in_transforms_of_functrans():
    tree = {"w": X, "b": [torch.ones(1, dtype=torch.float64)]}
    loss = lambda tree, x: ((tree["w"] @ x) ** 2 + tree["b"][0]).sum()
    gradient = ft.grad(loss)(tree, X)
    assert torch.allclose(gradient["w"], F.grad(loss)(tree, X)["w"]) and gradient["b"][0].tolist() == [1.0]
    value, pullback = ft.vjp(lambda t: t["w"].sin(), {"w": X})
    assert torch.allclose(pullback(torch.ones(4, dtype=torch.float64))[0]["w"], X.cos())
    value, tangent = ft.jvp(lambda t: t["w"] * t["b"][0], (tree,), (tree,))
    assert isinstance(value, torch.Tensor) and torch.allclose(tangent, 2 * X)
    assert torch.allclose(ft.jit(ft.grad(loss))(tree, X)["w"], gradient["w"])
    assert isinstance(ft.jacfwd(lambda x: x.sin())(X), torch.Tensor) and isinstance(ft.jacrev(lambda x: x.sin())(X), torch.Tensor)
    assert torch.allclose(ft.vmap(ft.grad(lambda x: x.exp().sum()))(torch.stack([X, X]))[0], X.exp())
    second = ft.hessian(lambda t: (t["w"] ** 3).sum() * t["b"][0].sum())(tree)
    assert torch.allclose(second["w"]["w"], torch.diag(6 * X)) and torch.allclose(second["b"][0]["w"], (3 * X**2)[None])
    value, push = ft.linearize(lambda x: x.sin(), X)
    assert torch.allclose(push(X), X * X.cos())
    assert torch.allclose(ft.checkpoint(lambda x: x.sin())(X), X.sin())
    total, parts = ft.scan(lambda c, x: (c + x.sin(), c * x), torch.tensor(0.0, dtype=torch.float64), X)
    assert torch.allclose(total, X.sin().sum()) and parts.shape == (4,)
    assert torch.allclose(ft.cond(True, lambda x: x * 2, lambda x: x * 3, X), 2 * X)
    assert torch.allclose(ft.fori_loop(0, 3, lambda i, x: x * 2, X), 8 * X)


def test_a_backward_pass_inside_a_transform_of_functrans():
    def inner(x):
        leaf = x.detach().requires_grad_()
        (leaf**3).sum().backward()
        return (leaf.grad * x).sum()  # the gradient is a constant

    assert torch.allclose(ft.grad(inner)(X), 3 * X**2) and torch.allclose(F.grad(inner)(X), 3 * X**2)
    assert torch.allclose(ft.vmap(lambda x: inner(x))(torch.stack([X]))[0], inner(X))
