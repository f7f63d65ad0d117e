"""What was known at an earlier time: the events recorded by then, projected in their order."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from gateway.contacts.contact import Contact
from gateway.contacts.digest import (
    Digest,
    KeyRing,
    base_subject,
    organisation_subject,
    subject_of,
)
from gateway.decision.load import read_rules
from gateway.decision.rule import RuleSet
from gateway.entry.entry import EMPTY, Entry
from gateway.entry.event import Event
from gateway.entry.merging import merge
from gateway.entry.projection import project
from gateway.entry.standing import Standing
from gateway.records.events import EventArchive
from gateway.register.register import Register
from gateway.register.reply import stream_id


class Knowledge:
    """The register as it was; asked by a gate it decides as it would have then.

    What counts is when an event was written down, not when it took effect: a ban that
    was told of a week later was not known that week.
    """

    settling = 0.0

    def __init__(self, register: Register, events: EventArchive, ring: KeyRing, at: int) -> None:
        """Take the two places where events are, and the time in ms since the epoch."""
        self.register = register
        self._events = events
        self._ring = ring
        self.at = at

    async def look_up(self, contacts: Sequence[Contact]) -> list[Standing]:
        """Where each contact stood.

        Raises RegisterUnavailable, RecordsUnavailable.
        """
        return [await self._standing(contact) for contact in contacts]

    async def position(self) -> str:
        """Nothing is logged in the past."""
        return "0-0"

    async def rules(self) -> RuleSet | None:
        """The rule set that decided last before that time; None: the archive knows none.

        Raises RuleError for one that this version of the gateway cannot read any more.
        """
        found = await self._events.rules_at(self.at)
        if found is None:
            return None
        return read_rules(Path("the archive's rule set"), found[1], found[0])

    async def of_organisation(self, domain: str) -> Entry:
        """The entry of an organisation's canonical domain."""
        digests = self._ring.digests(organisation_subject(domain))
        return merge(_told(await self._entries(digests))).exact

    async def _standing(self, contact: Contact) -> Standing:
        digests = self._ring.digests(subject_of(contact))
        exact = await self._entries(digests)
        base: list[tuple[Entry, bytes]] = []
        if contact.base != contact.canonical:
            base = await self._entries(self._ring.digests(base_subject(contact)))
        above: list[tuple[Entry, bytes]] = []
        for domain in contact.organisations:
            above += await self._entries(self._ring.digests(organisation_subject(domain)))
        position = f"s{digests[0].value[0] >> 2:02x}:{exact[0][1].decode()}"
        standing = merge(_told(exact), _told(base), _told(above), position)
        return standing._replace(digest=str(digests[0]))

    async def _entries(self, digests: Sequence[Digest]) -> list[tuple[Entry, bytes]]:
        return [await self._entry(digest) for digest in digests]

    async def _entry(self, digest: Digest) -> tuple[Entry, bytes]:
        """The entry of one digest, and the id of the last event that it rests on."""
        # The log first: what is archived in between is found in the archive.
        found = dict(await self.register.numbered(digest))
        for at, text in await self._events.known_of([str(digest)]):
            found[at.encode()] = Event.from_json(text)
        entry, last = EMPTY, b"0-0"
        for number in sorted(found, key=stream_id):
            event = found[number]
            if event.recorded <= self.at:
                entry, last = project(entry, event), number
        return entry, last


def _told(entries: Sequence[tuple[Entry, bytes]]) -> list[Entry]:
    """Those entries that tell something."""
    return [entry for entry, _ in entries if entry != EMPTY]
