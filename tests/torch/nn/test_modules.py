"""Modules: attributes, parts, hooks, state; layers' numbers are compared with PyTorch's under tests/peers."""

import copy
import pickle

import numpy as np
import pytest

import functrans.torch as torch
from functrans.torch import nn


def test_a_module_knows_its_parts():
    model = nn.Sequential(nn.Linear(2, 3), nn.Sequential(nn.ReLU(), nn.Linear(3, 1)))
    assert [name for name, _ in model.named_parameters()] == ["0.weight", "0.bias", "1.1.weight", "1.1.bias"]
    assert [name for name, _ in model.named_modules()] == ["", "0", "1", "1.0", "1.1"]
    assert model.get_submodule("1.1") is model[1][1]
    assert model.get_parameter("0.bias") is model[0].bias
    assert len(model[:1]) == 1


def test_shared_parameters_are_listed_once():
    layer = nn.Linear(2, 2)
    assert len(list(nn.ModuleList([layer, layer]).parameters())) == 2


def test_attributes_move_between_kinds():
    module = nn.Module()
    module.x = 3
    module.x = nn.Parameter(torch.ones(1))
    assert list(module._parameters) == ["x"] and "x" not in module.__dict__
    del module.x
    assert not hasattr(module, "x")


def test_training_and_freezing():
    model = nn.Sequential(nn.Dropout(0.5), nn.Linear(4, 4))
    assert torch.equal(model.eval()[0](torch.ones(4)), torch.ones(4))
    model.train()
    assert model[0].training
    model.requires_grad_(False)
    assert not model(torch.ones(2, 4)).requires_grad


def test_dropout_scales_what_it_keeps():
    torch.manual_seed(0)
    out = nn.Dropout(0.25)(torch.ones(10000))
    assert set(np.unique(out.numpy())) == {np.float32(0), np.float32(1 / 0.75)}
    assert out.mean().item() == pytest.approx(1, abs=0.03)


def test_hooks_change_what_passes():
    layer = nn.Linear(2, 2)
    layer.register_forward_pre_hook(lambda module, args: (args[0] * 0,))
    handle = layer.register_forward_hook(lambda module, args, out: out + 1)
    assert torch.equal(layer(torch.ones(1, 2))[0], layer.bias + 1)
    handle.remove()
    assert torch.equal(layer(torch.ones(1, 2))[0], layer.bias)


def test_backward_hooks_see_and_change_gradients():
    seen = []
    layer = nn.Identity()
    layer.register_full_backward_pre_hook(lambda module, grad_output: (grad_output[0] * 2,))
    layer.register_full_backward_hook(lambda module, grad_input, grad_output: seen.append((grad_input, grad_output)) or (grad_input[0] * 5,))
    x = torch.ones(2, requires_grad=True)
    layer(x).sum().backward()
    assert x.grad.tolist() == [10.0, 10.0]
    (grad_input, grad_output), *_ = seen
    assert grad_input[0].tolist() == grad_output[0].tolist() == [2.0, 2.0]


def test_states_are_copied_not_shared():
    model, other = nn.Linear(2, 2), nn.Linear(2, 2)
    other.load_state_dict(model.state_dict())
    assert torch.equal(model.weight, other.weight)
    with torch.no_grad():
        model.weight.zero_()
    assert not torch.equal(model.weight, other.weight)


def test_errors_leave_the_module_as_it_was():
    model = nn.Linear(2, 2)
    with pytest.raises(RuntimeError, match="size mismatch for weight"):
        model.load_state_dict({"weight": torch.ones(3, 2), "bias": torch.ones(2)})
    with pytest.raises(RuntimeError, match="cannot be multiplied"):
        model(torch.ones(1, 3))
    model(torch.ones(1, 2)).sum().backward()
    assert model.weight.grad is not None


