"""Files of contacts into the register: CSV or NDJSON, checked whole before a change.

Two passes: the first checks every row, the second applies them, a window of rows at a
time; while the server writes one, the next is made ready.  Nothing is applied if a
row is bad, unless asked to skip such rows.  An import only adds and tightens: it
lifts no ban, and a row that says nothing new changes nothing and writes no event.
Columns: see :mod:`gateway.register.rows`.

Of a contact that the register does not know, entry and events are written without
reading (:mod:`gateway.register.newcomers`).  Of one that it knows, what is written is
what :meth:`Register.apply_many` makes of the row.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path

from gateway.clock import Clock, now_ms
from gateway.contacts.contact import Contact
from gateway.entry.entry import ORIGIN_SIZE
from gateway.entry.event import Event
from gateway.failure import InputError
from gateway.register.newcomers import Batch, Newcomers
from gateway.register.register import Register
from gateway.register.rows import Importer, Row
from gateway.register.table import Given, Table
from gateway.register.window import Window, Windows

BAD_ROWS_KEPT = 100
EVENTS_WAITING = 1_000_000
"""Events that wait for the archive while an import goes on: some 0.4 GB of the server's."""
_BATCH = 1000
_PAUSE = 1.0

Progress = Callable[[int], None]
"""Hears the octets read so far; at the end twice the file's size (two passes)."""
Drain = Callable[[], Awaitable[int]]
"""Archives the events that wait; how many.  0 where another process does it."""


@dataclass(frozen=True, slots=True)
class BadRow:
    """Why a row cannot be imported; neither field repeats the row's contact."""

    line: int
    column: str
    cause: str


@dataclass(slots=True)
class ImportResult:
    """What an import did.

    ``rows`` good rows name ``contacts`` contacts and domains, of which ``changed``
    were changed and ``unchanged`` knew it all already.  ``bad`` holds the first
    hundred of ``bad_count`` bad rows.  ``applied`` is False when bad rows kept
    everything from being applied.
    """

    rows: int = 0
    contacts: int = 0
    written: int = 0
    """Good rows that have been gone through."""
    changed: int = 0
    unchanged: int = 0
    events: int = 0
    bad: list[BadRow] = field(default_factory=list)
    bad_count: int = 0
    warnings: list[str] = field(default_factory=list)
    applied: bool = False


async def import_file(
    path: Path | Given,
    register: Register,
    *,
    actor: str,
    source: str | None = None,
    mapping: Mapping[str, str] | None = None,
    region: str | None = None,
    skip_bad: bool = False,
    check_only: bool = False,
    progress: Progress | None = None,
    drain: Drain | None = None,
    clock: Clock = now_ms,
    result: ImportResult | None = None,
) -> ImportResult:
    """Import a file; see the module.

    ``mapping`` gives the file's header for our column names, ``region`` the country
    of telephone numbers without a country code, ``source`` the source of rows that
    state none (default: the file's name).  ``check_only`` stops after the first
    pass.  With ``drain`` the import waits while more than a million events are not
    archived, so that the server's memory is bounded.  ``result`` is filled while it goes
    on, for whoever looks meanwhile.

    Raises InputError for a file that cannot be read, is not UTF-8 or lacks a contact
    column, RegisterUnavailable when the register fails in between: what was applied
    stays, and importing again completes it.
    """
    importer = Importer(actor, source or f"import {path.name}", clock(), region)
    newcomers = register.newcomers()
    windows = Windows(importer, sealed=newcomers.sealed)
    result = ImportResult() if result is None else result
    before = _state(path)
    table = Table(path, mapping or {})
    checked = _windows(table, windows)
    while window := await asyncio.to_thread(next, checked, None):
        _check(window, result)
        if progress is not None:
            progress(table.octets)
    result.warnings = table.warnings
    if check_only or (result.bad_count and not skip_bad):
        return result
    if _state(path) != before:
        raise InputError(f"{path}: the file changed while it was read; import it again")
    again = Table(path, mapping or {})
    writing = _Writing(register, newcomers, result, drain)
    under_way: asyncio.Task[None] | None = None
    ready = (writing.prepared(window) for window in _windows(again, windows))
    try:
        while prepared := await asyncio.to_thread(next, ready, None):
            if under_way is not None:
                await under_way
            under_way = asyncio.create_task(writing.write(*prepared))
            if progress is not None:
                progress(table.octets + again.octets)
        if under_way is not None:
            await under_way
    finally:
        if under_way is not None:
            under_way.cancel()
            await asyncio.gather(under_way, return_exceptions=True)
    await register.settle()
    result.applied = True
    return result


