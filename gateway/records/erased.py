"""Whose keys must be gone, as the archive tells: for keys that come from an older backup."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final

from sqlalchemy import literal_column, select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.custody.custody import Custody
from gateway.entry.event import EventKind
from gateway.records import schema
from gateway.records.database import Database

_PAGE: Final = 1000
_ERASED: Final = "erased"
"""The state of a person who was erased."""


async def destroy_again(database: Database, custody: Custody) -> int:
    """Destroy the keys of everybody who was erased, where they are there; how many were.

    A file of keys that was restored from a backup has keys that were destroyed since.
    Raises RecordsUnavailable.
    """
    count = 0
    async for owners in _owners(database):
        gone = await custody.destroyed(owners)
        left = [owner for owner in owners if owner not in gone]
        if left:
            count += await custody.destroy(left)
    return count


async def _owners(database: Database) -> AsyncIterator[list[str]]:
    event, person = schema.event.c, schema.person.c
    # As text, so that the index of erasures is found.
    erasure = event.kind == literal_column(f"'{EventKind.ERASE}'")
    # Inherited ones are about another spelling, whose own erasure is told apart.
    own = ~event.body.like('%"origin":%')
    for column, condition, prefix in (
        (event.subject, erasure & own, ""),
        (person.id, person.state == _ERASED, "p:"),
    ):
        after = ""
        while True:
            query = (
                select(column).where(condition, column > after).distinct().order_by(column)
            ).limit(_PAGE)

            async def work(connection: AsyncConnection) -> list[str]:
                return list(await connection.scalars(query))  # noqa: B023

            page = await database.read(work)
            if page:
                yield [prefix + owner for owner in page]
            if len(page) < _PAGE:
                break
            after = page[-1]
