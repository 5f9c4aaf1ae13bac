"""Every public name of PyTorch's autograd namespaces is there, and works or says what to use instead."""

import importlib

import pytest

torch = pytest.importorskip("torch", reason="needs the peers extra")
pytestmark = pytest.mark.peers

MODULES = ["autograd", "autograd.functional", "autograd.graph", "autograd.forward_ad", "autograd.function", "func"]
# What `dir` shows of a module beside what it offers: imported modules, types of annotations, private helpers of PyTorch.
NOT_OFFERED = """
Any Callable DeviceType Generator Iterable Iterator Literal Mapping MutableMapping NamedTuple Optional Sequence TYPE_CHECKING TypeAlias Union
ParamSpec TypeVar TypeVarTuple Concatenate Unpack TorchDispatchMode WeakKeyDictionary WeakValueDictionary abc cast contextlib contextvars defaultdict
deque functools handle_torch_function has_torch_function is_tensor_like itertools log logging os overload threading torch warnings inspect
custom_function_call hooks AUTOGRAD_FUNCTION_COUNTER FunctionMeta OrderedDict deprecated is_grad_enabled fwAD
ProfilerActivity ProfilerConfig ProfilerEvent ProfilerState kineto_available profiler profiler_legacy profiler_util variable anomaly_mode grad_mode
""".split()


def offered(module):
    own = [name for name in dir(module) if not name.startswith("_") and name not in NOT_OFFERED]
    return own if module.__name__ == "torch.autograd" else [name for name in own if name != "Variable"]


@pytest.mark.parametrize("module", MODULES)
def test_names_are_there(module):
    ours = importlib.import_module(f"functrans.torch.{module}")
    missing = [name for name in offered(importlib.import_module(f"torch.{module}")) if not hasattr(ours, name)]
    assert not missing


REFUSED = [
    "autograd.graph.allow_mutation_on_saved_tensors()", "autograd.graph.region_activation_memory_budget(0.5)", "func.debug_unwrap(x)",
    "func.rearrange(x, 'a -> a 1')", "autograd.NestedIOFunction()", "autograd.enforce_grad_layout_policy(x)",
    "autograd.set_multithreading_enabled(True)", "autograd.is_view_replay_enabled()", "autograd.is_multithreading_enabled()",
    "autograd.graph.set_override_stale_capture_stream(True)", "autograd.graph.set_warn_on_accumulate_grad_stream_mismatch(True)",
    "autograd.function.BackwardCFunction()", "autograd.function.InplaceFunction()", "autograd.function.traceable(x)",
    "autograd.SavedTensor()",
]  # fmt: skip


@pytest.mark.parametrize("call", REFUSED)
def test_what_is_refused_says_what_to_use(call):
    import functrans.torch as shim

    with pytest.raises(NotImplementedError, match="Remedy: "):
        eval(f"shim.{call}", {"shim": shim, "x": shim.ones(2)})
