"""Lists that wait to be taken in, their rows sealed, and how far each is.

One is carried out at a time, by whichever process claims the oldest: it says every few
seconds that it is alive, and a job whose process says so no more is claimed anew and
begins again.  The rows are gone when the job ends.  Times are milliseconds since the epoch.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any, Final

import orjson
from sqlalchemy import delete, func, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.clock import DAY_MS, Clock, now_ms
from gateway.failure import InputError, Overloaded
from gateway.records import schema
from gateway.records.database import Database
from gateway.records.identifier import new_id
from gateway.records.seal import Sealer

LEASE: Final = 10_000
"""After so many ms without a word of its process a job is claimed anew."""
OPEN_MOST: Final = 20
"""Jobs that wait or run."""
_KEPT: Final = 365 * DAY_MS
"""How long what came of a job is told."""

_table = schema.import_job


class JobMissing(InputError):
    """There is no such job."""


class JobState(StrEnum):
    """Where a job is."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    REFUSED = "refused"
    """The list is wrong; nothing of it was applied."""
    FAILED = "failed"
    """A fault of the gateway's; what was applied stays."""
    CANCELLED = "cancelled"
    """Somebody ended it; what was applied stays."""


_OPEN: Final = (JobState.WAITING, JobState.RUNNING)


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How a list is to be read."""

    source: str
    columns: Mapping[str, str] = field(default_factory=dict)
    """Our names of columns to the list's."""
    region: str | None = None
    skip_bad: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """How far a job is, and what came of it; it repeats nothing of the rows."""

    rows: int = 0
    done: int = 0
    contacts: int = 0
    changed: int = 0
    unchanged: int = 0
    bad: int = 0
    bad_rows: tuple[tuple[int, str, str], ...] = ()
    """Line, column, and what is wrong, of the first hundred."""
    warnings: tuple[str, ...] = ()
    cause: str = ""

    @classmethod
    def parse(cls, text: str) -> Report:
        """The report that is kept."""
        members = orjson.loads(text)
        for name in ("bad_rows", "warnings"):
            members[name] = tuple(
                tuple(each) if isinstance(each, list) else each for each in members[name]
            )
        return cls(**members)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportJob:
    """One list."""

    id: str
    account: str
    created: int
    state: JobState
    options: Options
    report: Report
    begun: int
    ended: int | None


