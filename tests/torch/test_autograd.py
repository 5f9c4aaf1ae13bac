"""The backward pass: leaves, accumulation, modes, hooks, `grad`, graphs of gradients, and what is kept and freed."""

import copy
import gc
import pickle
import threading
import weakref

import numpy as np
import pytest

import functrans.torch as torch


def leaf(*values):
    return torch.tensor(values if len(values) > 1 else values[0], dtype=torch.float64, requires_grad=True)


def test_cotangents_of_shared_results_add_up():
    x = leaf(2.0)
    y = x * x
    z = y * y + y + x
    z.backward()
    assert x.grad.item() == pytest.approx(4 * 2**3 + 2 * 2 + 1)


def test_gradients_of_one_pass_have_memory_of_their_own():
    a, b = leaf(1.0, 2.0), leaf(3.0, 4.0)
    (a + b).sum().backward()
    a.grad.mul_(5)
    assert b.grad.tolist() == [1.0, 1.0]
    seed = torch.ones(2, dtype=torch.float64)
    c = leaf(1.0, 2.0)
    (c * 1).backward(seed)
    c.grad.zero_()
    assert seed.tolist() == [1.0, 1.0]


def test_accumulation_is_in_place():
    x = leaf(1.0, 2.0)
    x.sum().backward()
    held = x.grad
    x.sum().backward()
    assert held is x.grad and held.tolist() == [2.0, 2.0] and held._version == 1


def test_modes_and_decorators():
    x = leaf(1.0)
    with torch.no_grad():
        assert not (x * 2).requires_grad
        with torch.enable_grad():
            assert (x * 2).requires_grad
    assert (x * 2).requires_grad

    @torch.no_grad()
    def f(x):
        return x * 2

    @torch.no_grad
    def g(x):
        yield x * 2
        yield torch.is_grad_enabled()

    assert not f(x).requires_grad
    items = g(x)
    assert not next(items).requires_grad and torch.is_grad_enabled()
    assert next(items) is False
    torch.set_grad_enabled(False)
    try:
        assert not (x * 2).requires_grad
    finally:
        torch.set_grad_enabled(True)
    with pytest.raises(ZeroDivisionError), torch.no_grad():
        raise ZeroDivisionError
    assert torch.is_grad_enabled()


def test_threads_run_backward_at_once():
    results = {}

    def work(number):
        x = leaf(float(number))
        for _ in range(50):
            x.grad = None
            (x.sin() * x).exp().backward()
        results[number] = x.grad.item()

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number, value in results.items():
        f = np.exp(np.sin(number) * number) * (np.cos(number) * number + np.sin(number))
        assert value == pytest.approx(f)


def test_inference_tensors():
    with torch.inference_mode():
        x = torch.ones(2) * 2
        assert x.is_inference() and torch.is_inference_mode_enabled()
    assert not (torch.ones(2) * 2).is_inference()
    with pytest.raises(RuntimeError, match="inference tensor"):
        x.requires_grad_()


def test_warning_of_the_gradient_of_a_result():
    y = leaf(1.0) * 2
    with pytest.warns(UserWarning, match="not a leaf"):
        assert y.grad is None


def test_grad_arguments():
    x, y = leaf(1.0, 2.0), leaf(3.0, 4.0)
    out = x * y
    gx, gy = torch.autograd.grad(out, [x, y], grad_outputs=torch.tensor([1.0, 10.0], dtype=torch.float64))
    assert gx.tolist() == [3.0, 40.0] and gy.tolist() == [1.0, 20.0]
    assert torch.autograd.grad(x.sum(), y, allow_unused=True) == (None,)
    assert torch.autograd.grad(x.sum(), y, materialize_grads=True)[0].tolist() == [0.0, 0.0]
    (rows,) = torch.autograd.grad(x**2, x, torch.eye(2, dtype=torch.float64), is_grads_batched=True)
    assert rows.tolist() == [[2.0, 0.0], [0.0, 4.0]]
    assert x.grad is None


def test_grad_with_respect_to_results():
    x = leaf(2.0)
    y = x * x
    z = y * y
    gy, gx = torch.autograd.grad(z, [y, x])
    assert gy.item() == 8.0 and gx.item() == 32.0
    a = leaf(2.0)
    b = a * 3
    (b * b).backward(inputs=[b])
    assert b.grad.item() == 12.0 and a.grad is None


def test_only_the_needed_part_of_the_graph_is_gone_through():
    x, y = leaf(1.0), leaf(2.0)
    called = []
    a, b = x * 2, y * 3
    b.register_hook(called.append)
    torch.autograd.grad(a + b, x)
    assert called == []


