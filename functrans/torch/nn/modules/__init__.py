"""The modules that `nn` has."""
