"""functrans: derivatives, batching and staging of plain NumPy functions."""

from importlib import import_module
from typing import Any

from functrans import debug, errors, inspect, nn, numpy, scipy, testing, tree
from functrans.compile import eager as _eager  # noqa: F401, which has loops outside of jit compiled
from functrans.compile.jit import jit
from functrans.compile.run.loading import load
from functrans.config import settings as config
from functrans.control import policies as checkpoint_policies
from functrans.control.associative_scan import associative_scan
from functrans.control.branch import cond, switch
from functrans.control.checkpoint import checkpoint, checkpoint_name
from functrans.control.custom_linear_solve import custom_linear_solve
from functrans.control.custom_root import custom_root
from functrans.control.loops import fori_loop, while_loop
from functrans.control.mapping import map
from functrans.control.pure_callback import pure_callback
from functrans.control.scan import scan
from functrans.core.types import ArrayType
from functrans.transforms.batch import pmean, psum, vmap
from functrans.transforms.custom import custom_jvp, custom_vjp, stop_gradient
from functrans.transforms.derived import hessian, hvp, jacfwd, jacobian, jacrev
from functrans.transforms.forward import jvp
from functrans.transforms.linear import linear_transpose, linearize, make_program
from functrans.transforms.reverse import grad, value_and_grad, vjp
from functrans.version import __version__

__all__ = [
    "ArrayType",
    "__version__",
    "associative_scan",
    "checkpoint",
    "checkpoint_name",
    "checkpoint_policies",
    "cond",
    "config",
    "custom_jvp",
    "custom_linear_solve",
    "custom_root",
    "custom_vjp",
    "debug",
    "errors",
    "fori_loop",
    "grad",
    "hessian",
    "hvp",
    "inspect",
    "jacfwd",
    "jacobian",
    "jacrev",
    "jit",
    "jvp",
    "linear_transpose",
    "linearize",
    "load",
    "make_program",
    "map",
    "nn",
    "numpy",
    "pmean",
    "psum",
    "pure_callback",
    "scan",
    "scipy",
    "stop_gradient",
    "switch",
    "testing",
    "tree",
    "value_and_grad",
    "vjp",
    "vmap",
    "while_loop",
]


def __getattr__(name: str) -> Any:
    """``functrans.torch`` is imported when it is first named: that takes four times as long as all the rest."""
    if name == "torch":
        return import_module("functrans.torch")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
