"""Contacts that the register has not heard of: entry and events in one step, unread.

Other changes read an entry, project it and set it if it is still the same
(``register.commit``).  An import's contacts are mostly new, and of a new contact the
entry is known before: a script writes it where there is none, with its events, and
tells what is there already.  Whatever it finds is left for the caller.
"""

from __future__ import annotations

import asyncio
import secrets
from binascii import b2a_base64
from collections.abc import Container, Iterable
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, islice, repeat

from ulid import ULID

from gateway.clock import Clock
from gateway.contacts.contact import Channel
from gateway.contacts.digest import ORGANISATION, KeyRing, prefix_of
from gateway.entry.entry import ORIGIN_SIZE
from gateway.failure import RegisterUnavailable
from gateway.register import replica
from gateway.register.commit import Renew
from gateway.register.drafting import SealAll
from gateway.register.layout import (
    SHARDS,
    TAG_CHECK,
    Layout,
    event_stream,
    is_turned,
    tag_key,
)
from gateway.register.question import Questions
from gateway.register.reply import cause
from gateway.register.rows import Row
from gateway.register.template import Template
from gateway.register.window import Group
from gateway.register.wire import Command, Wire

# KEYS: the shard's stream, what tells its layout, then a bucket for each entry.  ARGV:
# the tag of our layout, the number of events of each entry; per entry the field, the
# entry, the events.  The reply: how many events wait in the stream, then the place and
# the entry of each that is there already.
_SCRIPT = (
    TAG_CHECK
    + b"""\
local stream, count, found = KEYS[1], tonumber(ARGV[2]), {}
local at = 3
for n = 3, #KEYS do
  local old = redis.call('HGET', KEYS[n], ARGV[at])
  if old then
    found[#found+1] = n - 3
    found[#found+1] = old
  else
    local id
    for e = at + 2, at + 1 + count do id = redis.call('XADD', stream, '*', 'e', ARGV[e]) end
    redis.call('HSET', KEYS[n], ARGV[at], ARGV[at+1], '@', id)
  end
  at = at + 2 + count
end
return {redis.call('XLEN', stream), found}
"""
)
_ENTRIES_PER_SCRIPT = 256
_TURNS = 100
_TURNING = 0.05
"""Seconds between two looks at a layout that is being changed."""
_CHANCE = 32
"""Bits of chance in the ids made at once; as many count them."""

_PREFIXES = {
    "email": prefix_of(Channel.EMAIL),
    "phone": prefix_of(Channel.SMS),
    "organisation": ORGANISATION,
}
_base64 = partial(b2a_base64, newline=False)


@dataclass(slots=True)
class Run:
    """Entries to write where there are none, and their events; ``places`` in a group."""

    places: list[int] = field(default_factory=list)
    digests: list[bytes] = field(default_factory=list)
    values: list[bytes] = field(default_factory=list)
    texts: list[tuple[bytes, ...]] = field(default_factory=list)

    def only(self, places: Container[int]) -> Run:
        """Return these places of the run."""
        return self.without({place for place in self.places if place not in places})

    def without(self, places: Container[int]) -> Run:
        """Return the run less these places."""
        kept = [at for at, place in enumerate(self.places) if place not in places]
        return Run(
            [self.places[at] for at in kept],
            [self.digests[at] for at in kept],
            [self.values[at] for at in kept],
            [self.texts[at] for at in kept],
        )


@dataclass(slots=True)
class Batch:
    """A group that is ready to be written; ``ids`` are those of each row's events."""

    group: Group
    digests: list[bytes]
    ids: list[tuple[str, ...]]
    exact: Run
    wider: Run
    """Of the wider spellings, which are to be written first."""


