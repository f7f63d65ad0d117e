"""When the contact was last told of held messages; of several gateways one tells him.

Kept in the archive's table ``cursor``, under a name that no stream has: how far the
telling has come.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple, Self

import orjson
from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.records.database import BadRow, Database
from gateway.records.schema import cursor as table

_NAME: Final = "held:notice"


class Reminded(NamedTuple):
    """Times in ms since the epoch."""

    at: int = 0
    """Up to when everything was told; 0: never."""
    sending: int | None = None
    """Since when somebody tells; None: nobody does."""

    def to_json(self) -> str:
        """As it is stored."""
        return orjson.dumps({"at": self.at, "sending": self.sending}).decode()

    @classmethod
    def from_json(cls, text: str) -> Self:
        """As it was stored; nothing that can be read: never told."""
        try:
            members: dict[str, Any] = orjson.loads(text)
            return cls(int(members["at"]), members["sending"])
        except (ValueError, TypeError, KeyError):
            return cls()


class ReminderNote:
    """The note in one archive; every method raises RecordsUnavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def read(self) -> Reminded:
        """What is noted."""

        async def work(connection: AsyncConnection) -> str | None:
            return await connection.scalar(select(table.c.last).where(table.c.stream == _NAME))

        text = await self._database.read(work)
        return Reminded() if text is None else Reminded.from_json(text)

    async def change(self, old: Reminded, new: Reminded) -> bool:
        """Note ``new`` if ``old`` is what is noted; False: somebody else was first."""

        async def work(connection: AsyncConnection) -> bool:
            row = (table.c.stream == _NAME) & (table.c.last == old.to_json())
            changed = await connection.execute(update(table).where(row).values(last=new.to_json()))
            if changed.rowcount == 1:
                return True
            there = await connection.scalar(select(table.c.last).where(table.c.stream == _NAME))
            if there is not None and Reminded.from_json(there) != old:
                return False
            if there is not None:  # it says the same in other words
                await connection.execute(table.delete().where(table.c.stream == _NAME))
            elif old != Reminded():
                return False
            await connection.execute(table.insert().values(stream=_NAME, last=new.to_json()))
            return True

        try:
            return await self._database.write(work)
        except BadRow:  # the row came in between
            return False
