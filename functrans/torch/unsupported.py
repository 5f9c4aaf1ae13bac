"""Names that torch has and this package does not: calling one says so, and what to use instead."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from types import ModuleType
from typing import Any

from functrans.torch.amp import GradScaler, autocast
from functrans.torch.autograd.unsupported import refusal
from functrans.torch.tensor import Tensor

__all__ = ["ABSENT", "install_unsupported"]

_SPARSE = "a dense tensor"
_QUANTIZED = "tensors of floats"
_JIT = "torch.compile"
_DEVICE = "the cpu, where tensors live"

# Names, and what to use instead.
FUNCTIONS = {
    """sparse_coo_tensor sparse_csr_tensor sparse_csc_tensor sparse_bsr_tensor sparse_bsc_tensor sparse_compressed_tensor hspmm smm sspaddmm
    saddmm col_indices_copy crow_indices_copy indices_copy values_copy""": _SPARSE,
    """dequantize empty_quantized fake_quantize_per_channel_affine fake_quantize_per_tensor_affine quantize_per_channel quantize_per_tensor
    quantize_per_tensor_dynamic quantized_batch_norm quantized_max_pool1d quantized_max_pool2d""": _QUANTIZED,
    """fork wait import_ir_module import_ir_module_from_buffer merge_type_from_type_comment parse_ir parse_schema parse_type_comment
    unify_type_list init_num_threads""": _JIT,
    "sym_float sym_int sym_ite sym_max sym_min sym_not sym_sum": "Python's numbers, max, min, not and sum",
    "get_device_module": _DEVICE,
    "thread_safe_generator": "torch.Generator",
    "to_dlpack": "Tensor.__dlpack__, which from_dlpack of other libraries calls",
    "from_file": "torch.from_numpy(np.memmap(...))",
    "hash_tensor": "hash(tensor.numpy().tobytes())",
    "affine_grid_generator grid_sampler": "an index of the input",
    "conv_tbc": "transpose, then conv1d",
    "channel_shuffle native_channel_shuffle": "reshape and transpose",
    "ctc_loss": "torch.nn.functional.cross_entropy of aligned labels",
    "cond": "an if of Python, or ft.cond on arrays",
    "while_loop": "a while loop of Python, or ft.while_loop on arrays",
    "eig symeig": "torch.linalg.eigh",
    "geqrf": "torch.linalg.qr",
    "ormqr": "a product with torch.linalg.householder_product",
    "solve": "torch.linalg.solve",
    "lstsq": "torch.linalg.lstsq",
    "matrix_rank": "torch.linalg.matrix_rank",
    "lobpcg pca_lowrank svd_lowrank": "torch.linalg.svd",
    "stft istft": "torch.fft.rfft of Tensor.unfold",
    "segment_reduce": "Tensor.index_reduce",
    "rrelu rrelu_ alpha_dropout feature_dropout": "the function of torch.nn.functional, or torch.nn.functional.leaky_relu",
}  # fmt: skip
METHODS = {
    """to_sparse to_sparse_coo to_sparse_csr to_sparse_csc to_sparse_bsr to_sparse_bsc coalesce sparse_mask sparse_resize_
    sparse_resize_and_clear_ smm sspaddmm indices values col_indices crow_indices ccol_indices row_indices to_padded_tensor""": _SPARSE,
    "to_dense": "the tensor itself",
    "dequantize int_repr q_scale q_zero_point q_per_channel_axis q_per_channel_scales q_per_channel_zero_points qscheme": _QUANTIZED,
    "ipu mtia xpu hpu pin_memory record_stream to_mkldnn": _DEVICE,
    "share_memory_": "threads, which share memory",
    "bfloat16": "x.half() or x.float()",
    "chalf": "x.cfloat()",
    "storage untyped_storage storage_type": "x.numpy(), and x.dtype",
    "apply_ map_ map2_": "functions of whole tensors",
    "index": "x[...]",
    "as_subclass": "a tensor as an attribute of a class of your own",
    "geqrf": "torch.linalg.qr",
    "ormqr": "a product with torch.linalg.householder_product",
    "lstsq": "torch.linalg.lstsq",
    "stft istft": "torch.fft.rfft of Tensor.unfold",
    "hash_tensor": "hash(x.numpy().tobytes())",
}  # fmt: skip
LINALG = {"ldl_factor ldl_factor_ex ldl_solve": "torch.linalg.lu_factor and lu_solve"}


def each_name(table: dict[str, str]) -> Iterator[tuple[str, str]]:
    """The names of a table, each with what to use instead."""
    for names, instead in table.items():
        for name in names.split():
            yield name, instead


class AbsentModule(ModuleType):
    """A namespace of torch's that is not there: it says that nothing is available, and anything else raises when it is called."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        full = f"{self.__name__}.{name}".removeprefix("functrans.")
        if name in ("is_available", "is_built", "is_initialized", "is_bf16_supported", "is_autocast_available"):
            return lambda *args: False
        if name == "device_count":
            return lambda: 0
        # Without a device torch ignores these, so that programs need not ask.
        if name in ("manual_seed", "manual_seed_all", "empty_cache"):
            return lambda *args: None
        return refusal(full, self.instead)