class Newcomers:
    """Writes the entries of unknown contacts through the wire.

    ``waiting`` is the number of events that were not archived when last entries were
    written, in the shards that were written to.
    """

    def __init__(
        self,
        wire: Wire,
        ring: KeyRing,
        layout: Layout,
        *,
        within: float,
        renew: Renew,
        seal_all: SealAll | None,
        clock: Clock,
    ) -> None:
        """Take what a register is made of; ``within`` bounds a round trip in seconds.

        ``renew`` reads the layout again when a rebuild has changed it.
        """
        self._renew = renew
        self._wire = wire
        self._key_id, self._begun = ring.begun[0]
        self._older = ring.begun[1:]
        self._layout = layout
        self._within = within
        self._seal_all = seal_all
        self._clock = clock
        self._lengths: dict[int, int] = {}

    @property
    def sealed(self) -> bool:
        """Whether addresses are sealed into the events."""
        return self._seal_all is not None

    @property
    def waiting(self) -> int:
        """See the class."""
        return sum(self._lengths.values())

    def prepare(self, group: Group) -> Batch:
        """Return the group ready to be written; nothing is sent yet.

        Takes microseconds a row, and may run in a thread.
        """
        now = self._clock()
        prefix = _PREFIXES[group.column]
        digests = self._digests(prefix, group.names)
        subjects = self._subjects(digests)
        sealed: Iterable[tuple[bytes, ...]] = repeat((), len(digests))
        if self._seal_all is not None:
            names = [name.encode() for name in group.names]
            sealed = zip(map(_base64, self._seal_all(names, subjects)))
        octets = list(map(str.encode, subjects))
        counts = [len(template.events) for template in group.templates]
        ids = _new_ids(now, sum(counts))
        forms = _Forms(now)
        texts: list[tuple[bytes, ...]]
        own: list[tuple[str, ...]]
        if set(counts) == {1} and not any(group.times):
            texts = [
                (form % (each.encode(), subject, *seal),)
                for form, each, subject, seal in zip(
                    [forms.of(template)[0][0] for template in group.templates],
                    *(ids, octets, sealed),
                    strict=True,
                )
            ]
            own = [(each,) for each in ids]
        else:
            rest = iter(ids)
            own = [tuple(islice(rest, count)) for count in counts]
            texts = [
                tuple(
                    form % ((b"%d" % at, each.encode(), subject, *seal)[not dated :])
                    for (form, dated), each in zip(forms.of(template), mine, strict=True)
                )
                for template, at, mine, subject, seal in zip(
                    *(group.templates, group.times, own, octets, sealed), strict=True
                )
            ]
        values = [
            template.value_at(at) for template, at in zip(group.templates, group.times, strict=True)
        ]
        exact = Run(list(range(len(digests))), digests, values, texts)
        if 0 in counts:
            exact = exact.without({place for place, count in enumerate(counts) if not count})
        batch = Batch(group, digests, own, exact, Run())
        if group.bases != group.names:
            batch.wider = self._wider(batch, prefix, now, forms)
        return batch

    async def known_before(self, group: Group) -> set[int]:
        """Return the places of those whom the register knows under an older key.

        Their wider spellings too.  Whoever is known is no newcomer: what the row says
        is to be compared with that.  Raises RegisterUnavailable.
        """
        if not self._older or not group.names:
            return set()
        names = list(dict.fromkeys(chain(group.names, group.bases)))
        for _ in range(_TURNS):
            layout, there = self._layout, await self._names_before(group.column, names)
            tags = await self._wire.exchange(
                [(b"GET", tag_key(shard)) for shard in range(SHARDS)], self._within
            )
            if all(tag == layout.tag for tag in tags):
                return {
                    place
                    for place, (name, base) in enumerate(zip(group.names, group.bases, strict=True))
                    if name in there or base in there
                }
            # What was read lies in buckets that a rebuild has left.
            await asyncio.sleep(_TURNING)
            self._layout = await self._renew()
        raise RegisterUnavailable("the register is being rebuilt; try again")

    async def _names_before(self, column: str, names: list[str]) -> set[str]:
        there: set[str] = set()
        for key_id, begun in self._older:
            questions = Questions(key_id, begun, self._layout)
            packed: list[bytes] = []
            questions.ask_all(_PREFIXES[column], names, packed)
            found = await self._wire.look_up(b"".join(packed), len(names), self._within)
            there.update(
                name for name, (octets, *_) in zip(names, found, strict=True) if octets is not None
            )
        return there

    def digests_of(self, row: Row) -> list[bytes]:
        """Return the digests of everybody that a row is about."""
        digests = []
        for contact in row.contacts:
            digests += self._digests(prefix_of(contact.channel), [contact.canonical])
        return digests + self._digests(ORGANISATION, [row.domain] if row.domain else [])

    async def write(self, run: Run) -> dict[int, bytes]:
        """Write a run.

        Returns the places that were not written, for the register knows them already,
        with their entries.  Raises RegisterUnavailable when it is unknown what was
        written; writing it again is safe.
        """
        known: dict[int, bytes] = {}
        for attempt in range(_TURNS):
            turned = await self._try(run, known)
            if not turned:
                return known
            run = run.only(turned)
            if attempt:
                await asyncio.sleep(_TURNING)
            self._layout = await self._renew()
        raise RegisterUnavailable("the register is being rebuilt; try again")

    async def _try(self, run: Run, known: dict[int, bytes]) -> set[int]:
        """Write a run once; returns the places that a rebuild has moved elsewhere."""
        scripts: dict[tuple[int, int], _Script] = {}
        full: list[_Script] = []
        bucket, key_id = self._layout.bucket, self._key_id.encode()
        for place, digest, value, texts in zip(
            *(run.places, run.digests, run.values, run.texts), strict=True
        ):
            kind = digest[0] >> 2, len(texts)
            script = scripts.get(kind)
            if script is None or len(script.places) >= _ENTRIES_PER_SCRIPT:
                script = scripts[kind] = _Script(*kind)
                full.append(script)
            key, name = bucket(key_id, digest)
            script.places.append(place)
            script.keys.append(key)
            script.arguments += (name, value, *texts)
        if not full:
            return set()
        tag = self._layout.tag
        replies = await replica.change(
            self._wire, [script.command(tag) for script in full], self._within
        )
        turned: set[int] = set()
        for script, reply in zip(full, replies, strict=True):
            if is_turned(reply):
                turned.update(script.places)
                continue
            if type(reply) is not list:
                raise RegisterUnavailable(f"the register refused an import ({cause(reply)})")
            self._lengths[script.shard], found = reply
            for at, old in zip(found[::2], found[1::2], strict=True):
                known[script.places[at]] = old
        return turned

    def _wider(self, batch: Batch, prefix: str, now: int, forms: _Forms) -> Run:
        group, run = batch.group, Run()
        run.places = [
            place
            for place, (name, base) in enumerate(zip(group.names, group.bases, strict=True))
            if name != base and group.templates[place].heirs
        ]
        run.digests = self._digests(prefix, [group.bases[place] for place in run.places])
        for place, base in zip(run.places, run.digests, strict=True):
            template, own, at = group.templates[place], batch.ids[place], group.times[place]
            origin = batch.digests[place][:ORIGIN_SIZE]
            subject = f"{self._key_id}:{base.hex()}".encode()
            ids = _new_ids(now, len(template.heirs))
            run.values.append(template.base_at(at, origin))
            came = origin.hex().encode()
            run.texts.append(
                tuple(
                    form
                    % ((b"%d" % at, each.encode(), subject, own[heir].encode(), came)[not dated :])
                    for (form, dated), each, heir in zip(
                        forms.of_base(template), ids, template.heirs, strict=True
                    )
                )
            )
        return run

    def _digests(self, prefix: str, names: Iterable[str]) -> list[bytes]:
        copy = self._begun[prefix].copy
        digests = []
        for name in names:
            hasher = copy()
            hasher.update(name.encode())
            digests.append(hasher.digest())
        return digests

    def _subjects(self, digests: Iterable[bytes]) -> list[str]:
        return list(map(f"{self._key_id}:".__add__, map(bytes.hex, digests)))


