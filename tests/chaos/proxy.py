"""A TCP proxy that makes trouble: it delays, cuts, half-closes and corrupts."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Self

from tests.chaos.apart import Apart


class Way(Enum):
    """Seen from whoever connects to the proxy."""

    UP = "from the client to the server"
    DOWN = "from the server to the client"


@dataclass(frozen=True)
class Trouble:
    """What may happen to a connection; each number is drawn anew for each."""

    share: float = 0.5
    """How many of the connections it happens to."""
    ways: tuple[Way, ...] = (Way.UP, Way.DOWN)
    delay: tuple[float, float] = (0, 0)
    """Seconds that each piece waits."""
    cut_after: tuple[int, int] | None = None
    """Octets in one way after which the connection is cut, by FIN or by RST."""
    half_close_after: tuple[int, int] | None = None
    """Octets after which no more goes this way, while the other stays open."""
    corrupt_after: tuple[int, int] | None = None
    """Octets after which one octet gets its highest bit turned."""


QUIET = Trouble(share=0)


class Proxy:
    """``async with Proxy(apart, lambda: port) as proxy``: connect to ``proxy.port``."""

    def __init__(self, apart: Apart, target: Callable[[], int], seed: int = 1) -> None:
        """``target`` is asked for the server's port with every connection."""
        self.port = 0
        self.trouble = QUIET
        self.troubled = 0
        """Connections that something happened to."""
        self._target = target
        self._apart = apart
        self._dice = random.Random(seed)
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        await self._apart.do(self._start())
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._apart.do(self._stop())

    async def renew(self) -> None:
        """Cut what is open, so that what is said of trouble holds for all there is."""
        await self._apart.do(self._end_all())

    async def renew_often(self, times: int, pause: float) -> None:
        """Do so some times, ``pause`` seconds apart: only new connections begin anew."""
        for _ in range(times):
            await asyncio.sleep(pause)
            await self.renew()

    async def _end_all(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=5)

    async def _start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, backlog=512)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _stop(self) -> None:
        if self._server is not None:
            self._server.close()
        await self._end_all()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        there: asyncio.StreamWriter | None = None
        try:
            from_there, there = await asyncio.open_connection("127.0.0.1", self._target())
            trouble = self.trouble if self._dice.random() < self.trouble.share else QUIET
            way = self._dice.choice(trouble.ways)
            # Either way may end alone; an exception of one (a cut) ends both.
            async with asyncio.TaskGroup() as both:
                both.create_task(self._pump(reader, there, trouble, way is Way.UP))
                both.create_task(self._pump(from_there, writer, trouble, way is Way.DOWN))
        except (OSError, asyncio.CancelledError):
            pass
        except BaseExceptionGroup as group:
            if any(isinstance(error, _Reset) for error in group.exceptions):
                for one in (writer, there):
                    if one is not None:
                        _reset(one)
        finally:
            self._tasks.discard(task)
            for one in (writer, there):
                if one is not None:
                    one.transport.abort()

    def _drawn(self, bounds: tuple[int, int] | None) -> int | None:
        return self._dice.randint(*bounds) if bounds is not None else None

    async def _pump(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        trouble: Trouble,
        chosen: bool,
    ) -> None:
        cut = self._drawn(trouble.cut_after) if chosen else None
        half = self._drawn(trouble.half_close_after) if chosen else None
        corrupt = self._drawn(trouble.corrupt_after) if chosen else None
        seen = 0
        while data := await reader.read(16384):
            if trouble.delay[1]:
                await asyncio.sleep(self._dice.uniform(*trouble.delay))
            if corrupt is not None and seen + len(data) > corrupt:
                place = corrupt - seen
                data = data[:place] + bytes([data[place] ^ 0x80]) + data[place + 1 :]
                corrupt = None
                self.troubled += 1
            for bound in (cut, half):
                if bound is not None and seen + len(data) > bound:
                    self.troubled += 1
                    writer.write(data[: bound - seen])
                    await writer.drain()
                    if bound == half:
                        await self._close_half(reader, writer)
                        return
                    raise _Reset if self._dice.random() < 0.5 else _Cut
            seen += len(data)
            writer.write(data)
            await writer.drain()
        with contextlib.suppress(OSError):
            writer.write_eof()

    async def _close_half(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write_eof()
        while await reader.read(65536):
            pass


class _Cut(Exception):
    pass


class _Reset(Exception):
    pass


def _reset(writer: asyncio.StreamWriter) -> None:
    sock = writer.get_extra_info("socket")
    if sock is not None:
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
