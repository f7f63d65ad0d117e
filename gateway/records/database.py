"""Short, bounded transactions on the archive database.

SQLite by default: write-ahead log, every commit synced, many processes at once.  Or
PostgreSQL (:mod:`gateway.records.postgresql`), which many machines may share.
Each transaction runs in a task of its own: a caller that is cancelled or whose time
is up leaves at once, and the transaction ends behind him.  It is cut off when its
time is up, and once only: a driver that is cancelled while it cleans up after a
cancellation leaves connections behind that never close.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, Self, TypeVar
from urllib.parse import quote

from sqlalchemy import (
    URL,
    ColumnElement,
    Connection,
    Engine,
    Select,
    create_engine,
    event,
    inspect,
    select,
)
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import (
    DataError,
    DBAPIError,
    DisconnectionError,
    IntegrityError,
    SQLAlchemyError,
)
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry, PoolProxiedConnection

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

T = TypeVar("T")
Work = Callable[[AsyncConnection], Awaitable[T]]
Blocking = Callable[[Connection], T]

_POOL: Final = 4
_BUSY_SHARE: Final = 0.8
"""Of a transaction's time, how much may be spent waiting for another process."""
_GRACE: Final = 1.0
_TURN_ON: Final = 5.0
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
            engine, bulk = _sqlite_engines(path, timeout)
            if create:
                await asyncio.to_thread(_touch, path)
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


def _sqlite_engines(path: Path, timeout: float) -> tuple[AsyncEngine, Engine]:
    # mode=rw: a file that vanished is not silently begun anew.
    url = URL.create(
        "sqlite+aiosqlite",
        database="file:" + quote(str(path.absolute())),
        query={"mode": "rw", "uri": "true"},
    )
    how: dict[str, Any] = {
        "max_overflow": 0,
        "pool_timeout": timeout,
        "hide_parameters": True,
        "connect_args": {"timeout": timeout * _BUSY_SHARE},
    }
    engine = create_async_engine(url, pool_size=_POOL, **how)
    bulk = create_engine(url.set(drivername="sqlite+pysqlite"), pool_size=1, **how)
    _watch(engine.sync_engine, path)
    _watch(bulk, path)
    return engine, bulk


def _watch(engine: Engine, path: Path) -> None:
    """Set up the engine's connections, and their transactions."""

    @event.listens_for(engine, "connect")
    def _connect(connection: DBAPIConnection, record: ConnectionPoolEntry) -> None:
        # The driver begins no transaction of its own; see _begin.
        connection.isolation_level = None
        at = path.stat()
        record.info["file"] = (at.st_dev, at.st_ino)
        cursor = connection.cursor()
        for pragma in ("synchronous=FULL", "journal_size_limit=67108864"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine, "checkout")
    def _checkout(
        _connection: DBAPIConnection, record: ConnectionPoolEntry, _proxy: PoolProxiedConnection
    ) -> None:
        # A file that was removed stays writable for those who have it open, and what
        # they write is lost.
        try:
            at = path.stat()
            there = (at.st_dev, at.st_ino)
        except OSError:
            there = None
        if record.info.get("file") != there:
            raise DisconnectionError("the archive's file was removed or replaced")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        # A writer takes the lock at once: a reader that turns writer could only fail.
        writes = connection.get_execution_options().get("gateway_writes")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _write_ahead(connection: sqlite3.Connection) -> str:
    """Turn the write-ahead log on; the journal that is kept then.

    SQLite does not wait for another process that is just doing the same.
    """
    end = time.monotonic() + _TURN_ON
    while True:
        try:
            mode: str = connection.execute("PRAGMA journal_mode=WAL").fetchone()[0]
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > end:
                raise
            time.sleep(0.02)
        else:
            return mode


def _touch(path: Path) -> None:
    """Make the file with its mode, and the write-ahead log its lasting journal."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        connection = sqlite3.connect(path, timeout=5.0)
        try:
            # Of a new file only.  Half as many pages to write for rows of about 1 KiB.
            connection.execute("PRAGMA page_size=8192")
            mode = _write_ahead(connection)
        finally:
            connection.close()
    except sqlite3.DatabaseError as error:
        if "not a database" in str(error):
            raise InputError(f"{path}: not an archive; move it away or name another file") from None
        raise RecordsUnavailable(f"{path}: {error}") from error
    except OSError as error:
        raise RecordsUnavailable(f"{path}: {error.strerror}") from error
    if mode != "wal":
        raise InputError(f"{path}: its file system allows no write-ahead log; use a local disk")


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
