"""Settings of the process, constructors of one dtype, and what says that it is not supported."""

import pytest

import functrans as ft
import functrans.torch as torch


def test_threads():
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        assert torch.get_num_threads() == ft.config.threads == 1
        with pytest.raises(RuntimeError, match="positive"):
            torch.set_num_threads(0)
    finally:
        torch.set_num_threads(before)
    torch.set_num_interop_threads(1)
    with pytest.raises(NotImplementedError, match="set_num_threads"):
        torch.set_num_interop_threads(2)


def test_determinism_and_precision():
    for mode, number in (("warn", 1), (2, 2), ("default", 0)):
        torch.set_deterministic_debug_mode(mode)
        assert torch.get_deterministic_debug_mode() == number
    torch.use_deterministic_algorithms(True)
    assert torch.are_deterministic_algorithms_enabled() and not torch.is_deterministic_algorithms_warn_only_enabled()
    torch.use_deterministic_algorithms(False)
    torch.set_float32_matmul_precision("high")
    assert torch.get_float32_matmul_precision() == "high"
    torch.set_float32_matmul_precision("highest")
    with pytest.raises(RuntimeError, match="Unrecognized"):
        torch.set_float32_matmul_precision("low")


def test_default_device_and_type():
    torch.set_default_device("cpu")
    assert str(torch.get_default_device()) == "cpu"
    with pytest.raises(NotImplementedError, match="cuda"):
        torch.set_default_device("cuda")
    torch.set_default_tensor_type("torch.DoubleTensor")
    try:
        assert torch.ones(1).dtype is torch.float64
    finally:
        torch.set_default_tensor_type(torch.FloatTensor)
    assert torch.ones(1).dtype is torch.float32


def test_types_of_one_dtype():
    assert torch.LongTensor(2, 3).tolist() == [[0, 0, 0], [0, 0, 0]] and torch.FloatTensor([1, 2]).dtype is torch.float32
    assert isinstance(torch.ones(1), torch.FloatTensor) and not isinstance(torch.ones(1), torch.DoubleTensor)
    with pytest.raises(TypeError, match="torch.float32"):
        torch.FloatTensor(torch.ones(1, dtype=torch.int64))
    assert torch.typename(torch.ones(1)) == "torch.FloatTensor" and torch.typename(1) == "int"


@pytest.mark.parametrize("name", ["igamma", "igammac", "special.zeta"])
def test_operands_without_a_derivative_say_so(name):
    function = torch.special.zeta if name == "special.zeta" else getattr(torch, name)
    x = torch.tensor(2.5, requires_grad=True)
    with pytest.raises(NotImplementedError, match="first argument"):
        function(x, torch.tensor(1.5))
    function(x.detach(), x).backward()
    assert x.grad is not None


def test_a_seed_gives_the_same_events_again():
    rates = torch.full((100,), 3.0)
    drawn = [torch.poisson(rates, generator=torch.Generator().manual_seed(1)) for _ in range(2)]
    assert torch.equal(*drawn) and 2 < drawn[0].mean() < 4
    counts = torch.binomial(torch.full((100,), 10.0), torch.full((100,), 0.5), generator=torch.Generator().manual_seed(1))
    assert 4 < counts.mean() < 6 and counts.max() <= 10
