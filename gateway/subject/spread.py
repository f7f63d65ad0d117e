"""A person's bans carried to each of the person's contacts, and lifted with their source.

Everything is derived anew from what the register says now (:mod:`.spreading`), so that
it may be done at any time and again after a crash.  Bans are carried before a contact
is linked: what is cut off in between leaves too much banned, never too little.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import structlog

from gateway.clock import Clock, now_ms
from gateway.contacts.contact import Contact
from gateway.contacts.digest import KeyRing, subject_of
from gateway.entry.entry import ANY_TOPIC, ORIGIN_SIZE, Ban, Scope
from gateway.entry.event import Event, EventKind
from gateway.failure import SealError
from gateway.records.events import EventArchive
from gateway.register.register import Register
from gateway.subject.directory import PersonStateError, State
from gateway.subject.person import Person
from gateway.subject.spreading import Key, Stand, missing, surplus
from gateway.subject.store import PersonStore

log = structlog.get_logger(__name__)

SOURCE = "person"
"""The source of events that follow from another contact of the same person."""
ACTOR = "gateway"
_PAGE = 200
"""People looked at together."""
_AT_ONCE = 16
"""People settled at once: they share round trips."""


@dataclass(slots=True)
class Healed:
    """What a walk over all people found."""

    people: int = 0
    tightened: int = 0
    """Bans and restrictions that were carried to a contact."""
    lifted: int = 0
    """Carried bans that went with their source."""
    reindexed: int = 0
    """People whose contacts are now found by the current digest key."""
    erased: int = 0
    """Whose keys are destroyed: their erasure was not known to this copy of the archive."""
    failed: int = 0
    """People who could not be read; the log has the cause."""


class Spreader:
    """Carries bans between the contacts of people."""

    def __init__(
        self,
        people: PersonStore,
        register: Register,
        events: EventArchive,
        ring: KeyRing,
        clock: Clock = now_ms,
    ) -> None:
        self._people = people
        self._register = register
        self._events = events
        self._ring = ring
        self._clock = clock

    async def tighten(
        self, contacts: Sequence[Contact], *, restricted: bool = False, person_id: str = ""
    ) -> int:
        """Carry to each contact what it lacks of the others' bans; how many events.

        ``restricted``: processing is restricted for the person.  In effect when this
        returns (after :meth:`Register.settle`, where anything was written).  Raises
        RegisterUnavailable, RecordsUnavailable; doing it again is safe then.
        """
        contacts = list(dict.fromkeys(contacts))
        stands = await self._stands(contacts)
        shared = await self._shared(contacts, person_id)
        changes = self._restrictions(stands, restricted)
        causes = _Causes(self)
        for copy in missing(stands, shared):
            cause = await causes.of(contacts[copy.source], copy.ban)
            changes.append((_copied(copy.ban, cause, self._clock()), contacts[copy.target]))
        if not changes:
            return 0
        logged = await self._register.apply_many(changes, only_changes=True, settled=False)
        await self._register.settle()
        return len(logged)

    async def loosen(self, contacts: Sequence[Contact], *, person_id: str = "") -> int:
        """Lift the copies of bans whose lifting at their source is on record; how many.

        Raises as :meth:`tighten`.
        """
        contacts = list(dict.fromkeys(contacts))
        stands = await self._stands(contacts)
        shared = await self._shared(contacts, person_id)
        written = 0
        histories: dict[int, list[Event]] = {}
        for copy in surplus(stands, shared):
            if copy.source not in histories:
                histories[copy.source] = await self.history(contacts[copy.source])
            lifting = _lifting(histories[copy.source], copy.ban)
            if lifting is not None:
                event = _lifted(copy.ban, lifting.at, lifting.id, lifting.evidence)
                written += await self._apply(event, contacts[copy.target])
        return written

    async def detach(self, contact: Contact, others: Sequence[Contact], evidence: str) -> int:
        """Lift what a contact and the others carry of each other: it was never the person's.

        Returns how many events.  Raises as :meth:`tighten`.
        """
        written = 0
        stands = await self._stands([contact, *others])
        first = stands[0]
        pairs = [(one, first) for one in stands[1:]] + [(first, one) for one in stands[1:]]
        for source, target in pairs:
            for ban in target.exact.bans:
                if ban.origin in source.origins:
                    event = _lifted(ban, self._clock(), "", evidence)
                    written += await self._apply(event, target.contact)
        return written

    async def visit(self, person_id: str) -> tuple[int, int]:
        """Carry and lift what there is to be for one person; how many of each.

        Raises as :meth:`tighten`, SealError.
        """
        if (await self._people.row(person_id)).state is not State.ACTIVE:
            return 0, 0
        return await self.settle((await self._people.open(person_id)).person)

    async def settle(self, person: Person) -> tuple[int, int]:
        """:meth:`visit` of a person at hand."""
        contacts = person.every_contact
        tightened = await self.tighten(
            contacts, restricted=person.restriction is not None, person_id=person.id
        )
        return tightened, await self.loosen(contacts, person_id=person.id)

    async def visit_of(self, contact: Contact) -> int:
        """:meth:`visit` whoever has this contact, or another spelling of it; how many."""
        people = await self._people.of(contact)
        for person_id in people:
            await self.visit(person_id)
        return len(people)

    async def heal(self) -> Healed:
        """Visit everybody; whoever cannot be read is counted and does not stop the rest.

        Raises RegisterUnavailable, RecordsUnavailable.
        """
        healed = Healed()
        page: list[str] = []
        async for person_id in self._people.ids():
            page.append(person_id)
            if len(page) == _PAGE:
                await self._heal(page, healed)
                page = []
        await self._heal(page, healed)
        return healed

    async def visit_many(self, people: Sequence[str]) -> Healed:
        """:meth:`visit` those, by two hundred at once; only where there is something to do.

        Raises RegisterUnavailable, RecordsUnavailable.
        """
        healed = Healed()
        for at in range(0, len(people), _PAGE):
            await self._heal(people[at : at + _PAGE], healed)
        return healed

    async def _heal(self, page: Sequence[str], healed: Healed) -> None:
        """Look at some together, and settle those alone of whom something is missing."""
        found = await self._people.open_many(page)
        shared = await self._people.shared([each for _, kept in found.values() for each in kept])
        closed = [person_id for person_id, (stored, _) in found.items() if stored is None]
        erased = await self._people.end_lost_erasures(closed) if closed else set()
        healed.erased += len(erased)
        for person_id in closed:
            if person_id not in erased:
                healed.failed += 1
                log.error("person_unreadable", person=person_id)
        opened = [(stored, kept) for stored, kept in found.values() if stored is not None]
        healed.people += len(opened)
        stands = await asyncio.gather(
            *[self._stands(stored.person.every_contact) for stored, _ in opened]
        )
        unsettled = []
        for (stored, kept), each in zip(opened, stands, strict=True):
            if kept != self._people.index(stored.person):
                with suppress(PersonStateError):  # whoever changed the person has done it
                    healed.reindexed += await self._people.reindex(stored)
            wanted = stored.person.restriction is not None
            if (
                not shared.isdisjoint(kept)
                or self._restrictions(each, wanted)
                or missing(each)
                or surplus(each)
            ):
                unsettled.append(stored.person)
        for at in range(0, len(unsettled), _AT_ONCE):
            done = await asyncio.gather(
                *map(self.settle, unsettled[at : at + _AT_ONCE]), return_exceptions=True
            )
            for one in done:
                if isinstance(one, BaseException):
                    raise one
                healed.tightened += one[0]
                healed.lifted += one[1]

    # -- parts ----------------------------------------------------------------------

    async def _stands(self, contacts: Sequence[Contact]) -> list[Stand]:
        ours = {contact.canonical for contact in contacts}
        wider = [
            None if each.base in ours else each._replace(canonical=each.base) for each in contacts
        ]
        asked = [*contacts, *(each for each in wider if each is not None)]
        found = iter(await asyncio.gather(*map(self._register.show, asked)))
        exact = [next(found) for _ in contacts]
        return [
            Stand(contact, self._origins(contact), entry, None if base is None else next(found))
            for contact, entry, base in zip(contacts, exact, wider, strict=True)
        ]

    def _origins(self, contact: Contact) -> tuple[bytes, ...]:
        digests = self._ring.digests(subject_of(contact))
        return tuple(digest.value[:ORIGIN_SIZE] for digest in digests)

    async def _shared(self, contacts: Sequence[Contact], person_id: str) -> frozenset[bytes]:
        """The origins of others' contacts, where somebody else shares one of these."""
        digests = [digest for each in contacts for digest in self._people.digests(each)]
        origins: set[bytes] = set()
        for other in await self._people.having(digests):
            if other == person_id:
                continue
            try:
                person = (await self._people.open(other)).person
            except (SealError, PersonStateError):
                continue  # erased in this moment: a ban more is carried, none less
            for each in person.every_contact:
                origins.update(self._origins(each))
        return frozenset(origins)

    def _restrictions(
        self, stands: Sequence[Stand], restricted: bool
    ) -> list[tuple[Event, Contact]]:
        """What restricts those that are not restricted although somebody or all are."""
        if not restricted and not any(stand.restricted for stand in stands):
            return []
        event = Event(kind=EventKind.RESTRICT, at=self._clock(), actor=ACTOR, source=SOURCE)
        return [(event, stand.contact) for stand in stands if not stand.exact.restricted]

    async def _apply(self, event: Event, contact: Contact) -> int:
        return len(
            await self._register.apply_many([(event, contact)], only_changes=True, settled=False)
        )

    async def history(self, contact: Contact) -> list[Event]:
        """Every event of a contact and its wider spelling, oldest first.

        Reads the whole log of the contact's shard beside the archive.
        """
        # The log first: what leaves it meanwhile is in the archive then.
        logged = [
            event for each in _spellings(contact) for event in await self._register.history(each)
        ]
        events = {event.id: event for event in await self.archived(contact)}
        events |= {event.id: event for event in logged}
        return sorted(events.values(), key=lambda event: (event.recorded, event.id))

    async def archived(self, contact: Contact) -> list[Event]:
        """The events of a contact and its wider spelling that are in the archive."""
        digests = [digest for each in _spellings(contact) for digest in self._people.digests(each)]
        events = map(Event.from_json, await self._events.of(digests))
        return sorted(events, key=lambda event: (event.recorded, event.id))


