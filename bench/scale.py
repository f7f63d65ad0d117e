"""Registers of a million contacts and more: how fast they are made and asked, and how large.

Each size has a register of its own, with the number of buckets that the manual
advises, and is filled by the import itself: digests, events with sealed addresses, the
report of bad rows, every write on the disk.  Of large imports the events are thrown
away now and then, which is not timed; how fast they are archived is measured of some.
"""

from __future__ import annotations

import asyncio
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from pathlib import Path

import uvloop

from bench.machine import cpu_seconds
from gateway.contacts.digest import KeyRing
from gateway.contacts.email import parse_email
from gateway.decision.facts import Kind
from gateway.decision.load import find_rules, load_rules
from gateway.garbage import seldom_collected
from gateway.gate import Gate
from gateway.message.traits import Traits
from gateway.records.archive import Archive
from gateway.records.archiver import Archiver
from gateway.records.database import Database
from gateway.records.entry import address_context
from gateway.records.events import EventArchive
from gateway.records.seal import Sealer
from gateway.register.fill import bits_for
from gateway.register.importing import import_file
from gateway.register.layout import event_streams
from gateway.register.register import Register
from gateway.register.server import EmbeddedRegister
from gateway.serve.rebuilding import rebuild
from gateway.wash import wash_file

SIZES = {"100k": 100_000, "1m": 1_000_000, "10m": 10_000_000}
PROJECTED = 100_000_000
_AIMS = {"imported": 60_000, "looked_up": 100_000, "washed": 80_000, "rebuilt": 33_333}
_OCTETS, _GIGABYTES = 32, 3.5
_WASHED = 300_000
_ARCHIVED = 1_000_000
"""Larger imports are not archived here."""
_ASKERS = 20
_RECIPIENTS = 50
_SECONDS = 3.0
_DOMAINS = 5000
_MAILBOXES = (
    *("gmail.com", "hotmail.com", "outlook.com", "icloud.com", "yahoo.com"),
    *("elisanet.fi", "luukku.com", "kolumbus.fi"),
)


@dataclass
class Speed:
    """Rows a second of each round, and CPU microseconds a row: ours, and Redis's."""

    rates: list[float] = field(default_factory=list)
    own: list[float] = field(default_factory=list)
    server: list[float] = field(default_factory=list)

    def __str__(self) -> str:
        if not self.rates:
            return "| | |"
        low, high = min(self.rates), max(self.rates)
        spread = f" ({low:,.0f}-{high:,.0f})" if len(self.rates) > 1 else ""
        own, server = statistics.median(self.own), statistics.median(self.server)
        return f"{statistics.median(self.rates):,.0f}{spread} | {own:.1f} | {server:.1f}"


@dataclass
class Scale:
    """What was measured of a register of so many contacts."""

    contacts: int
    bits: int
    octets: float = 0.0
    """``used_memory`` for each contact."""
    started: list[float] = field(default_factory=list)
    """Seconds until a stopped server answers again."""
    imported: Speed = field(default_factory=Speed)
    again: Speed = field(default_factory=Speed)
    looked_up: Speed = field(default_factory=Speed)
    washed: Speed = field(default_factory=Speed)
    archived: Speed = field(default_factory=Speed)
    rebuilt: Speed = field(default_factory=Speed)


def measure(sizes: list[int], rounds: int) -> list[Scale]:
    """Measure registers of these sizes, those of up to a million in several rounds."""
    found = []
    for contacts in sizes:
        scale = Scale(contacts, bits_for(contacts))
        with tempfile.TemporaryDirectory(prefix="sg-scale-") as name:
            folder = Path(name)
            _write(folder / "list.csv", contacts)
            for turn in range(rounds if contacts <= SIZES["1m"] else 1):
                server = EmbeddedRegister(folder / f"register{turn}", start_timeout=900)
                uvloop.run(_round(server, folder, scale))
        found.append(scale)
        print(f"{contacts} contacts: {scale.imported}", file=sys.stderr)
    return found


def address(number: int) -> str:
    """The contact of a number: six in ten at a few providers, as people are."""
    if number % 10 < 6:
        return f"person{number}@{_MAILBOXES[number // 10 % len(_MAILBOXES)]}"
    return f"person.{number}@example{number // 10 % _DOMAINS}.com"


def _write(path: Path, contacts: int) -> None:
    with path.open("w") as file:
        file.write("email,ban\n")
        file.writelines(f"{address(number)},all\n" for number in range(contacts))


async def _round(server: EmbeddedRegister, folder: Path, scale: Scale) -> None:
    await server.start()
    try:
        seal = Sealer({"c1": bytes(32)}, "c1")
        async with await Register.open(
            server.url,
            KeyRing({"k1": bytes(range(32))}, "k1"),
            bits=scale.bits,
            timeout=10,
            write_timeout=60,
            seal=lambda text: seal.seal(text.encode(), b""),
            seal_all=partial(_sealed, seal),
        ) as register:
            await _measure(register, server.pid or 0, folder, scale)
        await server.stop(wait_for_users=0)
        began = time.monotonic()
        await server.start()
        scale.started.append(time.monotonic() - began)
    finally:
        await server.stop(wait_for_users=0)


def _sealed(seal: Sealer, addresses: list[bytes], digests: list[str]) -> list[bytes]:
    return seal.seal_all(addresses, list(map(address_context, digests)))


