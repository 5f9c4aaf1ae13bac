"""``torch.utils.checkpoint``: backward passes that compute anew what they need."""

from functrans.torch.autograd.checkpoint import checkpoint, checkpoint_sequential

__all__ = ["checkpoint", "checkpoint_sequential"]
