"""How many look-ups a second one process gets from the register, and Redis can give."""

from __future__ import annotations

import asyncio
import subprocess
import time
from dataclasses import dataclass
from itertools import count

import uvloop

from bench.dataset import KEYS, Server, address
from bench.machine import tool
from gateway.contacts.digest import KeyRing, subject_of
from gateway.contacts.email import parse_email
from gateway.register.layout import Layout
from gateway.register.register import Register

_ASKERS = 20


@dataclass(frozen=True)
class Lookups:
    """Look-ups of messages of so many recipients."""

    recipients: int
    rate: float
    """Messages a second; each one look-up."""
    cpu: float
    """Milliseconds of the asking process for each."""
    server: float
    """Milliseconds of Redis for each."""


@dataclass(frozen=True)
class Limit:
    """What ``redis-benchmark`` gets, in HGETs a second; 0 where it is not installed."""

    single: float
    pipelined: float


def measure(server: Server, seconds: float) -> tuple[list[Lookups], Limit]:
    """Ask for messages of 1 and 50 recipients, 20 at a time."""
    found = [uvloop.run(_asked(server, recipients, seconds)) for recipients in (1, 50)]
    return found, Limit(_benchmark(server, 1), _benchmark(server, 50))


async def _asked(server: Server, recipients: int, seconds: float) -> Lookups:
    register = await Register.open(f"unix://{server.socket}", KeyRing.load(KEYS))
    numbers = count(1)
    done = 0
    # Contacts are made before: the mail path has parsed the address anyway.
    contacts = [
        [parse_email(address(next(numbers))) for _ in range(recipients)] for _ in range(2000)
    ]

    async def ask(first: int, until: float) -> None:
        nonlocal done
        place = first
        while time.monotonic() < until:
            await register.look_up(contacts[place % len(contacts)])
            place += _ASKERS
            done += 1

    async with register:
        await asyncio.gather(*(ask(n, time.monotonic() + 0.5) for n in range(_ASKERS)))
        done = 0
        before, asked, began = time.process_time(), server.cpu(), time.monotonic()
        await asyncio.gather(*(ask(n, began + seconds) for n in range(_ASKERS)))
        took = time.monotonic() - began
        cpu, served = time.process_time() - before, server.cpu() - asked
    return Lookups(recipients, done / took, cpu / done * 1000, served / done * 1000)


def _benchmark(server: Server, pipeline: int) -> float:
    ring = KeyRing.load(KEYS)
    digest = ring.digest(subject_of(parse_email(address(5))))
    place = Layout().place(digest)
    # Its arguments cannot hold any octet: a field of the same length that is not there
    # costs the server the same walk through the bucket.
    field = "x" * len(place.field)
    done = subprocess.run(
        [
            *(tool("redis-benchmark"), "-s", str(server.socket), "-c", str(_ASKERS)),
            *("-n", str(100_000 * pipeline // (1 + pipeline // 10)), "-P", str(pipeline)),
            *("--csv", "HGET", place.bucket.decode(), field),
        ],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    return float(done.stdout.splitlines()[-1].split('","')[1])


def lines(found: list[Lookups], limit: Limit) -> list[str]:
    """Return the page's section."""
    return [
        "| asker | a second | recipients a second | its CPU ms | Redis's CPU ms |",
        "|---|---|---|---|---|",
        *(
            f"| the register's client, messages of {one.recipients} | {one.rate:,.0f} "
            f"| {one.rate * one.recipients:,.0f} | {one.cpu:.3f} | {one.server:.3f} |"
            for one in found
        ),
        f"| redis-benchmark, one HGET a trip | {limit.single:,.0f} | {limit.single:,.0f} | | |",
        f"| redis-benchmark, 50 HGETs a trip | {limit.pipelined / 50:,.0f} "
        f"| {limit.pipelined:,.0f} | | |",
    ]
