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
        threads: how many threads compiled code may use. From ``FUNCTRANS_THREADS``; by default as many as
            this process may run on. Results do not depend on it.

    Example:
        >>> import functrans as ft
        >>> isinstance(ft.config.settings.check_programs, bool)
        True
    """

    check_programs: bool = False
    threads: int = 1


def _processors() -> int:
    """The processors this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


settings = Settings(
    check_programs=os.environ.get("FUNCTRANS_CHECK_PROGRAMS", "0") == "1",
    threads=int(os.environ.get("FUNCTRANS_THREADS", "0")) or _processors(),
)
