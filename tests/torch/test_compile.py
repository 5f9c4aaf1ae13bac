"""`torch.compile`: training, buffers, random numbers, what makes it stage again, and what it refuses."""

import copy
import pickle

import pytest

import functrans as ft
import functrans.torch as torch
from functrans.torch import nn

F = torch.func
SCALE = 0.5


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 2)).double()


def test_training_with_buffers_and_random_numbers():
    eager, model = network(), network()
    compiled = torch.compile(model)
    x = torch.randn(16, 4, dtype=torch.float64)
    for seed in range(3):
        for each, called in ((eager, eager), (model, compiled)):
            torch.manual_seed(seed)
            each.zero_grad()
            called(x).pow(2).sum().backward()
        for a, b in zip(eager.parameters(), model.parameters()):
            assert torch.allclose(a.grad, b.grad)
        for a, b in zip(eager.buffers(), model.buffers()):
            assert torch.allclose(a, b)
    assert eager[1].num_batches_tracked.item() == model[1].num_batches_tracked.item() == 3
    assert not torch.equal(compiled(x), compiled(x))
    model[3].p = 0.0
    assert torch.equal(compiled(x), compiled(x))
    compiled.eval()
    assert not model[1].training and torch.allclose(compiled(x), copy.deepcopy(model)(x))


def test_gradients_of_gradients_of_a_module():
    model = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 1)).double()
    found = []
    for f in (model, torch.compile(model)):
        x = torch.linspace(0, 1, 6, dtype=torch.float64).reshape(2, 3).requires_grad_()
        (g,) = torch.autograd.grad(f(x).sum(), x, create_graph=True)
        model.zero_grad()
        (g**2).sum().backward()
        found.append([p.grad.clone() for p in model.parameters() if p.grad is not None])
    assert len(found[0]) == 3 and all(torch.allclose(a, b) for a, b in zip(*found))


def test_a_whole_step_of_training():
    model = nn.Sequential(nn.Linear(3, 5), nn.Tanh(), nn.Linear(5, 1))
    parameters = {name: each.detach().clone().requires_grad_() for name, each in model.named_parameters()}

    def step(parameters, x, y):
        loss = ((F.functional_call(model, parameters, x) - y) ** 2).mean()
        gradients = torch.autograd.grad(loss, list(parameters.values()))
        return loss.detach(), {name: (p - 0.1 * g).detach() for (name, p), g in zip(parameters.items(), gradients)}

    compiled = torch.compile(step)
    x, y = torch.randn(4, 3), torch.randn(4, 1)
    ours, plain = parameters, parameters
    for _ in range(3):
        (loss, ours), (expected, plain) = compiled(ours, x, y), step(plain, x, y)
        assert torch.allclose(loss, expected)
        for each in (ours, plain):
            for name in each:
                each[name].requires_grad_()
    assert all(torch.allclose(ours[name], plain[name], atol=1e-6) for name in ours)


@pytest.mark.parametrize("create_graph", [False, True])
def test_gradients_inside_keep_a_history_if_asked(create_graph):
    def f(w):
        (g,) = torch.autograd.grad((w**3).sum(), w, create_graph=create_graph)
        return ((w - 0.1 * g) ** 2).sum()

    w = torch.tensor([1.0, 2.0], requires_grad=True)
    (expected,) = torch.autograd.grad(f(w), w)
    (found,) = torch.autograd.grad(torch.compile(f)(w), w)
    assert torch.allclose(found, expected)


def test_flags_of_results():
    x = torch.ones(2, requires_grad=True)
    a, b, c = torch.compile(lambda x: (x * 2, (x * 2).detach(), x.argmax()))(x)
    assert a.requires_grad and not b.requires_grad and not c.requires_grad
    with torch.no_grad():
        assert not torch.compile(lambda x: x * 2)(x).requires_grad
    assert torch.compile(lambda x: x * 2 if x.requires_grad else x * 3)(x).tolist() == [2.0, 2.0]
    assert torch.compile(lambda x: x * 2 if x.requires_grad else x * 3)(x.detach()).tolist() == [3.0, 3.0]


