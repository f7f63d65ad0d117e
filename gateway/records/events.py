"""The register's events in the archive: a contact's history, every contact, all in order."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

from sqlalchemy import Select, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.records import schema
from gateway.records.archive import LACKING
from gateway.records.database import Database
from gateway.records.streams import START, number

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

    # -- for the register's rebuild ---------------------------------------------------

    async def cursors(self) -> dict[bytes, bytes]:
        """How far each stream is archived: its last entry's id, by the stream's name.

        Where another archive has gone further, that far.
        """
        table = schema.cursor.c

        async def work(connection: AsyncConnection) -> dict[str, bytes]:
            rows = await connection.execute(select(table.stream, table.last))
            return {row.stream: row.last.encode() for row in rows}

        found = await self._database.read(work)
        # Others keep other places in the same table.
        cursors = {name: last for name, last in found.items() if not name.startswith(LACKING)}
        for name, last in found.items():
            stream = name.removeprefix(LACKING)
            if stream != name and number(cursors.get(stream, START)) < number(last):
                cursors[stream] = last
        return {stream.encode(): last for stream, last in cursors.items()}

    async def lacking(self) -> list[str]:
        """The streams of which earlier events were archived elsewhere."""
        table = schema.cursor.c

        async def work(connection: AsyncConnection) -> list[str]:
            query = select(table.stream).where(table.stream.startswith(LACKING, autoescape=True))
            names = (await connection.execute(query)).scalars()
            return sorted(name.removeprefix(LACKING) for name in names)

        return await self._database.read(work)

    async def key_ids(self) -> list[str]:
        """The ids of the digest keys that events are known by."""
        subject = schema.event.c.subject

        async def work(connection: AsyncConnection) -> list[str]:
            found: list[str] = []
            query = select(func.min(subject))
            after = ""
            while first := await connection.scalar(query.where(subject > after)):
                key_id = first.partition(":")[0]
                found.append(key_id)
                after = key_id + ";"  # the character behind the colon
            return found

        return await self._database.read(work)

    async def has(self, ids: Sequence[str]) -> set[str]:
        """Those of the rows' ids (an event's id, ``/`` and its subject) that are there."""
        column = schema.event.c.id
        found: set[str] = set()
        for start in range(0, len(ids), _PAGE):
            query = select(column).where(column.in_(list(ids[start : start + _PAGE])))

            async def work(connection: AsyncConnection) -> list[str]:
                return list((await connection.execute(query)).scalars())  # noqa: B023

            found.update(await self._database.read(work))
        return found

    async def page(self, after: str, before: str, most: int) -> list[tuple[str, str, str]]:
        """Some subjects' events between two subjects: subject, id in its stream, and JSON.

        Sorted by subject; of each subject all events or none.  None are left when it
        is empty.
        """
        table = schema.event.c
        columns = select(table.subject, table.entry, table.body)
        between = columns.where(table.subject > after, table.subject < before)
        query = between.order_by(table.subject).limit(most)

        async def work(connection: AsyncConnection) -> list[tuple[str, str, str]]:
            rows = await _triples(connection, query)
            if len(rows) < most:
                return rows
            last = rows[-1][0]
            if rows[0][0] != last:
                return [row for row in rows if row[0] != last]
            return await _triples(connection, columns.where(table.subject == last))

        return await self._database.read(work)

    async def known_of(self, subjects: Sequence[str]) -> list[tuple[str, str]]:
        """The events of these subjects: id in its stream, and JSON."""
        table = schema.event.c
        query = select(table.entry, table.body).where(table.subject.in_(list(subjects)))

        async def work(connection: AsyncConnection) -> list[tuple[str, str]]:
            return [(row[0], row[1]) for row in await connection.execute(query)]

        return await self._database.read(work)

    async def rules_at(self, at: int) -> tuple[str, str] | None:
        """The rule set that decided last before a time (ms): its hash and text; None: none did."""
        record, message, rules = schema.record.c, schema.message.c, schema.rule_set.c
        query = (
            select(rules.id, rules.text)
            .select_from(schema.record)
            .join(schema.message, record.message_id == message.id)
            .join(schema.rule_set, message.rule_set_hash == rules.id)
            .where(record.decided <= at)
            .order_by(record.decided.desc())
            .limit(1)
        )

        async def work(connection: AsyncConnection) -> tuple[str, str] | None:
            row = (await connection.execute(query)).first()
            return None if row is None else (row[0], row[1])

        return await self._database.read(work)


async def _triples(
    connection: AsyncConnection, query: Select[tuple[str, str, str]]
) -> list[tuple[str, str, str]]:
    # A row is a tuple: making another of each would take a tenth of a rebuild's time.
    rows: Any = (await connection.execute(query)).all()
    return list(rows)