class _Causes:
    """Finds which events made bans: in the archive, where most are, else in the log."""

    def __init__(self, spreader: Spreader) -> None:
        self._spreader = spreader
        self._archived: dict[Contact, list[Event]] = {}
        self._every: dict[Contact, list[Event]] = {}

    async def of(self, contact: Contact, ban: Ban) -> str:
        """The id of the event that made a contact's ban; "" where it is not on record."""
        if contact not in self._archived:
            self._archived[contact] = await self._spreader.archived(contact)
        cause = _cause(self._archived[contact], ban)
        if not cause:
            if contact not in self._every:
                self._every[contact] = await self._spreader.history(contact)
            cause = _cause(self._every[contact], ban)
        return cause


def _spellings(contact: Contact) -> list[Contact]:
    """A contact, and its wider spelling where that is another."""
    if contact.base == contact.canonical:
        return [contact]
    return [contact, contact._replace(canonical=contact.base)]


def _copied(ban: Ban, cause: str, now: int) -> Event:
    return Event(
        kind=EventKind.BAN,
        at=min(ban.at, now),
        actor=ACTOR,
        source=SOURCE,
        cause=cause,
        origin=ban.origin,
        scope=ban.scope,
        channel=ban.channel,
        topic=ban.topic,
    )


def _lifted(ban: Ban, at: int, cause: str, evidence: str) -> Event:
    return Event(
        kind=EventKind.UNBAN,
        at=at,
        actor=ACTOR,
        source=SOURCE,
        evidence=evidence,
        cause=cause,
        origin=ban.origin,
        scope=ban.scope,
        channel=ban.channel,
        topic=ban.topic,
    )