def test_writes_into_what_was_made_outside():
    total, count = torch.zeros(3), torch.tensor(0)

    @torch.compile
    def f(x, scale):
        total.add_(x)
        count.add_(1)
        scale.mul_(2)
        return total * count

    scale = torch.ones(3)
    assert f(torch.ones(3), scale).tolist() == [1.0] * 3 and f(torch.ones(3), scale).tolist() == [4.0] * 3
    assert scale.tolist() == [4.0] * 3 and count.item() == 2 and total._version == 2
    with pytest.raises(NotImplementedError, match="shares memory"):
        f(total, scale)
    with pytest.raises(NotImplementedError, match="requires a gradient"):
        torch.compile(lambda w: total.add_(w))(torch.ones(3, requires_grad=True))
    assert total.tolist() == [2.0] * 3
    whole = torch.zeros(4)
    torch.compile(lambda x: whole[1:3].copy_(x))(torch.ones(2))
    assert whole.tolist() == [0.0, 1.0, 1.0, 0.0]


def test_attributes_that_are_assigned():
    class Average(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("mean", torch.zeros(2))
            self.weight = nn.Parameter(torch.ones(2))

        def forward(self, x):
            self.mean = 0.5 * self.mean + 0.5 * x
            self.last = x * self.weight
            return self.last + self.mean

    model = Average()
    compiled = torch.compile(model)
    assert compiled(torch.ones(2)).tolist() == [1.5, 1.5] and compiled(torch.ones(2)).tolist() == [1.75, 1.75]
    assert model.mean.tolist() == [0.75, 0.75] and model._buffers["mean"] is model.mean
    model.last.sum().backward()
    assert model.weight.grad.tolist() == [1.0, 1.0]

    class Counting(nn.Module):
        calls = 0

        def forward(self, x):
            self.calls += 1
            return x

    counting = Counting()
    with pytest.raises(NotImplementedError, match="'calls'"):
        torch.compile(counting)(torch.ones(2))
    assert counting.calls == 0


def test_under_transforms():
    w = torch.tensor([0.5, 1.5], dtype=torch.float64, requires_grad=True)
    f = lambda x: (x * w).sin().sum()
    compiled = torch.compile(f)
    x = torch.tensor([1.0, 2.0], dtype=torch.float64)
    gradient = F.grad(f)(x)
    assert torch.allclose(ft.grad(compiled)(x), gradient) and torch.allclose(F.grad(compiled)(x), gradient)
    assert torch.allclose(F.vmap(compiled)(torch.stack([x, x])), torch.stack([f(x), f(x)]))
    assert torch.allclose(torch.compile(F.hessian(f))(x), F.hessian(f)(x))
    assert torch.allclose(torch.compile(F.vmap(F.grad(f)))(torch.stack([x, x]))[1], gradient)
    assert torch.allclose(ft.jvp(compiled, (x,), (x,))[1], gradient @ x)
    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(x, x)
        assert torch.allclose(torch.autograd.forward_ad.unpack_dual(compiled(dual)).tangent, gradient @ x)
    leaf = x.clone().requires_grad_()
    (first,) = torch.autograd.grad(compiled(leaf), leaf, create_graph=True)
    (second,) = torch.autograd.grad(first, leaf, torch.eye(2, dtype=torch.float64), is_grads_batched=True)
    assert torch.allclose(second, F.hessian(f)(x))
    assert torch.autograd.gradcheck(compiled, (leaf,)) and torch.autograd.gradgradcheck(compiled, (leaf,))


def test_what_makes_another_program():
    global SCALE
    x = torch.ones(2)
    f = torch.compile(lambda x: x * SCALE)
    assert f(x).tolist() == [0.5, 0.5]
    SCALE = 2.0
    assert f(x).tolist() == [2.0, 2.0] and f(torch.ones(3, dtype=torch.float64)).tolist() == [2.0] * 3
    layer, drop = nn.Linear(2, 2), nn.Dropout(0.5)
    g = torch.compile(lambda x: drop(layer(x)))
    g(x)
    layer.weight, layer.bias = nn.Parameter(torch.eye(2)), None
    drop.eval()
    assert g(x).tolist() == [1.0, 1.0]

    class Model:
        factor = 1.0

        def __init__(self):
            self.factor = 2.0

        @torch.compile
        def scaled(self, x):
            return x * self.factor

        @torch.compile(fullgraph=True, dynamic=False, mode="max-autotune")
        def times(self, x, n=2):
            return x * n

    model = Model()
    assert model.scaled(x).tolist() == [2.0, 2.0] and model.times(x, n=4).tolist() == [4.0, 4.0]
    model.factor = 3.0
    assert model.scaled(x).tolist() == [3.0, 3.0] and torch.compile(model.times)(x).tolist() == [2.0, 2.0]


def test_modules_stay_modules():
    model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False))
    model[1].weight = model[0].weight
    compiled = torch.compile(model)
    x = torch.ones(2)
    compiled(x).sum().backward()
    gradient = model[0].weight.grad
    model.zero_grad()
    model(x).sum().backward()
    assert torch.allclose(gradient, model[0].weight.grad)
    assert isinstance(compiled, nn.Module) and list(compiled.state_dict()) == ["_orig_mod.0.weight", "_orig_mod.1.weight"]
    compiled.load_state_dict({name: torch.eye(2) for name in compiled.state_dict()})
    assert compiled(x).tolist() == [1.0, 1.0] and len(list(compiled.parameters())) == 1
    outer = torch.compile(nn.Sequential(compiled, nn.ReLU()))
    assert outer(-x).tolist() == [0.0, 0.0] and torch.compile(lambda x: compiled(x) + 1)(x).tolist() == [2.0, 2.0]
    again = pickle.loads(pickle.dumps(copy.deepcopy(compiled)))
    assert again(x).tolist() == [1.0, 1.0] and again._orig_mod[0].weight is again._orig_mod[1].weight is not model[0].weight
    compiled.added = 3
    assert model.added == 3
    optimizer = torch.optim.SGD(compiled.parameters(), lr=1.0)
    optimizer.zero_grad()
    compiled(x).sum().backward()
    optimizer.step()
    assert torch.allclose(compiled(x), model(x))


