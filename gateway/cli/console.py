"""Where tables are printed."""

from __future__ import annotations

import sys

from rich.console import Console

_WIDE = 200


def console() -> Console:
    """Standard output: as wide as the terminal, or wide enough for whole cells in a pipe."""
    return Console() if sys.stdout.isatty() else Console(width=_WIDE)
