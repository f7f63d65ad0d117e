"""A PostgreSQL server of the tests' own, from Debian's package; and SQL to any archive.

It listens on a Unix socket in a folder of its own and forgets everything with it:
nothing is synced, so what a power cut would do is not shown here.
"""

from __future__ import annotations

import asyncio
import os
import pwd
import re
import shutil
import signal
import sqlite3
import subprocess
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from gateway.records.database import Database

_FAST = ("fsync=off", "full_page_writes=off", "shared_buffers=32MB", "max_connections=60")


def _program(name: str) -> str | None:
    versions = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), reverse=True)
    return str(versions[0]) if versions else shutil.which(name)


def _user() -> dict[str, Any]:
    """As whom the server runs: it refuses to as root."""
    if os.getuid() != 0:
        return {}
    for name in ("postgres", "nobody"):
        try:
            found = pwd.getpwnam(name)
        except KeyError:
            continue
        return {"user": found.pw_uid, "group": found.pw_gid, "extra_groups": []}
    raise RuntimeError("no user to run PostgreSQL as")


class Cluster:
    """One server; :meth:`database` gives a test a database of its own."""

    def __init__(self) -> None:
        initdb, server = _program("initdb"), _program("postgres")
        if initdb is None or server is None:
            message = "PostgreSQL is not installed (Debian: apt-get install postgresql)"
            if os.environ.get("CI") == "true":
                pytest.fail(message)
            pytest.skip(message)
        self._server = server
        self.folder = Path(tempfile.mkdtemp(prefix="pg-"))
        self._as = _user()
        if self._as:
            os.chown(self.folder, self._as["user"], self._as["group"])
        self._process: subprocess.Popen[bytes] | None = None
        self._count = 0
        self._emptied: list[str] = []
        options = ["--no-sync", "--auth=trust", "--username=gateway", "--encoding=UTF8"]
        # As a database is that people order by their language.
        self._run(initdb, *options, "--locale=C.UTF-8", "-D", str(self.folder / "data"))
        self.start()

    def _run(self, *command: str) -> None:
        done = subprocess.run(
            command, cwd=self.folder, capture_output=True, check=False, timeout=60, **self._as
        )
        if done.returncode:
            raise RuntimeError(done.stderr.decode())

    def start(self) -> None:
        command = [self._server, "-D", "data", "-k", str(self.folder), "-c", "listen_addresses="]
        for option in _FAST:
            command += ["-c", option]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                command, cwd=self.folder, stdout=log, stderr=log, **self._as
            )
        for _ in range(2000):
            try:
                self.sql("SELECT 1")
            except (OSError, asyncpg.PostgresError):
                time.sleep(0.025)
            else:
                return
        raise RuntimeError((self.folder / "log").read_text())

    def stop(self, number: int = signal.SIGINT) -> None:
        """SIGINT: what runs is cut off and the server ends; SIGQUIT: as in a crash."""
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(30)
            self._process = None

    def remove(self) -> None:
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def url(self, database: str) -> str:
        return f"postgresql://gateway@/{database}?host={self.folder}"

    def sql(self, statement: str) -> list[tuple[Any, ...]]:
        return sql(self.url("postgres"), statement)

    def database(self) -> str:
        """The URL of a new, empty database."""
        return self.url(self._new())

    def _new(self) -> str:
        self._count += 1
        name = f"archive{self._count}"
        self.sql(f"CREATE DATABASE {name}")
        return name

    @contextmanager
    def lent(self) -> Iterator[str]:
        """The URL of an empty database, for as long as this lasts.

        It is emptied then and lent again: hundreds of new ones would fill the disk, and
        take a minute to be removed at the end.
        """
        name = self._emptied.pop() if self._emptied else self._new()
        yield self.url(name)
        self.sql(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")
        made = sql(
            self.url(name), "SELECT nspname FROM pg_namespace WHERE nspname !~ '^pg_|^infor'"
        )
        sql(self.url(name), *(f'DROP SCHEMA "{one}" CASCADE' for (one,) in made))
        sql(self.url(name), "CREATE SCHEMA public")
        self._emptied.append(name)


def sql(place: Path | str, *statements: str) -> list[tuple[Any, ...]]:
    """Run SQLite's statements on an archive, behind the program's back; the last one's rows."""
    if isinstance(place, Path):
        with closing(sqlite3.connect(place, isolation_level=None, timeout=10)) as connection:
            return [connection.execute(one).fetchall() for one in statements][-1]

    async def run() -> list[tuple[Any, ...]]:
        connection = await asyncpg.connect(place, timeout=10)
        try:
            return [
                [tuple(row) for row in await connection.fetch(_as_postgresql(one))]
                for one in statements
            ][-1]
        finally:
            await connection.close()

    # In a thread: the test may have a loop of its own.
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, run()).result()


def _as_postgresql(statement: str) -> str:
    statement = re.sub(r"\bx'([0-9a-f]*)'", r"'\\x\1'::bytea", statement, flags=re.IGNORECASE)
    statement = re.sub(r"zeroblob\((\d+)\)", r"decode(repeat('00', \1), 'hex')", statement)
    return statement.replace(" BLOB", " BYTEA").replace(" INTEGER", " BIGINT")


def sql_of(database: Database, *statements: str) -> list[tuple[Any, ...]]:
    """:func:`sql` for a database that a fixture opened."""
    return sql(database.place, *statements)  # type: ignore[attr-defined]
