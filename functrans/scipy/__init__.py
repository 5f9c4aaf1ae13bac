"""SciPy's functions and solvers as functions that every transform knows: `linalg`, `optimize` and `sparse.linalg`.

A solution is SciPy's own, of functions and derivatives by this package; what it depends on gets the derivatives of the
implicit function theorem. SciPy is imported where it is first called.
"""

from functrans.scipy import linalg, optimize, sparse

__all__ = ["linalg", "optimize", "sparse"]
