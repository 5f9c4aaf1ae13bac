"""Every public function that PyTorch documents is there: it works, or says that it does not and what to use instead.

Counted are the callables of a namespace that have a docstring. Left out are classes and modules, which are types of devices, of
the dispatcher and of TorchScript or have tests of their own, and callables without a docstring, which PyTorch does not document.
"""

import types

import pytest

import functrans.torch as shim

torch = pytest.importorskip("torch", reason="needs the peers extra")
pytestmark = pytest.mark.peers

NAMESPACES = {"": torch, "linalg": torch.linalg, "special": torch.special, "fft": torch.fft, "Tensor": torch.Tensor}


def documented(namespace):
    for name in dir(namespace):
        value = None if name.startswith("_") else getattr(namespace, name)
        if callable(value) and not isinstance(value, (type, types.ModuleType)) and str(value.__doc__ or "").strip():
            yield name


NAMES = [(where, name) for where, namespace in NAMESPACES.items() for name in documented(namespace)]


def here(where):
    return getattr(shim, where) if where else shim


def is_refused(function):
    return "which is not supported" in (getattr(function, "__doc__", None) or "")


def test_all_are_there():
    assert [f"{where}.{name}" for where, name in NAMES if not callable(getattr(here(where), name, None))] == []
    assert len(NAMES) > 1000


def test_most_work():
    refused = [name for where, name in NAMES if is_refused(getattr(here(where), name, None))]
    assert len(refused) < 0.11 * len(NAMES)


@pytest.mark.parametrize("where, name", [(where, name) for where, name in NAMES if is_refused(getattr(here(where), name, None))])
def test_what_is_missing_says_so(where, name):
    with pytest.raises(NotImplementedError) as info:
        getattr(here(where), name)(shim.ones(2))
    lines = str(info.value).split("\n")
    assert lines[0].startswith(f"{where or 'torch'}.{name} is not") or lines[0].startswith(f"torch.{where}.{name} is not")
    assert lines[1].startswith("  Remedy: use ") and "test_torch_documented.py" in lines[2]


def test_properties_of_tensors():
    wanted = [n for n in dir(torch.Tensor) if not n.startswith("_") and type(getattr(torch.Tensor, n)).__name__ == "getset_descriptor"]
    assert [name for name in wanted if not hasattr(shim.Tensor, name) and name != "volatile"] == []


def test_what_programs_ask_of_devices():
    for module in (torch, shim):
        assert not module.cuda.is_available() and not module.backends.mps.is_available()
        module.cuda.manual_seed_all(0)
    with pytest.raises(NotImplementedError, match="torch.cuda.synchronize is not supported"):
        shim.cuda.synchronize()
