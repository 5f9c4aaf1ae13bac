"""Settings of the library, read from the environment once and changeable at run time."""

from __future__ import annotations

import os
from dataclasses import dataclass

__all__ = ["Settings", "settings"]


@dataclass(slots=True)
class Settings:
    """What can be set; use the one instance, ``ft.config.settings``.

    Attributes:
        check_programs: check every ``Program`` after it is staged and after each pass over it.
            From ``FUNCTRANS_CHECK_PROGRAMS``; off by default, on in the test suite.

    Example:
        >>> import functrans as ft
        >>> isinstance(ft.config.settings.check_programs, bool)
        True
    """

    check_programs: bool = False


settings = Settings(check_programs=os.environ.get("FUNCTRANS_CHECK_PROGRAMS", "0") == "1")
