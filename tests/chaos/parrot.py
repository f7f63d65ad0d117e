"""An upstream that answers every command with octets it has been taught."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Self


class Parrot:
    """``await start()``; ``await learn(script, step)`` before each dialogue."""

    def __init__(self) -> None:
        self.port = 0
        self.kept = 0
        """Messages read to their final dot since the last lesson."""
        self._script: Mapping[bytes, bytes] = {}
        self._step = 1
        self._writers: set[asyncio.StreamWriter] = set()

    def target(self) -> Self:
        """As the peers' upstreams give it: something with a ``port``."""
        return self

    async def start(self) -> None:
        """Serve on ``port``, in the loop of the caller."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """End every connection."""
        self._server.close()
        await self.learn({}, 1)

    async def learn(self, script: Mapping[bytes, bytes], step: int) -> None:
        """Cut what is open; from now on answer by this, ``step`` octets at a time."""
        for writer in list(self._writers):
            writer.transport.abort()
        while self._writers:
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.001)
        self._script, self._step, self.kept = script, step, 0

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            await self._say(writer, b"")
            while line := await reader.readline():
                verb = line[:4].upper()
                await self._say(writer, verb)
                if verb == b"DATA" and self._script[b"DATA"][:3] == b"354":
                    while (line := await reader.readline()) not in (b".\r\n", b""):
                        pass
                    self.kept += line != b""
                    await self._say(writer, b".")
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            self._writers.discard(writer)
            writer.transport.abort()

    async def _say(self, writer: asyncio.StreamWriter, verb: bytes) -> None:
        octets = self._script.get(verb, b"250 2.0.0 Ok\r\n")
        for place in range(0, len(octets), self._step):
            writer.write(octets[place : place + self._step])
            await asyncio.sleep(0)
