"""What people did, read from the archive."""

from __future__ import annotations

from collections.abc import Sequence

import orjson
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.records import schema
from gateway.records.act import Act, Action
from gateway.records.database import Database


async def acts(
    database: Database,
    *,
    actor: str | None = None,
    action: Action | None = None,
    subject: str | None = None,
    subjects: Sequence[str] = (),
    since: int | None = None,
    until: int | None = None,
    limit: int = 100,
) -> list[Act]:
    """The acts that match everything given, the newest first.

    ``subjects``: about one of these.  Times in ms since the epoch, the end excluded.
    Raises RecordsUnavailable.
    """
    table = schema.act.c
    query = select(schema.act).order_by(table.at.desc(), table.id.desc()).limit(limit)
    for column, value in ((table.actor, actor), (table.action, action), (table.subject, subject)):
        if value is not None:
            query = query.where(column == str(value))
    if subjects:
        query = query.where(table.subject.in_(list(subjects)))
    if since is not None:
        query = query.where(table.at >= since)
    if until is not None:
        query = query.where(table.at < until)

    async def work(connection: AsyncConnection) -> list[Act]:
        rows = (await connection.execute(query)).mappings()
        return [
            Act(
                id=row["id"],
                at=row["at"],
                action=Action(row["action"]),
                actor=row["actor"],
                subject=row["subject"],
                reason=row["reason"],
                detail=orjson.loads(row["detail"]),
            )
            for row in rows
        ]

    return await database.read(work)
