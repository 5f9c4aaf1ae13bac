"""From steps to code: kernels as Python text and as LLVM IR, and the functions that Python calls."""
