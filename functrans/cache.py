"""The disk cache of compiled programs, from the command line: ``python -m functrans.cache info`` or ``clear``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from functrans.compile.store import disk

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> None:
    """Say where the cache is and how much it holds, or empty it."""
    parser = argparse.ArgumentParser(prog="python -m functrans.cache", description="The disk cache of compiled programs.")
    parser.add_argument("action", choices=["info", "clear"])
    if parser.parse_args(arguments).action == "clear":
        print(f"removed {disk.clear()} files from {disk.folder()}")
        return
    found = disk.files()
    size = sum(path.stat().st_size for path in found)
    print(f"{disk.folder()}: {len(found)} files, {size / 2**20:.1f} MiB of at most {disk.LARGEST / 2**20:.0f}")


if __name__ == "__main__":
    main()