def test_hooks():
    x = leaf(1.0, 2.0)
    seen = []
    handle = x.register_hook(lambda g: g * 10)
    y = x * 3
    y.register_hook(lambda g: seen.append(g.tolist()))
    y.grad_fn.register_hook(lambda inputs, outputs: seen.append((inputs[0].tolist(), outputs[0].tolist())))
    y.grad_fn.register_prehook(lambda outputs: (outputs[0] * 2,))
    y.sum().backward()
    assert seen == [[1.0, 1.0], ([6.0, 6.0], [2.0, 2.0])]
    assert x.grad.tolist() == [60.0, 60.0]
    handle.remove()
    x.grad = None
    x.register_post_accumulate_grad_hook(lambda p: seen.append(p.grad.tolist()))
    x.sum().backward()
    assert seen[-1] == [1.0, 1.0]


def test_a_hook_that_raises_leaves_everything_usable():
    x = leaf(1.0, 2.0)

    def fail(g):
        raise ValueError("mine")

    handle = x.register_hook(fail)
    with pytest.raises(ValueError, match="mine"):
        (x * x).sum().backward()
    assert torch.is_grad_enabled() and x.grad is None
    handle.remove()
    (x * x).sum().backward()
    assert x.grad.tolist() == [2.0, 4.0]


def test_hooks_must_keep_the_shape():
    x = leaf(1.0, 2.0)
    x.register_hook(lambda g: g.sum())
    with pytest.raises(RuntimeError, match="changed the size"):
        (x * x).sum().backward()


def test_saved_values_are_freed():
    x = leaf(*range(1, 1000))
    y = x.exp()
    z = (y * y).sum()
    array = weakref.ref(y._array.base if y._array.base is not None else y._array)
    del y
    z.backward()
    gc.collect()
    assert array() is None
    with pytest.raises(RuntimeError, match="backward through the graph a second time"):
        z.backward()


def test_nodes_that_save_nothing_may_be_passed_again():
    x = leaf(1.0)
    y = x + 1
    y.backward()
    y.backward()
    assert x.grad.item() == 2.0


def test_results_and_graphs_are_no_cycles():
    gc.collect()
    gc.disable()
    try:
        x = leaf(1.0, 2.0)
        y = (x.exp() * x).softmax(0)
        seen = weakref.ref(y)
        node = weakref.ref(y.grad_fn)
        del y
        assert seen() is None and node() is None
    finally:
        gc.enable()


def test_gradients_of_gradients_to_the_fourth_order():
    x = leaf(0.7)
    value = x.sin() * x.exp()
    for _ in range(4):
        (value,) = torch.autograd.grad(value, x, create_graph=True)
    # (sin + i-th derivatives): e^x sin x has the fourth derivative -4 e^x sin x.
    assert value.item() == pytest.approx(-4 * np.exp(0.7) * np.sin(0.7))


def test_backward_with_create_graph_accumulates_with_a_history():
    x = leaf(2.0)
    (x**3).backward(create_graph=True)
    assert x.grad.requires_grad
    g = x.grad
    x.grad = None
    g.backward()
    assert x.grad.item() == 12.0


def test_next_functions_and_saved_values():
    x = leaf(2.0)
    y = x * 3
    (accumulate, place), other = y.grad_fn.next_functions
    assert accumulate.variable is x and place == 0 and other == (None, 0)
    assert type(y.grad_fn).__name__ == y.grad_fn.name() == "MulBackward0" and accumulate.name() == "torch::autograd::AccumulateGrad"
    assert torch.equal(x.exp().grad_fn._saved_result, x.exp())
    assert (x * x).grad_fn._saved_self.item() == 2.0


def test_anomaly_mode_names_the_operation_and_its_line():
    x = leaf(-1.0)
    with torch.autograd.detect_anomaly():
        y = torch.sqrt(x)  # here
        with pytest.raises(RuntimeError, match=r"Function 'SqrtBackward0' returned nan values in its 0th output") as info:
            y.backward()
    assert "# here" in str(info.value)
    torch.sqrt(x).backward()
    assert np.isnan(x.grad.item())


def test_saved_tensors_hooks():
    x = leaf(1.0, 2.0)
    log = []

    def pack(t):
        log.append("pack")
        return t.numpy().copy()

    def unpack(array):
        log.append("unpack")
        return torch.from_numpy(array)

    with torch.autograd.graph.saved_tensors_hooks(pack, unpack):
        y = (x * x).exp()
    z = torch.softmax(y, 0).sum() + y.sum()
    assert "unpack" not in log
    z.backward(retain_graph=True)
    assert log.count("pack") == log.count("unpack") == 3
    x.grad = None
    with torch.autograd.graph.save_on_cpu():
        torch.softmax(x * x, 0)[0].backward()
    reference = leaf(1.0, 2.0)
    torch.softmax(reference * reference, 0)[0].backward()
    assert torch.allclose(x.grad, reference.grad)


