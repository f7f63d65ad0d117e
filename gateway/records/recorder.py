"""The hot side of the records: durable before a message leaves, its outcome after.

One trip to the store is under way at a time: whatever waits in a tick of the loop, or
while a trip is under way, goes in one write (and so shares one fsync).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any, Protocol

import structlog

from gateway.failure import GatewayError, Overloaded, RecordsUnavailable
from gateway.message.masking import masked_headers
from gateway.records.act import Act
from gateway.records.entry import (
    ACT,
    MESSAGE,
    OUTCOMES,
    RECORDS,
    RULES,
    SEALED,
    contexts,
    outcomes_json,
    pack,
)
from gateway.records.form import Written
from gateway.records.outcomes import OutcomeQueue, Told
from gateway.records.record import MessageRecord, OutcomeRecord, Result, RuleSetRecord
from gateway.records.seal import Sealer

log = structlog.get_logger(__name__)

_BATCH = 256
_BATCH_OCTETS = 1 << 20
_OUTCOMES = 512
_WAITING = 10_000
_LINGER = 0.1
"""Seconds that outcomes wait for a record to travel with: alone they would cost a write
to the disk each, which the look-ups of the next message would wait for."""
_PROBE = 0.25
_RETRY_MOST = 2.0

Fields = tuple[bytes, ...]
Append = tuple[float, Fields, int, asyncio.Future[None]]
"""When it is too late, an entry's fields and their octets, who waits."""


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
        self._announced: set[str] = set()
        self._appends: deque[Append] = deque()
        self._octets = 0
        """Of the appends that wait."""
        self._outcomes = OutcomeQueue(outcomes_max)
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

    @property
    def backlog(self) -> int:
        """Entries that the archive had not taken at the last trip."""
        return sum(self._lengths.values())

    @property
    def outcomes_waiting(self) -> int:
        """Outcomes noted but not stored yet."""
        return self._outcomes.waiting

    @property
    def outcomes_lost(self) -> int:
        """Outcomes that could not be queued or stored; their records end as unknown."""
        return self._outcomes.lost

    async def announce(self, rules: RuleSetRecord) -> None:
        """Store the texts of a rule set; needed once before messages name its hash.

        Raises RecordsUnavailable.
        """
        await self._append((b"*", RULES, rules.to_json()))
        self._announced.add(rules.hash)

    async def act(self, *acts: Act) -> None:
        """Store what somebody is about to do; durable when this returns.

        Raises RecordsUnavailable: the deed is not to be done then.
        """
        await asyncio.gather(*[self._append((b"*", ACT, act.to_json())) for act in acts])

    async def append(
        self,
        message: MessageRecord,
        headers: bytes | None,
        addresses: Sequence[str],
        sender: str = "",
    ) -> None:
        """:meth:`store` of a record that is yet to be written."""
        await self.store(Written.of(message), headers, addresses, sender)

    def store(
        self, message: Written, headers: bytes | None, addresses: Sequence[str], sender: str = ""
    ) -> asyncio.Future[None]:
        """Store the record of a message; it is durable when the future is done.

        ``addresses`` are the recipients' in the record's order.  They, the header
        section and the envelope sender are sealed first.  Raises, at once or from the
        future, RecordsUnavailable when the store does not acknowledge in time, is full,
        or the archive lags too far behind (the record may then have been stored all the
        same), Overloaded when too many callers wait.
        """
        if message.rule_set_hash and message.rule_set_hash not in self._announced:
            raise RecordsUnavailable(f"rule set {message.rule_set_hash[:12]} was not announced")
        sealed = self._sealer.seal_all(
            [masked_headers(headers or b""), sender.encode(), *map(str.encode, addresses)],
            contexts(message.id, message.digests),
        )
        if headers is None:
            sealed[0] = b""
        if not sender:
            sealed[1] = b""
        return self._append((b"*", MESSAGE, message.text, SEALED, pack(sealed)))

    def note_outcome(self, *outcomes: OutcomeRecord) -> None:
        """Queue what came of a message; returns at once.

        Kept in memory and retried while the store is down.  What the bounded queue
        cannot take is counted in :attr:`outcomes_lost` and ends as ``unknown``.
        """
        for outcome in outcomes:
            self._outcomes.add(outcome)
        self._hurry_not()

    def note_alike(
        self,
        record_ids: Sequence[str],
        at: int,
        result: Result,
        reply_code: int | None = None,
        reply_text: str = "",
        upstream: str = "",
    ) -> None:
        """:meth:`note_outcome` of the same outcome for each of several records."""
        self._outcomes.add_alike(record_ids, at, result, reply_code, reply_text, upstream)
        self._hurry_not()

    def _hurry_not(self) -> None:
        """See that what was noted leaves soon; the next append takes it along."""
        if self._trip is None and self._departure is None and self._outcomes:
            self._set_out(_LINGER)

    async def aclose(self, timeout: float = 5.0) -> None:
        """Refuse new records, store what waits for at most ``timeout`` seconds, and end."""
        self._outcomes.closed = self._closed = True
        if self._appends or self._outcomes.waiting:
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
        _fail(self._appends, "the recorder is closed")
        self._appends.clear()
        self._outcomes.give_up()

    def _append(self, fields: Fields) -> asyncio.Future[None]:
        loop = asyncio.get_running_loop()
        now = loop.time()
        if self._closed:
            raise RecordsUnavailable("the recorder is closed")
        if now < self._probe_at:
            raise RecordsUnavailable(self._lagging())
        if len(self._appends) >= _WAITING:
            raise Overloaded(f"more than {_WAITING} records wait to be stored")
        future: asyncio.Future[None] = loop.create_future()
        octets = sum(map(len, fields))
        self._octets += octets
        self._appends.append((now + self._timeout, fields, octets, future))
        if self._trip is None and not self._urgent:
            self._depart_now()
        return future

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
        self._trip = loop.create_task(self._travel(loop), name="recorder")
        self._trip.add_done_callback(self._returned)

    async def _travel(self, loop: asyncio.AbstractEventLoop) -> None:
        """One trip after the other while somebody waits for the next."""
        await self._flush(loop)
        while self._appends:
            # What this tick still brings goes along.
            await asyncio.sleep(0)
            await self._flush(loop)

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
        now = loop.time()
        batch = self._take_appends(now)
        within = batch[0][0] - now if batch else self._timeout
        if batch and self.backlog > self._backlog_max:
            batch = await self._probe(batch, within, loop)
        told = self._outcomes.take() if loop.time() >= self._retry_at else []
        if not batch and not told:
            return
        stream = self._streams[self._turn % len(self._streams)]
        self._turn += 1
        commands: list[Fields] = [(b"XADD", stream, *fields) for _, fields, _, _ in batch]
        if told:
            outcomes = outcomes_json([text for _, text in told])
            commands.append((b"XADD", stream, b"*", OUTCOMES, outcomes))
        commands.append((b"XLEN", stream))
        try:
            replies = await self._wire.exchange(commands, within)
        except BaseException as error:
            self._outcomes.put_back(told)
            self._postpone(loop.time())
            _fail(batch, _cause(error))
            if not isinstance(error, Exception):
                raise
            self._note_down(_cause(error))
            return
        self._settle(stream, batch, told, replies, loop.time())

    def _settle(
        self,
        stream: bytes,
        batch: Sequence[Append],
        told: Sequence[Told],
        replies: list[Any],
        now: float,
    ) -> None:
        failed = ""
        for (_, fields, _, future), reply in zip(batch, replies, strict=False):
            if isinstance(reply, Exception):
                failed = _cause(reply)
                _refuse(future, f"the record store refused: {failed}")
            else:
                self.appended += fields[1] is MESSAGE
                if not future.done():
                    future.set_result(None)
        if told:
            if isinstance(replies[-2], Exception):
                failed = _cause(replies[-2])
                self._outcomes.put_back(told)
            else:
                self._outcomes.stored(told)
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

    def _take_appends(self, now: float) -> list[Append]:
        """The next batch, the oldest first."""
        appends = self._appends
        while appends and appends[0][0] <= now:
            late = appends.popleft()
            self._octets -= late[2]
            _refuse(late[3], f"not recorded in {self._timeout:g} s")
        if len(appends) <= _BATCH and self._octets <= _BATCH_OCTETS:
            # The usual case: all that wait.
            batch = list(appends)
            appends.clear()
            self._octets = 0
        else:
            batch, octets = [], 0
            while appends and len(batch) < _BATCH and octets < _BATCH_OCTETS:
                batch.append(appends.popleft())
                octets += batch[-1][2]
            self._octets -= octets
        return [one for one in batch if not one[3].done()]

    async def _probe(
        self, batch: list[Append], within: float, loop: asyncio.AbstractEventLoop
    ) -> list[Append]:
        """Ask anew how far the archive is behind; what may still be sent."""
        cause = ""
        try:
            lengths = await self._wire.exchange([(b"XLEN", one) for one in self._streams], within)
        except asyncio.CancelledError:
            _fail(batch, "the recorder is closed")
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
        _fail(batch, cause)
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


def _fail(batch: Iterable[Append], cause: str) -> None:
    for _, _, _, future in batch:
        _refuse(future, cause)


def _refuse(future: asyncio.Future[None], cause: str) -> None:
    if not future.done():
        # A fresh exception each: a shared one would gather the tracebacks of all.
        future.set_exception(RecordsUnavailable(cause))


def _cause(error: BaseException) -> str:
    """The failure in words that never repeat what was sent."""
    text = str(error)
    if isinstance(error, GatewayError):
        return text
    return f"{type(error).__name__}: {text[:120]}" if text else type(error).__name__
