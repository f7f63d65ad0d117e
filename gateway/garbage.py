"""Fewer collections while millions of rows pass through.

The collector looks for cycles each time 700 more containers were made than freed.  Rows
are such containers, and hold no cycles: looking for them takes a third of an import's
time.  They are freed without the collector, as soon as nobody holds them.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

_CONTAINERS = 200_000


@contextmanager
def seldom_collected() -> Iterator[None]:
    """Collect seldom in this process, while in here; for commands that read long lists."""
    usual = gc.get_threshold()
    gc.set_threshold(max(_CONTAINERS, usual[0]), *usual[1:])
    try:
        yield
    finally:
        gc.set_threshold(*usual)
