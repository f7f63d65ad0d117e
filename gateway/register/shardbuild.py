"""One shard of a register that is made anew: its buckets, built from its events.

Events that are in the stream when the shard is begun are read first and the archive after
them, so that none can slip by from the one to the other; while the shard is held nothing
is trimmed from its stream.  What is logged later is caught up with.

What has been built up to which event stands beside the stream (the *hold*), and is only
changed together with what was built.  An entry that no event tells of is kept as it is.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import groupby
from operator import itemgetter

import structlog

from gateway.contacts.digest import Digest
from gateway.entry.event import Event, EventError
from gateway.failure import InputError
from gateway.register import rebuild_script as script
from gateway.register.layout import (
    EVENT,
    MARK,
    SHARDS,
    Layout,
    archived_key,
    event_stream,
    hold_key,
    tag_key,
)
from gateway.register.litter import Litter
from gateway.register.rebuild_script import Disturbed, Steps
from gateway.register.rebuilt import History, Rebuilt
from gateway.register.replay import replayed
from gateway.register.reply import members_of, stream_id
from gateway.register.whole import START
from gateway.register.wire import Command

_PAGE = 2000
_STREAM_PAGE = 500
_SENT_OCTETS = 1 << 20
_OLD_BUCKETS = 128
HELD_MS = b"600000"
"""How long a shard stays held, and what is built of it of use, after a kill."""


log = structlog.get_logger(__name__)


class Replaced(Disturbed):
    """The register is another than when the rebuild began: what was built is of no use."""


@dataclass(slots=True)
class Shard:
    """A shard that is built: what has been, and what is told of it to the server."""

    number: int
    hold: bytes
    """What the server has beside the stream as long as nobody else builds it."""
    upto: bytes
    """The id of the last event that is built in."""
    turned: bool = False
    """Whether look-ups are answered from it already."""
    tail: dict[str, dict[bytes, bytes]] = field(default_factory=dict)
    """What the stream had when the shard was begun: by subject, JSON by id."""
    empty: set[tuple[bytes, bytes]] = field(default_factory=set)
    """Contacts of whom events tell that nothing is known: key id and digest."""


@dataclass(slots=True)
class _Bucket:
    """A bucket that is being filled."""

    key: bytes
    pairs: list[bytes] = field(default_factory=list)
    mark: bytes = START


class ShardBuild:
    """Builds shards in the layout that is to be turned to."""

    def __init__(
        self,
        steps: Steps,
        litter: Litter,
        history: History,
        key_ids: Sequence[bytes],
        *,
        used: Layout,
        target: Layout,
        done: Rebuilt,
    ) -> None:
        """Take what runs commands, the archive, the live keys' ids, and the two layouts.

        ``done`` counts what is done, and tells whether a rebuild is gone on with.
        """
        self._steps = steps
        self._litter = litter
        self._history = history
        self._key_ids = key_ids
        self._used = used
        self._target = target
        self._done = done
        self.schemes: set[str] = set()
        """Ways of hashing that events in the streams told of; whoever adopts one takes it out."""

    async def build(self, number: int) -> Shard:
        """Build a shard's buckets, up to the last event that its stream has now.

        Raises Replaced when the register was replaced meanwhile, RegisterUnavailable,
        RecordsUnavailable.
        """
        stream, hold = event_stream(number), hold_key(number)
        cursor = (await self._history.cursors()).get(stream, START)
        keys = (hold, stream, tag_key(number), archived_key(number))
        found, tag, known = await self._steps.one((b"EVAL", script.FOUND, b"4", *keys, cursor))
        target = self._target
        if tag == target.tag:
            if not known:
                raise Replaced("the register was replaced while it was being rebuilt")
            return Shard(number, found, START, turned=True)
        told, _, upto = found.partition(b" ")
        built = told == target.tag and not upto.startswith(b"building")
        if built and (known or stream_id(upto) >= stream_id(cursor)):
            return Shard(number, found, upto)
        if self._done.resumed:
            await self._litter.unlink(target, number)
        building = b"%b building %b" % (target.tag, secrets.token_hex(8).encode())
        upto = await self._steps.one(
            (b"EVAL", script.HOLD, b"2", stream, hold, building, cursor, HELD_MS)
        )
        shard = Shard(number, building, upto)
        await self._log_anew(shard, cursor)
        upto = shard.upto
        for at, text in [pair async for pair in self._logged(stream, b"-", upto)]:
            subject = self._subject(text)
            if subject:
                shard.tail.setdefault(subject, {})[at] = text
            else:
                self._done.unreadable += 1
        for key_id in self._key_ids:
            await self._from_archive(shard, key_id.decode())
        await self._keep(shard)
        shard.empty.clear()
        rest = [
            (at, subject, text) for subject, of in shard.tail.items() for at, text in of.items()
        ]
        rest.sort(key=lambda one: stream_id(one[0]))
        await self._put(shard, rest, building)
        shard.tail.clear()
        await self._put(shard, [], target.tag + b" " + upto)
        return shard

    async def _log_anew(self, shard: Shard, cursor: bytes) -> None:
        """Log events again that the archiver would pass over.

        Of two copies of a register that went on each for itself, the one put back may
        have events with ids before the archive's cursor that never were archived.
        """
        stream = event_stream(shard.number)
        early: dict[str, tuple[bytes, bytes]] = {}
        async for at, text in self._logged(stream, b"-", cursor):
            with suppress(EventError):
                event = Event.from_json(text)
                early[f"{event.id}/{event.subject}"] = (at, text)
        if not early:
            return
        known = await self._history.has([*early])
        missing = [one for row, one in early.items() if row not in known]
        for start in range(0, len(missing), _STREAM_PAGE):
            part = missing[start : start + _STREAM_PAGE]
            pairs = [octets for one in part for octets in one]
            keys = (hold_key(shard.number), stream)
            shard.upto = await self._steps.one(
                (b"EVAL", script.LOG_ANEW, b"2", *keys, shard.hold, *pairs)
            )

    async def _from_archive(self, shard: Shard, key_id: str) -> None:
        after = f"{key_id}:{shard.number * 4:02x}"
        end = f"{key_id}:{shard.number * 4 + 4:02x}" if shard.number < SHARDS - 1 else f"{key_id}:g"
        bucket: _Bucket | None = None
        sent: list[Command] = []
        size = 0
        while rows := await self._history.page(after, end, _PAGE):
            after = rows[-1][0]
            # Many thousand events a second, in a thread: others are served meanwhile.
            entries = await asyncio.to_thread(self._projected, shard, rows)
            for key, pair, mark in entries:
                if bucket is None or bucket.key != key:
                    if bucket is not None:
                        sent.append(_filling(shard, bucket))
                        size += sum(map(len, bucket.pairs))
                    bucket = _Bucket(key)
                bucket.pairs += pair
                bucket.mark = mark if _later(mark, bucket.mark) else bucket.mark
            if size > _SENT_OCTETS:
                await self._steps.all(sent)
                sent, size = [], 0
        if bucket is not None:
            sent.append(_filling(shard, bucket))
        await self._steps.all(sent)

    def _projected(
        self, shard: Shard, rows: Sequence[tuple[str, str, str]]
    ) -> list[tuple[bytes, tuple[bytes, ...], bytes]]:
        """For each contact its bucket, its field and value if it has one, and the last id."""
        made: list[tuple[bytes, tuple[bytes, ...], bytes]] = []
        done = self._done
        upto = stream_id(shard.upto)
        bucket_of = self._target.bucket
        for subject, of_subject in groupby(rows, key=itemgetter(0)):
            texts: dict[bytes, str | bytes] = {}
            for _, at, text in of_subject:
                if stream_id(at.encode()) <= upto:
                    texts[at.encode()] = text
            if subject in shard.tail:
                texts |= shard.tail.pop(subject)
            if not texts:
                continue
            ids = sorted(texts, key=stream_id) if len(texts) > 1 else [*texts]
            try:
                key_id, _, digits = subject.partition(":")
                digest = bytes.fromhex(digits)
                bucket, name = bucket_of(key_id.encode(), digest)
                value = self._replayed(b"", [texts[at] for at in ids])
            except (ValueError, IndexError):
                done.unreadable += len(ids)
                continue
            done.events += len(ids)
            if value:
                done.contacts += 1
                made.append((bucket, (name, value), ids[-1]))
            else:
                shard.empty.add((key_id.encode(), digest))
                made.append((bucket, (), ids[-1]))
        return made

    def _subject(self, text: bytes) -> str:
        """Whom an event is about; empty if it cannot be read."""
        try:
            event = Event.from_json(text)
        except EventError:
            log.error("event_unreadable")
            return ""
        if event.scheme:
            self.schemes.add(event.scheme)
        return event.subject

    def _replayed(self, octets: bytes, texts: Sequence[str | bytes]) -> bytes:
        """Project events; one that cannot be read is left out, and counted."""
        try:
            return replayed(octets, texts)
        except EventError:
            if len(texts) == 1:
                self._done.unreadable += 1
                log.error("event_unreadable")
                return octets
            for text in texts:
                octets = self._replayed(octets, [text])
            return octets

    async def _keep(self, shard: Shard) -> None:
        """Keep the entries that no event tells of."""
        old = self._used
        for key_id in self._key_ids:
            keys = [*old.buckets(key_id, shard.number)]
            for start in range(0, len(keys), _OLD_BUCKETS):
                part = keys[start : start + _OLD_BUCKETS]
                found = await self._steps.all([(b"HGETALL", key) for key in part])
                sent: list[Command] = []
                for key, reply in zip(part, found, strict=True):
                    members = members_of(reply)
                    if members:
                        number = int(key.rpartition(b":")[2].rpartition(b".")[2], 16)
                        mark = members.pop(MARK, START)
                        sent += self._keeping(shard, key_id, _lead(old, number), members, mark)
                if sent:
                    self._done.kept += sum(await self._steps.all(sent))

    def _keeping(
        self, shard: Shard, key_id: bytes, lead: bytes, members: dict[bytes, bytes], mark: bytes
    ) -> Iterator[Command]:
        pairs: dict[bytes, list[bytes]] = defaultdict(list)
        for name, value in members.items():
            digest = lead + name
            if (key_id, digest) in shard.empty:
                continue
            if shard.tail and str(Digest(key_id.decode(), digest)) in shard.tail:
                continue
            bucket, new_name = self._target.bucket(key_id, digest)
            pairs[bucket] += (new_name, value)
        for bucket, each in pairs.items():
            keys = (hold_key(shard.number), bucket)
            yield (b"EVAL", script.KEEP, b"2", *keys, shard.hold, mark, *each)

    async def _logged(
        self, stream: bytes, start: bytes, end: bytes
    ) -> AsyncIterator[tuple[bytes, bytes]]:
        """The stream's events from one id to another: id and JSON."""
        count = b"%d" % _STREAM_PAGE
        while True:
            page = await self._steps.one((b"XRANGE", stream, start, end, b"COUNT", count))
            for at, members in page:
                yield bytes(at), members_of(members).get(EVENT, b"")
            if len(page) < _STREAM_PAGE:
                return
            start = b"(" + bytes(page[-1][0])

    async def catch_up(self, shard: Shard) -> None:
        """Project what has been logged since the shard was built."""
        stream = event_stream(shard.number)
        count = b"%d" % _STREAM_PAGE
        while True:
            start = b"(" + shard.upto
            page = await self._steps.one((b"XRANGE", stream, start, b"+", b"COUNT", count))
            if not page:
                return
            events = []
            for at, members in page:
                text = members_of(members).get(EVENT, b"")
                if subject := self._subject(text):
                    events.append((bytes(at), subject, text))
                else:
                    self._done.unreadable += 1
            upto = bytes(page[-1][0])
            await self._put(shard, events, self._target.tag + b" " + upto)
            shard.upto = upto
            if len(page) < _STREAM_PAGE:
                return

    async def _put(
        self, shard: Shard, events: Sequence[tuple[bytes, str, bytes]], hold: bytes
    ) -> None:
        """Project events onto what is built, and say so, in one step."""
        for start in range(0, max(len(events), 1), _STREAM_PAGE):
            part = events[start : start + _STREAM_PAGE]
            last = start + _STREAM_PAGE >= len(events)
            await self._put_part(shard, part, hold if last else shard.hold)

    async def _put_part(
        self, shard: Shard, events: Iterable[tuple[bytes, str, bytes]], hold: bytes
    ) -> None:
        texts: dict[str, list[bytes]] = {}
        ids: dict[str, bytes] = {}
        for at, subject, text in events:
            texts.setdefault(subject, []).append(text)
            ids[subject] = at
        places: dict[str, tuple[bytes, bytes]] = {}
        for subject in [*texts]:
            try:
                digest = Digest.parse(subject)
            except InputError:
                self._done.unreadable += len(texts.pop(subject))
                continue
            places[subject] = self._target.bucket(digest.key_id.encode(), digest.value)
        found = await self._steps.all([(b"HGET", *place) for place in places.values()])
        keys = [hold_key(shard.number)]
        indexes: dict[bytes, bytes] = {}
        arguments = [shard.hold, hold, HELD_MS]
        for (subject, (bucket, name)), old in zip(places.items(), found, strict=True):
            if bucket not in indexes:
                keys.append(bucket)
                indexes[bucket] = b"%d" % len(keys)
            value = self._replayed(old or b"", texts[subject])
            arguments += (indexes[bucket], name, value, ids[subject])
            self._done.events += len(texts[subject])
            self._done.contacts += bool(value) and not old
        await self._steps.one((b"EVAL", script.PUT, b"%d" % len(keys), *keys, *arguments))
        shard.hold = hold


def _filling(shard: Shard, bucket: _Bucket) -> Command:
    keys = (hold_key(shard.number), bucket.key)
    return (b"EVAL", script.FILL, b"2", *keys, shard.hold, MARK, bucket.mark, *bucket.pairs)


def _lead(layout: Layout, number: int) -> bytes:
    """The octets of a digest that its field lacks, from its bucket's number."""
    return (number << (32 - layout.bits)).to_bytes(4, "big")[: layout.field_at]


def _later(one: bytes, other: bytes) -> bool:
    return stream_id(one) > stream_id(other)
