"""The register made anew from its events: those archived, and those still in its streams.

The buckets are written beside those in use, under another turn's names, one shard after
the other.  While that goes on the register is used as it is: look-ups are answered if
it was whole and refused if it was not, and every change is logged.  What is logged
meanwhile is caught up with.  Then look-ups are refused, each shard is turned to the new
buckets in one step that also sees that nothing was logged behind it, and the register is
compared with the archive once more.  So no look-up and no change ever mixes the two.

Every event of one contact is in one stream, and is projected in that stream's order.
Events that are in the stream when a shard is begun are read first and the archive after
them, so that none can slip by from the one to the other; while the shard is held nothing
is trimmed from its stream.

Killed at any point it goes on where it was: what has been built up to which event stands
beside the stream (the *hold*), and is only changed together with what was built.  An
entry that no event tells of is kept as it is.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import groupby
from operator import itemgetter
from typing import Any, Protocol, cast

import structlog
from ulid import ULID

from gateway.contacts.digest import Digest
from gateway.entry.event import Event, EventError
from gateway.failure import InputError, RegisterUnavailable
from gateway.register import rebuild_script as script
from gateway.register.layout import (
    EVENT,
    MARK,
    META,
    SHARDS,
    Layout,
    archived_key,
    event_stream,
    hold_key,
    tag_key,
    whole_key,
)
from gateway.register.replay import replayed
from gateway.register.whole import START
from gateway.register.wire import Command, Wire

log = structlog.get_logger(__name__)

Progress = Callable[[int, int], Awaitable[None]]
"""Called with how many shards and events are done; what it raises ends the rebuild."""

Adopt = Callable[[str], Awaitable[None]]
"""Puts a way of hashing in use; see :meth:`gateway.register.schemes.Schemes.adopt`."""

_PAGE = 2000
_STREAM_PAGE = 500
_SENT_OCTETS = 1 << 20
_OLD_BUCKETS = 128
_UNLINKED = 1000
_HELD_MS = b"600000"
"""How long a shard stays held, and what is built of it of use, after a kill."""
_TURNS = 1000


class History(Protocol):
    """The archive's events; every method raises RecordsUnavailable."""

    async def cursors(self) -> dict[bytes, bytes]:
        """How far each stream is archived."""

    async def lacking(self) -> list[str]:
        """The streams of which earlier events were archived elsewhere."""

    async def key_ids(self) -> list[str]:
        """The ids of the digest keys that events are known by."""

    async def has(self, ids: Sequence[str]) -> set[str]:
        """Those of the rows' ids (an event's id, ``/`` and its subject) that are archived."""

    async def page(self, after: str, before: str, most: int) -> list[tuple[str, str, str]]:
        """Some subjects' events between two subjects, by subject: subject, stream id, JSON."""


class Disturbed(RegisterUnavailable):
    """The register was emptied, replaced or taken by another rebuild meanwhile: begin again."""


@dataclass(slots=True)
class Rebuilt:
    """What a rebuild has done."""

    bits: int
    events: int = 0
    contacts: int = 0
    kept: int = 0
    """Entries that no event tells of, and that stay as they were."""
    unreadable: int = 0
    """Events that could not be read; whom they are about is not known as it should be."""
    resumed: bool = False


@dataclass(slots=True)
class _Shard:
    number: int
    hold: bytes
    upto: bytes
    turned: bool = False
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