def test_buffers_that_are_not_saved():
    module = nn.Module()
    module.register_buffer("kept", torch.ones(1))
    module.register_buffer("left", torch.ones(1), persistent=False)
    assert list(module.state_dict()) == ["kept"]
    assert [name for name, _ in module.named_buffers()] == ["kept", "left"]


def test_a_buffer_that_is_assigned_says_whether_it_is_saved():
    module = nn.Module()
    module.register_buffer("mean", None)
    module.mean = nn.Buffer(torch.ones(1), persistent=False)
    assert list(module.state_dict()) == []
    module.mean = torch.zeros(1)  # a tensor leaves that as it was
    assert list(module.state_dict()) == []
    module.mean = nn.Buffer(torch.ones(1))
    assert list(module.state_dict()) == ["mean"]


def test_dtypes_change_in_place():
    layer = nn.Linear(2, 2)
    weight = layer.weight
    assert layer.double().weight is weight
    assert weight.dtype is torch.float64
    layer(torch.ones(1, 2, dtype=torch.float64)).sum().backward()
    assert weight.grad.dtype is torch.float64


def test_copies_and_pickles():
    model = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1))
    x = torch.ones(1, 2)
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(model(x), other(x))
        assert other[0].weight is not model[0].weight


def test_running_statistics_are_used_in_evaluation():
    layer = nn.BatchNorm1d(2, momentum=1.0)
    x = torch.tensor([[1.0, 10.0], [3.0, 30.0]])
    layer(x)
    assert layer.running_mean.tolist() == [2.0, 20.0]
    assert layer.running_var.tolist() == [2.0, 200.0]
    assert int(layer.num_batches_tracked) == 1
    assert layer.eval()(x)[0, 0].item() == pytest.approx(-1 / 2**0.5, rel=1e-4)


def test_the_first_of_equals_gets_the_gradient():
    x = torch.zeros(1, 1, 4, requires_grad=True)
    nn.functional.max_pool1d(x, 2).sum().backward()
    assert x.grad.tolist() == [[[1.0, 0.0, 1.0, 0.0]]]


def test_places_of_maxima():
    values, places = nn.MaxPool2d(2, return_indices=True)(torch.arange(16.0).reshape(1, 1, 4, 4))
    assert values.flatten().tolist() == places.flatten().tolist() == [5, 7, 13, 15]


def test_a_module_as_a_function_and_compiled():
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1))
    x = torch.randn(5, 3)
    out = torch.func.functional_call(model, dict(model.named_parameters()), (x,))
    assert torch.equal(out, model(x))
    compiled = torch.compile(model)
    assert torch.allclose(compiled(x), out, atol=1e-6)
    compiled(x).sum().backward()
    grads = [parameter.grad for parameter in model.parameters()]
    model.zero_grad()
    model(x).sum().backward()
    assert all(torch.allclose(a, b.grad, atol=1e-6) for a, b in zip(grads, model.parameters()))


