"""Control flow and calls: primitives whose parameters are programs."""
