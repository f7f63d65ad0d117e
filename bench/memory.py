"""What a worker holds: idle, for each idle connection, and under load."""

from __future__ import annotations

import resource
import time
from dataclasses import dataclass

from bench.gateway import Gateway
from bench.machine import pss
from bench.session import Session

CONNECTIONS = 2000


@dataclass(frozen=True)
class Memory:
    """Octets (PSS)."""

    worker: int
    """An idle worker after its start."""
    connection: float
    """Each of 2,000 connections that have said EHLO."""
    after: int
    """The worker when they have all gone."""


def allow_files() -> None:
    """Let this process and what it starts hold as many files as the system lets it."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def measure(gateway: Gateway) -> Memory:
    """Measure a worker that has carried nothing yet."""
    time.sleep(1)
    idle = pss(gateway.serving())
    sessions: list[Session] = []
    try:
        for _ in range(CONNECTIONS):
            sessions.append(Session(gateway.port))
        time.sleep(1)
        held = pss(gateway.serving())
    finally:
        for session in sessions:
            session.__exit__()
    time.sleep(1)
    return Memory(idle, (held - idle) / CONNECTIONS, pss(gateway.serving()))


def lines(found: Memory) -> list[str]:
    """Return the page's section."""
    return [
        "| a worker without connections | each of 2,000 idle connections | the worker afterwards |",
        "|---|---|---|",
        f"| {found.worker / 1e6:.1f} MB | {found.connection / 1e3:.1f} kB "
        f"| {found.after / 1e6:.1f} MB |",
    ]
