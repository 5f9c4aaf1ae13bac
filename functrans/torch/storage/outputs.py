"""``out=``: functions of the namespace write their results into tensors that are given.

The result is computed as without ``out``, then written: where it has another shape, the tensor is resized first. Only
functions of the namespace take ``out``, methods of tensors do not; views, and functions that return no tensor, do not either.
"""

from __future__ import annotations

import functools
import inspect
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from functrans.errors import at_user_line
from functrans.torch.autograd.modes import state
from functrans.torch.dtypes import title
from functrans.torch.ops.apply import converted
from functrans.torch.storage.layout import resize_
from functrans.torch.storage.writes import assign, requires_grad
from functrans.torch.tensor import Tensor

__all__ = ["install_out", "into", "with_out"]

# Functions whose results are views, or are no tensors; those that make tensors take ``out`` by `options`.
WITHOUT = frozenset("""
adjoint allclose as_strided asarray as_tensor atleast_1d atleast_2d atleast_3d block_diag broadcast_shapes broadcast_tensors
broadcast_to can_cast cartesian_prod chunk clone combinations conj detach diag_embed diagonal dsplit equal expand flatten
from_dlpack from_numpy frombuffer get_device hsplit imag is_complex is_conj is_floating_point is_inference is_neg is_nonzero
is_same_size is_signed is_storage is_tensor meshgrid moveaxis movedim narrow numel permute promote_types ravel real reshape
resolve_conj resolve_neg result_type scalar_tensor select split split_with_sizes squeeze swapaxes swapdims t tensor tensor_split
to_dlpack transpose typename unbind unflatten unique unique_consecutive unravel_index unsafe_chunk unsafe_split
unsafe_split_with_sizes unsqueeze vander view_as_complex view_as_real vsplit arange bernoulli empty empty_like empty_permuted
empty_strided eye full full_like linspace logspace normal ones ones_like rand rand_like randint randint_like randn randn_like
randperm range tril_indices triu_indices zeros zeros_like
""".split())  # fmt: skip

# Functions whose ``out`` must be of the result's dtype; others cast.
EXACT = frozenset("""
abs absolute addbmm addmm addmv all amax amin aminmax any argmax argmin baddbmm bmm bucketize ceil complex conj_physical cross
cummax cummin diag dot fix floor frac gather heaviside histc index_select inner inverse isin isneginf isposinf kthvalue lerp
log_softmax logcumsumexp masked_select matmul median mm mode msort multinomial mv nan_to_num neg negative nonzero norm polar
quantile renorm round scatter scatter_add searchsorted sgn sign signbit slice_scatter slogdet softmax sort take take_along_dim
tensordot topk tril triu trunc vdot where
linalg.cholesky_ex linalg.cross linalg.det linalg.eig linalg.eigh linalg.eigvals linalg.eigvalsh linalg.inv linalg.inv_ex
linalg.lu linalg.lu_factor linalg.lu_factor_ex linalg.matmul linalg.matrix_norm linalg.multi_dot linalg.norm linalg.qr
linalg.slogdet linalg.solve linalg.solve_ex linalg.svd linalg.svdvals linalg.vecdot linalg.vector_norm
special.round fft.fft fft.fft2 fft.fftn fft.ifft fft.ifft2 fft.ifftn fft.ihfft fft.ihfft2 fft.ihfftn fft.rfft fft.rfft2 fft.rfftn
""".split())  # fmt: skip

# What messages call C++'s types.
WORDS = {
    "float16": "c10::Half", "float32": "float", "float64": "double", "complex64": "c10::complex<float>", "bool": "bool",
    "complex128": "c10::complex<double>", "int64": "long int", "int32": "int", "int16": "short int", "int8": "signed char",
    "uint8": "unsigned char",
}  # fmt: skip


