"""The examples in torch style run, and do what they say."""

import runpy
from pathlib import Path

import numpy as np
import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"


def main_of(name):
    return runpy.run_path(str(EXAMPLES / name))["main"]


def test_torch_training():
    losses, accuracy = main_of("torch_training.py")(["--quick"])
    assert len(losses) == 23
    assert losses[-1] < 0.85 * losses[0]
    assert accuracy > 0.5


@pytest.mark.peers
def test_torch_training_has_the_losses_of_pytorch():
    pytest.importorskip("torch", reason="needs the peers extra")
    main = main_of("torch_training.py")
    own, _ = main(["--quick"])
    peer, _ = main(["--quick", "--library", "torch"])
    np.testing.assert_allclose(own, peer, rtol=1e-5, atol=1e-5)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_maml_sinusoid(tmp_path):
    picture = tmp_path / "maml.png"
    results, difference = main_of("maml_sinusoid.py")(["--quick", "--output", str(picture)])
    assert difference < 1e-10
    assert picture.stat().st_size > 10_000
    assert {key: len(found) for key, found in results.items()} == {("MAML", 5): 11, ("pretrained", 5): 11}
    # A step helps what was trained for it, and more than what was not.
    assert results["MAML", 5][1] < results["MAML", 5][0]
    assert results["MAML", 5][1] < results["pretrained", 5][1]
