"""The hot side of the records: durable before a message leaves, its outcome after.

One trip to the store is under way at a time: whatever waits in a tick of the loop, or
while a trip is under way, goes in one write (and so shares one fsync).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Protocol

import structlog

from gateway.failure import GatewayError, Overloaded, RecordsUnavailable
from gateway.records.entry import (
    MESSAGE,
    OUTCOMES,
    RECORDS,
    RULES,
    SEALED,
    address_context,
    headers_context,
    outcomes_json,
    pack,
    sender_context,
)
from gateway.records.record import MessageRecord, OutcomeRecord, RuleSetRecord
from gateway.records.seal import Sealer

log = structlog.get_logger(__name__)

_BATCH = 256
_BATCH_OCTETS = 1 << 20
_OUTCOMES = 512
_WAITING = 10_000
_LINGER = 0.02
_PROBE = 0.25
_RETRY_MOST = 2.0

Fields = tuple[bytes, ...]


class Exchange(Protocol):
    """What carries commands to the store, such as :class:`gateway.register.wire.Wire`."""

    async def exchange(self, commands: Sequence[Fields], within: float) -> list[Any]:
        """One reply per command, in order; an error reply is an exception in the list.

        Raises GatewayError when the replies do not all come within that many seconds.
        """


class Recorder:
    """Appends message records and notes outcomes.

    ``timeout`` bounds an append in seconds.  ``backlog_max`` bounds the entries that
    the archive has not taken yet, checked with every trip: a batch per process may
    go past it.  At most 10 000 appends and ``outcomes_max`` outcomes wait in memory.
    """

    def __init__(
        self,
        wire: Exchange,
        sealer: Sealer,
        *,
        streams: Sequence[bytes] = (RECORDS,),
        timeout: float = 2.0,
        backlog_max: int = 200_000,
        outcomes_max: int = 100_000,
    ) -> None:
        self._wire = wire
        self._sealer = sealer
        self._streams = tuple(streams)
        self._lengths = dict.fromkeys(self._streams, 0)
        self._turn = 0
        self._timeout = timeout
        self._backlog_max = backlog_max
        self._outcomes_max = outcomes_max
        self._announced: set[str] = set()
        self._appends: deque[tuple[float, Fields, asyncio.Future[None]]] = deque()
        self._outcomes: deque[bytes] = deque()
        self._flying = 0
        self._trip: asyncio.Task[None] | None = None
        self._departure: asyncio.Handle | None = None
        """The next trip's beginning, where it is set; a timer for outcomes alone."""
        self._urgent = False
        """Whether the next trip begins in this tick."""
        self._emptied: asyncio.Event | None = None
        self._closed = False
        self._probe_at = 0.0
        self._retry_at = 0.0
        self._retry = 0.0
        self._down = False
        self.appended = 0
        """Message records acknowledged by the store."""
        self.outcomes_lost = 0
        """Outcomes that could not be queued or stored; their records end as unknown."""

    @property
    def backlog(self) -> int:
        """Entries that the archive had not taken at the last trip."""
        return sum(self._lengths.values())

    @property
    def outcomes_waiting(self) -> int:
        """Outcomes noted but not stored yet."""
        return len(self._outcomes) + self._flying

    async def announce(self, rules: RuleSetRecord) -> None:
        """Store the texts of a rule set; needed once before messages name its hash.

        Raises RecordsUnavailable.
        """
        await self._append((b"*", RULES, rules.to_json()))
        self._announced.add(rules.hash)

    async def append(
        self,
        message: MessageRecord,
        headers: bytes | None,
        addresses: Sequence[str],
        sender: str = "",
    ) -> None:
        """Store the record of a message; it is durable when this returns.

        ``addresses`` are the recipients' in the record's order.  They, the header
        section and the envelope sender are sealed first.  Raises RecordsUnavailable
        when the store does not acknowledge in time, is full, or the archive lags too
        far behind (the record may then have been stored all the same), Overloaded
        when too many callers wait.
        """
        if message.rule_set_hash and message.rule_set_hash not in self._announced:
            raise RecordsUnavailable(
                f"rule set {message.rule_set} {message.rule_set_version} was not announced"
            )
        seal = self._sealer.seal
        parts = [
            seal(headers, headers_context(message.id)) if headers is not None else b"",
            seal(sender.encode(), sender_context(message.id)) if sender else b"",
        ]
        for recipient, address in zip(message.recipients, addresses, strict=True):
            parts.append(seal(address.encode(), address_context(recipient.digest)))
        await self._append((b"*", MESSAGE, message.to_json(), SEALED, pack(parts)))
        self.appended += 1

    def note_outcome(self, *outcomes: OutcomeRecord) -> None:
        """Queue what came of a message; returns at once.

        Kept in memory and retried while the store is down.  What the bounded queue
        cannot take is counted in :attr:`outcomes_lost` and ends as ``unknown``.
        """
        self._note([outcome.to_json() for outcome in outcomes])

    def note_alike(self, outcome: OutcomeRecord, record_ids: Sequence[str]) -> None:
        """:meth:`note_outcome` of one outcome for each of several records."""
        self._note(outcome.for_each(record_ids) if len(record_ids) > 1 else [outcome.to_json()])

    def _note(self, outcomes: list[bytes]) -> None:
        room = 0 if self._closed else self._outcomes_max - self.outcomes_waiting
        if len(outcomes) > room:
            if not self.outcomes_lost:
                log.error("outcomes_lost", cause="queue full", bound=self._outcomes_max)
            self.outcomes_lost += len(outcomes) - max(room, 0)
            del outcomes[max(room, 0) :]
        if outcomes:
            self._outcomes.extend(outcomes)
            if self._trip is None and self._departure is None:
                # Outcomes alone are in no hurry: the next append takes them along.
                self._set_out(_LINGER)

    async def aclose(self, timeout: float = 5.0) -> None:
        """Refuse new records, store what waits for at most ``timeout`` seconds, and end."""
        self._closed = True
        if self._appends or self._outcomes or self._flying:
            self._emptied = asyncio.Event()
            self._depart_now()
            with suppress(TimeoutError):
                async with asyncio.timeout(timeout):
                    await self._emptied.wait()
        if self._departure is not None:
            self._departure.cancel()
        if self._trip is not None:
            self._trip.cancel()
            await asyncio.gather(self._trip, return_exceptions=True)
        self._fail_appends(RecordsUnavailable("the recorder is closed"))
        if self._outcomes:
            self.outcomes_lost += len(self._outcomes)
            log.error("outcomes_lost", cause="closed", count=len(self._outcomes))
            self._outcomes.clear()

    async def _append(self, fields: Fields) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        if self._closed:
            raise RecordsUnavailable("the recorder is closed")
        if now < self._probe_at:
            raise RecordsUnavailable(self._lagging())
        if len(self._appends) >= _WAITING:
            raise Overloaded(f"more than {_WAITING} records wait to be stored")
        future: asyncio.Future[None] = loop.create_future()
        self._appends.append((now + self._timeout, fields, future))
        self._depart_now()
        await future

    # -- one trip after the other -------------------------------------------------

    def _depart_now(self) -> None:
        """Begin a trip in this tick, unless one is under way: its end begins the next."""
        if self._trip is not None or self._urgent:
            return
        if self._departure is not None:
            self._departure.cancel()
        self._urgent = True
        self._departure = asyncio.get_running_loop().call_soon(self._depart)

    def _set_out(self, seconds: float) -> None:
        self._departure = asyncio.get_running_loop().call_later(seconds, self._depart)

    def _depart(self) -> None:
        self._departure = None
        self._urgent = False
        loop = asyncio.get_running_loop()
        self._trip = loop.create_task(self._flush(loop), name="recorder")
        self._trip.add_done_callback(self._returned)

    def _returned(self, trip: asyncio.Task[None]) -> None:
        self._trip = None
        if trip.cancelled():
            return
        if (error := trip.exception()) is not None:
            log.error("recorder_failed", exc_info=error)
        wait = self._retry_at - asyncio.get_running_loop().time()
        if self._appends or (self._outcomes and self._closed and wait <= 0):
            self._depart_now()
        elif self._outcomes:
            self._set_out(max(_LINGER, wait))
        elif self._emptied is not None:
            self._emptied.set()

    async def _flush(self, loop: asyncio.AbstractEventLoop) -> None:
        batch, within = self._take_appends(loop.time())
        if batch and self.backlog > self._backlog_max:
            batch = await self._probe(batch, within, loop)
        outcomes: list[bytes] = []
        if loop.time() >= self._retry_at:
            outcomes = [
                self._outcomes.popleft() for _ in range(min(_OUTCOMES, len(self._outcomes)))
            ]
        if not batch and not outcomes:
            return
        stream = self._streams[self._turn % len(self._streams)]
        self._turn += 1
        commands: list[Fields] = [(b"XADD", stream, *fields) for fields, _ in batch]
        if outcomes:
            commands.append((b"XADD", stream, b"*", OUTCOMES, outcomes_json(outcomes)))
        commands.append((b"XLEN", stream))
        self._flying = len(outcomes)
        try:
            replies = await self._wire.exchange(commands, within)
        except BaseException as error:
            self._outcomes.extendleft(reversed(outcomes))
            self._postpone(loop.time())
            failure = RecordsUnavailable(_cause(error))
            for _, future in batch:
                _fail(future, failure)
            if not isinstance(error, Exception):
                raise
            self._note_down(_cause(error))
            return
        finally:
            self._flying = 0
        self._settle(stream, batch, outcomes, replies, loop.time())

    def _settle(
        self,
        stream: bytes,
        batch: list[tuple[Fields, asyncio.Future[None]]],
        outcomes: list[bytes],
        replies: list[Any],
        now: float,
    ) -> None:
        failed = ""
        for (_, future), reply in zip(batch, replies, strict=False):
            if isinstance(reply, Exception):
                failed = _cause(reply)
                _fail(future, RecordsUnavailable(f"the record store refused: {failed}"))
            elif not future.done():
                future.set_result(None)
        if outcomes and isinstance(replies[-2], Exception):
            failed = _cause(replies[-2])
            self._outcomes.extendleft(reversed(outcomes))
        length = replies[-1]
        if isinstance(length, int):
            self._lengths[stream] = length
        else:
            failed = failed or _cause(length)
        if failed:
            self._postpone(now)
            self._note_down(failed)
        else:
            self._retry = self._retry_at = 0.0
            if self._down:
                self._down = False
                log.info("records_available", backlog=self.backlog)

    def _take_appends(self, now: float) -> tuple[list[tuple[Fields, asyncio.Future[None]]], float]:
        """The next batch and the seconds its oldest caller still waits."""
        batch: list[tuple[Fields, asyncio.Future[None]]] = []
        within = self._timeout
        octets = 0
        while self._appends and len(batch) < _BATCH and octets < _BATCH_OCTETS:
            deadline, fields, future = self._appends.popleft()
            if future.done():
                continue
            if deadline <= now:
                _fail(future, RecordsUnavailable(f"not recorded in {self._timeout:g} s"))
                continue
            within = min(within, deadline - now)
            octets += sum(map(len, fields))
            batch.append((fields, future))
        return batch, within

    async def _probe(
        self,
        batch: list[tuple[Fields, asyncio.Future[None]]],
        within: float,
        loop: asyncio.AbstractEventLoop,
    ) -> list[tuple[Fields, asyncio.Future[None]]]:
        """Ask anew how far the archive is behind; what may still be sent."""
        cause = ""
        try:
            lengths = await self._wire.exchange([(b"XLEN", one) for one in self._streams], within)
        except asyncio.CancelledError:
            for _, future in batch:
                _fail(future, RecordsUnavailable("the recorder is closed"))
            raise
        except Exception as error:
            cause = _cause(error)
        else:
            for stream, length in zip(self._streams, lengths, strict=True):
                if isinstance(length, int):
                    self._lengths[stream] = length
            if self.backlog <= self._backlog_max:
                return batch
            self._probe_at = loop.time() + _PROBE
            cause = self._lagging()
        self._note_down(cause)
        for _, future in batch:
            _fail(future, RecordsUnavailable(cause))
        return []

    def _lagging(self) -> str:
        return (
            f"the archive has not taken {self.backlog} entries, more than {self._backlog_max}: "
            "is the archiver running?"
        )

    def _postpone(self, now: float) -> None:
        self._retry = min(_RETRY_MOST, (self._retry or 0.05) * 2)
        self._retry_at = now + self._retry

    def _note_down(self, cause: str) -> None:
        if not self._down:
            self._down = True
            log.error("records_unavailable", cause=cause)

    def _fail_appends(self, error: RecordsUnavailable) -> None:
        while self._appends:
            _fail(self._appends.popleft()[2], error)


def _fail(future: asyncio.Future[None], error: GatewayError) -> None:
    if not future.done():
        # A fresh exception each: a shared one would gather the tracebacks of all.
        future.set_exception(type(error)(*error.args))


def _cause(error: BaseException) -> str:
    """The failure in words that never repeat what was sent."""
    text = str(error)
    if isinstance(error, GatewayError):
        return text
    return f"{type(error).__name__}: {text[:120]}" if text else type(error).__name__
