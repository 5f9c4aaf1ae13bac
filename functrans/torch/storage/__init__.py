"""Memory of tensors: views of it and writes into it."""
