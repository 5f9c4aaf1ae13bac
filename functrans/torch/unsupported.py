"""Names that torch has and this package does not: calling one says so, and what to use instead."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from functrans.errors import at_user_line
from functrans.torch.tensor import Tensor

__all__ = ["install_unsupported"]

FUNCTIONS = """
affine_grid_generator alpha_dropout bartlett_window binomial blackman_window cond ctc_loss dequantize
empty_permuted empty_quantized empty_strided erfinv fft fork frexp from_file frombuffer geqrf gradient grid_sampler hamming_window hann_window
hardshrink histogram histogramdd igamma igammac index_reduce istft kaiser_window lobpcg lstsq matrix_rank mvlgamma
nanmedian nanquantile nonzero_static ormqr pca_lowrank pdist poisson polygamma put quantize_per_tensor range
rrelu segment_reduce set_default_device set_default_tensor_type solve sparse_coo_tensor sparse_csr_tensor stft svd_lowrank
unravel_index use_deterministic_algorithms while_loop as_strided_scatter diagonal_scatter
""".split()
METHODS = """
apply_ as_strided_ as_subclass bfloat16 chalf coalesce dequantize erfinv erfinv_ fill_diagonal_ frexp geqrf
hardshrink histogram igamma igammac index_reduce index_reduce_ istft lstsq map_ map2_ mvlgamma nanmedian nanquantile
ormqr pin_memory polygamma put put_ resize_ resize_as_ share_memory_ squeeze_ stft storage swapaxes_ swapdims_ t_ to_dense
to_mkldnn to_sparse transpose_ unsqueeze_ untyped_storage
""".split()
ALTERNATIVES = {
    "bfloat16": "x.half() or x.float()",
    "cond": "an if of Python, or ft.cond",
    "empty_strided": "torch.empty(...).as_strided(...)",
    "fft": "multiplication by the matrix np.fft.fft(np.eye(n))",
    "frombuffer": "torch.from_numpy(np.frombuffer(...))",
    "lstsq": "torch.linalg.lstsq",
    "matrix_rank": "torch.linalg.matrix_rank",
    "nanquantile": "torch.quantile of the elements that are no nan",
    "range": "torch.arange",
    "resize_": "torch.zeros of the new shape, or reshape",
    "set_default_tensor_type": "torch.set_default_dtype",
    "share_memory_": "threads, which share memory",
    "solve": "torch.linalg.solve",
    "squeeze_": "x = x.squeeze()",
    "swapaxes_": "x = x.swapaxes(...)",
    "swapdims_": "x = x.swapdims(...)",
    "t_": "x = x.t()",
    "transpose_": "x = x.transpose(...)",
    "unsqueeze_": "x = x.unsqueeze(...)",
    "untyped_storage": "x.numpy()",
    "storage": "x.numpy()",
    "while_loop": "a while loop of Python, or ft.while_loop",
}


def unsupported(name: str, where: str) -> Callable[..., Any]:
    """A function that stands for one that is not there."""

    def call(*args: Any, **kwargs: Any) -> Any:
        other = ALTERNATIVES.get(name.rstrip("_") if name not in ALTERNATIVES else name)
        remedy = f"use {other}" if other else "write it with other functions, or give it a rule of your own as a torch.autograd.Function"
        raise NotImplementedError(f"{where}.{name} is not supported by functrans.torch\n  Remedy: {remedy}.{at_user_line()}")

    call.__name__ = call.__qualname__ = name
    call.__doc__ = f"``{where}.{name}``, which is not supported."
    return call


def install_unsupported(namespace: dict[str, Any]) -> None:
    """Enter what is missing of torch's names into a namespace and into tensors."""
    for name in FUNCTIONS:
        namespace.setdefault(name, unsupported(name, "torch"))
    for name in METHODS:
        if not hasattr(Tensor, name):
            setattr(Tensor, name, unsupported(name, "Tensor"))
