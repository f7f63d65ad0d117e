"""SQLite: the archive in one file, of which every commit is synced.

A file that vanished or was replaced is noticed before each use, and never made anew behind
whoever wrote to it.
"""

from __future__ import annotations

import os
import sqlite3
import time
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import ConnectionPoolEntry, PoolProxiedConnection

from gateway.failure import InputError, RecordsUnavailable

_BUSY_SHARE: Final = 0.8
"""Of a transaction's time, how much may be spent waiting for another process."""
_TURN_ON: Final = 5.0


def sqlite_engines(path: Path, timeout: float, pool: int) -> tuple[AsyncEngine, Engine]:
    """Engines of a file: one of ``pool`` connections, and one of a single one for bulk work.

    ``timeout`` bounds how long they wait, in seconds.
    """
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
    engine = create_async_engine(url, pool_size=pool, **how)
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


def make_file(path: Path) -> None:
    """Make the file with its mode, and the write-ahead log its lasting journal.

    Raises InputError when it is no archive or its file system allows no such log,
    RecordsUnavailable.
    """
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
