"""An archive's rows from one database to another, each as it is.

A backup is a SQLite file, whatever the archive lives in: it can be verified where it
lies, and come back into either kind of database.
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Final
from urllib.parse import quote

from sqlalchemy import Table, insert, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.failure import InputError, RecordsUnavailable
from gateway.records import schema
from gateway.records.database import Database
from gateway.records.postgresql import APPLICATION, one_at_a_time

LONG: Final = 86_400.0
"""Seconds that the copying of a whole archive may take."""
_ROWS: Final = 200
_LARGE: Final = {schema.content_chunk.name: 16}
"""Rows at once, where a row may have a quarter of a MiB."""


async def copy_to_file(source: Database, target: Path) -> None:
    """Make ``target`` a copy of the archive as it is at one moment, while others write.

    Raises:
        RecordsUnavailable: either cannot be read or written.

    """
    if source.path is not None:
        await asyncio.to_thread(copy_file, source.path, target)
        return
    await (await Database.open(target, timeout=LONG)).aclose()
    with closing(sqlite3.connect(target, check_same_thread=False)) as file:

        async def work(connection: AsyncConnection) -> None:
            await asyncio.to_thread(_run, file, "DELETE FROM archive", [()])
            for table in schema.metadata.sorted_tables:
                add = _insert(table)
                rows = await connection.stream(select(table))
                async for part in rows.partitions(_LARGE.get(table.name, _ROWS)):
                    await asyncio.to_thread(_run, file, add, [tuple(row) for row in part])

        await source.read(work)
        await asyncio.to_thread(file.commit)
    await asyncio.to_thread(make_single, target)


def _run(file: sqlite3.Connection, statement: str, rows: Sequence[Sequence[object]]) -> None:
    # Closed by the thread that made it: a cursor that ends in another one, while the next
    # runs the same statement, resets that.
    file.executemany(statement, rows).close()


def copy_file(source: Path, target: Path) -> None:
    """Copy a SQLite archive that may be in use; raises RecordsUnavailable.

    SQLite's online backup in one step: it reads one state, and writers go on meanwhile
    (https://www.sqlite.org/backup.html).
    """
    try:
        with (
            closing(sqlite3.connect(f"file:{quote(str(source))}?mode=rw", uri=True)) as reading,
            closing(sqlite3.connect(target)) as writing,
        ):
            reading.execute("PRAGMA busy_timeout = 60000")
            reading.backup(writing)
        make_single(target)
    except sqlite3.Error as error:
        raise RecordsUnavailable(f"{source}: {error}") from None


def make_single(path: Path) -> None:
    """Take the write-ahead log into the file, which is then all there is; and on the disk."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode=DELETE")
    path.chmod(0o600)
    sync(path)


def sync(path: Path) -> None:
    """Have a file or a folder on the disk when this returns."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


async def is_empty(database: Database) -> bool:
    """Whether an archive holds nothing yet; raises RecordsUnavailable."""

    async def work(connection: AsyncConnection) -> bool:
        if await connection.scalar(select(schema.archive.c.seq)):
            return False
        for table in (schema.held, schema.content, schema.unreadable, schema.person):
            if (await connection.execute(select(table).limit(1))).first() is not None:
                return False
        return True

    return await database.read(work)


async def others_connected(database: Database) -> int:
    """Connections of gateways and commands to an archive in PostgreSQL, but this one's."""
    query = text(
        "SELECT count(*) FROM pg_stat_activity WHERE application_name = :name "
        "AND datname = current_database() AND pid <> pg_backend_pid()"
    )

    async def work(connection: AsyncConnection) -> int:
        return int(await connection.scalar(query, {"name": APPLICATION}) or 0)

    return await database.read(work)


async def load_into_server(
    database: Database, source: Path, end: int, aside: str, *, keep: bool
) -> None:
    """Put the archive of a file in the place of PostgreSQL's, in one transaction.

    What was there goes, with its tables, into the schema ``aside`` of the same database,
    unless there is nothing to ``keep``.  ``end``: the number of the last row that the one
    to be replaced had when it was looked through.

    Raises:
        InputError: somebody has written to it since.
        RecordsUnavailable: nothing has changed, or (on a lost connection) all has.

    """
    tables = schema.metadata.sorted_tables

    async def work(connection: AsyncConnection) -> None:
        await one_at_a_time(connection)
        await connection.exec_driver_sql(f"CREATE SCHEMA {aside}")
        for table in tables:
            await connection.exec_driver_sql(f"ALTER TABLE {table.name} SET SCHEMA {aside}")
        found = await connection.scalar(text(f"SELECT seq FROM {aside}.archive"))  # noqa: S608
        if found != end:
            raise InputError("the archive was written to meanwhile: stop every gateway first")
        if not keep:
            await connection.exec_driver_sql(f"DROP SCHEMA {aside} CASCADE")
        await connection.run_sync(schema.metadata.create_all)
        with closing(sqlite3.connect(source)) as file:
            for table in tables:
                for rows in _portions(file, table):
                    await connection.execute(insert(table), rows)

    await database.write(work)


def _portions(file: sqlite3.Connection, table: Table) -> Iterator[list[dict[str, object]]]:
    names = table.columns.keys()
    cursor = file.execute(f"SELECT {', '.join(map(_quoted, names))} FROM {table.name}")  # noqa: S608
    while rows := cursor.fetchmany(_LARGE.get(table.name, _ROWS)):
        yield [dict(zip(names, row, strict=True)) for row in rows]


def _insert(table: Table) -> str:
    names = table.columns.keys()
    places = ", ".join("?" * len(names))
    return f"INSERT INTO {table.name} ({', '.join(map(_quoted, names))}) VALUES ({places})"  # noqa: S608


def _quoted(name: str) -> str:
    return f'"{name}"'