def test_checkpoint():
    from functrans.torch.autograd.checkpoint import checkpoint

    w = leaf(0.5, -0.3)
    calls = []

    def f(x):
        calls.append(1)
        return torch.softmax((x * w).sin(), 0) * x.exp() * torch.rand(2, dtype=torch.float64)

    x = leaf(1.0, 2.0)
    torch.manual_seed(3)
    f(x).sum().backward()
    plain = x.grad, w.grad
    x.grad = w.grad = None
    calls.clear()
    torch.manual_seed(3)
    out = checkpoint(f, x)
    after = torch.rand(1)
    out.sum().backward()
    assert len(calls) == 2
    assert torch.allclose(x.grad, plain[0]) and torch.allclose(w.grad, plain[1])
    torch.manual_seed(3)
    f(x)
    assert torch.equal(torch.rand(1), after)
    (g,) = torch.autograd.grad(checkpoint(lambda x: (x * w).exp().sum(), x), x, create_graph=True)
    assert torch.allclose(torch.autograd.grad(g.sum(), w)[0], (1 + x * w).detach() * (x * w).exp().detach())


def test_copies_and_pickles():
    x = leaf(1.0, 2.0)
    x.sum().backward()
    again = copy.deepcopy(x)
    assert again.requires_grad and torch.equal(again.grad, x.grad) and again is not x
    with torch.no_grad():
        again.zero_()
    assert x.tolist() == [1.0, 2.0]
    assert pickle.loads(pickle.dumps(x)).requires_grad
    assert pickle.loads(pickle.dumps(torch.float64)) is torch.float64
    with pytest.raises(RuntimeError, match="leaves"):
        copy.deepcopy(x * 2)


def test_other_libraries_share_memory():
    array = np.arange(3.0)
    x = torch.from_numpy(array)
    x.add_(1)
    assert array.tolist() == [1.0, 2.0, 3.0]
    array[0] = 7
    assert x[0].item() == 7 and torch.from_dlpack(array)[0].item() == 7
    assert np.from_dlpack(x)[0] == 7 and np.asarray(x).tolist() == [7.0, 2.0, 3.0]
    with pytest.raises(RuntimeError, match="requires grad. Use tensor.detach"):
        leaf(1.0).numpy()


def test_forward_mode():
    import functrans.torch.autograd.forward_ad as forward

    x, t = torch.tensor([1.0, 2.0]), torch.tensor([1.0, 0.5])
    with forward.dual_level():
        d = forward.make_dual(x, t)
        y = torch.softmax(d * d.sum(), 0)[1:] * 2
        tangent = forward.unpack_dual(y).tangent
    expected = torch.func.jvp(lambda x: torch.softmax(x * x.sum(), 0)[1:] * 2, (x,), (t,))[1]
    assert torch.allclose(tangent, expected)
    with pytest.raises(RuntimeError, match="no level exists"):
        forward.make_dual(x, t)
    leaf_ = leaf(1.0, 2.0)
    with forward.dual_level():
        y = (forward.make_dual(leaf_, torch.ones(2, dtype=torch.float64)) ** 3).sum()
        (g,) = torch.autograd.grad(forward.unpack_dual(y).tangent, leaf_)
    assert g.tolist() == [6.0, 12.0]


def test_random_numbers_repeat():
    torch.manual_seed(5)
    a, state = torch.randn(3), torch.get_rng_state()
    b = torch.rand(2)
    torch.set_rng_state(state)
    assert torch.equal(torch.rand(2), b)
    torch.manual_seed(5)
    assert torch.equal(torch.randn(3), a) and torch.initial_seed() == 5
    g = torch.Generator().manual_seed(1)
    c = torch.randperm(5, generator=g)
    assert sorted(c.tolist()) == [0, 1, 2, 3, 4] and torch.equal(torch.randperm(5, generator=torch.Generator().manual_seed(1)), c)


def test_inputs_of_grad_are_any_iterable():
    tensors = {name: torch.ones(2, requires_grad=True) for name in "ab"}
    y = (tensors["a"] * tensors["b"] * 3).sum()
    for inputs in (tensors.values(), iter([tensors["a"], tensors["b"]])):
        assert [g.tolist() for g in torch.autograd.grad(y, inputs, retain_graph=True, only_inputs=True)] == [[3.0, 3.0]] * 2
    with pytest.warns(FutureWarning, match="only_inputs argument is deprecated"):
        torch.autograd.grad(y, tensors["a"], only_inputs=False)