async def _measure(register: Register, server: int, folder: Path, scale: Scale) -> None:
    stream = register.connections.stream

    async def memory() -> int:
        return int((await stream.info("memory"))["used_memory"])

    empty = await memory()
    aside = 0.0

    async def forget() -> int:
        """Take the events away, untimed: somebody else's archiver had them."""
        nonlocal aside
        began = time.monotonic()
        waiting = await register.waiting()
        for name in event_streams():
            await stream.xtrim(name, maxlen=0, approximate=False)
        aside += time.monotonic() - began
        return waiting

    path, contacts = folder / "list.csv", scale.contacts
    again = [scale.again] if contacts <= SIZES["1m"] else []
    for speed in (scale.imported, *again):
        aside = 0.0
        with _timed(speed, contacts, server) as timing, seldom_collected():
            await import_file(path, register, actor="bench", drain=forget)
            timing.aside = aside
        if speed is scale.imported and contacts <= _ARCHIVED:
            await _archive(register, folder, server, scale)
            await _rebuild(register, folder, server, scale)
        await forget()
    scale.octets = (await memory() - empty) / contacts
    await _look_up(register, server, scale)
    await _wash(register, folder, server, scale)


@dataclass
class _Timing:
    aside: float = 0.0


@contextmanager
def _timed(speed: Speed, rows: int, server: int) -> Iterator[_Timing]:
    timing = _Timing()
    own, served, began = time.process_time(), cpu_seconds(server), time.monotonic()
    yield timing
    took = time.monotonic() - began - timing.aside
    speed.rates.append(rows / took)
    speed.own.append((time.process_time() - own) / rows * 1e6)
    speed.server.append((cpu_seconds(server) - served) / rows * 1e6)


async def _archive(register: Register, folder: Path, server: int, scale: Scale) -> None:
    path = folder / "archive.sqlite"
    path.unlink(missing_ok=True)
    database = await Database.open(path)
    try:
        archiver = Archiver(
            register.connections.wire,
            Archive(database, Sealer({"c1": bytes(32)}, "c1")),
            events=event_streams(),
        )
        with _timed(scale.archived, scale.contacts, server):
            await archiver.run_once()
    finally:
        await database.aclose()


async def _rebuild(register: Register, folder: Path, server: int, scale: Scale) -> None:
    database = await Database.open(folder / "archive.sqlite")
    try:
        with _timed(scale.rebuilt, scale.contacts, server), seldom_collected():
            done = await rebuild(register, EventArchive(database), ("k1",))
        assert done.contacts == scale.contacts, done
    finally:
        await database.aclose()


async def _look_up(register: Register, server: int, scale: Scale) -> None:
    numbers = random.Random(7)
    # Half of them are known.
    asked = [
        [parse_email(address(numbers.randrange(2 * scale.contacts))) for _ in range(_RECIPIENTS)]
        for _ in range(2000)
    ]
    turns = count()

    async def ask(until: float) -> int:
        done = 0
        while time.monotonic() < until:
            await register.look_up(asked[next(turns) % len(asked)])
            done += _RECIPIENTS
        return done

    await asyncio.gather(*(ask(time.monotonic() + 0.5) for _ in range(_ASKERS)))
    speed = Speed()
    with _timed(speed, 1, server):
        done = sum(
            await asyncio.gather(*(ask(time.monotonic() + _SECONDS) for _ in range(_ASKERS)))
        )
    scale.looked_up.rates.append(speed.rates[0] * done)
    scale.looked_up.own.append(speed.own[0] / done)
    scale.looked_up.server.append(speed.server[0] / done)


async def _wash(register: Register, folder: Path, server: int, scale: Scale) -> None:
    path = folder / "mailing.csv"
    rows = min(_WASHED, scale.contacts)
    with path.open("w") as file:
        file.write("id,email,name\n")
        # One in five is known.
        for number in range(rows):
            known = number if number % 5 == 0 else scale.contacts + number
            file.write(f"{number},{address(known)},Name {number}\n")
    with _timed(scale.washed, rows, server), seldom_collected():
        done = await wash_file(
            path,
            folder / "go.csv",
            folder / "stop.csv",
            gate=Gate(register),
            rules=load_rules(find_rules("opt-out")),
            traits=Traits(Kind.MARKETING),
        )
    assert done.may_not_go == (rows + 4) // 5, done


def lines(found: list[Scale]) -> list[str]:
    """Return the page's section."""
    said = [
        "| contacts | buckets | in each | octets a contact | start of the server, s |",
        "|---|---|---|---|---|",
        *(
            f"| {one.contacts:,} | 2^{one.bits} | {one.contacts / 2**one.bits:.0f} "
            f"| {one.octets:.1f} | {statistics.median(one.started):.1f} |"
            for one in found
        ),
        "",
        "| | contacts | rows a second | our CPU, us a row | Redis's CPU, us a row | aim |",
        "|---|---|---|---|---|---|",
    ]
    for name, key in (
        ("import of a new list", "imported"),
        ("the same list again", "again"),
        (f"look-up, {_RECIPIENTS} contacts a trip", "looked_up"),
        ("wash", "washed"),
        ("archive, events of an import", "archived"),
        ("rebuild from the archive", "rebuilt"),
    ):
        for one in found:
            speed: Speed = getattr(one, key)
            if speed.rates:
                aim = f"{_AIMS[key]:,}" if key in _AIMS else ""
                said.append(f"| {name} | {one.contacts:,} | {speed} | {aim} |")
    if found:
        last = found[-1]
        total = last.octets * PROJECTED / 1e9
        bits = bits_for(PROJECTED)
        said += [
            "",
            f"100 million contacts: {last.octets:.1f} octets x 10^8 = {total:.2f} GB, in 2^{bits} "
            f"buckets of {PROJECTED / 2**bits:.0f} (those measured have "
            f"{last.contacts / 2**last.bits:.0f}, so that a bucket's own cost is divided by "
            f"about as many). Aims: {_OCTETS} octets from a million contacts on, "
            f"{_GIGABYTES} GB.",
        ]
    return said
