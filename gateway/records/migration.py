"""From the schema of an earlier version to this one's.

A step only adds: a process of the earlier version that has the archive open goes on
writing as it knows, and what it leaves out has its default.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from sqlalchemy import Column, select, update
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.schema import CreateColumn

from gateway.records import schema

Step = Callable[[AsyncConnection], Awaitable[None]]


async def migrate(connection: AsyncConnection) -> None:
    """Bring the archive to this version's schema, if there are steps to it.

    In one transaction, so that it is of one version or the other.
    """
    # Of two that open it at once, the second finds the work done.
    query = select(schema.archive.c.schema_version).with_for_update()
    found = await connection.scalar(query)
    while found is not None and (step := _STEPS.get(found)) is not None:
        await step(connection)
        found += 1
        await connection.execute(update(schema.archive).values(schema_version=found))


async def _to_3(connection: AsyncConnection) -> None:
    """Text messages that wait, and messages that wait for a time."""
    await _add(connection, schema.held.c.channel, schema.held.c.due)
    await connection.run_sync(schema.held_due.create)


async def _to_4(connection: AsyncConnection) -> None:
    """Acts, people, their requests, signatures over the chain, a key for each content."""
    await connection.run_sync(schema.metadata.create_all, tables=list(schema.ADDED_IN_4))
    await _add(connection, schema.content.c.sealed_key, schema.content.c.loose)
    await connection.run_sync(schema.content_loose.create)
    await connection.run_sync(schema.event_erased.create)


async def _to_5(connection: AsyncConnection) -> None:
    """Tools whose lists are kept alike, and imports by the API."""
    await connection.run_sync(schema.metadata.create_all, tables=list(schema.ADDED_IN_5))


async def _add(connection: AsyncConnection, *columns: Column[Any]) -> None:
    for column in columns:
        written = CreateColumn(column).compile(dialect=connection.dialect)
        statement = f"ALTER TABLE {column.table.name} ADD COLUMN {written}"
        await connection.exec_driver_sql(statement)


_STEPS: Final[Mapping[int, Step]] = {2: _to_3, 3: _to_4, 4: _to_5}
"""By the version that each starts from."""
