"""Extension modules of packages that take long to import, by themselves.

SciPy's addresses of BLAS routines and Numba's thread pool are in extension modules that need nothing of the
packages around them, which take 80 and 200 ms to import. Invariant: a module is loaded once, under its own
name, so that the package finds it when it is imported later.
"""

from __future__ import annotations

import os
import sys
from functools import cache
from importlib import import_module
from importlib.machinery import PathFinder
from importlib.util import find_spec, module_from_spec
from typing import Any

__all__ = ["extension_module"]


@cache
def extension_module(name: str) -> Any:
    """The module of a full name; loaded alone if its package is not imported."""
    package = name.rpartition(".")[0]
    if package in sys.modules or name in sys.modules:
        return import_module(name)
    top, *inner = package.split(".")
    root = find_spec(top)
    if root is None or root.origin is None:
        return import_module(name)
    spec = PathFinder.find_spec(name, [os.path.join(os.path.dirname(root.origin), *inner)])
    if spec is None or spec.loader is None:
        return import_module(name)
    module = module_from_spec(spec)
    sys.modules.setdefault(name, module)
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
