"""What a message waits longer because the gateway stands in between, at low load."""

from __future__ import annotations

import os
import statistics
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from bench.dataset import address, suppressed
from bench.participant import Participant
from bench.session import Session
from bench.traffic import message

_RATE = 50
"""Messages a second of each session, to each of the two ways in turn."""


@dataclass(frozen=True)
class Latency:
    """Milliseconds a message, straight and through the gateway."""

    sessions: int
    straight: tuple[float, float]
    """p50 and p99."""
    through: tuple[float, float]

    @property
    def added(self) -> tuple[float, float]:
        """What the gateway adds to p50 and to p99."""
        return self.through[0] - self.straight[0], self.through[1] - self.straight[1]


def measure(gateway: Participant, sink: int, seconds: float) -> list[Latency]:
    """Measure with one session, then with five."""
    body = message(gateway.folder, 10_000).read_bytes().replace(b"\n", b"\r\n") + b".\r\n"
    found = []
    for sessions in (1, 5):
        straight: list[float] = []
        through: list[float] = []
        threads = [
            threading.Thread(
                target=_run, args=(gateway.port, sink, body, seconds, number, straight, through)
            )
            for number in range(sessions)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        found.append(Latency(sessions, _quantiles(straight), _quantiles(through)))
    return found


def _run(
    port: int,
    sink: int,
    body: bytes,
    seconds: float,
    first: int,
    straight: list[float],
    through: list[float],
) -> None:
    with Session(sink) as direct, Session(port) as relayed:
        number = first * 100_000
        for _ in range(20):
            relayed.message(address(1), body)  # connections upstream are opened
        time.sleep(first / _RATE / 5)  # the sessions do not go in step
        due = time.perf_counter()
        until = due + seconds
        while due < until:
            number += 1
            number += suppressed(number)
            straight.append(direct.message(address(number), body))
            through.append(relayed.message(address(number), body))
            due += 1 / _RATE
            time.sleep(max(0.0, due - time.perf_counter()))


def _quantiles(values: list[float]) -> tuple[float, float]:
    cut = statistics.quantiles(values, n=100)
    return cut[49] * 1000, cut[98] * 1000


def sync_seconds(folder: Path) -> float:
    """Return the median of what it takes here to have 4 KB on the disk (fdatasync)."""
    taken = []
    with tempfile.TemporaryFile(dir=folder) as file:
        for _ in range(100):
            began = time.perf_counter()
            file.write(b"x" * 4096)
            file.flush()
            os.fdatasync(file.fileno())
            taken.append(time.perf_counter() - began)
    return statistics.median(taken)


def lines(found: list[Latency], sync: float) -> list[str]:
    """Return the page's section."""
    return [
        "| sessions, 50 msg/s each | straight p50 / p99 ms | through the gateway p50 / p99 ms "
        "| added p50 / p99 ms |",
        "|---|---|---|---|",
        *(
            f"| {one.sessions} | {one.straight[0]:.2f} / {one.straight[1]:.2f} "
            f"| {one.through[0]:.2f} / {one.through[1]:.2f} "
            f"| {one.added[0]:.2f} / {one.added[1]:.2f} |"
            for one in found
        ),
        "",
        f"To have 4 KB on the disk took {sync * 1000:.2f} ms here (median); "
        "each message through the gateway waits for that once.",
    ]
