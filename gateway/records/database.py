"""Short, bounded transactions on the archive database.

SQLite by default (:mod:`gateway.records.sqlite`), for many processes at once.  Or
PostgreSQL (:mod:`gateway.records.postgresql`), which many machines may share.
Each transaction runs in a task of its own: a caller that is cancelled or whose time
is up leaves at once, and the transaction ends behind him.  It is cut off when its
time is up, and once only: a driver that is cancelled while it cleans up after a
cancellation leaves connections behind that never close.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, Self, TypeVar

from sqlalchemy import ColumnElement, Connection, Engine, Select, inspect, select
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from gateway.failure import GatewayError, InputError, RecordsUnavailable
from gateway.records import schema
from gateway.records.migration import migrate
from gateway.records.postgresql import (
    LATEST,
    ONE_STATE,
    SCHEMES,
    is_row_s_fault,
    one_at_a_time,
    postgresql_engine,
    require_durable,
)
from gateway.records.sqlite import make_file, sqlite_engines

T = TypeVar("T")
Work = Callable[[AsyncConnection], Awaitable[T]]
Blocking = Callable[[Connection], T]

_POOL: Final = 4
_GRACE: Final = 1.0
_PORTION: Final = 500


class BadRow(RecordsUnavailable):
    """The database is well, but refuses this very row."""


class Database:
    """One archive database; :meth:`open` makes or checks its schema.

    At most four connections are open at once, and one more for bulk work; writers of
    one process take turns.
    """

    def __init__(
        self, engine: AsyncEngine, path: Path | None, timeout: float, bulk: Engine | None = None
    ) -> None:
        self.engine = engine
        self._bulk = bulk
        self._bulk_used = False
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="archive")
        self.path = path
        self.timeout = timeout
        self._turn = asyncio.Lock()
        self._tasks: set[asyncio.Task[Any]] = set()

    @classmethod
    async def open(
        cls,
        place: Path | str,
        *,
        timeout: float = 10.0,
        create: bool = True,
    ) -> Self:
        """Open the database at a path, or at a URL of PostgreSQL's.

        One of an earlier version's schema is brought to this one's, unless ``create``
        is false.

        ``timeout`` bounds every transaction, in seconds.  An SQLite file is made here
        (mode 0600) and never later: when it vanishes, transactions fail until it is
        back.  Raises RecordsUnavailable, or InputError when the schema is another
        version's or the file is no archive.
        """
        path = _path_of(place)
        bulk = None
        if path is None:
            engine = postgresql_engine(str(place), timeout, _POOL)
        else:
            engine, bulk = sqlite_engines(path, timeout, _POOL)
            if create:
                await asyncio.to_thread(make_file, path)
        self = cls(engine, path, timeout, bulk)
        try:
            await self.write(_ready if create else _check, first=True)
        except BaseException:
            await self.aclose()
            raise
        return self

    async def read(self, work: Work[T]) -> T:
        """What ``work`` returns, run in a transaction that sees one state.

        Raises RecordsUnavailable.
        """
        return await self._bounded(self._run(work, writes=False))

    async def write(self, work: Work[T], *, first: bool = False) -> T:
        """What ``work`` returns, run in a transaction that is durable when this returns.

        Raises RecordsUnavailable (whether it was committed is unknown when its time
        was up), BadRow when the database refuses a value.
        """
        return await self._bounded(self._write(work, first=first))

    async def bulk(self, work: Blocking[T]) -> T:
        """As :meth:`write`, for blocking work of many statements and large parameters.

        With SQLite it runs in a thread of its own, on a connection of its own.  A
        thread cannot be cut off: work whose time is up ends behind the caller, and
        what comes next waits for it.  With other databases it runs in the loop, which
        goes on while the database does its part.
        """
        return await self._bounded(self._write_bulk(work))

    def behind(self, work: Coroutine[Any, Any, Any]) -> None:
        """Run in a task of ours what a leaving caller has no time for; failures are dropped."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    async def aclose(self) -> None:
        """Let what runs end, within the timeout, and close the connections."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=self.timeout + _GRACE)
        closing = asyncio.get_running_loop().create_task(self._dispose())
        done, _ = await asyncio.wait({closing}, timeout=self.timeout)
        if done:
            closing.result()

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()

    async def _bounded(self, work: Coroutine[Any, Any, T]) -> T:
        loop = asyncio.get_running_loop()
        task = loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        limit = loop.call_later(self.timeout, task.cancel)
        task.add_done_callback(lambda _: limit.cancel())
        done, _ = await asyncio.wait({task}, timeout=self.timeout)
        if not done or task.cancelled():
            raise RecordsUnavailable(f"the archive did not answer in {self.timeout:g} s")
        try:
            return task.result()
        except (DBAPIError, OverflowError) as error:
            if isinstance(error, OverflowError) or _is_row_s_fault(error):
                raise BadRow(f"the archive refuses a row: {_cause(error)}") from None
            raise RecordsUnavailable(f"the archive failed: {_cause(error)}") from None
        except (SQLAlchemyError, sqlite3.Error, OSError, TimeoutError) as error:
            raise RecordsUnavailable(f"the archive failed: {_cause(error)}") from None

    async def _write(self, work: Work[T], *, first: bool) -> T:
        async with self._turn:
            result = await self._run(work, writes=True)
        if not first:
            self._require_file()
        return result

    async def _write_bulk(self, work: Blocking[T]) -> T:
        if self._bulk is None:

            async def synchronous(connection: AsyncConnection) -> T:
                return await connection.run_sync(work)

            return await self._write(synchronous, first=False)
        async with self._turn:
            self._bulk_used = True
            loop = asyncio.get_running_loop()
            result = await loop.run_in_executor(self._thread, self._run_bulk, self._bulk, work)
        self._require_file()
        return result

    def _require_file(self) -> None:
        if self.path is not None and not self.path.exists():
            # Committed to a file that nobody will find again.
            raise RecordsUnavailable("the archive's file was removed")

    @staticmethod
    def _run_bulk(engine: Engine, work: Blocking[T]) -> T:
        with engine.connect() as plain:
            connection = plain.execution_options(gateway_writes=True)
            try:
                with connection.begin():
                    return work(connection)
            except DBAPIError as error:
                if _is_stale(error):
                    connection.invalidate()
                raise

    async def _dispose(self) -> None:
        await self.engine.dispose()
        if self._bulk is not None and self._bulk_used:
            loop = asyncio.get_running_loop()
            await loop.run_in_executor(self._thread, self._bulk.dispose)

    async def _run(self, work: Work[T], *, writes: bool) -> T:
        async with self.engine.connect() as connection:
            if writes:
                await connection.execution_options(gateway_writes=True)
            if self.path is None:
                await connection.execution_options(**(LATEST if writes else ONE_STATE))
            try:
                async with connection.begin():
                    return await work(connection)
            except DBAPIError as error:
                if _is_stale(error):
                    await connection.invalidate()
                raise


def _path_of(place: Path | str) -> Path | None:
    """The file of a place; None: it is a server's URL."""
    return None if isinstance(place, str) and place.startswith(SCHEMES) else Path(place)


