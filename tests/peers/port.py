"""Ports that nobody takes between their choice and their use.

A port of the system's own choice (``bind`` to 0) may be given to an outgoing connection, or to
another server, as soon as it is let go.  These lie below the range that the system chooses from
(32 768 on Linux), and each worker of pytest-xdist has its own, none of them twice.
"""

from __future__ import annotations

import itertools
import os
import random
import socket
from collections.abc import Iterator

BUS = 10_000
"""A Redis Cluster's servers talk to each other on a port this much higher."""
_ALL = range(10_000, 20_000)
_WORKERS = 8


def _turns() -> Iterator[int]:
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % _WORKERS
    mine = _ALL[worker::_WORKERS]
    # Another run on this machine begins elsewhere.
    first = random.SystemRandom().randrange(len(mine))
    return itertools.cycle([*mine[first:], *mine[:first]])


_next = _turns()


def free_port(*, bus: bool = False) -> int:
    """A free port; ``bus``: one whose port of a Cluster's bus is free as well."""
    for port in _next:
        try:
            for each in (port, port + BUS) if bus else (port,):
                with socket.socket() as one:
                    one.bind(("", each))
        except OSError:
            continue
        return port
    raise AssertionError("the turns have no end")
