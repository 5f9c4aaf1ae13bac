"""``torch.utils``: data sets, backward passes that compute anew, and arrays of other libraries."""

from functrans.torch.utils import checkpoint, data, dlpack

__all__ = ["checkpoint", "data", "dlpack"]
