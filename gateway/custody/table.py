"""The file of people's keys, blocking: an SQLite database of its own.

Each key lies wrapped under the content key.  A row is only ever appended and a key only
ever overwritten where it stands, so that no page keeps an older copy of it; deleted
octets are zeroed and the write-ahead log is emptied before a destruction is done.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from secrets import token_hex
from time import monotonic, sleep
from typing import Final, Protocol
from urllib.parse import quote

from gateway.custody.cipher import new_key
from gateway.failure import InputError, RecordsUnavailable

VERSION: Final = 1
_PORTION: Final = 500
_BUSY_SHARE: Final = 0.8
_TABLES: Final = """
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS person_key (
    id INTEGER PRIMARY KEY,
    owner TEXT NOT NULL UNIQUE,
    wrapped BLOB NOT NULL,
    made INTEGER NOT NULL,
    destroyed INTEGER
);
CREATE TABLE IF NOT EXISTS state (
    id INTEGER PRIMARY KEY,
    version INTEGER NOT NULL,
    destructions INTEGER NOT NULL,
    name TEXT NOT NULL
);
"""


class Master(Protocol):
    """What wraps the keys, such as :class:`gateway.records.seal.Sealer`."""

    def seal(self, data: bytes, context: bytes) -> bytes:
        """The data sealed and bound to the context."""

    def open(self, sealed: bytes, context: bytes) -> bytes:
        """The data again; raises SealError."""


class KeyTable:
    """The keys' file, for one thread at a time.

    Every method raises RecordsUnavailable.
    """

    def __init__(self, path: Path, master: Master, timeout: float, *, create: bool) -> None:
        """Open the file, making it (mode 0600) where it is missing and ``create`` is set.

        Raises InputError where it is no file of keys, or another version's.
        """
        self._path = path
        self._master = master
        self._timeout = timeout
        self._connection: sqlite3.Connection | None = None
        self._file = (0, 0)
        with self._failing():
            if create:
                self._make()
            connection = self._connected()
            if create:
                # What a killed process had destroyed may still stand in the log.
                _empty_log(connection)

    def close(self) -> None:
        """Close the file."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(sqlite3.Error):
                connection.close()

    def name(self) -> str:
        """What tells these keys from all others."""
        with self._failing():
            return str(self._connected().execute("SELECT name FROM state").fetchone()[0])

    def destructions(self) -> int:
        """How many destructions there were: it tells whether a cached key may be gone."""
        with self._failing():
            return int(self._connected().execute("SELECT destructions FROM state").fetchone()[0])

    def find(self, owners: Sequence[str]) -> dict[str, bytes | None]:
        """The keys of those owners that have one; None is a destroyed one.

        Raises SealError when one cannot be unwrapped.
        """
        with self._failing():
            found = self._rows(self._connected(), owners)
        return {
            owner: None if destroyed is not None else self._unwrapped(owner, wrapped)
            for owner, (wrapped, destroyed) in found.items()
        }

    def find_or_make(self, owners: Sequence[str], at: int) -> dict[str, bytes | None]:
        """As :meth:`find`, with new keys for owners that never had one; durable."""
        found = self.find(owners)
        missing = [owner for owner in dict.fromkeys(owners) if owner not in found]
        if not missing:
            return found
        made = {owner: new_key() for owner in missing}
        rows = [(owner, self._wrapped(owner, key), at) for owner, key in made.items()]
        with self._failing(), self._transaction() as connection:
            # Another process may have made one meanwhile: then that one counts.
            connection.executemany(
                "INSERT INTO person_key (owner, wrapped, made) VALUES (?, ?, ?) "
                "ON CONFLICT (owner) DO NOTHING",
                rows,
            )
            kept = self._rows(connection, missing)
        ours = {owner: wrapped for owner, wrapped, _ in rows}
        for owner, (wrapped, destroyed) in kept.items():
            if destroyed is not None:
                found[owner] = None
            elif wrapped == ours[owner]:
                found[owner] = made[owner]
            else:
                found[owner] = self._unwrapped(owner, wrapped)
        return found

    def destroy(self, owners: Sequence[str], at: int) -> int:
        """Overwrite the keys for good; owners without one never get one.  How many were left.

        Durable and gone from the file when this returns; doing it again is harmless.
        """
        with self._failing():
            with self._transaction() as connection:
                count = 0
                for owner in dict.fromkeys(owners):
                    changed = connection.execute(
                        "INSERT INTO person_key (owner, wrapped, made, destroyed) "
                        "VALUES (?1, x'', ?2, ?2) ON CONFLICT (owner) DO UPDATE SET "
                        "wrapped = zeroblob(length(wrapped)), destroyed = ?2 "
                        "WHERE destroyed IS NULL",
                        (owner, at),
                    )
                    count += changed.rowcount
                if count:
                    connection.execute("UPDATE state SET destructions = destructions + 1")
            self._empty_log()
        return count

    def destroyed(self, owners: Sequence[str]) -> dict[str, int]:
        """When the keys of those owners were destroyed whose keys were (ms)."""
        with self._failing():
            found = self._rows(self._connected(), owners)
        return {owner: at for owner, (_, at) in found.items() if at is not None}

    def count(self) -> tuple[int, int]:
        """How many keys there are, and how many were destroyed."""
        with self._failing():
            row = (
                self._connected()
                .execute("SELECT count(*), count(destroyed) FROM person_key")
                .fetchone()
            )
        return int(row[0]) - int(row[1]), int(row[1])

    def stale(self, is_stale: Callable[[bytes], bool]) -> int:
        """How many keys lie wrapped in a way that ``is_stale`` says."""
        count = 0
        for rows in self._pages():
            count += sum(is_stale(wrapped) for _, _, wrapped in rows)
        return count

    def rewrap(self, master: Master, is_stale: Callable[[bytes], bool]) -> int:
        """Wrap the keys that ``is_stale`` names anew; how many.

        From now on this table wraps under ``master``, which must open what the old one
        sealed.  In transactions of some hundred: one that was cut off is begun again.
        """
        self._master = master
        count = 0
        for rows in self._pages():
            # Written only where the row is still what was read: not one destroyed since.
            changes = [
                (self._wrapped(owner, self._unwrapped(owner, wrapped)), row_id, wrapped)
                for row_id, owner, wrapped in rows
                if is_stale(wrapped)
            ]
            if changes:
                with self._failing(), self._transaction() as connection:
                    count += connection.executemany(
                        "UPDATE person_key SET wrapped = ? WHERE id = ? AND wrapped = ?", changes
                    ).rowcount
        with self._failing():
            self._empty_log()
        return count

    def backup(self, target: Path) -> None:
        """Copy all keys into a new file (mode 0600); raises InputError where there is one."""
        try:
            os.close(os.open(target, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        except OSError as error:
            raise InputError(f"{target}: {error.strerror}") from None
        with self._failing():
            copy = sqlite3.connect(target)
            try:
                self._connected().backup(copy)
                copy.execute("PRAGMA journal_mode=WAL")
            finally:
                copy.close()

    # -- the file -----------------------------------------------------------------

    def _pages(self) -> Iterator[list[tuple[int, str, bytes]]]:
        after = 0
        while True:
            with self._failing():
                rows = (
                    self._connected()
                    .execute(
                        "SELECT id, owner, wrapped FROM person_key "
                        "WHERE id > ? AND destroyed IS NULL ORDER BY id LIMIT ?",
                        (after, _PORTION),
                    )
                    .fetchall()
                )
            if not rows:
                return
            after = rows[-1][0]
            yield rows

    @staticmethod
    def _rows(
        connection: sqlite3.Connection, owners: Sequence[str]
    ) -> dict[str, tuple[bytes, int | None]]:
        rows: dict[str, tuple[bytes, int | None]] = {}
        each = list(dict.fromkeys(owners))
        for start in range(0, len(each), _PORTION):
            some = each[start : start + _PORTION]
            places = ",".join("?" * len(some))
            query = f"SELECT owner, wrapped, destroyed FROM person_key WHERE owner IN ({places})"  # noqa: S608
            rows |= {owner: (wrapped, at) for owner, wrapped, at in connection.execute(query, some)}
        return rows

    def _wrapped(self, owner: str, key: bytes) -> bytes:
        return self._master.seal(key, context_of(owner))

    def _unwrapped(self, owner: str, wrapped: bytes) -> bytes:
        return self._master.open(wrapped, context_of(owner))

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        connection = self._connected()
        connection.execute("BEGIN IMMEDIATE")
        try:
            yield connection
            connection.execute("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
            raise

    def _empty_log(self) -> None:
        """Move the log into the file and cut it to nothing; waits for those who read."""
        end = monotonic() + self._timeout * _BUSY_SHARE
        while not _empty_log(self._connected()):
            if monotonic() > end:
                raise RecordsUnavailable(
                    f"{self._path}: another process keeps its log; do it again"
                )
            sleep(0.01)

    def _connected(self) -> sqlite3.Connection:
        """The connection; a new one where the file was exchanged, as a restore does."""
        try:
            at = self._path.stat()
        except OSError as error:
            self.close()
            raise RecordsUnavailable(f"{self._path}: {error.strerror}") from None
        if self._connection is not None and (at.st_dev, at.st_ino) != self._file:
            self.close()
        if self._connection is None:
            self._file = at.st_dev, at.st_ino
            self._connection = self._opened()
        return self._connection

    def _opened(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            f"file:{quote(str(self._path.absolute()))}?mode=rw",
            uri=True,
            timeout=self._timeout * _BUSY_SHARE,
            isolation_level=None,
            check_same_thread=False,
        )
        try:
            for pragma in ("synchronous=FULL", "secure_delete=ON", "journal_size_limit=0"):
                connection.execute(f"PRAGMA {pragma}")
            found = connection.execute("SELECT version FROM state").fetchone()
        except sqlite3.DatabaseError as error:
            connection.close()
            text = str(error)
            if "not a database" in text or "no such table" in text:
                raise InputError(f"{self._path}: not a file of people's keys") from None
            raise
        if found is None or found[0] != VERSION:
            connection.close()
            raise InputError(f"{self._path}: keys of another version of this program")
        return connection

    def _make(self) -> None:
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600))
        connection = sqlite3.connect(
            self._path, timeout=self._timeout * _BUSY_SHARE, isolation_level=None
        )
        try:
            names = {row[0] for row in connection.execute("SELECT name FROM sqlite_schema")}
            if names and "person_key" not in names:
                raise InputError(f"{self._path}: not a file of people's keys; name another one")
            if connection.execute("PRAGMA journal_mode=WAL").fetchone()[0] != "wal":
                raise InputError(
                    f"{self._path}: its file system allows no write-ahead log; use a local disk"
                )
            if not names:
                connection.executescript(_TABLES)
                connection.execute(
                    "INSERT OR IGNORE INTO state VALUES (1, ?, 0, ?)", (VERSION, new_name())
                )
                connection.execute("COMMIT")
        except sqlite3.DatabaseError as error:
            if "not a database" in str(error):
                raise InputError(f"{self._path}: not a file of people's keys") from None
            raise
        finally:
            connection.close()

    @contextmanager
    def _failing(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            self.close()
            raise RecordsUnavailable(f"people's keys: {error}") from None


def _empty_log(connection: sqlite3.Connection) -> bool:
    """Whether the log could be emptied."""
    busy, *_ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    return not busy


def new_name() -> str:
    """A name for new keys."""
    return token_hex(8)


def context_of(owner: str) -> bytes:
    """What a wrapped key is bound to."""
    return b"key:" + owner.encode()
