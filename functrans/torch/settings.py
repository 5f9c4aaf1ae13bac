"""Settings that torch has for the whole process: threads, determinism, the default device, precision.

Results are the same every time and of full precision. Asking for that changes nothing, and asking for less is an allowance
that is recorded but not made use of.
"""

from __future__ import annotations

from typing import Any

from functrans.config import settings
from functrans.errors import at_user_line
from functrans.torch.dtypes import CPU, DTYPES, Device, dtype, set_default_dtype
from functrans.torch.formats import layout, memory_format
from functrans.torch.ops.typed import TYPES, tensortype
from functrans.torch.random import default_generator
from functrans.torch.tensor import Tensor

__all__ = [
    "are_deterministic_algorithms_enabled", "compiled_with_cxx11_abi", "default_generator", "get_default_device",
    "get_deterministic_debug_mode", "get_float32_matmul_precision", "get_num_interop_threads", "get_num_threads",
    "is_deterministic_algorithms_warn_only_enabled", "is_storage", "is_warn_always_enabled", "set_default_device",
    "set_default_tensor_type", "set_deterministic_debug_mode", "set_float32_matmul_precision", "set_flush_denormal",
    "set_num_interop_threads", "set_num_threads", "set_warn_always", "typename", "use_deterministic_algorithms",
]  # fmt: skip


class Asked:
    """What was asked for."""

    deterministic = 0  # 0: not, 1: warn, 2: raise
    precision = "highest"
    warn_always = False


def get_num_threads() -> int:
    """How many threads compiled code may use."""
    return settings.threads


def set_num_threads(n: int) -> None:
    """Set how many threads compiled code may use."""
    if type(n) is not int or n < 1:
        raise RuntimeError(f"set_num_threads expects a positive integer{at_user_line()}")
    settings.threads = n


def get_num_interop_threads() -> int:
    """How many operations run at a time: one."""
    return 1


def set_num_interop_threads(n: int) -> None:
    """Operations run one at a time.

    Raises:
        NotImplementedError: for any other number than 1.
    """
    if n != 1:
        raise NotImplementedError(f"torch.set_num_interop_threads({n}) is not supported\n  Remedy: use torch.set_num_threads.{at_user_line()}")


def use_deterministic_algorithms(mode: bool, *, warn_only: bool = False) -> None:
    """Ask for results that are the same every time, which all are."""
    Asked.deterministic = (1 if warn_only else 2) if mode else 0


def are_deterministic_algorithms_enabled() -> bool:
    """Whether that was asked for."""
    return Asked.deterministic > 0


def is_deterministic_algorithms_warn_only_enabled() -> bool:
    """Whether that was asked for with ``warn_only``."""
    return Asked.deterministic == 1


def get_deterministic_debug_mode() -> int:
    """0, 1 for ``warn_only`` or 2, as was asked for."""
    return Asked.deterministic


def set_deterministic_debug_mode(debug_mode: int | str) -> None:
    """As `use_deterministic_algorithms`, by number or by name."""
    modes = {"default": 0, "warn": 1, "error": 2}
    mode = modes.get(debug_mode, debug_mode) if isinstance(debug_mode, str) else debug_mode
    if mode not in (0, 1, 2):
        raise RuntimeError(f"invalid value of debug_mode, expected 0, 1, or 2, but got {debug_mode}{at_user_line()}")
    Asked.deterministic = int(mode)


def get_float32_matmul_precision() -> str:
    """What was asked for; products are of the highest precision."""
    return Asked.precision


def set_float32_matmul_precision(precision: str) -> None:
    """Allow products of less precision, which are not made."""
    if precision not in ("highest", "high", "medium"):
        raise RuntimeError(f"Unrecognized value {precision!r}: expected 'highest', 'high' or 'medium'{at_user_line()}")
    Asked.precision = precision


def set_flush_denormal(mode: bool) -> bool:
    """Whether tiny numbers can be made 0: they cannot."""
    return False


def set_warn_always(b: bool) -> None:
    """Ask for warnings more than once; Python's `warnings` decides."""
    Asked.warn_always = bool(b)


def is_warn_always_enabled() -> bool:
    """Whether that was asked for."""
    return Asked.warn_always


def get_default_device() -> Device:
    """Where tensors are made: ``cpu``."""
    return CPU


def set_default_device(device: Any) -> None:
    """Where tensors are made.

    Raises:
        NotImplementedError: for any other device than ``cpu``.
    """
    if device is not None:
        Device(device)


def set_default_tensor_type(t: Any) -> None:
    """Make tensors of Python floats of the dtype of ``torch.DoubleTensor`` or another type."""
    kind = TYPES.get(t.rpartition(".")[2]) if isinstance(t, str) else t
    if not isinstance(kind, tensortype):
        raise TypeError(f"invalid type object: {t!r} is no floating tensor type{at_user_line()}")
    set_default_dtype(DTYPES[kind.wanted])


def compiled_with_cxx11_abi() -> bool:
    """Nothing is compiled beforehand."""
    return False


def is_storage(obj: Any) -> bool:
    """Whether an object is a storage, which there are none of."""
    return False


def typename(obj: Any) -> str:
    """The name of an object's class, of a tensor its type."""
    if isinstance(obj, Tensor):
        return str(obj.type())
    of = obj if isinstance(obj, type) else type(obj)
    module = "torch." if of in (dtype, layout, memory_format) else "" if of.__module__ == "builtins" else f"{of.__module__}."
    return f"{module}{of.__qualname__}"
