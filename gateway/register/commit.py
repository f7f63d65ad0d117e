"""Changes of entries: read, project, compare and set, with the log in one step.

The script changes an entry only if it is still what was read; entry, bucket mark
and log entries change together or not at all.  A change that lost the race is read
and projected again, so that any interleaving ends in the projection of the log.
"""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import NamedTuple

from gateway.contacts.digest import Digest
from gateway.entry.codec import decode, encode
from gateway.entry.entry import EMPTY, Entry
from gateway.entry.event import Event, EventKind
from gateway.entry.projection import project
from gateway.failure import RegisterUnavailable
from gateway.register import replica
from gateway.register.layout import (
    TAG_CHECK,
    Layout,
    Place,
    event_stream,
    is_turned,
    tag_key,
)
from gateway.register.question import question
from gateway.register.reply import cause
from gateway.register.wire import Command, Found, Wire

# KEYS: the shard's stream, what tells its layout, then buckets.  ARGV: the tag of our
# layout, then per change: the bucket's index in KEYS, field, expected value, new value
# ("" is absent), number of events, events.
# A reply per change: the last event's stream id ("" without events), or false.
_SCRIPT = (
    TAG_CHECK
    + b"""\
local out, i = {}, 2
while i <= #ARGV do
  local bucket, field, new = KEYS[tonumber(ARGV[i])], ARGV[i+1], ARGV[i+3]
  local last = i + 4 + tonumber(ARGV[i+4])
  if (redis.call('HGET', bucket, field) or '') == ARGV[i+2] then
    local id = ''
    for e = i + 5, last do id = redis.call('XADD', KEYS[1], '*', 'e', ARGV[e]) end
    if id ~= '' then redis.call('HSET', bucket, '@', id) end
    if new ~= '' then redis.call('HSET', bucket, field, new)
    else redis.call('HDEL', bucket, field) end
    out[#out+1] = id
  else
    out[#out+1] = false
  end
  i = last + 1
end
return out
"""
)

_CHANGES_PER_SCRIPT = 200
_READS_PER_TRIP = 4096
_ATTEMPTS = 200
_CALM_ATTEMPTS = 3
_TURNING = 0.05
"""Seconds between two looks at a layout that is being changed."""
Renew = Callable[[], Awaitable[Layout]]


class Elder(NamedTuple):
    """A contact's digest under an older key.

    At a wider spelling the bans that come from one exact one have another origin under
    each key: ``origin`` there, where the current key's is ``ours``.
    """

    digest: Digest
    ours: bytes = b""
    origin: bytes = b""


@dataclass(slots=True)
class Write:
    """Events for one digest's entry, in order; ``logged`` receives those written."""

    digest: Digest
    events: list[Event]
    only_changes: bool = False
    """Whether events that change nothing are left out of the log."""
    elders: tuple[Elder, ...] = ()
    """Under which older keys the contact may be known; an event is left out that says
    nothing new there either (see :func:`says_nothing_new`)."""
    silent: bool = False
    """Whether the log is left alone: the events are in it (or its archive) already."""
    logged: list[Event] = field(default_factory=list)


@dataclass(slots=True)
class _Change:
    write: Write
    place: Place
    old: bytes
    new: bytes
    logged: list[Event]


