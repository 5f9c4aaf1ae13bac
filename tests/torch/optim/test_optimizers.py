"""Optimisers: closures, groups, hooks, state dicts; their numbers are compared with PyTorch's under tests/peers."""

import warnings

import pytest

import functrans.torch as torch


def quadratic(parameter):
    return ((parameter - 3.0) ** 2).sum()


@pytest.mark.parametrize("name", ["SGD", "Adam", "AdamW", "RMSprop", "Adagrad", "Adamax", "NAdam", "RAdam", "Rprop", "ASGD", "Adafactor"])
def test_a_quadratic_goes_down(name):
    x = torch.zeros(3, requires_grad=True)
    optimizer = getattr(torch.optim, name)([x], lr=0.1)
    for _ in range(200):
        optimizer.zero_grad()
        quadratic(x).backward()
        optimizer.step()
    assert quadratic(x).item() < (0.3 if name == "AdamW" else 12 if name == "Adagrad" else 1e-2)


def test_groups_have_rates_of_their_own():
    x, y = torch.ones(1, requires_grad=True), torch.ones(1, requires_grad=True)
    optimizer = torch.optim.SGD([{"params": [x]}, {"params": [y], "lr": 0.5}], lr=0.1)
    (x + y).sum().backward()
    optimizer.step()
    assert x.item() == pytest.approx(0.9) and y.item() == pytest.approx(0.5)


def test_the_closure_and_hooks_are_called():
    x = torch.ones(1, requires_grad=True)
    optimizer = torch.optim.SGD([x], lr=0.1)
    seen = []
    optimizer.register_step_pre_hook(lambda *args: seen.append("before"))
    optimizer.register_step_post_hook(lambda *args: seen.append("after"))

    def closure():
        optimizer.zero_grad()
        loss = quadratic(x)
        loss.backward()
        return loss

    with torch.no_grad():
        assert optimizer.step(closure).item() == 4.0
    assert seen == ["before", "after"]
    assert x.item() == pytest.approx(1.4)


def test_a_state_dict_goes_on_where_it_was_taken():
    def steps(x, optimizer, count):
        for _ in range(count):
            optimizer.zero_grad()
            quadratic(x).backward()
            optimizer.step()

    x = torch.zeros(2, requires_grad=True)
    optimizer = torch.optim.Adam([x], lr=0.1)
    steps(x, optimizer, 3)
    y = x.detach().clone().requires_grad_()
    other = torch.optim.Adam([y], lr=0.9)
    other.load_state_dict(optimizer.state_dict())
    steps(x, optimizer, 3)
    steps(y, other, 3)
    assert torch.equal(x, y)


def test_a_step_counts_as_a_write():
    x = torch.ones(2, requires_grad=True)
    y = (x**2).sum()
    x.grad = torch.ones(2)
    torch.optim.SGD([x], lr=0.1).step()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.backward()


def test_what_is_not_supported_says_so():
    x = torch.ones(1, requires_grad=True)
    with pytest.raises(NotImplementedError, match="torch.optim.Muon is not supported\n  Remedy: use AdamW"):
        torch.optim.Muon([x])
    with pytest.raises(NotImplementedError, match="differentiable"):
        torch.optim.SGD([x], differentiable=True)


def test_a_loss_that_diverges_makes_no_warnings():
    x = torch.tensor([1.0, -3.0], requires_grad=True)
    optimizer = torch.optim.SGD([x], lr=10.0, momentum=0.9)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(12):
            optimizer.zero_grad()
            (x**4).sum().backward()
            optimizer.step()
    assert not x.isfinite().any()
