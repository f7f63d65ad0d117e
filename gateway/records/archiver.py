"""From the streams to the archive: read, commit with the cursors, then trim.

A crash between two of these steps repeats work and never loses or doubles a row:
the cursors stand in the transaction of the rows, and what is committed is trimmed
only afterwards (or by whoever takes over).
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import structlog

from gateway.clock import Clock, now_ms
from gateway.failure import GatewayError, RecordsUnavailable
from gateway.records import streams
from gateway.records.archive import Archive
from gateway.records.binding import Binding
from gateway.records.checkpointing import Checkpointer
from gateway.records.database import BadRow
from gateway.records.entry import RECORDS
from gateway.records.journal import StreamEntry, set_aside
from gateway.records.lease import Hold, Lease
from gateway.records.ledger import Stored
from gateway.records.recorder import Exchange
from gateway.records.resealing import Resealer
from gateway.records.streams import START, Command, fields, number

log = structlog.get_logger(__name__)

_PORTION_LEAST, _PORTION_MOST = 16, 256
_ENTRIES = 1024
_OCTETS = 4 << 20
_RETRY_FIRST, _RETRY_MOST = 0.25, 10.0
_SWEEP_EVERY = 60_000


@dataclass(frozen=True, slots=True)
class ArchiverStatus:
    """The archiver's figures, for metrics."""

    leading: bool
    """Whether this process holds the lease."""
    backlog: int
    """Entries of the record streams not archived at the last look."""
    lag: int
    """Milliseconds since the oldest of them was written; 0 when there is none."""
    entries: int
    """Stream entries archived since the start."""
    rows: int
    """Journal rows added since the start."""
    failures: int
    """Failed attempts since the start."""
    unreadable: int
    """Entries set aside since the start."""
    unknown: int
    """Records closed without an outcome since the start."""
    failing: bool


