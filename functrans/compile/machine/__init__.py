"""What one operation is in machine code, and what libraries do: LLVM, BLAS, LAPACK, Numba's threads."""