class Committer:
    """Writes changes through the wire; at most 200 changes run in one script."""

    def __init__(
        self, wire: Wire, layout: Layout, within: float, renew: Renew | None = None
    ) -> None:
        """Take the wire, the layout, and the seconds each round trip may take.

        ``renew`` reads the layout again when a rebuild has changed it.
        """
        self._wire = wire
        self._layout = layout
        self._within = within
        self._renew = renew

    def turn(self, layout: Layout) -> None:
        """Write in this layout from now on."""
        self._layout = layout

    async def commit(self, writes: Sequence[Write]) -> None:
        """Put all writes in effect; each digest may be named once.

        Returns when every entry and its events are stored.  Raises
        RegisterUnavailable when the register does not answer: it is then unknown
        which of the writes took effect, and doing all of them again is safe.
        """
        pending = list(writes)
        for attempt in range(_ATTEMPTS):
            if not pending:
                return
            if attempt > _CALM_ATTEMPTS:
                await asyncio.sleep(random.uniform(0, 0.001 * attempt))  # noqa: S311
            pending = await self._attempt(pending)
        raise RegisterUnavailable("an entry of the register is changed too often to be written")

    async def entry(self, digest: Digest) -> Entry:
        """The entry kept under a digest; raises RegisterUnavailable."""
        for _ in range(_ATTEMPTS):
            layout = self._layout
            place = layout.place(digest)
            asked = question(place.bucket, place.field)
            ((value, *_),) = await self._wire.look_up(asked, 1, self._within)
            if not await self._turned({place.shard}, layout):
                return EMPTY if value is None else decode(value)
        raise RegisterUnavailable("the register is being rebuilt; try again")

    async def _attempt(self, writes: list[Write]) -> list[Write]:
        """Try the writes once; returns those whose entry changed in between."""
        # One layout for all of the attempt, whatever is heard of another meanwhile.
        layout = self._layout
        changes = await self._read(writes, layout)
        older = {layout.place(elder.digest).shard for write in writes for elder in write.elders}
        if older and await self._turned(older, layout):
            return writes
        shards: dict[int, list[_Change]] = defaultdict(list)
        idle: list[_Change] = []
        for change in changes:
            if change.logged or change.old != change.new:
                shards[change.place.shard].append(change)
            else:
                idle.append(change)
        if idle and await self._turned({change.place.shard for change in idle}, layout):
            return writes
        groups = [
            each[start : start + _CHANGES_PER_SCRIPT]
            for each in shards.values()
            for start in range(0, len(each), _CHANGES_PER_SCRIPT)
        ]
        if not groups:
            return []
        scripts = [_script(group, layout.tag) for group in groups]
        replies = await replica.change(self._wire, scripts, self._within)
        lost = []
        turned = False
        for group, reply in zip(groups, replies, strict=True):
            if self._renew is not None and is_turned(reply):
                turned = True
                lost += [change.write for change in group]
                continue
            if type(reply) is not list:
                raise RegisterUnavailable(f"the register refused a change ({cause(reply)})")
            for change, result in zip(group, reply, strict=True):
                if result is None or result is False:
                    lost.append(change.write)
                else:
                    change.write.logged = change.logged
        if turned and self._renew is not None:
            # Between two shards of a rebuild the register does not know yet.
            await asyncio.sleep(_TURNING)
            self._layout = await self._renew()
        return lost

    async def _turned(self, shards: set[int], layout: Layout) -> bool:
        """Whether what was read of these shards lies in buckets that a rebuild has left.

        Where nothing is written no script says so.
        """
        if self._renew is None:
            return False
        tags = await self._wire.exchange([(b"GET", tag_key(s)) for s in shards], self._within)
        if all(tag == layout.tag for tag in tags):
            return False
        await asyncio.sleep(_TURNING)
        self._layout = await self._renew()
        return True

    async def _read(self, writes: list[Write], layout: Layout) -> list[_Change]:
        places = [layout.place(write.digest) for write in writes]
        older = [layout.place(elder.digest) for write in writes for elder in write.elders]
        found = await self._found(places + older)
        rest = iter(found[len(places) :])
        return [
            _change(
                write, place, reply[0], [value for value, *_ in islice(rest, len(write.elders))]
            )
            for write, place, reply in zip(writes, places, found[: len(places)], strict=True)
        ]

    async def _found(self, places: Sequence[Place]) -> Found:
        found: Found = []
        for start in range(0, len(places), _READS_PER_TRIP):
            part = places[start : start + _READS_PER_TRIP]
            found += await self._wire.look_up(
                b"".join([question(place.bucket, place.field) for place in part]),
                len(part),
                self._within,
            )
        return found


def says_nothing_new(event: Event, known: Entry) -> bool:
    """Whether what a contact's entry under an older key knows makes the event void.

    So it is with what is forbidden or consented to, and of the erased with all.  What
    else is said of a contact is said under the current key.
    """
    told = event.kind is not EventKind.DESCRIBE or known.tombstone
    return told and known != EMPTY and project(known, event) is known


def _change(
    write: Write, place: Place, old: bytes | None, older: Sequence[bytes | None] = ()
) -> _Change:
    entry = EMPTY if old is None else decode(old)
    known = [
        (decode(octets), elder)
        for elder, octets in zip(write.elders, older, strict=True)
        if octets is not None
    ]
    logged = []
    for event in write.events:
        if any(
            says_nothing_new(replace(event, origin=elder.origin), one)
            for one, elder in known
            if elder.ours == event.origin
        ):
            continue
        changed = project(entry, event)
        if not write.silent and not (write.only_changes and changed is entry):
            logged.append(event)
        entry = changed
    new = b"" if entry == EMPTY else encode(entry)
    return _Change(write, place, old or b"", new, logged)


def _script(changes: Sequence[_Change], tag: bytes) -> Command:
    shard = changes[0].place.shard
    keys = [event_stream(shard), tag_key(shard)]
    indexes: dict[bytes, bytes] = {}
    arguments: list[bytes] = [tag]
    for change in changes:
        bucket = change.place.bucket
        if bucket not in indexes:
            keys.append(bucket)
            indexes[bucket] = b"%d" % len(keys)
        arguments += (
            indexes[bucket],
            change.place.field,
            change.old,
            change.new,
            b"%d" % len(change.logged),
            *(event.to_json() for event in change.logged),
        )
    return (b"EVAL", _SCRIPT, b"%d" % len(keys), *keys, *arguments)
