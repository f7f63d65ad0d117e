"""Look-ups: where contacts stand, from one round trip.

Asked are the exact spelling, the wider one where it differs, and each organisation
of a contact, all under every live key; where hashed lists are in use, also the
contact's hashes under each of their schemes.  What is done for each contact is done for
all of them at once, for messages have many.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Coroutine, Iterable, Sequence
from functools import lru_cache
from itertools import chain, repeat
from operator import add, itemgetter
from typing import Any

from gateway.contacts.contact import Channel, Contact
from gateway.contacts.digest import HASHED, ORGANISATION, KeyRing, prefix_of
from gateway.contacts.hashed import Scheme
from gateway.entry.codec import decode
from gateway.entry.entry import EMPTY, Entry
from gateway.entry.merging import exact_of
from gateway.entry.standing import Standing, make_standing
from gateway.register.batcher import Batcher
from gateway.register.layout import Layout
from gateway.register.question import Questions
from gateway.register.schemes import Schemes

_NEVER = b"0-0"
"""The mark of a bucket that no event has changed."""
_first_octet = itemgetter(0)
_decode = lru_cache(maxsize=16_384)(decode)


@lru_cache(maxsize=16_384)
def _alone(octets: bytes | None) -> tuple[Entry, bool]:
    """The exact entry where one key is live, and whether it knows the contact."""
    return (EMPTY, False) if octets is None else exact_of((decode(octets),))


class LookUp:
    """Looks up contacts through a batcher."""

    def __init__(self, batcher: Batcher, ring: KeyRing, layout: Layout, schemes: Schemes) -> None:
        self._batcher = batcher
        self._schemes = schemes
        self._keys = tuple(Questions(key_id, begun, layout) for key_id, begun in ring.begun)
        self._lone = len(self._keys) == 1
        self._digest = f"{ring.current}:".__add__
        # A position begins with the shard, which a digest's first octet tells.
        self._shards = tuple(f"s{octet >> 2:02x}:" for octet in range(256))
        self._about = lru_cache(maxsize=4096)(self._about_organisation)
        self._above = lru_cache(maxsize=4096)(self._about_organisations)
        self.contacts = 0
        """Contacts looked up since the start."""

    def standings(self, contacts: Sequence[Contact]) -> Coroutine[Any, Any, list[Standing]]:
        """Return where each contact stands, in order.

        Raises RegisterUnavailable within the batcher's timeout if the register does
        not answer, or answers with what is not an entry.
        """
        schemes = self._schemes
        if not schemes.fresh:
            return self._checking(contacts)
        if schemes.known:
            return self._with_hashes(contacts, schemes.known)
        return self._of(contacts)

    def _of(self, contacts: Sequence[Contact]) -> Coroutine[Any, Any, list[Standing]]:
        if len(contacts) == 1 and self._lone and contacts[0][1] == contacts[0][2]:
            return self._of_one(contacts[0])
        return self._of_many(contacts)

    async def _checking(self, contacts: Sequence[Contact]) -> list[Standing]:
        """Look up while the schemes are read anew; once more, if they have changed."""
        known = self._schemes.known
        standings, _ = await asyncio.gather(
            self._with_hashes(contacts, known), self._schemes.read()
        )
        if self._schemes.known is not known:
            return await self._with_hashes(contacts, self._schemes.known)
        return standings

    async def _with_hashes(
        self, contacts: Sequence[Contact], schemes: Sequence[Scheme]
    ) -> list[Standing]:
        """The standings, with what hashed lists say; asked in the same tick of the loop."""
        names: list[str] = []
        whose: list[int] = []
        for scheme in schemes:
            channel, name = scheme.channel, scheme.name
            for at, contact in enumerate(contacts):
                if contact.channel is channel:
                    values = scheme.hashes(contact)
                    names += [f"{name}:{value.hex()}" for value in values]
                    whose += [at] * len(values)
        if not names:
            return await self._of(contacts)
        packed: list[bytes] = []
        for questions in self._keys:
            questions.ask_all(HASHED, names, packed)
        asked = self._batcher.ask(b"".join(packed), len(names) * len(self._keys))
        try:
            standings = await self._of(contacts)
            found = await asked
        finally:
            if not asked.cancel() and not asked.cancelled():
                asked.exception()  # told by the other question as well
        hashed: dict[int, tuple[Entry, ...]] = defaultdict(tuple)
        for at, (octets, _) in zip(whose * len(self._keys), found, strict=True):
            if octets is not None:
                hashed[at] += (_decode(octets),)
        for at, entries in hashed.items():
            standings[at] = standings[at]._replace(hashed=entries)
        return standings

    async def _of_many(self, contacts: Sequence[Contact]) -> list[Standing]:
        if not contacts:
            return []
        keys, count = len(self._keys), len(contacts)
        channels, canonicals, bases, organisations = zip(*contacts, strict=True)
        packed: list[bytes] = []
        # The current key comes first.
        values = self._ask(channels, canonicals, packed)
        wider: Sequence[int] = ()
        if bases != canonicals:
            wider = [at for at, each in enumerate(contacts) if each.base != each.canonical]
            self._ask([channels[at] for at in wider], [bases[at] for at in wider], packed)
        domains = dict.fromkeys(chain.from_iterable(organisations))
        packed.extend(map(self._about, domains))
        first = (count + len(wider)) * keys
        found = await self._batcher.ask(b"".join(packed), first + len(domains) * keys)
        self.contacts += count

        entries, marks = zip(*found, strict=True)
        if keys == 1:
            exact, known = zip(*map(_alone, entries[:count]), strict=True)
        else:
            runs = _turned(entries[: count * keys], keys)
            exact, known = zip(*map(exact_of, map(_read, runs)), strict=True)
        base: Iterable[tuple[Entry, ...]] = repeat((), count)
        if wider:
            runs = _turned(entries[count * keys : first], keys)
            of_base = dict(zip(wider, map(_read, runs), strict=True))
            base = [of_base.get(at, ()) for at in range(count)]
        above: Iterable[tuple[Entry, ...]] = repeat((), count)
        heard = entries[first:]
        if heard.count(None) < len(heard):
            of_domain = {
                domain: _read(heard[at * keys : (at + 1) * keys])
                for at, domain in enumerate(domains)
            }
            above = [
                tuple(chain.from_iterable(map(of_domain.__getitem__, each)))
                for each in organisations
            ]
        marks = marks[:count]
        if None in marks:
            marks = tuple([mark or _NEVER for mark in marks])
        shards = map(self._shards.__getitem__, map(_first_octet, values))
        positions = map(add, shards, map(bytes.decode, marks))
        digests = map(self._digest, map(bytes.hex, values))
        members = (exact, known, base, above, positions, digests, repeat((), count))
        return list(map(make_standing, zip(*members, strict=True)))

    async def _of_one(self, contact: Contact) -> list[Standing]:
        """The shortest way, for the usual single contact.

        One key is live, and the contact has no wider spelling.
        """
        organisations = contact[3]
        value, packed = self._keys[0].ask(
            prefix_of(contact[0]), contact[1], self._above(organisations)
        )
        found = await self._batcher.ask(packed, 1 + len(organisations))
        self.contacts += 1
        octets, mark = found[0]
        exact, known = _alone(octets)
        above: tuple[Entry, ...] = ()
        for octets, _ in found[1:]:
            if octets is not None:
                above += (_decode(octets),)
        position = self._shards[value[0]] + (mark or _NEVER).decode()
        digest = self._digest(value.hex())
        return [make_standing((exact, known, (), above, position, digest, ()))]

    async def entries(self, prefix: str, name: str) -> list[Entry]:
        """Return a subject's entries under the live keys, the current one's first."""
        packed = b"".join([questions.ask(prefix, name)[1] for questions in self._keys])
        found = await self._batcher.ask(packed, len(self._keys))
        return [decode(octets) for octets, _ in found if octets is not None]

    def _ask(
        self, channels: Sequence[Channel], names: Sequence[str], packed: list[bytes]
    ) -> list[bytes]:
        """Add the questions under every key; returns the digests under the current one."""
        if channels.count(channels[0]) == len(channels):
            prefix = prefix_of(channels[0])
            values = [questions.ask_all(prefix, names, packed) for questions in self._keys]
            return values[0]
        values = []
        for questions in self._keys:
            asked = [*map(questions.ask, map(prefix_of, channels), names)]
            packed.extend([question for _, question in asked])
            values.append([value for value, _ in asked])
        return values[0]

    def _about_organisation(self, domain: str) -> bytes:
        return b"".join([questions.ask(ORGANISATION, domain)[1] for questions in self._keys])

    def _about_organisations(self, domains: tuple[str, ...]) -> bytes:
        return b"".join(map(self._about, domains))


def _read(found: Iterable[bytes | None]) -> tuple[Entry, ...]:
    return tuple([_decode(octets) for octets in found if octets is not None])


def _turned(found: Sequence[bytes | None], keys: int) -> Iterable[tuple[bytes | None, ...]]:
    """Return what was found for each subject under all keys, from that of key after key."""
    size = len(found) // keys
    return zip(*(found[start : start + size] for start in range(0, len(found), size)), strict=True)