class Archiver:
    """Moves record and event streams into the archive.

    ``records`` and ``events`` name the streams.  A record without an outcome for
    ``unknown_after`` ms gets the outcome ``unknown``.  ``poll`` seconds pass between
    two batches, so that they are large and their fixed costs small, unless more waits
    than one batch takes (1024 entries or 4 MiB).  ``within`` bounds each trip to the
    store.  ``trim`` False leaves the streams as they are.  ``resealer`` puts each
    person's part under the person's key, ``binding`` the keys of contents under those of
    their messages; without them all stays under the content key.
    """

    def __init__(
        self,
        wire: Exchange,
        archive: Archive,
        *,
        records: Sequence[bytes] = (RECORDS,),
        events: Sequence[bytes] = (),
        unknown_after: int = 3_600_000,
        poll: float = 0.25,
        lease: Lease | None = None,
        resealer: Resealer | None = None,
        binding: Binding | None = None,
        checkpointer: Checkpointer | None = None,
        trim: bool = True,
        within: float = 5.0,
        clock: Clock = now_ms,
    ) -> None:
        self._wire = wire
        self._archive = archive
        self._records = tuple(records)
        self._events = frozenset(events)
        self._streams = (*self._records, *events)
        self._unknown_after = unknown_after
        self._poll = poll
        self._lease = lease or Lease(wire)
        self._resealer = resealer
        self._binding = binding
        self._checkpointer = checkpointer
        self._signed_rows = 0
        self._trim_too = trim
        self._within = within
        self._clock = clock
        self._fence: int | None = None
        self._cursors: dict[bytes, bytes] = {}
        self._portion = _PORTION_LEAST
        self._more = False
        self._swept_at = 0
        self._backlog = self._lag = 0
        self._entries = self._rows = self._failures = self._unreadable = self._unknown = 0
        self._failing = False

    @property
    def status(self) -> ArchiverStatus:
        """The figures now."""
        return ArchiverStatus(
            leading=self._fence is not None,
            backlog=self._backlog,
            lag=self._lag,
            entries=self._entries,
            rows=self._rows,
            failures=self._failures,
            unreadable=self._unreadable,
            unknown=self._unknown,
            failing=self._failing,
        )

    async def run(self) -> None:
        """Archive until cancelled; failures are retried with growing pauses."""
        pause = _RETRY_FIRST
        try:
            while True:
                try:
                    await self._step()
                except GatewayError as error:
                    self._note_failure(error)
                    await asyncio.sleep(pause)
                    pause = min(2 * pause, _RETRY_MOST)
                    continue
                pause = _RETRY_FIRST
                if self._failing:
                    self._failing = False
                    log.info("archive_available", backlog=self._backlog)
                await asyncio.sleep(0 if self._more else self._poll)
        finally:
            await self._leave()

    async def run_once(self) -> int:
        """Archive everything that is there now; how many entries.

        0 as well when another process is the archiver.  Raises GatewayError.
        """
        total = 0
        try:
            while moved := await self._step():
                total += moved
        finally:
            await self._leave()
        return total

    async def _leave(self) -> None:
        self._fence = None
        with suppress(GatewayError):
            await self._lease.release()

    def _note_failure(self, error: GatewayError) -> None:
        self._failures += 1
        # Whether the last commit took effect may be unknown: ask the archive anew.
        self._fence = None
        if not self._failing:
            self._failing = True
            log.error("archive_unavailable", cause=str(error))

    async def _step(self) -> int:
        """One batch; how many entries it had."""
        hold = await self._lease.hold()
        self._more = False
        if hold is Hold.ELSEWHERE:
            self._fence = None
            return 0
        if self._fence is None or hold is Hold.GAINED:
            self._fence, cursors = await self._archive.take_over()
            self._cursors = await self._still_valid(cursors)
            if self._trim_too:
                await self._trim(self._cursors)
        entries = await self._read()
        if not entries:
            await self._sweep(self._fence)
            await self._sign()
            return 0
        bind = False
        if self._resealer is not None:
            resealed = await self._resealer.reseal(entries)
            entries, bind = resealed.entries, resealed.contents
        cursors = await self._store(entries, self._fence)
        self._cursors.update(cursors)
        self._entries += len(entries)
        if self._trim_too:
            await self._trim(cursors)
        if bind:
            await self._bind()
        await self._sign()
        return len(entries)

    async def _sign(self) -> None:
        if self._checkpointer is not None:
            rows, self._signed_rows = self._rows - self._signed_rows, self._rows
            await self._checkpointer.turn(rows)

    async def _bind(self) -> None:
        """Put the keys of contents under those of their messages, now that these are here."""
        if self._binding is not None:
            while await self._binding.bind():
                pass

    async def _store(self, entries: Sequence[StreamEntry], fence: int) -> dict[bytes, bytes]:
        """Archive the entries; the cursors after them.

        An entry that the database refuses is found by halves, and set aside.
        """
        cursors = {entry.stream: entry.id for entry in entries}
        try:
            self._note(await self._archive.store(entries, cursors, fence))
        except BadRow as error:
            if len(entries) > 1:
                half = len(entries) // 2
                await self._store(entries[:half], fence)
                await self._store(entries[half:], fence)
            else:
                aside = [set_aside(entries[0], str(error))]
                self._note(await self._archive.store((), cursors, fence, aside))
        return cursors

    def _note(self, stored: Stored) -> None:
        self._rows += stored.rows
        for row in stored.unreadable:
            self._unreadable += 1
            log.error(
                "entry_unreadable", stream=row["stream"], entry=row["entry"], cause=row["cause"]
            )

    async def _still_valid(self, cursors: Mapping[bytes, bytes]) -> dict[bytes, bytes]:
        """The cursors, begun anew where a record stream is younger than its cursor.

        A store that lost its data (or an older copy of it) numbers its entries from
        the clock; whatever it still holds is then read again, and known ids ignored.
        Of a register's events that were archived elsewhere the archive notes that it
        lacks them.
        """
        ours = {stream: cursors.get(stream, START) for stream in self._streams}
        commands: list[Command] = []
        for stream, cursor in ours.items():
            if stream in self._events:
                commands.append(streams.elsewhere(stream, cursor))
            else:
                commands.append(streams.last_id(stream))
        replies = await self._exchange(commands)
        lacking = {}
        for stream, last in zip(ours, replies, strict=True):
            if stream in self._events:
                if number(last) > number(ours[stream]):
                    ours[stream] = lacking[stream] = last
            elif number(last) < number(ours[stream]):
                ours[stream] = START
        if lacking:
            log.warning("events_archived_elsewhere", streams=len(lacking))
            await self._archive.lack(lacking)
        return ours

    async def _read(self) -> list[StreamEntry]:
        """The next entries of every stream, some MiB at most.

        Read in portions, for each of which the store, and who else asks it, waits.
        """
        entries: list[StreamEntry] = []
        at = {stream: self._cursors[stream] for stream in self._streams}
        octets = backlog = 0
        count = b"%d" % self._portion
        while at and len(entries) < _ENTRIES and octets < _OCTETS:
            commands = [self._reading(stream, last, count) for stream, last in at.items()]
            if not entries:
                commands += [(b"XLEN", stream) for stream in self._records]
            replies = await self._exchange(commands)
            backlog = backlog or sum(replies[len(at) :])
            further: dict[bytes, bytes] = {}
            for (stream, _), reply in zip(at.items(), replies, strict=False):
                is_event = stream in self._events
                read = [
                    StreamEntry(stream, entry_id, fields(flat), is_event)
                    for entry_id, flat in reply
                ]
                octets += sum([sum(map(len, entry.fields.values())) for entry in read])
                entries += read
                if len(read) == self._portion:
                    further[stream] = read[-1].id
            at = further
        if octets > _OCTETS:
            self._portion = max(_PORTION_LEAST, self._portion // 2)
        elif at:
            self._portion = min(_PORTION_MOST, 2 * self._portion)
        self._more = bool(at)
        self._backlog = backlog if self._trim_too else len(entries)
        oldest = min((number(e.id)[0] for e in entries if not e.is_event), default=0)
        self._lag = max(0, self._clock() - oldest) if oldest else 0
        return entries

    def _reading(self, stream: bytes, last: bytes, count: bytes) -> Command:
        """The command that reads a stream behind an entry."""
        if stream not in self._events:
            return streams.read(stream, last, count)
        return streams.read_events(stream, self._cursors[stream], last, count)

    async def _trim(self, cursors: Mapping[bytes, bytes]) -> None:
        commands: list[Command] = []
        for stream, last in cursors.items():
            if last != START:
                trim = streams.trim_events if stream in self._events else streams.trim
                commands.append(trim(stream, last))
        if commands:
            await self._exchange(commands)

    async def _sweep(self, fence: int) -> None:
        """Close records whose outcome never came, once everything told is archived."""
        now = self._clock()
        if now - self._swept_at < _SWEEP_EVERY:
            return
        while closed := await self._archive.close_unknown(now - self._unknown_after, now, fence):
            self._unknown += closed
            log.warning("outcomes_unknown", count=closed)
        await self._bind()
        self._swept_at = now

    async def _exchange(self, commands: Sequence[Command]) -> list[Any]:
        replies = await self._wire.exchange(commands, self._within)
        for reply in replies:
            if isinstance(reply, Exception):
                raise RecordsUnavailable(f"the record store refused: {type(reply).__name__}")
        return replies
