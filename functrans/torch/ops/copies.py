"""Views copied, and what asks about a tensor: names that torch has beside those of the tables before."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from functrans.errors import at_user_line
from functrans.torch.formats import LAYOUTS
from functrans.torch.ops.further import split_with_sizes
from functrans.torch.ops.methods import clone
from functrans.torch.ops.shapes import chunk, split, unfold, view_method
from functrans.torch.ops.strided import as_strided
from functrans.torch.ops.table import FUNCTIONS, function, install
from functrans.torch.tensor import Tensor, install_members, memory

__all__ = ["copied"]


def copied(name: str, view_of: Callable[..., Any]) -> None:
    """The function of a view whose results have memory of their own."""

    def call(input: Tensor, *args: Any, **kwargs: Any) -> Any:
        out = view_of(input, *args, **kwargs)
        return tuple(clone(part) for part in out) if isinstance(out, tuple) else clone(out)

    call.__name__ = call.__qualname__ = f"{name}_copy"
    call.__doc__ = f"As ``{name}``, a copy."
    install(f"{name}_copy", call, method=False)


for _name in """
detach diagonal expand narrow permute select split squeeze t transpose unbind unsqueeze view_as_complex view_as_real
""".split():
    copied(_name, FUNCTIONS[_name])
copied("as_strided", as_strided)
copied("split_with_sizes", split_with_sizes)
copied("unfold", unfold)
copied("view", view_method)
function("alias_copy", method=False)(lambda input: clone(input))
function("slice_copy", method=False)(
    lambda input, dim=0, start=None, end=None, step=1: clone(input[(*(slice(None),) * (dim % input.ndim), slice(start, end, step))])
)
install_members(narrow_copy=FUNCTIONS["narrow_copy"])
# Without views there is nothing that their results could not be written into.
for _view_of in (chunk, split, split_with_sizes):
    install(f"unsafe_{_view_of.__name__}", _view_of)


def said(names: str, answer: Callable[[Tensor], Any], method: bool = True, public: bool = True) -> None:
    """Functions that answer a question about a tensor."""
    for name in names.split():
        install(name, answer, method=method, public=public)


said("is_conj is_neg", lambda input: False)
said("is_signed", Tensor.is_signed)
said("get_device", Tensor.get_device)
said("is_distributed", lambda input: False)
said("is_pinned is_shared", lambda input, *device: False, public=False)
said("dense_dim", lambda input: input.ndim, public=False)
said("sparse_dim", lambda input: 0, public=False)
said("const_data_ptr", lambda input: input.data_ptr(), public=False)


@function(public=False)
def is_set_to(input: Tensor, tensor: Tensor) -> bool:
    """Whether both are the same memory in the same shape."""
    x, y = memory(input), memory(tensor)
    return bool(x.ctypes.data == y.ctypes.data and x.shape == y.shape and x.strides == y.strides)


@function(public=False)
def dim_order(input: Tensor, *, ambiguity_check: Any = False) -> tuple[int, ...]:
    """The axes, those whose elements lie farthest apart first."""
    strides = memory(input).strides
    return tuple(sorted(range(len(strides)), key=lambda axis: -strides[axis]))


@function(public=False)
def is_coalesced(input: Tensor) -> bool:
    """Asked of sparse tensors, which there are none of."""
    raise RuntimeError(f"is_coalesced expected sparse coordinate tensor layout but got Strided{at_user_line()}")


@function(public=False)
def module_load(input: Tensor, other: Tensor, assign: bool = False) -> Tensor:
    """What `Module.load_state_dict` puts in the tensor's place."""
    return other.detach() if assign else input.copy_(other).detach()


def transposed_conjugate(self: Tensor) -> Tensor:
    """The conjugate transpose of a matrix."""
    if self.ndim not in (0, 2):
        raise RuntimeError(f"tensor.H is only supported on matrices (2-D tensors). Got {self.ndim}-D tensor.{at_user_line()}")
    return self.conj().T if self.ndim else self.conj()


@function()
def adjoint(input: Tensor) -> Tensor:
    """The conjugate transposes of matrices."""
    return conjugate_transposes(input, "adjoint()")


def conjugate_transposes(self: Tensor, name: str = "mH") -> Tensor:
    """The conjugate transposes of matrices; `name` is for messages."""
    if self.ndim == 1:
        raise RuntimeError(f"tensor.{name} is only supported on matrices or batches of matrices. Got {self.ndim}-D tensor.{at_user_line()}")
    if self._array.dtype.kind != "c":
        return self.mT
    return self.conj().mT


install_members(H=property(transposed_conjugate), mH=property(conjugate_transposes), is_cpu=True, layout=LAYOUTS["strided"])
for _name in "is_ipu is_mps is_sparse_csr is_xla is_xpu is_maia is_mtia is_vulkan".split():
    setattr(Tensor, _name, False)
install_members(grad_dtype=property(lambda self: self.dtype), name=None)
