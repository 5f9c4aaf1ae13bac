"""The example trains, reaches its accuracy, finds true eigenpairs and saves its picture."""

import runpy
from pathlib import Path

import numpy as np
import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "digits.py"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_digits(tmp_path):
    picture = tmp_path / "digits.png"
    accuracy, eigenvalues, residuals = runpy.run_path(str(EXAMPLE))["main"](["--output", str(picture)])
    assert accuracy >= 0.97
    assert picture.stat().st_size > 10_000
    assert np.all(np.diff(eigenvalues) <= 0)
    assert eigenvalues[-1] > 0
    assert np.all(residuals < 1e-3 * eigenvalues)
