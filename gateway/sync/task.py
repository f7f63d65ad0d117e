"""What a person is to look at in a tool, and what came of it."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Any, Final, NamedTuple

from sqlalchemy import Row, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.clock import Clock, now_ms
from gateway.failure import InputError
from gateway.records import schema
from gateway.records.database import Database
from gateway.records.identifier import new_id

_task = schema.sync_task
_OPEN: Final = "open"
_CLOSED: Final = "closed"
_PORTION: Final = 500
GATEWAY: Final = "gateway"


class Why(StrEnum):
    """Why a person is asked."""

    REMOVED = "removed"
    """The entry is gone from the tool's list, but the ban (or, of an entry ``delivery``, the
    bounce or complaint) stands here; it was put again."""
    LIFTED = "lifted"
    """What the entry stands for is lifted here, and it still stands in the tool's list."""
    ERASED = "erased"
    """The list lacks a ban of somebody who was erased: nobody can put it there any more."""
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
            known = await _open(connection, tool, each)
            new = [told for told in dict.fromkeys(each) if told not in known]
            values = [
                {
                    "id": new_id(),
                    "tool": tool,
                    "subject": told.subject,
                    "entry": told.entry,
                    "why": told.why.value,
                    "told": now,
                    "state": _OPEN,
                    "closed_by": "",
                    "reason": "",
                }
                for told in new
            ]
            if values:
                await connection.execute(insert(_task), values)
            return len(values)

        return await self._database.write(work) if each else 0

    async def done(self, tool: str, each: Sequence[Told]) -> None:
        """Close tasks that have become needless."""

        async def find(connection: AsyncConnection) -> dict[Told, str]:
            return await _open(connection, tool, each)

        async def work(connection: AsyncConnection) -> None:
            for told in dict.fromkeys(each):
                if told in known:
                    reason = "it was done in the tool"
                    await self._close(connection, known[told], GATEWAY, reason)

        known = await self._database.read(find) if each else {}
        if not known.keys().isdisjoint(each):
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


async def _open(connection: AsyncConnection, tool: str, each: Sequence[Told]) -> dict[Told, str]:
    """The ids of the open tasks about the same contacts."""
    subjects = list(dict.fromkeys(told.subject for told in each))
    found: dict[Told, str] = {}
    for at in range(0, len(subjects), _PORTION):
        query = select(_task.c.subject, _task.c.entry, _task.c.why, _task.c.id).where(
            _task.c.tool == tool,
            _task.c.subject.in_(subjects[at : at + _PORTION]),
            _task.c.state == _OPEN,
        )
        for row in await connection.execute(query):
            found[Told(row.subject, row.entry, Why(row.why))] = row.id
    return found


def _read(row: Row[Any]) -> Task:
    task = Task._make(row)
    return task._replace(why=Why(task.why))
