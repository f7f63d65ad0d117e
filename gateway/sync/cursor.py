"""Cursors of tools' lists as the archive keeps them: sealed.

What a tool calls a place in its list may be an address (Mailgun's pages begin behind
one), and no address lies in the clear in a database.
"""

from __future__ import annotations

from enum import StrEnum

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.records import schema
from gateway.records.database import Database
from gateway.records.seal import Sealer

_tool = schema.sync_tool


class Course(StrEnum):
    """Of what a cursor is: the column's name."""

    PULLED = "sealed_pulled"
    """What is new."""
    LISTING = "sealed_listing"
    """A full listing under way."""


class CursorSeal:
    """Seals cursors under the content key, each bound to its tool and column."""

    def __init__(self, sealer: Sealer) -> None:
        self._sealer = sealer

    def close(self, tool: str, course: Course, text: str) -> bytes:
        """A cursor as it is kept; b"" for "", the beginning."""
        return self._sealer.seal(text.encode(), _context(tool, course)) if text else b""

    def open(self, tool: str, course: Course, sealed: bytes) -> str:
        """The cursor again; raises SealError where its key is not here, or it was changed."""
        return self._sealer.open(sealed, _context(tool, course)).decode() if sealed else ""

    async def rewrap(self, database: Database) -> int:
        """Seal cursors that lie under an older content key under the current one; how many.

        Raises SealError, RecordsUnavailable.
        """
        changed = 0
        for course in Course:
            column = _tool.c[course.value]
            query = select(_tool.c.name, column)

            async def find(connection: AsyncConnection) -> list[tuple[str, bytes]]:
                rows = await connection.execute(query)  # noqa: B023
                return [(row[0], bytes(row[1])) for row in rows]

            for tool, sealed in await database.read(find):
                if not sealed or not self._sealer.is_stale(sealed):
                    continue
                anew = self.close(tool, course, self.open(tool, course, sealed))
                # Only where nobody has written it meanwhile.
                statement = (
                    update(_tool)
                    .where(_tool.c.name == tool, column == sealed)
                    .values({column: anew})
                )

                async def work(connection: AsyncConnection) -> int:
                    return int((await connection.execute(statement)).rowcount)  # noqa: B023

                changed += await database.write(work)
        return changed


def _context(tool: str, course: Course) -> bytes:
    return f"sync {course} {tool}".encode()
