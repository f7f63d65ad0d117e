"""The keys of people in PostgreSQL, for gateways on several machines that share an archive.

A database of its own, never the archive's: whoever copies the one shall not have the
other.  PostgreSQL keeps what was overwritten until it is vacuumed, which is done here at
once, and in its write-ahead log, which is the server's affair; what is left there lies
wrapped under the content key of that time and dies with it (``keys retire``).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import suppress
from importlib import import_module
from typing import Any, Final, TypeVar

from gateway.custody.cipher import new_key
from gateway.custody.table import VERSION, Master, context_of, new_name
from gateway.failure import InputError, RecordsUnavailable

T = TypeVar("T")

SCHEMES: Final = ("postgresql://", "postgres://")
_PORTION: Final = 500
_MAKING: Final = 7_201_184_604
"""The advisory lock of whoever makes the tables; the number means nothing."""
_TABLES: Final = """
CREATE TABLE IF NOT EXISTS person_key (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    owner TEXT NOT NULL UNIQUE,
    wrapped BYTEA NOT NULL,
    made BIGINT NOT NULL,
    destroyed BIGINT
);
CREATE TABLE IF NOT EXISTS person_key_state (
    id INTEGER PRIMARY KEY,
    version INTEGER NOT NULL,
    destructions BIGINT NOT NULL,
    name TEXT NOT NULL
);
"""


class PostgresKeys:
    """As :class:`gateway.custody.table.KeyTable`, for one thread, which has no loop.

    Every method raises RecordsUnavailable.
    """

    def __init__(self, url: str, master: Master, timeout: float, *, create: bool) -> None:
        """Connect, and make the tables where they are missing and ``create`` is set.

        Raises InputError where the driver is missing, or the keys are another version's.
        """
        try:
            self._driver: Any = import_module("asyncpg")
        except ModuleNotFoundError:
            raise InputError(
                "records.keys_url: PostgreSQL needs a driver: "
                "pip install 'suppression-gateway[postgresql]'"
            ) from None
        self._url = url
        self._master = master
        self._timeout = timeout
        self._loop = asyncio.new_event_loop()
        self._connection: Any = None
        try:
            self._run(self._begin(create=create))
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(Exception):
                self._loop.run_until_complete(connection.close(timeout=self._timeout))
        self._loop.close()

    def name(self) -> str:
        """What tells these keys from all others."""
        return str(self._run(self._value("SELECT name FROM person_key_state")))

    def destructions(self) -> int:
        """How many destructions there were."""
        return int(str(self._run(self._value("SELECT destructions FROM person_key_state"))))

    def find(self, owners: Sequence[str]) -> dict[str, bytes | None]:
        """The keys of those owners that have one; None is a destroyed one."""
        return self._opened(self._run(self._rows(owners)))

    def find_or_make(self, owners: Sequence[str], at: int) -> dict[str, bytes | None]:
        """As :meth:`find`, with new keys for owners that never had one; durable."""
        found = self.find(owners)
        missing = [owner for owner in dict.fromkeys(owners) if owner not in found]
        if missing:
            wrapped = [self._master.seal(new_key(), context_of(owner)) for owner in missing]
            # Another machine may make one meanwhile: then that one counts.
            statement = (
                "INSERT INTO person_key (owner, wrapped, made) "
                "SELECT owner, wrapped, $3 FROM unnest($1::text[], $2::bytea[]) "
                "AS t (owner, wrapped) ORDER BY owner ON CONFLICT (owner) DO NOTHING"
            )
            self._run(self._execute(statement, missing, wrapped, at))
            found |= self._opened(self._run(self._rows(missing)))
        return found

    def destroy(self, owners: Sequence[str], at: int) -> int:
        """Overwrite the keys for good; owners without one never get one."""
        return self._run(self._destroy(list(dict.fromkeys(owners)), at))

    def destroyed(self, owners: Sequence[str]) -> dict[str, int]:
        """When the keys of those owners were destroyed whose keys were (ms)."""
        rows = self._run(self._rows(owners))
        return {owner: at for owner, (_, at) in rows.items() if at is not None}

    def count(self) -> tuple[int, int]:
        """How many keys there are, and how many were destroyed."""
        query = "SELECT count(*) - count(destroyed), count(destroyed) FROM person_key"
        ((keys, gone),) = self._run(self._fetch(query))
        return int(keys), int(gone)

    def stale(self, is_stale: Callable[[bytes], bool]) -> int:
        """How many keys lie wrapped in a way that ``is_stale`` says."""
        return sum(is_stale(wrapped) for rows in self._pages() for _, _, wrapped in rows)

    def rewrap(self, master: Master, is_stale: Callable[[bytes], bool]) -> int:
        """Wrap the keys that ``is_stale`` names anew under ``master``; how many."""
        self._master = master
        count = 0
        statement = (
            "UPDATE person_key SET wrapped = t.anew "
            "FROM unnest($1::bigint[], $2::bytea[], $3::bytea[]) AS t (id, was, anew) "
            "WHERE person_key.id = t.id AND person_key.wrapped = t.was"
        )
        for rows in self._pages():
            changes = [
                (
                    row_id,
                    wrapped,
                    master.seal(master.open(wrapped, context_of(owner)), context_of(owner)),
                )
                for row_id, owner, wrapped in rows
                if is_stale(wrapped)
            ]
            if changes:
                done = self._run(self._execute(statement, *map(list, zip(*changes, strict=True))))
                count += int(str(done).rpartition(" ")[2])
        if count:
            self._run(self._execute("VACUUM person_key"))
        return count

    # -- the server ---------------------------------------------------------------

    async def _begin(self, *, create: bool) -> None:
        connection = await self._connected()
        if create:
            async with connection.transaction():
                await connection.execute("SELECT pg_advisory_xact_lock($1)", _MAKING)
                if await connection.fetchval("SELECT to_regclass('archive') IS NOT NULL"):
                    raise InputError(
                        "records.keys_url: the archive lies in this database; "
                        "people's keys need one of their own"
                    )
                await connection.execute(_TABLES)
                await connection.execute(
                    "INSERT INTO person_key_state VALUES (1, $1, 0, $2) ON CONFLICT DO NOTHING",
                    VERSION,
                    new_name(),
                )
        found = await connection.fetchval("SELECT version FROM person_key_state")
        if found != VERSION:
            raise InputError("records.keys_url: keys of another version of this program")

    async def _connected(self) -> Any:  # noqa: ANN401 - the driver is an extra
        if self._connection is None or self._connection.is_closed():
            bound = str(max(1, int(self._timeout * 1000)))
            self._connection = await self._driver.connect(
                self._url,
                timeout=self._timeout,
                server_settings={
                    "application_name": "suppression-gateway",
                    "statement_timeout": bound,
                    "synchronous_commit": "on",
                },
            )
        return self._connection

    async def _fetch(self, query: str, *values: object) -> list[Any]:
        return list(await (await self._connected()).fetch(query, *values))

    async def _value(self, query: str) -> object:
        return await (await self._connected()).fetchval(query)

    async def _execute(self, statement: str, *values: object) -> object:
        return await (await self._connected()).execute(statement, *values)

    async def _rows(self, owners: Sequence[str]) -> dict[str, tuple[bytes, int | None]]:
        query = "SELECT owner, wrapped, destroyed FROM person_key WHERE owner = ANY($1::text[])"
        rows = await self._fetch(query, list(dict.fromkeys(owners)))
        return {row["owner"]: (row["wrapped"], row["destroyed"]) for row in rows}

    async def _destroy(self, owners: list[str], at: int) -> int:
        connection = await self._connected()
        async with connection.transaction():
            done = await connection.execute(
                "INSERT INTO person_key (owner, wrapped, made, destroyed) "
                "SELECT owner, ''::bytea, $2, $2 FROM unnest($1::text[]) AS t (owner) "
                "ORDER BY owner ON CONFLICT (owner) DO UPDATE "
                "SET wrapped = ''::bytea, destroyed = $2 WHERE person_key.destroyed IS NULL",
                owners,
                at,
            )
            count = int(done.rpartition(" ")[2])
            if count:
                await connection.execute(
                    "UPDATE person_key_state SET destructions = destructions + 1"
                )
        await connection.execute("VACUUM person_key")
        return count

    def _pages(self) -> Iterator[list[tuple[int, str, bytes]]]:
        after = 0
        query = (
            "SELECT id, owner, wrapped FROM person_key "
            "WHERE id > $1 AND destroyed IS NULL ORDER BY id LIMIT $2"
        )
        while rows := self._run(self._fetch(query, after, _PORTION)):
            after = rows[-1]["id"]
            yield [(row["id"], row["owner"], row["wrapped"]) for row in rows]

    def _opened(self, rows: dict[str, tuple[bytes, int | None]]) -> dict[str, bytes | None]:
        return {
            owner: None if at is not None else self._master.open(wrapped, context_of(owner))
            for owner, (wrapped, at) in rows.items()
        }

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        failures = (
            self._driver.PostgresError,
            self._driver.InterfaceError,
            self._driver.InternalClientError,
            OSError,
            TimeoutError,
        )
        try:
            return self._loop.run_until_complete(asyncio.wait_for(work, self._timeout))
        except failures as error:
            connection, self._connection = self._connection, None
            if connection is not None:
                # Whatever state it is in: a new one costs little.
                connection.terminate()
                self._loop.run_until_complete(asyncio.sleep(0))
            cause = str(error).partition("\n")[0][:200] or type(error).__name__
            raise RecordsUnavailable(f"people's keys: PostgreSQL: {cause}") from None
        except ValueError as error:
            raise InputError(f"records.keys_url: {str(error)[:200]}") from None