def absent(name: str, instead: str, **parts: Any) -> AbsentModule:
    """A namespace that is not there, and the parts that it has."""
    module = AbsentModule(f"functrans.torch.{name}", f"``torch.{name}``, which is not supported.")
    module.__dict__.update(parts, instead=instead)
    return module


def absent_modules() -> dict[str, AbsentModule]:
    """The namespaces of torch that programs ask before they use them."""
    amp = "torch.float32 throughout"
    devices = {name: absent(name, _DEVICE) for name in ("mps", "xpu", "mtia", "accelerator")}
    devices["cuda"] = absent("cuda", _DEVICE, amp=absent("cuda.amp", amp, autocast=partial(autocast, "cuda"), GradScaler=partial(GradScaler, "cuda")))
    backends = {name: absent(f"backends.{name}", _DEVICE) for name in ("cuda", "cudnn", "mps", "mkl", "mkldnn", "openmp", "opt_einsum")}
    drawn = "torch.randn, torch.rand and formulas of densities"
    laws = "normal categorical bernoulli beta gamma uniform multivariate_normal kl independent transforms".split()
    return {
        **devices,
        "backends": absent("backends", _DEVICE, **backends),
        "distributed": absent("distributed", "threads, or processes of concurrent.futures"),
        "distributions": absent("distributions", drawn, **{name: absent(f"distributions.{name}", drawn) for name in laws}),
        "jit": absent("jit", _JIT),
        "export": absent("export", "ft.jit"),
        "onnx": absent("onnx", "ft.jit"),
        "sparse": absent("sparse", _SPARSE),
        "quantization": absent("quantization", _QUANTIZED),
        "multiprocessing": absent("multiprocessing", "concurrent.futures"),
        "profiler": absent("profiler", "cProfile"),
        "testing": absent("testing", "numpy.testing.assert_allclose, which takes tensors"),
        "hub": absent("hub", "torch.load of a file in the safetensors format"),
        "fx": absent("fx", "ft.make_program, which shows the program a function performs"),
    }


ABSENT = absent_modules()


def install_unsupported(namespace: dict[str, Any], linalg: dict[str, Any]) -> None:
    """Enter what is missing of torch's names into its namespace, into that of linear algebra, and into tensors."""
    for name, instead in each_name(FUNCTIONS):
        namespace.setdefault(name, refusal(f"torch.{name}", instead))
    for name, instead in each_name(LINALG):
        linalg.setdefault(name, refusal(f"torch.linalg.{name}", instead))
    for name, instead in each_name(METHODS):
        if not hasattr(Tensor, name):
            setattr(Tensor, name, refusal(f"Tensor.{name}", instead))
    for name, module in ABSENT.items():
        namespace.setdefault(name, module)
