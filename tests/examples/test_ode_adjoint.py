"""The solver solves, both gradients agree as far as the tolerance allows, and the example trains and saves its picture."""

import runpy
from pathlib import Path

import numpy as np
import pytest

import functrans as ft

EXAMPLE = runpy.run_path(str(Path(__file__).parents[2] / "examples" / "ode_adjoint.py"))


def test_solver():
    def turning(t, state):
        x, v = state
        return v, -x

    (x, v), count = ft.jit(lambda x, v, end: EXAMPLE["integrate"](turning, (x, v), 0.0, end, 1e-9))(1.0, 0.0, 3.0)
    np.testing.assert_allclose((x, v), (np.cos(3.0), -np.sin(3.0)), rtol=1e-7)
    assert count % 6 == 1


@pytest.mark.parametrize("flow", EXAMPLE["METHODS"].values(), ids=EXAMPLE["METHODS"])
def test_gradients_against_finite_differences(flow):
    weights, z = EXAMPLE["initial_parameters"](0)["flow"], np.array([[0.5, -1.0], [2.0, 0.3]])
    gradient = ft.grad(lambda w: np.sum(flow(w, z, 1e-11) ** 2))(weights)
    for name, step in (("in", 1e-5), ("out", 1e-5)):
        direction = np.random.default_rng(1).normal(size=weights[name].shape)
        values = [np.sum(flow(weights | {name: weights[name] + sign * step * direction}, z, 1e-11) ** 2) for sign in (1, -1)]
        np.testing.assert_allclose(np.sum(gradient[name] * direction), (values[0] - values[1]) / (2 * step), rtol=1e-6)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_example(tmp_path):
    picture = tmp_path / "ode_adjoint.png"
    accuracies, histories, rows = EXAMPLE["main"](["--quick", "--output", str(picture)])
    assert min(accuracies.values()) >= 0.9
    assert picture.stat().st_size > 10_000
    one, other = histories.values()
    assert one[-1] < 0.1 * one[0]
    np.testing.assert_allclose(one, other, rtol=1e-2)
    coarse, fine = rows
    assert max(fine["errors"].values()) < 1e-3 > fine["difference"]
    assert max(fine["errors"].values()) < 0.1 * max(coarse["errors"].values())
    assert sum(coarse["evaluations"]) < sum(fine["evaluations"])
