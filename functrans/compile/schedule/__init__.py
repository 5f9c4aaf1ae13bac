"""From a program to steps: fused kernels, and calls of BLAS, LAPACK and NumPy, with a place in memory for every value."""
