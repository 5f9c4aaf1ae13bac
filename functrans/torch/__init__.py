"""``functrans.torch``: tensors with gradients, as torch has them, on the rules of functrans.

Code written for torch runs with its import changed: ``import functrans.torch as torch``. Tensors live on the CPU.

Example:
    >>> import functrans.torch as torch
    >>> x = torch.tensor(2.0, requires_grad=True)
    >>> y = x ** 2 + 3 * x
    >>> y
    tensor(10., grad_fn=<AddBackward0>)
    >>> y.backward()
    >>> x.grad
    tensor(7.)
"""

import math as _math
from typing import Any as _Any

import functrans.torch.nn.functional as _functional
from functrans.torch import amp, autograd, func, nn, optim, random, utils
from functrans.torch.amp import autocast
from functrans.torch.autograd.hooks import is_anomaly_check_nan_enabled, is_anomaly_enabled
from functrans.torch.autograd.modes import (
    enable_grad,
    inference_mode,
    is_grad_enabled,
    is_inference_mode_enabled,
    no_grad,
    set_grad_enabled,
)
from functrans.torch.compilation import compile
from functrans.torch.dtypes import BY_NAME as _BY_NAME
from functrans.torch.dtypes import device, dtype, finfo, get_default_dtype, iinfo, set_default_dtype
from functrans.torch.formats import FORMATS as _FORMATS
from functrans.torch.formats import LAYOUTS as _LAYOUTS
from functrans.torch.formats import layout, memory_format
from functrans.torch.ops import activations as _activations  # noqa: F401  (the tables enter themselves)
from functrans.torch.ops import copies as _copies  # noqa: F401
from functrans.torch.ops import creation as _creation  # noqa: F401
from functrans.torch.ops import elementwise as _elementwise  # noqa: F401
from functrans.torch.ops import fft, linalg, special
from functrans.torch.ops import further as _further  # noqa: F401
from functrans.torch.ops import indexing as _indexing  # noqa: F401
from functrans.torch.ops import joining as _joining  # noqa: F401
from functrans.torch.ops import methods as _methods  # noqa: F401
from functrans.torch.ops import products as _products  # noqa: F401
from functrans.torch.ops import reductions as _reductions  # noqa: F401
from functrans.torch.ops import selection as _selection  # noqa: F401
from functrans.torch.ops import shapes as _shapes  # noqa: F401
from functrans.torch.ops import sorting as _sorting  # noqa: F401
from functrans.torch.ops import statistics as _statistics  # noqa: F401
from functrans.torch.ops import strided as _strided  # noqa: F401
from functrans.torch.ops import windows as _windows  # noqa: F401
from functrans.torch.ops.table import FUNCTIONS as _FUNCTIONS
from functrans.torch.ops.table import IN_PLACE as _IN_PLACE
from functrans.torch.ops.typed import TYPES as _TYPES
from functrans.torch.paths import install_paths as _install_paths
from functrans.torch.printing import set_printoptions
from functrans.torch.random import Generator, get_rng_state, initial_seed, manual_seed, seed, set_rng_state
from functrans.torch.serialization import load, save
from functrans.torch.settings import *  # noqa: F403
from functrans.torch.settings import __all__ as _SETTINGS
from functrans.torch.storage import layout as _layout  # noqa: F401
from functrans.torch.storage.outputs import install_out as _install_out
from functrans.torch.storage.writes import install_in_place as _install_in_place
from functrans.torch.tensor import Size, Tensor
from functrans.torch.unsupported import ABSENT as _ABSENT
from functrans.torch.unsupported import install_unsupported as _install_unsupported

# Functions of torch.nn.functional that torch has as well, with the same arguments.
_OF_NN = """
conv1d conv2d conv3d conv_transpose1d conv_transpose2d conv_transpose3d bilinear pixel_shuffle pixel_unshuffle avg_pool1d
adaptive_avg_pool1d adaptive_max_pool1d max_pool1d max_pool2d max_pool3d layer_norm group_norm rms_norm dropout alpha_dropout rrelu
""".split()
_install_in_place()
globals().update({name: function for name, function in _FUNCTIONS.items() if not name.startswith("_")})
globals().update({name: getattr(Tensor, name) for name in _IN_PLACE if not name.startswith("_")})
globals().update(_BY_NAME)
_install_out(globals(), [name for name in _FUNCTIONS if not name.startswith("_")])
_install_out(vars(linalg), [name for name in linalg.__all__ if name.islower()], "linalg.")
_install_out(vars(special), special.__all__, "special.")
_install_out(vars(fft), [name for name in fft.__all__ if "shift" not in name and "freq" not in name], "fft.")
vmap = func.vmap
globals().update({name: getattr(_functional, name) for name in _OF_NN})
_install_unsupported(globals(), vars(linalg))
_install_paths({name: globals()[name] for name in ("linalg", "fft", "special", *_ABSENT)})

globals().update({**_FORMATS, **_LAYOUTS, **_TYPES})
newaxis = None
# That of the PyTorch whose names and semantics these are.
__version__ = "2.13.0+functrans"
pi, e, inf, nan = _math.pi, _math.e, _math.inf, _math.nan

__all__ = [  # noqa: PLE0604
    "Generator",
    "Size",
    "Tensor",
    "amp",
    "autocast",
    "autograd",
    "compile",
    "device",
    "dtype",
    "enable_grad",
    "fft",
    "finfo",
    "func",
    "get_default_dtype",
    "get_rng_state",
    "iinfo",
    "inference_mode",
    "initial_seed",
    "is_anomaly_check_nan_enabled",
    "is_anomaly_enabled",
    "is_grad_enabled",
    "is_inference_mode_enabled",
    "layout",
    "linalg",
    "load",
    "manual_seed",
    "memory_format",
    "nn",
    "no_grad",
    "optim",
    "random",
    "save",
    "seed",
    "set_default_dtype",
    "set_grad_enabled",
    "set_printoptions",
    "set_rng_state",
    "special",
    "utils",
    *_SETTINGS,
]


def __getattr__(name: str) -> _Any:
    raise AttributeError(f"module 'functrans.torch' has no attribute {name!r}")
