"""SciPy's solvers as functions that every transform knows: `optimize` and `sparse.linalg`.

A solution is SciPy's own, of functions and derivatives by this package; what it depends on gets the derivatives of the
implicit function theorem. SciPy is imported where it is first called.
"""

from functrans.scipy import optimize, sparse

__all__ = ["optimize", "sparse"]
