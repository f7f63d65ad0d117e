"""Hashed lists in the register: their schemes announced, their bans written many at once.

All rows of a hashed list say the same, so a hash that is not known yet becomes the
same few octets under its digest, and an event that differs from the others in its id
and subject only.  Whatever is known already goes the usual way
(:mod:`gateway.register.commit`).
"""

from __future__ import annotations

import secrets
from base64 import b32encode
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from ulid import ULID

from gateway.clock import Clock
from gateway.contacts.digest import HASHED, Digest, KeyRing
from gateway.contacts.hashed import Scheme
from gateway.entry.codec import encode
from gateway.entry.entry import EMPTY
from gateway.entry.event import Event, EventError, EventKind
from gateway.entry.projection import project
from gateway.failure import RegisterUnavailable
from gateway.register import replica
from gateway.register.commit import Committer, Elder, Write
from gateway.register.drafting import refuse_future
from gateway.register.layout import TAG_CHECK, Layout, event_stream, is_turned, tag_key
from gateway.register.question import question
from gateway.register.schemes import Schemes
from gateway.register.wire import Command, Wire

# KEYS: the shard's stream, what tells its layout, then buckets.  ARGV: the tag of our
# layout, the entry, then per row the bucket's index in KEYS, the field, the event.  The
# reply names the rows (from 0) whose field was there already; of those nothing is changed.
_SCRIPT = (
    TAG_CHECK
    + b"""\
local there = {}
for i = 3, #ARGV, 3 do
  local bucket = KEYS[tonumber(ARGV[i])]
  if redis.call('HEXISTS', bucket, ARGV[i+1]) == 1 then
    there[#there+1] = (i - 3) / 3
  else
    local id = redis.call('XADD', KEYS[1], '*', 'e', ARGV[i+2])
    redis.call('HSET', bucket, ARGV[i+1], ARGV[2], '@', id)
  end
end
return there
"""
)

_SCHEMES = HASHED + "schemes"
"""The subject of the events that name hashing schemes."""
_ROWS_PER_SCRIPT = 400
_RANDOM = 10
"""Octets of a ULID that are random."""
_CROCKFORD = bytes.maketrans(
    b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", b"0123456789ABCDEFGHJKMNPQRSTVWXYZ"
)
_Row = tuple[bytes, int]
"""A digest's octets, and the place of its hash among those given."""


