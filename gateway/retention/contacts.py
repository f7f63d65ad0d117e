"""Contacts whose time is over are forgotten: what is known beyond bans goes.

Of a contact the register knows no more than its digest, and that is enough.  A contact
of a person who is kept is left alone: the person's own end decides.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

from sqlalchemy import exists, func, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.clock import Clock, now_ms, years_later
from gateway.contacts.digest import Digest
from gateway.entry.entry import Entry
from gateway.entry.event import Event, EventKind
from gateway.entry.period import kept_until
from gateway.failure import InputError
from gateway.records import schema
from gateway.records.database import Database
from gateway.register.register import Register

_PAGE = 500


class Contacts:
    """Finds and forgets contacts; every method raises RecordsUnavailable, RegisterUnavailable."""

    def __init__(
        self, database: Database, register: Register, years: int, clock: Clock = now_ms
    ) -> None:
        self._database = database
        self._register = register
        self._years = years
        self._clock = clock

    async def due(self) -> AsyncIterator[Digest]:
        """The contacts whose time is over now, by digest, a page of them read at a time."""
        now = self._clock()
        after = ""
        while True:
            page = await self._page(after, years_later(now, -self._years))
            if not page:
                return
            after = page[-1][0]
            for subject, last in page:
                try:
                    digest = Digest.parse(subject)
                except InputError:
                    continue
                entry = await self._register.entry_at(digest)
                if entry == Entry(
                    entry.bans, restricted=entry.restricted, tombstone=entry.tombstone
                ):
                    continue
                until = kept_until(entry, last, self._years, now)
                if until is not None and until <= now:
                    yield digest

    async def forget(self, digest: Digest, actor: str) -> bool:
        """Forget one contact but for its bans; whether there was anything to forget.

        What was told of it since it was found due keeps it.
        """
        now = self._clock()
        until = kept_until(await self._register.entry_at(digest), 0, self._years, now)
        if until is None or until > now:
            return False
        event = Event(kind=EventKind.FORGET, at=self._clock(), actor=actor, source="retention")
        return bool(await self._register.apply_to_digest(event, digest))

    async def _page(self, after: str, before: int) -> list[tuple[str, int]]:
        """Subjects, with when their last event took effect, that nothing happened to since."""
        event, person = schema.event.c, schema.person.c
        kept = (
            select(person.id)
            .join(schema.person_contact, schema.person_contact.c.person_id == person.id)
            .where(
                schema.person_contact.c.digest == event.subject,
                person.state == "active",
                or_(person.retain_until.is_(None), person.retain_until > self._clock()),
            )
        )
        last = func.max(event.at)
        query = (
            select(event.subject, last)
            .where(event.subject > after, ~exists(kept))
            .group_by(event.subject)
            .having(last <= before)
            .order_by(event.subject)
            .limit(_PAGE)
        )

        async def work(connection: AsyncConnection) -> list[tuple[str, int]]:
            return [(row[0], row[1]) for row in await connection.execute(query)]

        return await self._database.read(work)
