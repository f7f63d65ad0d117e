"""Which keys of people an archive belongs to.

What an archive holds opens with one set of people's keys.  With another, begun anew after
a loss or made by a second machine of its own, half of it could not be read any more, and
an erasure would destroy half of what it must.  So the archive knows the name of its keys.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.failure import InputError
from gateway.records import schema
from gateway.records.database import Database

_KEYS: Final = "keys of people"
"""The row of ``cursor`` that holds the name; no stream is called so."""


async def keys_of(database: Database) -> str | None:
    """The name of the archive's keys; None: it has none yet.  Raises RecordsUnavailable."""
    query = select(schema.cursor.c.last).where(schema.cursor.c.stream == _KEYS)

    async def work(connection: AsyncConnection) -> str | None:
        return await connection.scalar(query)

    return await database.read(work)


async def belong(database: Database, name: str, place: str) -> None:
    """Note that the archive belongs to the keys of this name.

    ``place`` says where they are.  Raises InputError when it belongs to others,
    RecordsUnavailable.
    """
    table = schema.cursor

    async def work(connection: AsyncConnection) -> str:
        # Of two that begin at once, one waits for the other.
        await connection.execute(select(schema.archive).with_for_update())
        found = await connection.scalar(select(table.c.last).where(table.c.stream == _KEYS))
        if found is None:
            await connection.execute(table.insert().values(stream=_KEYS, last=name))
            return name
        return str(found)

    if await database.write(work) != name:
        raise InputError(
            f"{place}: these are not the keys that the archive was written with; restore them "
            "from their backup, or on several machines let all use the same (records.keys_url)"
        )
