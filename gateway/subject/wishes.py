"""What people want of the register: no marketing, a consent taken back, processing restricted.

Each holds for every contact of the person when the method returns, and is an act first.
"""

from __future__ import annotations

from dataclasses import replace

from gateway.clock import Clock, now_ms
from gateway.contacts.contact import Channel
from gateway.entry.entry import ANY_ORIGIN, Ban, Scope
from gateway.entry.event import Event, EventKind
from gateway.records.act import Action
from gateway.register.register import Register
from gateway.subject.directory import Stored
from gateway.subject.people import People, Who
from gateway.subject.person import Objection, Person, PersonError, Restriction


class Wishes:
    """Carries out what a person objects to or takes back.

    Every method raises RecordsUnavailable and RegisterUnavailable; it may then be done
    again.  Those that name a person raise PersonStateError when there is none.
    """

    def __init__(self, people: People, register: Register, clock: Clock = now_ms) -> None:
        self._people = people
        self._register = register
        self._clock = clock

    async def object(self, person_id: str, objection: Objection, who: Who) -> Stored:
        """A ban in the person's own words: in force for every contact when this returns.

        The words are kept with the person, sealed; the register's event names the
        person's id in their place.
        """
        stored = await self._people.opened(person_id)
        person = stored.person
        await self._people.note(
            Action.OBJECT, person.id, who, scope=objection.scope, channel=objection.channel
        )
        event = Event(
            kind=EventKind.BAN,
            at=min(objection.received, self._clock()),
            actor=who.name,
            source=objection.how or "objection",
            evidence=f"objection of person {person.id}",
            scope=objection.scope,
            channel=objection.channel,
            topic=objection.topic,
        )
        targets = [
            each
            for each in person.every_contact
            if objection.channel is None or each.channel is objection.channel
        ]
        await self._register.apply_many([(event, each) for each in targets], settled=False)

        def changed(each: Person) -> Person:
            return replace(each, objections=(*each.objections, objection))

        return await self._people.keep(person.id, changed)

    async def withdraw(
        self, person_id: str, channel: Channel, topic: str, who: Who, *, words: str = ""
    ) -> Stored:
        """Consents of a channel and topic are taken back, for every contact of the channel."""
        stored = await self._people.opened(person_id)
        person = stored.person
        await self._people.note(Action.OBJECT, person.id, who, what="withdraw", channel=channel)
        now = self._clock()
        event = Event(
            kind=EventKind.WITHDRAW,
            at=now,
            actor=who.name,
            source="withdrawal",
            evidence=f"withdrawal of person {person.id}",
            channel=channel,
            topic=topic,
        )
        targets = [each for each in person.every_contact if each.channel is channel]
        await self._register.apply_many([(event, each) for each in targets], settled=False)
        every = event.topic in (None, "*")
        objection = Objection(
            words=words,
            received=now,
            scope=Scope.CHANNEL if every else Scope.TOPIC,
            channel=channel,
            topic=None if every else event.topic,
            how="withdrawal of a consent",
            by=who.name,
        )

        def changed(each: Person) -> Person:
            return replace(each, objections=(*each.objections, objection)) if words else each

        return await self._people.keep(person.id, changed)

    async def unban(
        self,
        person_id: str,
        who: Who,
        *,
        scope: Scope,
        channel: Channel | None = None,
        topic: str | None = None,
    ) -> int:
        """Lift a ban of the person from every contact; how many it was lifted from.

        Also what was carried there from elsewhere.  Raises PersonError without a reason.
        """
        if not who.reason.strip():
            raise PersonError("say why the ban is lifted; it is recorded")
        person = (await self._people.opened(person_id)).person
        await self._people.note(Action.OBJECT, person.id, who, what="unban", scope=scope)
        now = self._clock()
        event = Event(
            kind=EventKind.UNBAN,
            at=now,
            actor=who.name,
            source="person lifted",
            evidence=who.reason,
            scope=scope,
            channel=channel,
            topic=topic,
        )
        key = Ban(scope, 0, event.channel, event.topic).key[:3]
        lifted = 0
        for contact in person.every_contact:
            entry = await self._register.show(contact)
            news = False
            carried = {ban.origin for ban in entry.bans if ban.inherited and ban.key[:3] == key}
            for origin in (b"", *sorted(carried - {ANY_ORIGIN})):
                logged = await self._register.apply_many(
                    [(replace(event, origin=origin), contact)], only_changes=True, settled=False
                )
                news = news or bool(logged)
            lifted += news
        await self._people.spreader.settle(person)
        await self._register.settle()
        return lifted

    async def restrict(self, person_id: str, who: Who) -> Stored:
        """Restrict processing (GDPR 18); raises PersonError without a reason."""
        if not who.reason.strip():
            raise PersonError("say why processing is restricted; it is recorded")
        person = (await self._people.opened(person_id)).person
        await self._people.note(Action.RESTRICT, person.id, who, what="restrict")
        await self._people.spreader.tighten(
            person.every_contact, restricted=True, person_id=person.id
        )
        restriction = Restriction(since=self._clock(), reason=who.reason)
        return await self._people.keep(
            person.id, lambda each: replace(each, restriction=each.restriction or restriction)
        )

    async def unrestrict(self, person_id: str, who: Who) -> Stored:
        """Lift the restriction; the person is to be told before (GDPR 18(3)).

        Cut off in between, the restriction stands for some contacts and returns for all:
        it is lifted by asking again.  Raises PersonError without a reason.
        """
        if not who.reason.strip():
            raise PersonError("say why, and that the person was told (GDPR 18(3))")
        person = (await self._people.opened(person_id)).person
        await self._people.note(Action.RESTRICT, person.id, who, what="unrestrict")
        stored = await self._people.save(person.id, lambda each: replace(each, restriction=None))
        event = Event(
            kind=EventKind.UNRESTRICT,
            at=self._clock(),
            actor=who.name,
            source="person lifted",
            evidence=who.reason,
        )
        await self._register.apply_many(
            [(event, each) for each in stored.person.every_contact], only_changes=True
        )
        return stored