class HashedLists:
    """What hashed lists ban, written through the wire."""

    def __init__(
        self,
        wire: Wire,
        ring: KeyRing,
        layout: Layout,
        schemes: Schemes,
        committer: Committer,
        within: float,
        clock: Clock,
    ) -> None:
        """Take what a register is made of, and the seconds each round trip may take."""
        self._wire = wire
        self._ring = ring
        self._layout = layout
        self._schemes = schemes
        self._committer = committer
        self._within = within
        self._clock = clock

    def turn(self, layout: Layout) -> None:
        """Write in this layout from now on."""
        self._layout = layout

    async def announce(self, scheme: Scheme, actor: str, source: str, evidence: str = "") -> None:
        """Log that lists of a scheme are taken in, so that a rebuild finds it again.

        Raises RegisterUnavailable.
        """
        digest = self._ring.digest(_SCHEMES)
        event = Event(
            kind=EventKind.DESCRIBE,
            at=self._clock(),
            actor=actor,
            source=source,
            evidence=evidence,
            scheme=self._schemes.told(scheme),
            imported=True,
            id=str(ULID.from_timestamp(self._clock() / 1000)),
            recorded=self._clock(),
            subject=str(digest),
        )
        await self._committer.commit([Write(digest, [event])])

    @property
    def announced_as(self) -> list[str]:
        """The subjects whose archived events name every hashing scheme ever in use."""
        return [str(digest) for digest in self._ring.digests(_SCHEMES)]

    async def restore(self, events: Iterable[Event]) -> None:
        """Put the schemes in use that events of :attr:`announced_as` name, where they were lost.

        Before a register that is made anew answers look-ups: they would not ask for
        what its hashed lists ban.  Raises RegisterUnavailable.
        """
        told = {event.scheme for event in events if event.scheme}
        for scheme in sorted(told):
            await self._schemes.adopt(scheme)

    async def ban(self, event: Event, scheme: Scheme, values: Sequence[bytes]) -> int:
        """Put a ban in effect for whoever has one of these hashes.

        The scheme must be in use (:mod:`gateway.register.schemes`), each hash be named
        once.  Returns how many were new or changed what was known.  Nothing is settled:
        see :meth:`gateway.register.register.Register.settle`.  Raises EventError,
        RegisterUnavailable: doing it again is then safe.
        """
        if event.kind is not EventKind.BAN:
            raise EventError("of a hash only a ban can be told")
        refuse_future(event, self._clock())
        if not values:
            return 0
        event = replace(event, recorded=self._clock(), sealed=None)
        new = encode(project(EMPTY, event))
        key_id, begun = self._ring.begun[0]
        copy = begun[HASHED].copy
        name = f"{scheme.name}:".encode()
        elders = await self._elders(name, values)
        shards: dict[int, list[_Row]] = defaultdict(list)
        known: list[bytes] = []
        older: dict[bytes, tuple[Elder, ...]] = {}
        for at, value in enumerate(values):
            hasher = copy()
            hasher.update(name + value.hex().encode())
            digest = hasher.digest()
            if at in elders:
                known.append(digest)
                older[digest] = elders[at]
                continue
            shards[digest[0] >> 2].append((digest, at))
        groups = [
            (shard, rows[start : start + _ROWS_PER_SCRIPT])
            for shard, rows in shards.items()
            for start in range(0, len(rows), _ROWS_PER_SCRIPT)
        ]
        ids = _new_ids(event.recorded, len(values))
        head, middle, tail = _template(event)
        middle += key_id.encode() + b":"
        commands = []
        for shard, rows in groups:
            events = [
                b"".join((head, ids[at], middle, digest.hex().encode(), tail))
                for digest, at in rows
            ]
            commands.append(self._command(shard, key_id.encode(), new, rows, events))
        replies = await replica.change(self._wire, commands, self._within) if commands else []
        for (_, rows), reply in zip(groups, replies, strict=True):
            if is_turned(reply):
                # A rebuild has changed the layout: the usual way finds out to which.
                known += [digest for digest, _ in rows]
                continue
            if type(reply) is not list:
                cause = str(reply).partition(" ")[0]
                raise RegisterUnavailable(f"the register refused a change ({cause})")
            known += [rows[place][0] for place in reply]
        return len(values) - len(known) + await self._others(event, key_id, known, older)

    def _command(
        self, shard: int, key_id: bytes, new: bytes, rows: Sequence[_Row], events: Sequence[bytes]
    ) -> Command:
        keys = [event_stream(shard), tag_key(shard)]
        indexes: dict[bytes, bytes] = {}
        arguments = [self._layout.tag, new]
        bucket_of = self._layout.bucket
        for (digest, _), event in zip(rows, events, strict=True):
            bucket, field = bucket_of(key_id, digest)
            index = indexes.get(bucket)
            if index is None:
                keys.append(bucket)
                index = indexes[bucket] = b"%d" % len(keys)
            arguments += (index, field, event)
        return (b"EVAL", _SCRIPT, b"%d" % len(keys), *keys, *arguments)

    async def _elders(self, name: bytes, values: Sequence[bytes]) -> dict[int, tuple[Elder, ...]]:
        """Those that are known under an older key, by place; the usual way compares them.

        Read in a layout that a rebuild leaves at this moment it may find fewer: then a
        ban is told once more, and later.
        """
        found: dict[int, tuple[Elder, ...]] = defaultdict(tuple)
        for key_id, begun in self._ring.begun[1:]:
            digests = []
            for value in values:
                hasher = begun[HASHED].copy()
                hasher.update(name + value.hex().encode())
                digests.append(Digest(key_id, hasher.digest()))
            places = map(self._layout.place, digests)
            packed = b"".join([question(place.bucket, place.field) for place in places])
            replies = await self._wire.look_up(packed, len(digests), self._within)
            for at, (octets, *_) in enumerate(replies):
                if octets is not None:
                    found[at] += (Elder(digests[at]),)
        return found

    async def _others(
        self,
        event: Event,
        key_id: str,
        digests: Sequence[bytes],
        elders: Mapping[bytes, tuple[Elder, ...]],
    ) -> int:
        """Change entries that are there; only what changes them is logged."""
        writes = []
        for value, new_id in zip(digests, _new_ids(event.recorded, len(digests)), strict=True):
            digest = Digest(key_id, value)
            one = replace(event, id=new_id.decode(), subject=str(digest))
            writes.append(Write(digest, [one], only_changes=True, elders=elders.get(value, ())))
        await self._committer.commit(writes)
        return sum(len(write.logged) for write in writes)


def _new_ids(at: int, count: int) -> list[bytes]:
    """ULIDs of one millisecond, in no order."""
    time = str(ULID.from_timestamp(at / 1000))[:10].encode()
    noise = b32encode(secrets.token_bytes(_RANDOM * count)).translate(_CROCKFORD)
    return [time + noise[16 * at : 16 * at + 16] for at in range(count)]


def _template(event: Event) -> tuple[bytes, bytes, bytes]:
    """The event's JSON before its id, between id and subject, and after it."""
    marks = secrets.token_hex(16), secrets.token_hex(16)
    text = replace(event, id=marks[0], subject=marks[1]).to_json()
    head, rest = text.split(marks[0].encode())
    middle, tail = rest.split(marks[1].encode())
    return head, middle, tail
