"""All ways give the gradient of the simulation, with the less memory the fewer states they keep, and the example saves its picture."""

import runpy
import sys
from pathlib import Path

import numpy as np
import pytest

import functrans as ft

EXAMPLE = runpy.run_path(str(Path(__file__).parents[2] / "examples" / "long_scan.py"))


@pytest.mark.skipif(sys.platform != "linux", reason="the example reads the memory from /proc")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_example(tmp_path):
    picture = tmp_path / "long_scan.png"
    found = EXAMPLE["main"](["--quick", "--output", str(picture)])
    assert picture.stat().st_size > 10_000
    gradients = [np.array(item["gradient"]) for item in found.values()]
    for gradient in gradients:
        assert np.linalg.norm(gradient) > 0
        np.testing.assert_allclose(gradient, gradients[0], rtol=1e-9, atol=1e-9 * np.max(np.abs(gradients[0])))
    states = 1000 * 8
    assert found["every step"]["planned"] > 500 * states
    assert found["sqrt"]["planned"] < 150 * states
    assert found["recursive"]["planned"] < found["40 states"]["planned"] < found["every step"]["planned"]
    assert all(item["peak"] < item["planned"] + 2**20 for item in found.values())


def test_gradient_against_finite_differences():
    steps = 200
    conductivity, state, weights = EXAMPLE["inputs"](steps)
    direction = np.random.default_rng(0).normal(size=conductivity.shape)
    _, gradient = EXAMPLE["gradient_by"](steps, "sqrt")(conductivity, state, weights)

    def signal(conductivity):
        return np.sum(weights * EXAMPLE["simulated"](conductivity, state, steps)[0])

    tangent = (signal(conductivity + 1e-5 * direction) - signal(conductivity - 1e-5 * direction)) / 2e-5
    np.testing.assert_allclose(np.sum(gradient * direction), tangent, rtol=1e-6)
    assert ft.jvp(signal, (conductivity,), (direction,))[1] == pytest.approx(tangent, rel=1e-6)
