"""The register's events in the archive: a contact's history, and every known contact."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.records import schema
from gateway.records.database import Database

_PAGE = 1000


class EventArchive:
    """Reads the archived events; every method raises RecordsUnavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def of(self, subjects: Sequence[str]) -> list[str]:
        """The events of these subjects (digests), in JSON, oldest first."""
        table = schema.event.c
        query = (
            select(table.body).where(table.subject.in_(list(subjects))).order_by(table.at, table.id)
        )

        async def work(connection: AsyncConnection) -> list[str]:
            return list((await connection.execute(query)).scalars())

        return await self._database.read(work)

    async def all(self) -> AsyncIterator[str]:
        """Every archived event in JSON, by id (and so by time), in pages."""
        after = ""
        table = schema.event.c
        while True:
            query = (
                select(table.id, table.body).where(table.id > after).order_by(table.id).limit(_PAGE)
            )

            async def work(connection: AsyncConnection) -> list[tuple[str, str]]:
                return [(row[0], row[1]) for row in await connection.execute(query)]  # noqa: B023

            page = await self._database.read(work)
            for _, body in page:
                yield body
            if len(page) < _PAGE:
                return
            after = page[-1][0]
