"""``torch.utils``: data sets, and backward passes that compute anew."""

from functrans.torch.autograd import checkpoint
from functrans.torch.utils import data

__all__ = ["checkpoint", "data"]
