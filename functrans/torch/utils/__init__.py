"""``torch.utils``: data sets, and backward passes that compute anew."""

from functrans.torch.utils import checkpoint, data

__all__ = ["checkpoint", "data"]
