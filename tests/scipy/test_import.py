"""SciPy is imported where it is first called."""

import subprocess
import sys


def test_import_of_the_package_leaves_scipy_alone():
    code = """
import sys, functrans as ft
assert not any(name in sys.modules for name in ("scipy", "numba"))
assert ft.scipy.optimize.root_scalar(lambda x: x * x - 4.0, x0=1.0).converged
assert "scipy.optimize" in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)