class Rebuild:
    """One rebuild; one at a time, by whoever holds the lease for it."""

    def __init__(
        self,
        wire: Wire,
        layout: Layout,
        history: History,
        key_ids: Sequence[str],
        *,
        bits: int | None = None,
        adopt: Adopt | None = None,
        within: float = 5.0,
        progress: Progress | None = None,
    ) -> None:
        """Take the register's wire and layout, the archive, and the live keys' ids.

        ``bits``: for 2**bits buckets, else as many as there are.  ``adopt`` is told of
        each way of hashing that events in the streams tell of; see
        :meth:`gateway.register.hashed.HashedLists.restore` for those archived.
        """
        self._adopt = adopt
        self._schemes: set[str] = set()
        self._wire = wire
        self._layout = layout
        self._history = history
        self._key_ids = [key_id.encode() for key_id in key_ids]
        self._bits = bits
        self._within = within
        self._progress = progress
        self._target = layout
        self._done = Rebuilt(layout.bits)
        self._shards: dict[int, _Shard] = {}

    async def run(self, *, although_lacking: bool = False) -> Rebuilt:
        """Rebuild all; afterwards the register is to be opened anew and examined.

        Raises InputError when the archive cannot rebuild it, Disturbed when it is to
        be run again, RegisterUnavailable, RecordsUnavailable.
        """
        await self._check(although_lacking=although_lacking)
        await self._begin()
        for shard in range(SHARDS):
            self._shards[shard] = await self._build(shard)
            while self._schemes and self._adopt is not None:
                await self._adopt(self._schemes.pop())
            await self._renew()
            await self._tell(shard + 1)
        await self._turn()
        await self._end()
        return self._done

    # -- before and after ------------------------------------------------------------

    async def _check(self, *, although_lacking: bool) -> None:
        lacking = await self._history.lacking()
        if lacking and not although_lacking:
            raise InputError(
                f"the archive lacks the events of {len(lacking)} streams that another machine "
                "archived, so that a register made from it would lack bans: run register "
                "rebuild with the archive that has them all, or with --although-lacking"
            )
        archived = {key_id.encode() for key_id in await self._history.key_ids()}
        if missing := sorted(archived.difference(self._key_ids, [b""])):
            raise InputError(
                f"the archive has events under key {missing[0].decode()}, which the key file "
                "lacks: restore the key file; without that key its bans cannot be found"
            )

    async def _begin(self) -> None:
        """Find what is to be gone on with, or begin."""
        asked = (b"HMGET", META, b"rebuild", b"bits", b"litter")
        going, now, litter = cast("list[bytes | None]", await self._one(asked))
        bits = self._bits if self._bits is not None else int(now or self._layout.bits)
        self._done.bits = bits
        if going is not None:
            turn, old_bits, generation = going.split(b" ")
            self._target = Layout(int(old_bits), int(turn), generation)
            if int(old_bits) == bits:
                self._done.resumed = True
            else:
                await self._abandon()
                litter = cast("bytes | None", await self._one((b"HGET", META, b"litter")))
        await self._clear(litter or b"")
        if not self._done.resumed:
            turn_now = await self._one((b"HINCRBY", META, b"turns", b"1"))
            turn_now = max(turn_now, self._layout.turn + 1)
            self._target = Layout(bits, turn_now, str(ULID()).encode())
            words = b"%d %d %b" % (turn_now, bits, self._target.generation)
            turns = b"%d" % turn_now
            await self._one((b"HSET", META, b"rebuild", words, b"turns", turns))

    async def _abandon(self) -> None:
        """Leave what was built, to be thrown away when it is begun anew."""
        await self._throw_away(self._target)
        await self._one((b"HDEL", META, b"rebuild"))

    async def _throw_away(self, layout: Layout) -> None:
        known = cast("bytes | None", await self._one((b"HGET", META, b"litter"))) or b""
        names = {*known.split(), b"%d.%d" % (layout.turn, layout.bits)}
        await self._one((b"HSET", META, b"litter", b" ".join(sorted(names))))

    async def _clear(self, litter: bytes) -> None:
        """Remove the buckets of layouts that are no longer used."""
        for name in litter.split():
            turn, bits = map(int, name.split(b"."))
            if (turn, bits) == (self._layout.turn, self._layout.bits):
                continue
            for shard in range(SHARDS):
                await self._unlink(Layout(bits, turn), shard)
        if litter:
            await self._one((b"HDEL", META, b"litter"))

    async def _unlink(self, layout: Layout, shard: int) -> None:
        keys = [key for key_id in self._key_ids for key in layout.buckets(key_id, shard)]
        for at in range(0, len(keys), _UNLINKED):
            await self._one((b"UNLINK", *keys[at : at + _UNLINKED]))

    async def _turn(self) -> None:
        """Turn every shard to the new buckets."""
        if not self._wire.sharded:
            await self._one((b"HDEL", META, b"whole"))
        for shard in self._shards.values():
            if shard.turned:
                continue
            mark = whole_key(shard.number) if self._wire.sharded else META
            keys = (
                *(hold_key(shard.number), event_stream(shard.number), tag_key(shard.number)),
                *(archived_key(shard.number), mark),
            )
            for _ in range(_TURNS):
                cursors = await self._history.cursors()
                cursor = cursors.get(event_stream(shard.number), START)
                told = (shard.hold, shard.upto, self._target.tag, cursor)
                if await self._one((b"EVAL", script.TURN, b"5", *keys, *told)):
                    break
                await self._catch_up(shard)
            else:
                raise RegisterUnavailable("the register changes too fast to be rebuilt")

    async def _end(self) -> None:
        old, target = self._layout, self._target
        await self._throw_away(old)
        bits, turn = b"%d" % target.bits, b"%d" % target.turn
        await self._one(
            (b"HSET", META, b"bits", bits, b"turn", turn, b"generation", target.generation)
        )
        await self._one((b"HDEL", META, b"rebuild"))
        await self._all([(b"DEL", hold_key(shard)) for shard in range(SHARDS)])
        self._layout = target
        litter = cast("bytes | None", await self._one((b"HGET", META, b"litter")))
        await self._clear(litter or b"")

    async def _renew(self) -> None:
        holds = [hold_key(shard) for shard in self._shards]
        await self._all([(b"PEXPIRE", hold, _HELD_MS) for hold in holds])

    async def _tell(self, shards: int) -> None:
        if self._progress is not None:
            await self._progress(shards, self._done.events)

    # -- one shard --------------------------------------------------------------------

    async def _build(self, number: int) -> _Shard:
        """Build a shard's buckets, up to the last event that its stream has now."""
        stream, hold = event_stream(number), hold_key(number)
        cursor = (await self._history.cursors()).get(stream, START)
        keys = (hold, stream, tag_key(number), archived_key(number))
        found, tag, known = await self._one((b"EVAL", script.FOUND, b"4", *keys, cursor))
        target = self._target
        if tag == target.tag:
            if not known:
                await self._abandon()
                raise Disturbed("the register was replaced while it was being rebuilt")
            return _Shard(number, found, START, turned=True)
        told, _, upto = found.partition(b" ")
        built = told == target.tag and not upto.startswith(b"building")
        if built and (known or _id(upto) >= _id(cursor)):
            return _Shard(number, found, upto)
        if self._done.resumed:
            await self._unlink(target, number)
        building = b"%b building %b" % (target.tag, secrets.token_hex(8).encode())
        upto = await self._one(
            (b"EVAL", script.HOLD, b"2", stream, hold, building, cursor, _HELD_MS)
        )
        shard = _Shard(number, building, upto)
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
        rest.sort(key=lambda one: _id(one[0]))
        await self._put(shard, rest, building)
        shard.tail.clear()
        await self._put(shard, [], target.tag + b" " + upto)
        return shard

    async def _log_anew(self, shard: _Shard, cursor: bytes) -> None:
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
            shard.upto = await self._one(
                (b"EVAL", script.LOG_ANEW, b"2", *keys, shard.hold, *pairs)
            )

    async def _from_archive(self, shard: _Shard, key_id: str) -> None:
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
                await self._all(sent)
                sent, size = [], 0
        if bucket is not None:
            sent.append(_filling(shard, bucket))
        await self._all(sent)

    def _projected(
        self, shard: _Shard, rows: Sequence[tuple[str, str, str]]
    ) -> list[tuple[bytes, tuple[bytes, ...], bytes]]:
        """For each contact its bucket, its field and value if it has one, and the last id."""
        made: list[tuple[bytes, tuple[bytes, ...], bytes]] = []
        done = self._done
        upto = _id(shard.upto)
        bucket_of = self._target.bucket
        for subject, of_subject in groupby(rows, key=itemgetter(0)):
            texts: dict[bytes, str | bytes] = {}
            for _, at, text in of_subject:
                if _id(at.encode()) <= upto:
                    texts[at.encode()] = text
            if subject in shard.tail:
                texts |= shard.tail.pop(subject)
            if not texts:
                continue
            ids = sorted(texts, key=_id) if len(texts) > 1 else [*texts]
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
            self._schemes.add(event.scheme)
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

    async def _keep(self, shard: _Shard) -> None:
        """Keep the entries that no event tells of."""
        old = self._layout
        for key_id in self._key_ids:
            keys = [*old.buckets(key_id, shard.number)]
            for start in range(0, len(keys), _OLD_BUCKETS):
                part = keys[start : start + _OLD_BUCKETS]
                found = await self._all([(b"HGETALL", key) for key in part])
                sent: list[Command] = []
                for key, reply in zip(part, found, strict=True):
                    members = _members(reply)
                    if members:
                        number = int(key.rpartition(b":")[2].rpartition(b".")[2], 16)
                        mark = members.pop(MARK, START)
                        sent += self._keeping(shard, key_id, _lead(old, number), members, mark)
                if sent:
                    self._done.kept += sum(await self._all(sent))

    def _keeping(
        self, shard: _Shard, key_id: bytes, lead: bytes, members: dict[bytes, bytes], mark: bytes
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

    # -- what is logged meanwhile -----------------------------------------------------

    async def _logged(
        self, stream: bytes, start: bytes, end: bytes
    ) -> AsyncIterator[tuple[bytes, bytes]]:
        """The stream's events from one id to another: id and JSON."""
        count = b"%d" % _STREAM_PAGE
        while True:
            page = await self._one((b"XRANGE", stream, start, end, b"COUNT", count))
            for at, members in page:
                yield bytes(at), _members(members).get(EVENT, b"")
            if len(page) < _STREAM_PAGE:
                return
            start = b"(" + bytes(page[-1][0])

    async def _catch_up(self, shard: _Shard) -> None:
        """Project what has been logged since the shard was built."""
        stream = event_stream(shard.number)
        count = b"%d" % _STREAM_PAGE
        while True:
            start = b"(" + shard.upto
            page = await self._one((b"XRANGE", stream, start, b"+", b"COUNT", count))
            if not page:
                return
            events = []
            for at, members in page:
                text = _members(members).get(EVENT, b"")
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
        self, shard: _Shard, events: Sequence[tuple[bytes, str, bytes]], hold: bytes
    ) -> None:
        """Project events onto what is built, and say so, in one step."""
        for start in range(0, max(len(events), 1), _STREAM_PAGE):
            part = events[start : start + _STREAM_PAGE]
            last = start + _STREAM_PAGE >= len(events)
            await self._put_part(shard, part, hold if last else shard.hold)

    async def _put_part(
        self, shard: _Shard, events: Iterable[tuple[bytes, str, bytes]], hold: bytes
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
        found = await self._all([(b"HGET", *place) for place in places.values()])
        keys = [hold_key(shard.number)]
        indexes: dict[bytes, bytes] = {}
        arguments = [shard.hold, hold, _HELD_MS]
        for (subject, (bucket, name)), old in zip(places.items(), found, strict=True):
            if bucket not in indexes:
                keys.append(bucket)
                indexes[bucket] = b"%d" % len(keys)
            value = self._replayed(old or b"", texts[subject])
            arguments += (indexes[bucket], name, value, ids[subject])
            self._done.events += len(texts[subject])
            self._done.contacts += bool(value) and not old
        await self._one((b"EVAL", script.PUT, b"%d" % len(keys), *keys, *arguments))
        shard.hold = hold

    # -- the wire ---------------------------------------------------------------------

    async def _one(self, command: Command) -> Any:  # noqa: ANN401 - any command's reply
        (reply,) = await self._all([command])
        return reply

    async def _all(self, commands: Sequence[Command]) -> list[Any]:
        if not commands:
            return []
        replies = await self._wire.exchange(commands, self._within)
        for reply in replies:
            if isinstance(reply, Exception):
                if str(reply).startswith("HOLD"):
                    raise Disturbed(str(reply).removeprefix("HOLD "))
                cause = str(reply).partition(" ")[0]
                raise RegisterUnavailable(f"the register refused a part of its rebuild ({cause})")
        return replies


def _filling(shard: _Shard, bucket: _Bucket) -> Command:
    keys = (hold_key(shard.number), bucket.key)
    return (b"EVAL", script.FILL, b"2", *keys, shard.hold, MARK, bucket.mark, *bucket.pairs)


def _lead(layout: Layout, number: int) -> bytes:
    """The octets of a digest that its field lacks, from its bucket's number."""
    return (number << (32 - layout.bits)).to_bytes(4, "big")[: layout.field_at]


def _id(text: bytes) -> tuple[int, int]:
    milliseconds, _, sequence = text.partition(b"-")
    return int(milliseconds), int(sequence)


def _later(one: bytes, other: bytes) -> bool:
    return _id(one) > _id(other)


def _members(reply: object) -> dict[bytes, bytes]:
    """A map reply; stream entries, and RESP2, give flat lists."""
    if isinstance(reply, dict):
        return {key.encode() if isinstance(key, str) else key: reply[key] for key in reply}
    flat = cast("list[bytes]", reply)
    return dict(zip(flat[::2], flat[1::2], strict=True))
