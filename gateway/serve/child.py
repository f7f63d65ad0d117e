"""What the gateway's processes beside the workers have in common: stores, signals, sockets."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from prometheus_client import CollectorRegistry

from gateway.evidence.metric import Metrics
from gateway.records.database import Database
from gateway.serve.accepted import read_accepted
from gateway.serve.assembly import Parts, build_parts
from gateway.serve.assignment import Assignment
from gateway.serve.logging import configure
from gateway.serve.place import archive_place
from gateway.serve.stores import Stores, open_custody, stores_on
from gateway.serve.tally import hold_room
from gateway.settings import Settings

_HANDSHAKE: float = 30


@dataclass(frozen=True, slots=True)
class Child:
    """One process: what it was assigned, and what it works with."""

    assignment: Assignment
    settings: Settings
    """As it started; see :meth:`renewed`."""
    stop: asyncio.Event
    """Set by SIGTERM."""
    reload: asyncio.Event
    """Set by SIGHUP: the accepted settings are to be taken anew."""
    metrics: Metrics
    parts: Parts
    stores: Stores

    def ready(self) -> None:
        """Tell the supervisor that the process serves."""
        os.write(self.assignment.ready, b"r")
        os.close(self.assignment.ready)

    def renewed(self) -> Settings:
        """The settings that the supervisor has accepted since.

        Raises:
            GatewayError: they cannot be read.

        """
        return read_accepted(Path(self.assignment.settings))


@asynccontextmanager
async def open_child(assignment: Assignment) -> AsyncIterator[Child]:
    """A process with its register and stores open, until it is left.

    Raises:
        GatewayError: it cannot start; the text says what to do.

    """
    settings = read_accepted(Path(assignment.settings))
    configure(settings.log, worker=assignment.index)
    loop = asyncio.get_running_loop()
    stop, reload = asyncio.Event(), asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    loop.add_signal_handler(signal.SIGINT, lambda: None)
    loop.add_signal_handler(signal.SIGHUP, reload.set)
    hold_room()
    metrics = Metrics(CollectorRegistry())
    async with AsyncExitStack() as stack:
        parts = await build_parts(settings, metrics)
        stack.push_async_callback(parts.aclose)
        database = await Database.open(
            archive_place(settings), timeout=settings.records.archive_timeout, create=False
        )
        stack.push_async_callback(database.aclose)
        custody = await open_custody(settings, parts.seal, database)
        stack.push_async_callback(custody.aclose)
        stores = stores_on(parts.register, database, custody, parts.ring, parts.seal)
        yield Child(assignment, settings, stop, reload, metrics, parts, stores)


async def listen(
    protocol: Callable[[], asyncio.BaseProtocol],
    descriptors: Sequence[int],
    context: ssl.SSLContext | None,
) -> list[asyncio.Server]:
    """Take connections on inherited sockets."""
    loop = asyncio.get_running_loop()
    return [
        await loop.create_server(
            protocol,
            sock=socket.socket(fileno=descriptor),
            ssl=context,
            ssl_handshake_timeout=_HANDSHAKE if context is not None else None,
        )
        for descriptor in descriptors
    ]
