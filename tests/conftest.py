"""Settings of the whole suite."""

import pytest

import functrans as ft


@pytest.fixture(autouse=True, scope="session")
def no_disk_cache():
    """Tests compile what they test; those of the disk cache turn it on in a folder of their own."""
    ft.config.disk_cache = False
