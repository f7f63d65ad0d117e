"""What is done with people: added, linked, renamed, merged.  Each deed is an act first.

Nothing here knows a command line or a web server.  Every method that takes ``by`` records
who does it, and why, before it is done; every one that reads a person's data records
that it is read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Protocol

from gateway.clock import Clock, now_ms
from gateway.contacts.contact import Contact
from gateway.decision.facts import PersonClass
from gateway.records.act import Act, Action, Detail
from gateway.records.identifier import new_id
from gateway.register.register import Register
from gateway.subject.directory import PersonStateError, State, Stored
from gateway.subject.person import (
    Commitment,
    Hold,
    Language,
    Person,
    PersonError,
    Product,
    Relationship,
)
from gateway.subject.spread import Spreader
from gateway.subject.store import PersonStore

_TRIES: Final = 5


class Acts(Protocol):
    """What makes an act durable before the deed, such as the records' ``Recorder``."""

    async def act(self, *acts: Act) -> None:
        """Store them; raises RecordsUnavailable: the deed is not to be done then."""


@dataclass(frozen=True, slots=True)
class Who:
    """Who does something to a person's data, and why."""

    name: str
    reason: str = ""


class People:
    """The people of the register, as those who serve them use them.

    Every method raises RecordsUnavailable and RegisterUnavailable; it may then be done
    again.  Those that name a person raise PersonStateError when there is none.
    """

    def __init__(
        self,
        store: PersonStore,
        register: Register,
        spreader: Spreader,
        acts: Acts,
        clock: Clock = now_ms,
    ) -> None:
        self.store = store
        self.spreader = spreader
        self._register = register
        self._acts = acts
        self._clock = clock

    # -- reading --------------------------------------------------------------------

    async def read(self, person_id: str, who: Who) -> Stored:
        """A person's data, once the act of reading it is on record."""
        row = await self.store.row(person_id)
        await self.note(Action.READ, row.merged_into or row.id, who, what="person")
        return await self.store.get(person_id)

    async def find(self, contact: Contact, who: Who) -> list[Stored]:
        """Whoever has, or had, this contact or a spelling that it is a part of."""
        await self.note(Action.SEARCH, self.store.digests(contact)[0], who, what="person")
        found = []
        for person_id in await self.store.of(contact):
            stored = await self.store.open(person_id)
            if stored.state is State.ACTIVE:
                found.append(stored)
        return found

    # -- changing -------------------------------------------------------------------

    async def add(
        self,
        who: Who,
        *,
        name: str = "",
        contacts: Sequence[Contact] = (),
        source: str,
        language: Language = Language.FI,
        person_class: PersonClass = PersonClass.NATURAL,
    ) -> Stored:
        """A new person with these contacts, which share their bans from then on.

        Raises PersonError without a name and a contact, or without a source (S12).
        """
        _needs_source(source)
        if not name.strip() and not contacts:
            raise PersonError("a person needs a name or a contact")
        now = self._clock()
        person = Person(id=new_id(), language=language, person_class=person_class)
        if name.strip():
            person = person.renamed(name, now)
        for contact in contacts:
            person = person.linked(contact, now, source)
        await self.note(Action.CHANGE, person.id, who, what="add", contacts=len(contacts))
        await self.spreader.tighten(person.every_contact, person_id=person.id)
        stored = await self.store.add(person)
        await self.spreader.settle(person)
        return stored

    async def link(self, person_id: str, contact: Contact, who: Who, *, source: str) -> Stored:
        """One more address or number of a person; every ban of the person holds for it.

        The person's bans are in force for it before it is linked.
        """
        _needs_source(source)
        now = self._clock()
        return await self._change(
            person_id, who, "link", lambda person: person.linked(contact, now, source)
        )

    async def change_contact(
        self, person_id: str, old: Contact, new: Contact, who: Who, *, source: str
    ) -> Stored:
        """An address or number took another's place: the old one's bans come along.

        The old one stays as a former contact, under which a replication that has not
        heard of the change may bring it back: it is banned as it was.
        """
        _needs_source(source)
        now = self._clock()

        def changed(person: Person) -> Person:
            return person.linked(new, now, source).retired(old, now)

        return await self._change(person_id, who, "change contact", changed)

    async def retire(self, person_id: str, contact: Contact, who: Who) -> Stored:
        """A contact is no longer in use; it stays the person's, and so do its bans."""
        now = self._clock()
        return await self._change(person_id, who, "retire", lambda each: each.retired(contact, now))

    async def unlink(
        self, person_id: str, contact: Contact, who: Who, *, lift: bool = False
    ) -> Stored:
        """A contact was never this person's.

        What it and the others carry of each other's bans stays, unless ``lift`` says
        that it was carried by mistake.  Raises PersonError without a reason.
        """
        if not who.reason.strip():
            raise PersonError("say why it was never this person's contact; it is recorded")
        stored = await self._change(
            person_id, who, "unlink", lambda person: person.unlinked(contact), lift=lift
        )
        if lift:
            await self.spreader.detach(contact, stored.person.every_contact, who.reason)
            await self.spreader.visit_of(contact)
            await self._register.settle()
        return stored

    async def rename(self, person_id: str, name: str, who: Who) -> Stored:
        """A new name; nothing else changes with it, least of all a ban."""
        now = self._clock()
        return await self._change(person_id, who, "rename", lambda each: each.renamed(name, now))

    async def set(
        self,
        person_id: str,
        who: Who,
        *,
        language: Language | None = None,
        person_class: PersonClass | None = None,
        relationship: Relationship | None = None,
        commitment: Commitment | None = None,
        product: Product | None = None,
        note: str | None = None,
        hold: Hold | None = None,
        release_hold: bool = False,
    ) -> Stored:
        """State or correct what is given (GDPR 16); the rest stays as it is.

        A relationship takes the place of the one with the same start (or of the one
        that is open), a contract or warranty of the one with the same reference, a
        product of the one with the same name and day.
        """

        def changed(person: Person) -> Person:
            if relationship is not None:
                person = replace(person, relationships=_related(person, relationship))
            if commitment is not None:
                others = tuple(
                    each
                    for each in person.commitments
                    if (each.bond, each.reference) != (commitment.bond, commitment.reference)
                )
                person = replace(person, commitments=(*others, commitment))
            if product is not None:
                rest = tuple(
                    each
                    for each in person.products
                    if (each.name, each.day) != (product.name, product.day)
                )
                person = replace(person, products=(*rest, product))
            return replace(
                person,
                language=language or person.language,
                person_class=person_class or person.person_class,
                note=person.note if note is None else note,
                hold=None if release_hold else hold or person.hold,
            )

        return await self._change(person_id, who, "set", changed)

    async def merge(self, into: str, other: str, who: Who) -> Stored:
        """Two records of one person become one; every ban of either holds for both.

        Raises PersonError when both are the same.
        """
        for _ in range(_TRIES):
            first, second = await self.store.get(into), await self.store.get(other)
            if first.person.id == second.person.id:
                raise PersonError("both are the same person already")
            person = first.person.merged(second.person)
            await self.note(
                Action.CHANGE, first.person.id, who, what="merge", other=second.person.id
            )
            await self._tighten(person)
            try:
                stored = await self.store.merge(person, first, second)
            except PersonStateError:
                continue
            await self.spreader.settle(person)
            return stored
        raise PersonStateError("these people are being changed by somebody else; try again")

    # -- parts ----------------------------------------------------------------------

    async def note(self, action: Action, subject: str, who: Who, **detail: Detail) -> None:
        """Put on record what is about to be done; raises RecordsUnavailable."""
        told: Mapping[str, Detail] = {k: v for k, v in detail.items() if v is not None}
        await self._acts.act(
            Act(action=action, actor=who.name, reason=who.reason, subject=subject, detail=told)
        )

    async def opened(self, person_id: str) -> Stored:
        """A person who is not being erased; raises PersonStateError."""
        stored = await self.store.get(person_id)
        if stored.state is not State.ACTIVE:
            raise PersonStateError("this person is being erased; finish the erasure")
        return stored

    async def _change(
        self,
        person_id: str,
        who: Who,
        what: str,
        change: Callable[[Person], Person],
        **detail: Detail,
    ) -> Stored:
        """Change a person: the act, the bans, the row, and the bans that came meanwhile."""
        stored = await self.opened(person_id)
        changed = change(stored.person)  # that it can be done is known before it is noted
        if changed == stored.person:
            return stored
        await self.note(Action.CHANGE, stored.person.id, who, what=what, **detail)
        return await self.keep(stored.person.id, change)

    async def keep(self, person_id: str, change: Callable[[Person], Person]) -> Stored:
        """:meth:`save`, and see that what came meanwhile is in force everywhere."""
        stored = await self.save(person_id, change)
        await self.spreader.settle(stored.person)
        await self._register.settle()
        return stored

    async def save(self, person_id: str, change: Callable[[Person], Person]) -> Stored:
        """Store a change, once the person's bans are in force; made anew if another was first."""
        for _ in range(_TRIES):
            stored = await self.opened(person_id)
            changed = change(stored.person)
            await self._tighten(changed)
            try:
                return await self.store.save(changed, stored)
            except PersonStateError:
                continue
        raise PersonStateError("this person is being changed by somebody else; try again")

    async def _tighten(self, person: Person) -> None:
        await self.spreader.tighten(
            person.every_contact,
            restricted=person.restriction is not None,
            person_id=person.id,
        )


def _needs_source(source: str) -> None:
    if not source.strip():
        raise PersonError("say where the contact came from (--source); it is recorded")


def _related(person: Person, stated: Relationship) -> tuple[Relationship, ...]:
    known = list(person.relationships)
    for at, each in enumerate(known):
        same = stated.start is not None and each.start == stated.start
        closes = stated.start is None and each.end is None
        if same or closes:
            known[at] = Relationship(
                start=stated.start or each.start,
                start_manner=stated.start_manner or each.start_manner,
                end=stated.end or each.end,
                end_manner=stated.end_manner or each.end_manner,
            )
            return tuple(known)
    return (*known, stated)
