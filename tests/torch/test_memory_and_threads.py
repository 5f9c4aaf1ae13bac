"""What graphs and transforms keep: nothing; deep graphs, and threads of their own modes and passes."""

import gc
import pickle
import threading
import tracemalloc

import numpy as np
import pytest

import functrans.torch as torch

DEPTH = 100_000
F = torch.func


def leaf(value=1.0):
    return torch.tensor(value, dtype=torch.float64, requires_grad=True)


def repeated(operation, x, count=DEPTH):
    for _ in range(count):
        x = operation(x)
    return x


def test_deep_graphs_are_passed_and_freed():
    x = leaf()
    y = repeated(lambda y: y + 1.0, x)
    y.backward()
    assert x.grad.item() == 1.0
    del y  # after its pass
    y = repeated(lambda y: y * 1.0, x)
    del y  # and without
    y = repeated(lambda y: y * 1.0, x)
    (g,) = torch.autograd.grad(y, x, create_graph=True)
    assert g.item() == 1.0 and pickle.loads(pickle.dumps(y.detach())).item() == 1.0
    with pytest.raises(RuntimeError, match="leaf"):
        pickle.dumps(y)


def test_deep_graphs_of_other_nodes():
    x = leaf()
    y = repeated(lambda y: torch.softmax(torch.stack([y, y]), 0).sum() * y, x, 5_000)
    y.backward()
    assert x.grad.item() == pytest.approx(1.0)
    z = torch.zeros(3, dtype=torch.float64)
    for _ in range(20_000):
        z[0] = x
    z.sum().backward()
    y = x * 1
    for _ in range(20_000):
        y.mul_(1.0)
    y.backward()
    assert x.grad.item() == pytest.approx(3.0)


def network_step(w):
    loss = ((w @ w).tanh() ** 2).mean() + torch.softmax(w, 0).max() + w[0].relu().sum()
    (g,) = torch.autograd.grad(loss, w, create_graph=True)
    (g * g).sum().backward()
    w.grad = None


def transformed_step(w):
    F.vmap(F.grad(lambda a: (a.sin() * w[0]).sum()))(w).sum().backward()
    torch.autograd.grad(w.exp() * w, w, torch.ones(2, *w.shape, dtype=w.dtype), is_grads_batched=True)
    w.grad = None


def failing_step(w):
    def hook(g):
        raise ZeroDivisionError

    y = w.exp()
    y.register_hook(hook)
    with pytest.raises(ZeroDivisionError):
        (y * y).sum().backward()


COMPILED = torch.compile(lambda w: (w @ w).tanh().sum())


def compiled_step(w):
    COMPILED(w).backward()
    w.grad = None


@pytest.mark.parametrize("step, count", [(network_step, 1000), (transformed_step, 60), (compiled_step, 300), (failing_step, 200)])
def test_steps_leave_nothing_behind(step, count):
    w = torch.randn(30, 30, dtype=torch.float64).requires_grad_()
    for _ in range(5):
        step(w)
    gc.collect()
    gc.disable()
    try:
        before = len(gc.get_objects())
        for _ in range(count):
            step(w)
        grown = len(gc.get_objects()) - before
        tracemalloc.start()
        for _ in range(2):
            step(w)
        held = tracemalloc.get_traced_memory()[0]
        for _ in range(20):
            step(w)
        memory = tracemalloc.get_traced_memory()[0] - held
    finally:
        tracemalloc.stop()
        gc.enable()
    allowed = 12 * count if step is failing_step else count  # a raised exception and its frames are a cycle of Python's
    assert grown < allowed and memory < (2_000_000 if step is failing_step else 60_000), (grown, memory)


def run_in_threads(work, count=4):
    errors = []

    def guarded(number):
        try:
            work(number)
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors, errors


def test_threads_have_modes_of_their_own():
    barrier = threading.Barrier(4)

    def work(number):
        with torch.set_grad_enabled(number % 2 == 0):
            barrier.wait()
            assert torch.is_grad_enabled() == (number % 2 == 0)
            assert (leaf() * 2).requires_grad == (number % 2 == 0)
            barrier.wait()
        assert torch.is_grad_enabled()

    run_in_threads(work)


def test_threads_pass_graphs_of_one_leaf_and_transform():
    w = leaf(0.3)
    shared = torch.compile(lambda x: (x * w).sin())

    def work(number):
        for _ in range(20):
            (g,) = torch.autograd.grad((w * number).sin(), w, create_graph=True)
            (second,) = torch.autograd.grad(g, w)
            assert second.item() == pytest.approx(-(number**2) * np.sin(0.3 * number))
            x = torch.tensor(float(number), dtype=torch.float64)
            assert F.grad(F.grad(torch.sin))(x).item() == pytest.approx(-np.sin(number))
            assert shared(x).item() == pytest.approx(np.sin(0.3 * number))
            with torch.autograd.graph.saved_tensors_hooks(lambda t: t, lambda t: t):
                assert torch.autograd.grad((w * number).exp(), w)[0].item() == pytest.approx(number * np.exp(0.3 * number))

    run_in_threads(work)
    assert w.grad is None