def test_what_requires_a_gradient_later():
    held = [torch.ones(2)]
    f = torch.compile(lambda x: (x * held[0]).sum())
    assert not f(torch.ones(2)).requires_grad
    held[0].requires_grad_()
    f(torch.full((2,), 3.0)).backward()
    assert held[0].grad.tolist() == [3.0, 3.0]
    held[0].requires_grad_(False)
    assert not f(torch.ones(2)).requires_grad
    layer = nn.Linear(2, 2)
    compiled = torch.compile(layer)
    compiled(torch.ones(2))
    layer.requires_grad_(False)
    assert not compiled(torch.ones(2)).requires_grad
    assert compiled.double()(torch.ones(2, dtype=torch.float64)).dtype is torch.float64


@torch.compile
def doubled(x):
    return x * 2


def test_compiled_functions_pickle():
    assert pickle.loads(pickle.dumps(doubled)) is doubled
    assert pickle.loads(pickle.dumps(torch.compile(network)))
    assert torch.compile(torch.sin)(torch.zeros(2)).tolist() == [0.0, 0.0]


def test_options():
    f = lambda x: x * 2
    assert torch.compile(f, disable=True) is f and torch.compile(f, backend="eager") is f
    for wrong in ({"mode": "some"}, {"backend": "some"}, {"mode": "default", "options": {}}):
        with pytest.raises(RuntimeError):
            torch.compile(f, **wrong)
    for wrong in ({"backend": print}, {"options": {"a": 1}}):
        with pytest.raises(NotImplementedError, match="Remedy"):
            torch.compile(f, **wrong)