def _windows(table: Table, windows: Windows) -> Iterator[Window]:
    return chain.from_iterable(map(windows.of, table.blocks()))


def _check(window: Window, result: ImportResult) -> None:
    """Count a window's rows."""
    for line, error in window.errors:
        result.bad_count += 1
        if len(result.bad) < BAD_ROWS_KEPT:
            result.bad.append(BadRow(line, error.column, error.cause))
    alike = sum(len(group.names) for group in window.groups.values())
    result.rows += alike + len(window.rows)
    result.contacts += alike
    result.contacts += sum(len(row.contacts) + bool(row.domain_events) for _, row in window.rows)


class _Writing:
    """The second pass: windows into the register, one after the other."""

    def __init__(
        self, register: Register, newcomers: Newcomers, result: ImportResult, drain: Drain | None
    ) -> None:
        self._register = register
        self._newcomers = newcomers
        self._result = result
        self._drain = drain

    def prepared(self, window: Window) -> tuple[Window, list[Batch]]:
        return window, list(map(self._newcomers.prepare, window.groups.values()))

    async def write(self, window: Window, batches: list[Batch]) -> None:
        """Write a window's rows; those about one contact in the order of the file."""
        rows = list(window.rows)
        shared = self._shared(window, batches)
        for batch in batches:
            left = {at for at, digest in enumerate(batch.digests) if digest in shared}
            left |= await self._newcomers.known_before(batch.group)
            await self._write(batch, left)
            group = batch.group
            rows += [(group.numbers[place], group.row(place)) for place in left]
        rows.sort(key=lambda row: row[0])
        for start in range(0, len(rows), _BATCH):
            part = [row for _, row in rows[start : start + _BATCH]]
            await _apply(self._register, part, self._result)
        alike = sum(len(group.names) for group in window.groups.values())
        self._result.written += alike + len(window.rows)
        waiting = self._newcomers.waiting
        while self._drain is not None and waiting > EVENTS_WAITING:
            if not await self._drain():
                await asyncio.sleep(_PAUSE)
            waiting = await self._register.waiting()

    def _shared(self, window: Window, batches: list[Batch]) -> set[bytes]:
        """Return the digests that several rows of the window are about."""
        shared: set[bytes] = set()
        alike = [digest for batch in batches for digest in batch.digests]
        if len(set(alike)) < len(alike):
            shared.update(digest for digest, count in Counter(alike).items() if count > 1)
        for _, row in window.rows:
            shared.update(self._newcomers.digests_of(row))
        return shared

    async def _write(self, batch: Batch, left: set[int]) -> None:
        """Write a group, less the places ``left``; add those that are to be applied as rows."""
        templates, times = batch.group.templates, batch.group.times
        exact, result = batch.exact, self._result
        wider = batch.wider.without(left) if left else batch.wider
        for place, old in (await self._newcomers.write(wider)).items():
            origin = batch.digests[place][:ORIGIN_SIZE]
            if templates[place].changes_base(old, times[place], origin):
                left.add(place)
        result.unchanged += len(batch.digests) - len(exact.places)
        if left:
            exact = exact.without(left)
            result.unchanged -= len(left.difference(batch.exact.places))
        known = await self._newcomers.write(exact)
        news = {
            place for place, old in known.items() if templates[place].changes(old, times[place])
        }
        left |= news
        result.changed += len(exact.places) - len(known)
        result.unchanged += len(known) - len(news)
        result.events += sum(map(len, exact.texts)) - sum(len(batch.ids[place]) for place in known)


async def _apply(register: Register, rows: list[Row], result: ImportResult) -> None:
    """Apply rows as any changes are: read, project, compare and set."""
    changes: list[tuple[Event, Contact]] = [
        (event, contact) for row in rows for contact in row.contacts for event in row.events
    ]
    logged = await register.apply_many(changes, only_changes=True, settled=False)
    result.events += len(logged)
    changed = {event.subject for event in logged}
    for row in rows:
        for contact in row.contacts:
            if register.subject(contact) in changed:
                result.changed += 1
            else:
                result.unchanged += 1
        if row.domain is None or not row.domain_events:
            continue
        news = 0
        for event in row.domain_events:
            logged = await register.apply_organisation(
                event, row.domain, only_changes=True, settled=False
            )
            news += len(logged)
        result.events += news
        if news:
            result.changed += 1
        else:
            result.unchanged += 1


def _state(path: Path | Given) -> tuple[int, int]:
    if isinstance(path, Given):
        return len(path.octets), 0
    try:
        state = path.stat()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    return state.st_size, state.st_mtime_ns