def fitted(out: Tensor, value: Tensor, name: str, warn: bool, places: bool = False) -> Tensor:
    """The value, which may be `places` beside others, in the dtype of `out`, which gets its shape."""
    given, wanted = value._array.dtype, out._array.dtype
    if given != wanted:
        if name in EXACT or places and given == np.int64:
            words = [WORDS.get(kind.name, kind.name) for kind in (given, wanted)]
            raise RuntimeError(f"Expected out tensor to have dtype {words[0]}, but got {words[1]} instead{at_user_line()}")
        if "biufc".index(given.kind.replace("u", "i")) > "biufc".index(wanted.kind.replace("u", "i")):
            raise RuntimeError(f"result type {title(given)} can't be cast to the desired output type {title(wanted)}{at_user_line()}")
        value = converted(value, wanted)
    shape = value._array.shape
    if out._array.shape != shape:
        if out._array.size and warn:
            warnings.warn(
                f"An output with one or more elements was resized since it had shape {list(out._array.shape)}, which does not match the "
                f"required output shape {list(shape)}. This behavior is deprecated, and in a future PyTorch release outputs will not be "
                "resized unless they have zero elements. You can explicitly reuse an out tensor t by resizing it, inplace, to zero "
                "elements with t.resize_(0).",
                UserWarning,
                stacklevel=5,
            )
        resize_(out, shape)
        out._changes.pop()  # the write that follows is counted, the change of shape is not
    return value


def into(result: Any, out: Any, name: str, warn: bool = True) -> Any:
    """Write what a function gave into the tensor, or the tensors, that its caller did."""
    if isinstance(result, Tensor):
        if not isinstance(out, Tensor):
            raise TypeError(f"{name}(): argument 'out' must be Tensor, not {type(out).__name__}{at_user_line()}")
        return assign(out, fitted(out, result, name, warn), "out")
    if not isinstance(out, (tuple, list)) or len(out) != len(result) or not all(isinstance(part, Tensor) for part in out):
        raise TypeError(f"{name}(): argument 'out' must be tuple of {len(result)} Tensors, not {type(out).__name__}{at_user_line()}")
    values = [fitted(part, value, name, warn, True) for part, value in zip(out, result)]
    for part, value in zip(out, values):
        assign(part, value, "out")
    return type(result)(*out) if hasattr(result, "_fields") else tuple(out)


def written_out(function: Callable[..., Any], args: Sequence[Any], kwargs: dict[str, Any], out: Any, name: str) -> Any:
    """What a function gives, in `out`."""
    if state.grad and any(map(requires_grad, (*args, *kwargs.values(), out))):
        raise RuntimeError(
            f"{name}(): functions with out=... arguments don't support automatic differentiation, but one of the arguments requires "
            f"grad.\n  Remedy: leave out= away, or call it inside torch.no_grad().{at_user_line()}"
        )
    return into(function(*args, **kwargs), out, name)


def operands_of(function: Callable[..., Any]) -> tuple[str, ...]:
    """The names of a function's arguments if it has no others than one or two operands."""
    code = function.__code__
    own = code.co_varnames[: code.co_argcount]
    simple = not code.co_kwonlyargcount and not code.co_flags & (inspect.CO_VARARGS | inspect.CO_VARKEYWORDS)
    return own if simple and own in (("input",), ("input", "other")) and not function.__defaults__ else ()


def with_out(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """A function that takes ``out`` as well; those of operands alone lose no time by it."""
    operands = operands_of(function)
    if len(operands) == 1:

        def one(input: Any, *, out: Any = None) -> Any:
            return function(input) if out is None else written_out(function, (input,), {}, out, name)

        return functools.wraps(function)(one)
    if operands:

        def two(input: Any, other: Any, *, out: Any = None) -> Any:
            return function(input, other) if out is None else written_out(function, (input, other), {}, out, name)

        return functools.wraps(function)(two)

    def several(*args: Any, out: Any = None, **kwargs: Any) -> Any:
        return function(*args, **kwargs) if out is None else written_out(function, args, kwargs, out, name)

    return functools.wraps(function)(several)


def install_out(namespace: dict[str, Any], names: Sequence[str], prefix: str = "") -> None:
    """Let functions of a namespace take ``out``."""
    for name in names:
        if name not in WITHOUT:
            namespace[name] = with_out(prefix + name, namespace[name])
