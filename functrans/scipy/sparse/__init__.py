"""Linear systems that are known by their products with vectors."""

from functrans.scipy.sparse import linalg

__all__ = ["linalg"]
