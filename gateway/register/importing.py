"""Files of contacts into the register: CSV or NDJSON, checked whole before a change.

Two passes: the first checks every row, the second applies them in batches.  Nothing
is applied if a row is bad, unless asked to skip such rows.  An import only adds and
tightens: it lifts no ban, and a row that says nothing new changes nothing and
writes no event.  Columns: see :mod:`gateway.register.rows`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from gateway.clock import Clock, now_ms
from gateway.contacts.contact import Contact
from gateway.entry.event import Event
from gateway.failure import InputError
from gateway.register.register import Register
from gateway.register.rows import Importer, Row, RowError
from gateway.register.table import Line, Table

BAD_ROWS_KEPT = 100
_BATCH = 1000

Progress = Callable[[int], None]
"""Hears the octets read so far; at the end twice the file's size (two passes)."""


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
    changed: int = 0
    unchanged: int = 0
    events: int = 0
    bad: list[BadRow] = field(default_factory=list)
    bad_count: int = 0
    warnings: list[str] = field(default_factory=list)
    applied: bool = False


async def import_file(
    path: Path,
    register: Register,
    *,
    actor: str,
    source: str | None = None,
    mapping: Mapping[str, str] | None = None,
    region: str | None = None,
    skip_bad: bool = False,
    check_only: bool = False,
    progress: Progress | None = None,
    clock: Clock = now_ms,
) -> ImportResult:
    """Import a file; see the module.

    ``mapping`` gives the file's header for our column names, ``region`` the country
    of telephone numbers without a country code, ``source`` the source of rows that
    state none (default: the file's name).  ``check_only`` stops after the first
    pass.

    Raises InputError for a file that cannot be read, is not UTF-8 or lacks a contact
    column, RegisterUnavailable when the register fails in between: what was applied
    stays, and importing again completes it.
    """
    importer = Importer(actor, source or f"import {path.name}", clock(), region)
    result = ImportResult()
    before = _state(path)
    table = Table(path, mapping or {})
    lines = table.lines()
    while batch := await asyncio.to_thread(_read, lines, importer):
        for row in batch:
            if isinstance(row, BadRow):
                result.bad_count += 1
                if len(result.bad) < BAD_ROWS_KEPT:
                    result.bad.append(row)
            else:
                result.rows += 1
                result.contacts += len(row.contacts) + bool(row.domain_events)
        if progress is not None:
            progress(table.octets)
    result.warnings = table.warnings
    if check_only or (result.bad_count and not skip_bad):
        return result
    if _state(path) != before:
        raise InputError(f"{path}: the file changed while it was read; import it again")
    again = Table(path, mapping or {})
    lines = again.lines()
    while batch := await asyncio.to_thread(_read, lines, importer):
        await _apply(register, [row for row in batch if isinstance(row, Row)], result)
        if progress is not None:
            progress(table.octets + again.octets)
    await register.settle()
    result.applied = True
    return result


async def _apply(register: Register, rows: list[Row], result: ImportResult) -> None:
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


def _read(lines: Iterator[Line], importer: Importer) -> list[Row | BadRow]:
    """Return the next rows; runs in a thread, because it reads and parses."""
    rows: list[Row | BadRow] = []
    for line in islice(lines, _BATCH):
        error = line.error
        if line.cells is not None:
            try:
                rows.append(importer.row(line.cells))
                continue
            except RowError as wrong:
                error = wrong
        if error is not None:
            rows.append(BadRow(line.number, error.column, error.cause))
    return rows


def _state(path: Path) -> tuple[int, int]:
    try:
        state = path.stat()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    return state.st_size, state.st_mtime_ns