def test_second_derivatives_of_layers():
    model = nn.Sequential(nn.Conv1d(2, 3, 2), nn.BatchNorm1d(3), nn.Softplus(), nn.AvgPool1d(2), nn.Flatten(), nn.Linear(6, 1)).double()
    x = torch.randn(3, 2, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(model.eval(), (x,))
    assert torch.autograd.gradgradcheck(model.eval(), (x,))


def test_what_is_not_supported_says_so():
    with pytest.raises(NotImplementedError, match="torch.nn.SyncBatchNorm is not supported\n  Remedy: use BatchNorm2d"):
        nn.SyncBatchNorm((2, 2), 2)
    with pytest.raises(NotImplementedError, match="torch.nn.functional.pdist"):
        nn.functional.pdist()
    with pytest.raises(AttributeError):
        getattr(nn, "NoSuchLayer")  # noqa: B009


@pytest.mark.parametrize(
    ("function", "spread"),
    [
        (lambda w: nn.init.xavier_uniform_(w), (2 / 300) ** 0.5),
        (lambda w: nn.init.xavier_normal_(w), (2 / 300) ** 0.5),
        (lambda w: nn.init.kaiming_uniform_(w, nonlinearity="relu"), (2 / 100) ** 0.5),
        (lambda w: nn.init.kaiming_normal_(w, mode="fan_out", nonlinearity="relu"), (2 / 200) ** 0.5),
        (lambda w: nn.init.trunc_normal_(w, std=0.1), 0.1),
    ],
)
def test_initial_values_have_the_spread_they_should(function, spread):
    weight = function(nn.Parameter(torch.empty(200, 100)))
    assert weight.requires_grad and weight.is_leaf
    assert weight.std().item() == pytest.approx(spread, rel=0.05)


def test_orthogonal_and_diracs():
    weight = nn.init.orthogonal_(torch.empty(4, 6))
    assert torch.allclose(weight @ weight.t(), torch.eye(4), atol=1e-5)
    x = torch.randn(1, 3, 5)
    assert torch.equal(nn.functional.conv1d(x, nn.init.dirac_(torch.empty(3, 3, 3)), padding=1), x)


def test_gradients_clipped_and_vectors():
    x = torch.zeros(2, requires_grad=True)
    x.grad = torch.tensor([3.0, -4.0])
    assert nn.utils.clip_grad_norm_([x], 1.0).item() == 5.0
    assert x.grad.norm().item() == pytest.approx(1.0)
    nn.utils.clip_grad_value_([x], 0.7)
    assert x.grad[1].item() == pytest.approx(-0.7)
    model = nn.Linear(2, 1)
    vector = nn.utils.parameters_to_vector(model.parameters())
    nn.utils.vector_to_parameters(vector.detach() * 0, model.parameters())
    assert model(torch.ones(1, 2)).item() == 0.0


def test_ordinary_attributes_can_be_deleted():
    module = nn.Module()
    module.note = "a"
    del module.note
    assert not hasattr(module, "note")
    with pytest.raises(AttributeError):
        del module.note


def test_hooks_of_all_modules():
    from functrans.torch.nn.modules import module as hooks

    seen = []
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Tanh())
    handles = [
        hooks.register_module_forward_pre_hook(lambda module, args: seen.append(("before", type(module).__name__))),
        hooks.register_module_forward_hook(lambda module, args, output: seen.append(("after", type(module).__name__))),
        hooks.register_module_full_backward_hook(lambda module, inputs, outputs: seen.append(("back", type(module).__name__))),
    ]
    try:
        model(torch.ones(1, 2, requires_grad=True)).sum().backward()
    finally:
        for handle in handles:
            handle.remove()
    assert seen == [
        ("before", "Sequential"), ("before", "Linear"), ("after", "Linear"), ("before", "Tanh"), ("after", "Tanh"),
        ("after", "Sequential"), ("back", "Tanh"), ("back", "Linear"), ("back", "Sequential"),
    ]  # fmt: skip
    model(torch.ones(1, 2)).sum().backward()
    assert len(seen) == 9


def test_copies_of_parameters_begin_without_a_gradient():
    model = torch.nn.Linear(2, 1)
    model(torch.ones(1, 2)).sum().backward()
    assert all(p.grad is None for p in copy.deepcopy(model).parameters())
    x = torch.ones(1, requires_grad=True)
    x.sum().backward()
    assert copy.deepcopy(x).grad.tolist() == [1.0]


def test_what_parameters_print():
    assert str(nn.Parameter(torch.ones(1))) == repr(nn.Parameter(torch.ones(1))) == "Parameter containing:\ntensor([1.], requires_grad=True)"


def test_tensors_of_the_class_have_the_default_dtype():
    torch.set_default_dtype(torch.float64)
    try:
        assert torch.Tensor([1, 2]).dtype == torch.Tensor(2, 3).dtype == torch.Tensor().dtype == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)
