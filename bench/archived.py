"""How much of the disk the archive takes for each record, and whether it keeps up.

The records are those that mail leaves: through the gateway, into its own archive.
"""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from bench.gateway import Gateway
from bench.traffic import Traffic, message, send

MOST = 1000
"""Octets that a marketing record may take."""


@dataclass(frozen=True)
class Archived:
    """What one kind of traffic left: records, octets of each, and how fast they came."""

    name: str
    records: int
    octets: float
    """Of the file, for each record, with its message's row, its outcome and the chain."""
    rate: float
    """Records a second, while mail came in."""
    behind: float
    """Seconds from the last reply until every record was archived."""


def measure(gateway: Gateway, traffic: Traffic, messages: int) -> Archived:
    """Send so many messages, and look at the archive before and after."""
    records, octets = _archive(gateway.folder)
    began = time.monotonic()
    file = message(gateway.folder, traffic.size)
    send(traffic, file, gateway.port, messages, reject=gateway.rejects, timeout=120)
    sent = time.monotonic()
    while not gateway.drained():
        time.sleep(0.02)
    behind = time.monotonic() - sent
    time.sleep(1)  # the outcomes that were told last
    records_now, octets_now = _archive(gateway.folder)
    count = records_now - records
    size = (octets_now - octets) / count
    return Archived(traffic.name, count, size, count / (sent - began), behind)


def _archive(folder: Path) -> tuple[int, int]:
    """The records there are, and the octets of the file."""
    path = folder / "data" / "archive.sqlite"
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10)) as database:
        (records,) = database.execute("SELECT count(*) FROM record").fetchone()
        (pages,) = database.execute("PRAGMA page_count").fetchone()
        (size,) = database.execute("PRAGMA page_size").fetchone()
    return records, pages * size


def lines(found: list[Archived]) -> list[str]:
    """Return the lines of the page."""
    return [
        "| records of mail | archived | octets a record | a second | behind the last, s |",
        "|---|---|---|---|---|",
        *(
            f"| {one.name} | {one.records:,} | {one.octets:,.0f} | {one.rate:,.0f} "
            f"| {one.behind:.2f} |"
            for one in found
        ),
    ]