def _key_of(event: Event) -> Key | None:
    """What an event forbids or lifts."""
    if event.kind in (EventKind.BAN, EventKind.UNBAN) and event.scope is not None:
        narrow = event.scope in (Scope.CHANNEL, Scope.TOPIC)
        topic = event.topic if event.scope is Scope.TOPIC else None
        return Ban(event.scope, 0, event.channel if narrow else None, topic).key[:3]
    if event.kind is EventKind.WITHDRAW:
        if event.topic in (None, ANY_TOPIC):
            return Ban(Scope.CHANNEL, 0, event.channel).key[:3]
        return Ban(Scope.TOPIC, 0, event.channel, event.topic).key[:3]
    if event.kind is EventKind.ERASE:
        return Ban(Scope.ALL, 0).key[:3]
    return None


def _cause(events: Sequence[Event], ban: Ban) -> str:
    """The id of the event that made a ban; "" where it is not on record."""
    return next(
        (
            event.id
            for event in reversed(events)
            if event.kind is not EventKind.UNBAN
            and event.at == ban.at
            and _key_of(event) == ban.key[:3]
        ),
        "",
    )


def _lifting(events: Sequence[Event], ban: Ban) -> Event | None:
    """The last event that lifts a ban, where there is one."""
    liftings = [
        event
        for event in events
        if event.kind is EventKind.UNBAN
        and event.source != SOURCE
        and not event.imported
        and event.at >= ban.at
        and _key_of(event) == ban.key[:3]
    ]
    return max(liftings, key=lambda event: event.at, default=None)