@dataclass(slots=True)
class _Script:
    shard: int
    count: int
    places: list[int] = field(default_factory=list)
    keys: list[bytes] = field(default_factory=list)
    arguments: list[bytes] = field(default_factory=list)

    def command(self, tag: bytes) -> Command:
        keys = (event_stream(self.shard), tag_key(self.shard), *self.keys)
        count = b"%d" % self.count
        return (b"EVAL", _SCRIPT, b"%d" % len(keys), *keys, tag, count, *self.arguments)


_Form = tuple[tuple[bytes, bool], ...]
"""For each event its text, and whether that begins with the time of the ban."""


class _Forms:
    """The texts of templates at one time of recording."""

    def __init__(self, recorded: int) -> None:
        self._recorded = recorded
        self._of: dict[int, _Form] = {}
        self._of_base: dict[int, _Form] = {}

    def of(self, template: Template) -> _Form:
        # By identity: the group keeps them alive.
        found = self._of.get(id(template))
        if found is None:
            found = tuple((text.form(self._recorded), text.dated) for text in template.texts)
            self._of[id(template)] = found
        return found

    def of_base(self, template: Template) -> _Form:
        found = self._of_base.get(id(template))
        if found is None:
            found = tuple((text.form(self._recorded), text.dated) for text in template.base_texts)
            self._of_base[id(template)] = found
        return found


def _new_ids(now: int, count: int) -> list[str]:
    """Return that many ULIDs of a moment, which sort in their order.

    The lower half of the chance counts them: in hexadecimal digits, which are digits
    of base 32 too.
    """
    head = str(ULID.from_timestamp(now / 1000))[:10]
    head += f"{secrets.randbits(_CHANCE):08X}"
    return [f"{head}{number:08X}" for number in range(count)]
