"""Whatever changes in the register for one contact reaches the person's others.

A ban may come by any way: a STOP, an import, a command.  The archive has every change
in one order (the chain's); the follower goes along it and visits whoever has a contact
that was changed.  How far it came stands in the table ``cursor``; a crash repeats a
visit, which changes nothing the second time.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

import orjson
import structlog
from sqlalchemy import insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.failure import GatewayError
from gateway.records import schema
from gateway.records.database import Database
from gateway.subject.spread import ACTOR, SOURCE, Spreader

log = structlog.get_logger(__name__)

CURSOR: Final = "people"
_LINKS: Final = 64
"""Links of the chain read at a time, each of at most 256 rows."""
_PART: Final = 500
_EVERY: Final = 1.0
_CARRIED: Final = (f'"actor":"{ACTOR}"', f'"source":"{SOURCE}"')
"""What the JSON of an event has that carries what happened elsewhere."""
_RETRY_MOST: Final = 30.0


class Follower:
    """Goes along the archived events; one at a time is enough, several do no harm."""

    def __init__(self, database: Database, spreader: Spreader) -> None:
        self._database = database
        self._spreader = spreader

    async def run(self) -> None:
        """Heal once, then follow every second until cancelled; failures are retried."""
        pause = _EVERY
        healed = failing = False
        while True:
            try:
                await self.run_once()
                if not healed:
                    result = await self._spreader.heal()
                    healed = True
                    if result.tightened or result.failed:
                        log.warning(
                            "people_healed", tightened=result.tightened, unreadable=result.failed
                        )
                pause = _EVERY
                failing = False
            except GatewayError as error:
                if not failing:
                    log.error("people_not_followed", cause=str(error))
                failing = True
                pause = min(2 * pause, _RETRY_MOST)
            await asyncio.sleep(pause)

    async def run_once(self) -> int:
        """Visit everybody who was changed since the last time; how many.

        Raises RegisterUnavailable, RecordsUnavailable; what was not reached comes next
        time.
        """
        total = 0
        while True:
            found = await self._database.read(self._next)
            if found is None:
                return total
            last, people = found
            await self._spreader.visit_many(people)
            await self._move(last)
            total += len(people)

    async def _next(self, connection: AsyncConnection) -> tuple[int, list[str]] | None:
        """Where the next part of the chain ends, and whom it changed; None at its end."""
        head = int(await connection.scalar(select(schema.archive.c.seq)) or 0)
        at = await connection.scalar(
            select(schema.cursor.c.last).where(schema.cursor.c.stream == CURSOR)
        )
        last = int(at or 0)
        if last > head:
            last = 0  # an older copy of the archive was restored
        if last == head:
            return None
        somebody = select(schema.person_contact.c.person_id).limit(1)
        if await connection.scalar(somebody) is None:
            return head, []
        chain = schema.chain.c
        links = await connection.execute(
            select(chain.seq, chain.kind, chain.ids)
            .where(chain.seq > last)
            .order_by(chain.seq)
            .limit(_LINKS)
        )
        ids: list[str] = []
        end = head
        for link in links:
            end = link.seq
            if link.kind == schema.event.name:
                ids += orjson.loads(link.ids)
        return end, await _people_of(connection, ids)

    async def _move(self, last: int) -> None:
        async def work(connection: AsyncConnection) -> None:
            moved = await connection.execute(
                update(schema.cursor).where(schema.cursor.c.stream == CURSOR).values(last=str(last))
            )
            if not moved.rowcount:
                await connection.execute(
                    insert(schema.cursor).values(stream=CURSOR, last=str(last))
                )

        await self._database.write(work)


async def _people_of(connection: AsyncConnection, ids: Sequence[str]) -> list[str]:
    """Who has a contact that one of these events is about.

    Events that only carry what happened elsewhere bring nothing new.
    """
    people: set[str] = set()
    contact, event = schema.person_contact.c, schema.event.c
    for at in range(0, len(ids), _PART):
        query = (
            select(contact.person_id)
            .distinct()
            .select_from(schema.event)
            .join(schema.person_contact, event.subject == contact.digest)
            .where(event.id.in_(ids[at : at + _PART]))
            .where(~(event.body.contains(_CARRIED[0]) & event.body.contains(_CARRIED[1])))
        )
        people.update(await connection.scalars(query))
    return sorted(people)