class Intake:
    """The table of jobs; every method raises RecordsUnavailable."""

    def __init__(self, database: Database, seal: Sealer, clock: Clock = now_ms) -> None:
        self._database = database
        self._seal = seal
        self._clock = clock

    async def add(self, account: str, octets: bytes, options: Options) -> ImportJob:
        """Keep a list for its turn; raises Overloaded when too many wait."""
        job = ImportJob(
            id=new_id(),
            account=account,
            created=self._clock(),
            state=JobState.WAITING,
            options=options,
            report=Report(),
            begun=0,
            ended=None,
        )
        sealed = await asyncio.to_thread(self._seal.seal, octets, _context(job.id))

        async def work(connection: AsyncConnection) -> None:
            count = select(func.count()).where(_table.c.state.in_(_OPEN))
            if int(await connection.scalar(count) or 0) >= OPEN_MOST:
                raise Overloaded(f"{OPEN_MOST} lists wait already; try again later")
            await connection.execute(delete(_table).where(_table.c.ended < self._clock() - _KEPT))
            await connection.execute(
                insert(_table).values(
                    id=job.id,
                    account=account,
                    created=job.created,
                    state=job.state,
                    options=orjson.dumps(asdict(options)).decode(),
                    sealed_rows=sealed,
                    owner="",
                    beat=0,
                    begun=0,
                    total=0,
                    done=0,
                    report=_told(job.report),
                )
            )

        await self._database.write(work)
        return job

    async def index(self, limit: int) -> list[ImportJob]:
        """The newest ones."""
        return await self._found(_shown().order_by(_table.c.id.desc()).limit(limit))

    async def get(self, job_id: str) -> ImportJob:
        """One of them; raises JobMissing."""
        found = await self._found(_shown().where(_table.c.id == job_id))
        if not found:
            raise JobMissing("there is no such import")
        return found[0]

    async def cancel(self, job_id: str) -> ImportJob:
        """End one that waits or runs; raises JobMissing."""

        async def work(connection: AsyncConnection) -> None:
            await connection.execute(
                update(_table)
                .where(_table.c.id == job_id, _table.c.state.in_(_OPEN))
                .values(state=JobState.CANCELLED, sealed_rows=None, ended=self._clock())
            )

        await self._database.write(work)
        return await self.get(job_id)

    # -- carrying out -----------------------------------------------------------------

    async def claim(self, owner: str) -> tuple[ImportJob, bytes | None] | None:
        """The oldest open job with its sealed rows, if nobody carries it out; begun once more."""
        now = self._clock()
        oldest = (
            select(_table.c.id)
            .where(_table.c.state.in_(_OPEN))
            .order_by(_table.c.created, _table.c.id)
            .limit(1)
        )

        async def work(connection: AsyncConnection) -> Any:  # noqa: ANN401 - a row
            job_id = await connection.scalar(oldest)
            if job_id is None:
                return None
            free = or_(_table.c.state == JobState.WAITING, _table.c.beat < now - LEASE)
            taken = await connection.execute(
                update(_table)
                .where(_table.c.id == job_id, _table.c.state.in_(_OPEN), free)
                .values(state=JobState.RUNNING, owner=owner, beat=now, begun=_table.c.begun + 1)
            )
            if not taken.rowcount:
                return None
            query = _shown().add_columns(_table.c.sealed_rows).where(_table.c.id == job_id)
            return (await connection.execute(query)).first()

        row = await self._database.write(work)
        return None if row is None else (_job(row), row.sealed_rows)

    async def open(self, job_id: str, sealed: bytes) -> bytes:
        """A job's rows; raises SealError when they cannot be opened."""
        return await asyncio.to_thread(self._seal.open, sealed, _context(job_id))

    async def beat(self, job_id: str, owner: str, report: Report) -> bool:
        """Say that it goes on, and how far it is; False: it is ours no more, or cancelled."""
        return await self._set(
            job_id, owner, beat=self._clock(), report=_told(report), total=report.rows,
            done=report.done,
        )  # fmt: skip

    async def yield_up(self, job_id: str, owner: str, report: Report) -> bool:
        """Let it wait for its turn again."""
        return await self._set(job_id, owner, state=JobState.WAITING, report=_told(report))

    async def end(self, job_id: str, owner: str, state: JobState, report: Report) -> bool:
        """It has ended; its rows are gone then."""
        return await self._set(
            job_id, owner, state=state, sealed_rows=None, ended=self._clock(),
            report=_told(report), total=report.rows, done=report.done,
        )  # fmt: skip

    async def note(self, job_id: str, owner: str, report: Report) -> None:
        """What a cancelled job had done by then."""

        async def work(connection: AsyncConnection) -> None:
            await connection.execute(
                update(_table)
                .where(
                    _table.c.id == job_id,
                    _table.c.owner == owner,
                    _table.c.state == JobState.CANCELLED,
                )
                .values(report=_told(report), total=report.rows, done=report.done)
            )

        await self._database.write(work)

    async def _set(self, job_id: str, owner: str, **values: str | int | bytes | None) -> bool:
        async def work(connection: AsyncConnection) -> bool:
            done = await connection.execute(
                update(_table)
                .where(
                    _table.c.id == job_id,
                    _table.c.owner == owner,
                    _table.c.state == JobState.RUNNING,
                )
                .values(**values)
            )
            return bool(done.rowcount)

        return await self._database.write(work)

    async def _found(self, query: Any) -> list[ImportJob]:  # noqa: ANN401 - of any columns
        async def work(connection: AsyncConnection) -> Sequence[Any]:
            return (await connection.execute(query)).all()

        return [_job(row) for row in await self._database.read(work)]


def _shown() -> Any:  # noqa: ANN401 - of these columns
    job = _table.c
    return select(
        job.id, job.account, job.created, job.state, job.options, job.report, job.begun, job.ended
    )


def _job(row: Any) -> ImportJob:  # noqa: ANN401 - a row
    return ImportJob(
        id=row.id,
        account=row.account,
        created=row.created,
        state=JobState(row.state),
        options=Options(**orjson.loads(row.options)),
        report=Report.parse(row.report),
        begun=row.begun,
        ended=row.ended,
    )


def _told(report: Report) -> str:
    return orjson.dumps(asdict(report)).decode()


def _context(job_id: str) -> bytes:
    return b"import:" + job_id.encode()