def test_numbers_of_tensors_are_not_frozen():
    flag = torch.tensor(2.0)
    for f in (lambda x: x if flag > 0 else -x, lambda x: x * flag.item(), lambda x: x * float(flag), lambda x: x[: int(flag)]):
        with pytest.raises(TypeError, match="Remedy"):
            torch.compile(f)(torch.ones(3))
    with pytest.raises(TypeError, match="from_numpy"):
        import numpy as np

        torch.compile(lambda x, y: x)(torch.ones(3), np.ones(3))


@pytest.mark.parametrize(
    "f",
    [
        lambda x, w: x.sum() * w.argmax(),
        lambda x, w: x.sum() * torch.searchsorted(w, torch.tensor(1.5)),
        lambda x, w: x.sum() * w.argsort()[0],
        lambda x, w: x.sum() + torch.tensor(w)[0],
        lambda x, w: x.sum() + torch.tensor(w, dtype=torch.float64)[0],
        lambda x, w: x.sum() + torch.full_like(w, 2.0)[0] + w.clone()[0] + w.detach()[1] + w.data[1],
        lambda x, w: x.sum() * torch.histc(w, 2, 0, 4)[0],
        lambda x, w: x.sum() * (1.0 in w),
        lambda x, w: x if torch.equal(w, w) else -x,
        lambda x, w: x.sum() * w.unique()[0],
        lambda x, w: x.sum() * w.numpy().sum(),
    ],
)
def test_tensors_made_outside_are_read_at_each_call_or_refused(f):
    w = torch.tensor([1.0, 2.0])
    compiled = torch.compile(lambda x: f(x, w))
    x = torch.ones(3)
    try:
        assert torch.equal(compiled(x), f(x, w))
    except (TypeError, NotImplementedError):
        return
    w[0] = 3.0
    assert torch.equal(compiled(x), f(x, w))


def test_results_that_are_inputs():
    x, w = torch.ones(2), torch.ones(2, requires_grad=True)
    a, b, c = torch.compile(lambda x: (x, w, x * w))(x)
    assert a is x and b is w and c.requires_grad
    y = torch.compile(lambda x: x.add_(1))(x)
    assert y is x and x.tolist() == [2.0, 2.0]


def test_random_numbers_of_every_kind():
    def f(x):
        y = torch.empty(3).normal_() + torch.randint(0, 5, (3,)) + torch.bernoulli(x)
        return y + torch.randperm(3) + torch.rand_like(x) + torch.normal(0.0, 1.0, (3,)) + torch.empty(3).exponential_()

    compiled = torch.compile(f)
    x = torch.full((3,), 0.5)
    compiled(x)
    torch.manual_seed(4)
    expected = f(x)
    torch.manual_seed(4)
    assert torch.allclose(compiled(x), expected)
    own = torch.Generator().manual_seed(1)
    drawn = torch.compile(lambda x: x + torch.rand(3, generator=own))(x) - x
    assert torch.allclose(drawn, torch.rand(3, generator=torch.Generator().manual_seed(1)))
    with pytest.raises(NotImplementedError, match="distribution depends"):
        torch.compile(lambda x: torch.multinomial(x, 2))(x)


def test_results_that_the_pullback_reads_must_not_be_written_into():
    x = torch.tensor([0.3, 0.7], requires_grad=True)
    y = torch.compile(lambda x: x.tanh())(x)  # its slope is computed from the result
    y.mul_(2.0)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()
    z = torch.compile(lambda x: 3 * x)(x)
    z.mul_(2.0)
    z.sum().backward()
    assert x.grad.tolist() == [6.0, 6.0]
