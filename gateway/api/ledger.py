"""The accounts, in the archive's database."""

from __future__ import annotations

import re

from sqlalchemy import ColumnElement, RowMapping, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.api.account import Account, Role, hash_of, new_token
from gateway.clock import Clock, now_ms
from gateway.failure import InputError
from gateway.records import schema
from gateway.records.database import BadRow, Database

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}").fullmatch
_table = schema.account


class Ledger:
    """Makes, finds and ends accounts; every method raises RecordsUnavailable."""

    def __init__(self, database: Database, clock: Clock = now_ms) -> None:
        self._database = database
        self._clock = clock

    async def add(self, name: str, role: Role, expires: int | None = None) -> str:
        """Make an account and return its token, which is nowhere to be read again.

        Raises InputError for a name that is taken or cannot be one, or an expiry that
        is over.
        """
        if _NAME(name) is None:
            raise InputError(
                f"{name!r}: an account's name has 1 to 64 letters, digits, dots, dashes, @ and _"
            )
        now = self._clock()
        if expires is not None and expires <= now:
            raise InputError("the account would have expired already; give a later time")
        token = new_token()
        row = {
            "name": name,
            "role": role.value,
            "token_hash": hash_of(token),
            "created": now,
            "expires": expires,
            "disabled": None,
        }

        async def work(connection: AsyncConnection) -> None:
            await connection.execute(_table.insert().values(**row))

        try:
            await self._database.write(work)
        except BadRow:
            raise InputError(f"{name}: there is an account of this name; take another") from None
        return token

    async def find(self, token: str) -> Account | None:
        """The account of a token, if it may be used now."""
        account = await self._one(_table.c.token_hash == hash_of(token))
        return account if account is not None and account.usable(self._clock()) else None

    async def all(self) -> list[Account]:
        """All accounts by name."""

        async def work(connection: AsyncConnection) -> list[Account]:
            rows = await connection.execute(select(_table).order_by(_table.c.name))
            return [_account(row) for row in rows.mappings()]

        return await self._database.read(work)

    async def disable(self, name: str) -> None:
        """End an account; idempotent.  Raises InputError when there is none."""

        async def work(connection: AsyncConnection) -> None:
            await connection.execute(
                update(_table)
                .where(_table.c.name == name, _table.c.disabled.is_(None))
                .values(disabled=self._clock())
            )

        if await self._one(_table.c.name == name) is None:
            raise InputError(f"{name}: there is no account of this name")
        await self._database.write(work)

    async def renew(self, name: str) -> str:
        """Give an account a new token, which is returned; the old one ends at once.

        Raises InputError when there is none, or it is disabled.
        """
        account = await self._one(_table.c.name == name)
        if account is None or not account.usable(self._clock()):
            raise InputError(f"{name}: there is no account of this name that may be used")
        token = new_token()

        async def work(connection: AsyncConnection) -> None:
            await connection.execute(
                update(_table).where(_table.c.name == name).values(token_hash=hash_of(token))
            )

        await self._database.write(work)
        return token

    async def _one(self, condition: ColumnElement[bool]) -> Account | None:
        async def work(connection: AsyncConnection) -> Account | None:
            row = (await connection.execute(select(_table).where(condition))).mappings().first()
            return None if row is None else _account(row)

        return await self._database.read(work)


def _account(row: RowMapping) -> Account:
    return Account(
        name=row["name"],
        role=Role(row["role"]),
        created=row["created"],
        expires=row["expires"],
        disabled=row["disabled"],
    )
