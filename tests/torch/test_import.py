"""`functrans.torch` is there when it is asked for, and costs nothing before."""

import subprocess
import sys

import pytest

import functrans as ft

SCRIPT = """
import sys
import functrans as ft
assert "functrans.torch" not in sys.modules
assert ft.torch.tensor([1.0]).tolist() == [1.0] and "functrans.torch" in sys.modules
import functrans.torch as torch
assert torch is ft.torch
"""


def test_it_is_imported_when_it_is_named():
    subprocess.run([sys.executable, "-c", SCRIPT], check=True)


def test_other_names_raise():
    with pytest.raises(AttributeError, match="module 'functrans' has no attribute 'tensor'"):
        ft.tensor  # noqa: B018