def _is_stale(error: DBAPIError) -> bool:
    """Whether a connection's view of the file may be wrong, as after a fault of the disk.

    A new connection costs little.
    """
    return not _is_row_s_fault(error)


def _is_row_s_fault(error: DBAPIError) -> bool:
    """Whether the database is well, and refuses what it was given."""
    return isinstance(error, IntegrityError | DataError) or is_row_s_fault(error)


async def _ready(connection: AsyncConnection) -> None:
    if connection.dialect.name == "postgresql":
        await require_durable(connection)
        await one_at_a_time(connection)
    names = set(await connection.run_sync(lambda sync: inspect(sync).get_table_names()))
    if not names:
        await connection.run_sync(schema.metadata.create_all)
        await connection.execute(
            schema.archive.insert().values(
                id=1, schema_version=schema.SCHEMA_VERSION, fence=0, seq=0, head=b"\0" * 32
            )
        )
    elif schema.archive.name in names:
        await migrate(connection)
    await _check(connection)


async def _check(connection: AsyncConnection) -> None:
    names = await connection.run_sync(lambda sync: inspect(sync).get_table_names())
    if schema.archive.name not in names:
        raise InputError("the database is no archive of this program; name another one")
    found = await connection.scalar(select(schema.archive.c.schema_version))
    if found != schema.SCHEMA_VERSION:
        raise InputError(
            f"the archive has schema version {found}, this program {schema.SCHEMA_VERSION}: "
            "run the program version that made it, or begin a new archive"
        )


def among(
    connection: Connection,
    query: Select[Any],
    column: ColumnElement[str],
    values: Iterable[str],
) -> list[dict[str, Any]]:
    """The query's rows whose column has one of the values, asked for in bounded portions."""
    each = list(values)
    rows: list[dict[str, Any]] = []
    for at in range(0, len(each), _PORTION):
        found = connection.execute(query.where(column.in_(each[at : at + _PORTION])))
        rows += [dict(row) for row in found.mappings()]
    return rows


def _cause(error: BaseException) -> str:
    """The driver's words without the statement and its values."""
    inner = getattr(error, "orig", None) or error
    if isinstance(inner, GatewayError):
        return str(inner)
    return f"{type(inner).__name__}: {str(inner)[:200]}"
