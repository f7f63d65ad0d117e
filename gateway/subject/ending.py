"""The end of retention of a person (the notice, section 8; GDPR 5(1)(e)).

Five years after the last relationship, contract or warranty ended nothing is kept of a
person but bans, which their contacts keep.  The profile's key is destroyed, so that no
copy of the archive can be read either.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Final

from sqlalchemy import exists, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.clock import Clock, now_ms
from gateway.contacts.digest import Digest
from gateway.custody.custody import Custody
from gateway.entry.event import Event, EventKind
from gateway.entry.period import kept_until
from gateway.records import schema
from gateway.records.act import Action
from gateway.records.database import Database
from gateway.register.register import Register
from gateway.subject.directory import PersonStateError, State, Stored, owner_of
from gateway.subject.retention import retained_until
from gateway.subject.store import PersonStore

_PAGE: Final = 200
_person = schema.person


class Ending:
    """Forgets people; every method raises RecordsUnavailable and RegisterUnavailable."""

    def __init__(
        self,
        database: Database,
        store: PersonStore,
        register: Register,
        custody: Custody,
        years: int,
        clock: Clock = now_ms,
    ) -> None:
        self._database = database
        self._store = store
        self._register = register
        self._custody = custody
        self._years = years
        self._clock = clock

    async def due(self) -> AsyncIterator[str]:
        """The ids of people whose retention is over now.

        What was open when a person was last changed may have ended since: whoever had
        no end is looked at anew.  Whoever the register knows more of, such as a
        relationship or a consent that lasts, is kept with it.  Whom an earlier run has
        not forgotten wholly comes first.
        """
        for person_id in await self._begun():
            yield person_id
        now, after = self._clock(), ""
        while page := await self._page(after, now):
            after = page[-1]
            opened = await self._store.open_many(page)
            for person_id in page:
                stored, digests = opened.get(person_id, (None, []))
                if stored is None:
                    continue
                until = retained_until(stored.person, stored.created, self._years, now)
                if until is None:
                    continue
                over = until <= now
                if over and not await self._over(digests):
                    over, until = False, None  # which keeps the person's records too
                await self._note(stored, until)
                if over:
                    yield person_id

    async def _over(self, digests: Sequence[str]) -> bool:
        """Whether nothing that the register knows of these contacts is to be kept longer."""
        now = self._clock()
        for digest in digests:
            entry = await self._register.entry_at(Digest.parse(digest))
            until = kept_until(entry, 0, self._years, now)
            if until is None or until > now:
                return False
        return True

    async def _begun(self) -> list[str]:
        """Whom a run that was cut off has begun to forget.

        An erasure that somebody asked for is ended by asking again.
        """
        act = schema.act.c
        of = select(act.id).where(act.subject == _person.c.id)
        query = (
            select(_person.c.id)
            .where(
                _person.c.state == "erasing",
                exists(of.where(act.action == Action.PURGE.value)),
                ~exists(of.where(act.action == Action.ERASE.value)),
            )
            .order_by(_person.c.id)
        )

        async def work(connection: AsyncConnection) -> list[str]:
            return list(await connection.scalars(query))

        return await self._database.read(work)

    async def _page(self, after: str, now: int) -> list[str]:
        query = (
            select(_person.c.id)
            .where(
                _person.c.id > after,
                _person.c.state == "active",
                or_(_person.c.retain_until.is_(None), _person.c.retain_until <= now),
            )
            .order_by(_person.c.id)
            .limit(_PAGE)
        )

        async def work(connection: AsyncConnection) -> list[str]:
            return list(await connection.scalars(query))

        return await self._database.read(work)

    async def _note(self, stored: Stored, until: int | None) -> None:
        """Keep the end that is known now, so that it need not be looked for again."""

        async def work(connection: AsyncConnection) -> None:
            await connection.execute(
                update(_person)
                .where(_person.c.id == stored.person.id, _person.c.changed == stored.changed)
                .where(_person.c.retain_until.is_distinct_from(until))
                .values(retain_until=until)
            )

        await self._database.write(work)

    async def forget(self, person_id: str, actor: str) -> None:
        """Forget a person; cut off in between, it is ended by doing it again.

        Contacts that are somebody else's too are left to that person's end.  Raises
        PersonStateError where the person was changed, and is kept, in between.
        """
        row = await self._store.row(person_id)
        if row.state is not State.ERASING:
            stored = await self._store.open(person_id)
            now = self._clock()
            until = retained_until(stored.person, stored.created, self._years, now)
            if until is None or until > now:
                raise PersonStateError("this person was changed in between, and is kept")
            # From here on nobody can add a contact, or anything that is to be kept.
            await self._store.begin_erasure(person_id, stored.changed)
        digests = await self._store.contact_digests(person_id)
        shared = await self._store.shared(digests)
        await self._forget_contacts([each for each in digests if each not in shared], actor)
        ids = [person_id, *await self._store.merged_into(person_id)]
        await self._custody.destroy([owner_of(each) for each in ids], self._clock())
        await self._store.end_erasure(person_id)

    async def _forget_contacts(self, digests: Sequence[str], actor: str) -> None:
        event = Event(kind=EventKind.FORGET, at=self._clock(), actor=actor, source="retention")
        for digest in digests:
            await self._register.apply_to_digest(event, Digest.parse(digest))
