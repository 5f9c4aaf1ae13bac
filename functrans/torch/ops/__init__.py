"""The operations of tensors, in tables by family."""
