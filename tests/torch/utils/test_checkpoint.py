"""Checkpointing under torch's name for it."""

import functrans.torch as torch
from functrans.torch.utils.checkpoint import checkpoint


def test_gradients_are_those_without():
    layer = torch.nn.Linear(3, 3)
    x = torch.randn(2, 3)
    torch.utils.checkpoint.checkpoint(layer, x, use_reentrant=False).sum().backward()
    own = layer.weight.grad.clone()
    layer.zero_grad()
    layer(x).sum().backward()
    assert torch.equal(own, layer.weight.grad)
    assert checkpoint is torch.utils.checkpoint.checkpoint
