"""Parameters and buffers: tensors that a module knows as its own."""

from __future__ import annotations

from typing import Any, Self

import numpy as np

from functrans.errors import at_user_line
from functrans.torch.autograd.graph import accumulator
from functrans.torch.dtypes import DTYPES, default, numpy_dtype, title
from functrans.torch.tensor import Tensor, made, memory

__all__ = ["Buffer", "Parameter", "UninitializedBuffer", "UninitializedParameter", "adopted", "is_lazy", "typename"]


class Parameter(Tensor):
    """A tensor that a module, when assigned to an attribute, lists among its parameters; it is a leaf.

    Args:
        data: a tensor, whose memory it shares.
        requires_grad: whether backward passes give it a gradient.

    Raises:
        RuntimeError: a gradient is asked for, and the dtype is neither floating nor complex.

    Example:
        >>> import functrans.torch as torch
        >>> torch.nn.Parameter(torch.zeros(2))
        Parameter containing:
        tensor([0., 0.], requires_grad=True)
    """

    def __new__(cls, data: Any = None, requires_grad: bool = True) -> Self:
        if data is None:
            data = Tensor()
        if not isinstance(data, Tensor):
            raise AttributeError(f"'{type(data).__name__}' object has no attribute 'detach'\n  Remedy: nn.Parameter(torch.tensor(...)).{at_user_line()}")
        array = memory(data)
        if requires_grad and array.dtype.kind not in "fc":
            raise RuntimeError("Only Tensors of floating point and complex dtype can require gradients")
        parameter = made(array, cls)
        parameter._changes = data._changes
        if requires_grad:
            parameter._edge = accumulator(parameter)
        return parameter

    def __repr__(self) -> str:
        return f"Parameter containing:\n{Tensor.__repr__(self)}"

    __str__ = __repr__


class Buffer(Tensor):
    """A tensor that a module, when assigned to an attribute, lists among its buffers."""

    def __new__(cls, data: Any = None, *, persistent: bool = True) -> Self:
        data = Tensor() if data is None else data
        buffer = made(memory(data), cls)
        buffer._changes = data._changes
        buffer.__dict__["persistent"] = persistent
        return buffer


class Uninitialized:
    """What parameters and buffers have in common whose shape is not known yet."""

    cls_to_become: type = Tensor

    def materialize(self: Any, shape: Any, device: Any = None, dtype: Any = None) -> None:
        """Become an ordinary one of this shape, with any numbers in it."""
        kind = self._array.dtype if dtype is None else numpy_dtype(dtype)
        self.__class__ = self.cls_to_become
        self.data = made(np.zeros(tuple(shape), kind))

    @property
    def shape(self) -> Any:
        """Not known: asking for it raises a RuntimeError."""
        raise RuntimeError(
            "Can't access the shape of an uninitialized parameter or buffer. This error usually happens in `load_state_dict` when "
            "trying to load an uninitialized parameter into an initialized one. Call `forward` to initialize the parameters before "
            f"accessing their attributes.{at_user_line()}"
        )

    def __repr__(self) -> str:
        return f"<{type(self).__name__}>"


class UninitializedParameter(Uninitialized, Parameter):
    """A parameter whose shape is not known yet.

    Example:
        >>> import functrans.torch as torch
        >>> torch.nn.LazyLinear(3).weight
        <UninitializedParameter>
    """

    cls_to_become = Parameter

    def __new__(cls, requires_grad: bool = True, device: Any = None, dtype: Any = None) -> Self:
        kind = default.numpy if dtype is None else numpy_dtype(dtype)
        return super().__new__(cls, made(np.zeros(0, kind)), requires_grad)


class UninitializedBuffer(Uninitialized, Tensor):
    """A buffer whose shape is not known yet."""

    def __new__(cls, requires_grad: bool = False, device: Any = None, dtype: Any = None) -> Self:
        kind = default.numpy if dtype is None else numpy_dtype(dtype)
        return made(np.zeros(0, kind), cls)


def is_lazy(value: Any) -> bool:
    """Whether a parameter or buffer has no shape yet."""
    return isinstance(value, Uninitialized)


def adopted(value: Any) -> Any:
    """A value of a state dict: a tensor of PyTorch becomes one of ours, on the same memory; all else stays as it is."""
    if isinstance(value, Tensor) or not (hasattr(value, "detach") and hasattr(value, "__dlpack__")):
        return value
    return made(np.asarray(value.detach()))


def typename(value: Any) -> str:
    """What error messages call the type of a value: ``torch.FloatTensor``."""
    if type(value) is Tensor:
        return f"torch.{title(DTYPES[value._array.dtype])}Tensor"
    if isinstance(value, Tensor):
        return f"torch.nn.parameter.{type(value).__name__}"
    module = type(value).__module__
    return type(value).__name__ if module in ("builtins", "__builtin__") else f"{module}.{type(value).__name__}"
