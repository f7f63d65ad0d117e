"""The archive in PostgreSQL: connections, and what is asked of the server.

The driver is asyncpg, an extra of the package (``suppression-gateway[postgresql]``).
The URL goes to it as it stands, so that whatever libpq knows works here
(https://www.postgresql.org/docs/current/libpq-connect.html): several hosts,
``sslmode``, ``?host=/run/postgresql``, a password from ``PGPASSWORD`` or ``~/.pgpass``.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any, Final

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from gateway.failure import InputError, RecordsUnavailable

SCHEMES: Final = ("postgresql://", "postgres://")
"""What a URL of PostgreSQL's begins with."""
ONE_STATE: Final = {"isolation_level": "REPEATABLE READ"}
"""How a transaction that only reads sees one state of several tables."""
LATEST: Final = {"isolation_level": "READ COMMITTED"}
"""How one that writes sees, behind a lock that it waited for, what was done meanwhile."""
APPLICATION: Final = "suppression-gateway"
"""As which ``pg_stat_activity`` shows the connections."""

_OPENING: Final = 7_201_184_603
"""The advisory lock of whoever makes or migrates the tables; the number means nothing."""
_CONNECT_SHARE: Final = 0.8
"""Of a transaction's time, how much may be spent on a new connection."""
_REFUSED: Final = ("22", "23")
"""SQLSTATE classes of what is wrong with a row: its data, or a constraint."""


def postgresql_engine(url: str, timeout: float, connections: int) -> AsyncEngine:
    """Connections to the server of a libpq URL; none is made yet.

    Every statement ends within ``timeout`` seconds on the server too, and a transaction
    whose client fell silent is rolled back after as long: the archiver of a machine
    that is gone keeps no lock.

    Raises:
        InputError: the driver is not installed.

    """
    try:
        driver: Any = import_module("asyncpg")
    except ModuleNotFoundError:
        raise InputError(
            "records.url: PostgreSQL needs a driver: pip install 'suppression-gateway[postgresql]'"
        ) from None
    bound = str(max(1, int(timeout * 1000)))
    settings = {
        "application_name": APPLICATION,
        "statement_timeout": bound,
        "idle_in_transaction_session_timeout": bound,
    }
    failures = (driver.PostgresError, driver.InterfaceError, driver.InternalClientError)

    async def connect() -> object:
        try:
            return await driver.connect(
                url, timeout=timeout * _CONNECT_SHARE, server_settings=settings
            )
        except failures as error:
            # Always temporary: at a start it is told, and later it is no client's fault.
            raise RecordsUnavailable(f"PostgreSQL: {_first_line(error)}") from None
        except ValueError as error:
            raise InputError(f"records.url: {_first_line(error)}") from None

    return create_async_engine(
        "postgresql+asyncpg://",
        async_creator=connect,
        pool_size=connections,
        max_overflow=0,
        pool_timeout=timeout,
        # A server that was restarted costs nobody his message.
        pool_pre_ping=True,
        hide_parameters=True,
    )


async def one_at_a_time(connection: AsyncConnection) -> None:
    """Until this transaction ends nobody else makes or migrates tables."""
    await connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _OPENING})


async def require_durable(connection: AsyncConnection) -> None:
    """Raise InputError where the database would lose what it acknowledged, or no UTF-8."""
    for name, wrong, what in (
        ("synchronous_commit", {"off"}, "set it to on: a crash would lose records"),
        ("server_encoding", None, "make the database with ENCODING 'UTF8'"),
    ):
        value = str(await connection.scalar(text(f"SHOW {name}")))
        if (value in wrong) if wrong is not None else (value != "UTF8"):
            raise InputError(f"PostgreSQL: {name} is {value}; {what}")


def is_row_s_fault(error: DBAPIError) -> bool:
    """Whether the server is well and refuses what it was given, which the driver hides.

    asyncpg checks values itself, and SQLAlchemy knows few of the server's errors by name.
    """
    inner = error.orig
    state = getattr(inner, "sqlstate", None)
    if isinstance(state, str):
        return state.startswith(_REFUSED)
    cause = getattr(inner, "__cause__", None)
    return type(cause).__name__ == "DataError"


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0][:200]
