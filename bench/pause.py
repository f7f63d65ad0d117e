"""How long the worker's event loop stands still while large messages pass.

Seen from outside: further sessions on the same worker send NOOP every 5 ms and keep
the longest time that an answer took.  That time holds a loop turn of the worker (the
pause looked for), the waiting of worker and probe for a processor, and loopback.  The
same probes on a bare relay that carries nothing say what of it is the machine's.
"""

from __future__ import annotations

import statistics
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from bench.gateway import Gateway
from bench.machine import private, pss
from bench.participant import Participant
from bench.session import Session
from bench.sink import Sink
from bench.traffic import Traffic, message, send

MESSAGES = 20
SIZE = 25_000_000
_PROBES = 4
_EVERY = 0.005


@dataclass
class Pause:
    """Answers' times in seconds, and the worker's memory meanwhile in octets."""

    idle: list[float] = field(default_factory=list)
    loaded: list[float] = field(default_factory=list)
    control: list[float] = field(default_factory=list)
    seconds: float = 0.0
    peak: int = 0

    @property
    def longest(self) -> float:
        """The longest answer under load, in milliseconds."""
        return max(self.loaded) * 1000


def measure(gateway: Gateway, control: Participant, sink: Sink, folder: Path) -> Pause:
    """Send 20 messages of 25 MB at once, twice, and probe meanwhile."""
    large = Traffic("large", "25 MB", SIZE)
    file = message(folder, SIZE)
    found = Pause()
    with _probing(gateway.port, found.idle):
        time.sleep(3)
    with (
        _probing(gateway.port, found.loaded),
        _probing(control.port, found.control, probes=1),
        _Peak(gateway) as peak,
    ):
        began = time.monotonic()
        for _ in range(2):
            due = sink.messages() + large.copies(MESSAGES)
            send(large, file, gateway.port, MESSAGES, reject=False, timeout=300)
            sink.wait(due, 30)
        found.seconds = time.monotonic() - began
    found.peak = peak.octets
    return found


class _probing:  # noqa: N801 - used as a function is
    def __init__(self, port: int, taken: list[float], probes: int = _PROBES) -> None:
        self._end = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(port, taken), daemon=True)
            for _ in range(probes)
        ]

    def __enter__(self) -> None:
        for thread in self._threads:
            thread.start()

    def __exit__(self, *_: object) -> None:
        self._end.set()
        for thread in self._threads:
            thread.join()

    def _run(self, port: int, taken: list[float]) -> None:
        with Session(port) as session:
            while not self._end.wait(_EVERY):
                taken.append(session.noop())


class _Peak:
    """The most that the worker held, looked at ten times a second."""

    def __init__(self, gateway: Gateway) -> None:
        self._pids = gateway.serving()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.octets = 0

    def __enter__(self) -> _Peak:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._end.wait(0.1):
            self.octets = max(self.octets, pss(self._pids), private(self._pids))


def lines(found: Pause) -> list[str]:
    """Return the page's section."""
    rows = [
        ("worker without load", found.idle),
        (f"worker, {MESSAGES} x 25 MB at once, twice", found.loaded),
        ("bare relay that carries nothing, meanwhile", found.control),
    ]
    return [
        "| NOOP every 5 ms to | answers | p50 ms | p99 ms | longest ms |",
        "|---|---|---|---|---|",
        *(
            f"| {name} | {len(taken)} | {statistics.median(taken) * 1000:.2f} "
            f"| {statistics.quantiles(taken, n=100)[98] * 1000:.1f} | {max(taken) * 1000:.1f} |"
            for name, taken in rows
        ),
        "",
        f"The {2 * MESSAGES} messages took {found.seconds:.1f} s. "
        f"The worker held {found.peak / 1e6:.0f} MB at the most meanwhile.",
    ]
