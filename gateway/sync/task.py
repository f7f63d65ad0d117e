"""What a person is to look at in a tool, and what came of it."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Any, Final, NamedTuple

from sqlalchemy import Row, Select, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.clock import Clock, now_ms
from gateway.failure import InputError
from gateway.records import schema
from gateway.records.database import Database
from gateway.records.identifier import new_id

_task = schema.sync_task
_OPEN: Final = "open"
_CLOSED: Final = "closed"
GATEWAY: Final = "gateway"


class Why(StrEnum):
    """Why a person is asked."""

    REMOVED = "removed"
    """The entry is gone from the tool's list, but the ban stands here; it was put again."""
    LIFTED = "lifted"
    """The ban is lifted here, and the entry still stands in the tool's list."""
    SHRUNK = "shrunk"
    """So many entries are gone from the list at once that each got no task of its own."""


class TaskError(InputError):
    """There is no such task, or it is settled."""


class Task(NamedTuple):
    """One task; ``subject`` is a digest, times are milliseconds since the epoch."""

    id: str
    tool: str
    subject: str
    entry: str
    why: Why
    told: int
    state: str
    closed: int | None
    closed_by: str
    reason: str


class Told(NamedTuple):
    """What a task is to be about."""

    subject: str
    entry: str
    why: Why


class Tasks:
    """The tasks of all tools; every method raises RecordsUnavailable."""

    def __init__(self, database: Database, clock: Clock = now_ms) -> None:
        self._database = database
        self._clock = clock

    async def tell(self, tool: str, each: Sequence[Told]) -> int:
        """Make tasks of these, but for those that are open already; how many."""
        now = self._clock()

        async def work(connection: AsyncConnection) -> int:
            made = 0
            for told in each:
                if await connection.scalar(_open(tool, told)) is not None:
                    continue
                await connection.execute(
                    insert(_task).values(
                        id=new_id(),
                        tool=tool,
                        subject=told.subject,
                        entry=told.entry,
                        why=told.why.value,
                        told=now,
                        state=_OPEN,
                        closed_by="",
                        reason="",
                    )
                )
                made += 1
            return made

        return await self._database.write(work) if each else 0

    async def done(self, tool: str, each: Sequence[Told]) -> None:
        """Close tasks that have become needless."""

        async def work(connection: AsyncConnection) -> None:
            for told in each:
                found: str | None = await connection.scalar(_open(tool, told))
                if found is not None:
                    await self._close(connection, found, GATEWAY, "it was done in the tool")

        if each:
            await self._database.write(work)

    async def settle(self, task_id: str, by: str, reason: str) -> Task:
        """Close a task; raises TaskError where it is not open, InputError without a reason."""
        if not reason.strip():
            raise InputError("say what was done about it; it is kept")

        async def work(connection: AsyncConnection) -> Task:
            if not await self._close(connection, task_id, by, reason):
                raise TaskError(f"{task_id}: no open task of this id; see `sync tasks`")
            query = select(_task).where(_task.c.id == task_id)
            return _read((await connection.execute(query)).one())

        return await self._database.write(work)

    async def list(self, *, closed: bool = False, limit: int = 1000) -> list[Task]:
        """The open tasks, or those that are closed too, the oldest first."""
        query = select(_task).order_by(_task.c.told, _task.c.id).limit(limit)
        if not closed:
            query = query.where(_task.c.state == _OPEN)

        async def work(connection: AsyncConnection) -> list[Task]:
            return [_read(row) for row in await connection.execute(query)]

        return await self._database.read(work)

    async def waiting(self) -> int:
        """How many are open."""
        query = select(func.count()).select_from(_task).where(_task.c.state == _OPEN)

        async def work(connection: AsyncConnection) -> int:
            return int(await connection.scalar(query) or 0)

        return await self._database.read(work)

    async def _close(self, connection: AsyncConnection, task_id: str, by: str, reason: str) -> bool:
        closed = await connection.execute(
            update(_task)
            .where(_task.c.id == task_id, _task.c.state == _OPEN)
            .values(state=_CLOSED, closed=self._clock(), closed_by=by, reason=reason)
        )
        return bool(closed.rowcount)


def _open(tool: str, told: Told) -> Select[Any]:
    return select(_task.c.id).where(
        _task.c.tool == tool,
        _task.c.subject == told.subject,
        _task.c.entry == told.entry,
        _task.c.why == told.why.value,
        _task.c.state == _OPEN,
    )


def _read(row: Row[Any]) -> Task:
    task = Task._make(row)
    return task._replace(why=Why(task.why))
