"""A redis-server of our own, which a test may slow down and fill."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Self

import pytest

from tests.peers.port import free_port


class Store:
    """``async with Store() as store``: serves on ``store.port``."""

    def __init__(self) -> None:
        program = shutil.which("redis-server") or shutil.which("valkey-server")
        if program is None:
            pytest.skip("redis-server or valkey-server is needed")
        self.port = free_port()
        self._folder = Path(tempfile.mkdtemp(prefix="sg-store-"))
        self._process = subprocess.Popen(
            [
                program,
                "--port",
                str(self.port),
                "--bind",
                "127.0.0.1",
                "--save",
                "",
                "--appendonly",
                "yes",
                "--maxmemory-policy",
                "noeviction",
            ],
            cwd=self._folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
        )

    async def __aenter__(self) -> Self:
        try:
            async with asyncio.timeout(10):
                while not await self._answers():
                    await asyncio.sleep(0.05)
        except BaseException:
            self._end()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        self._end()

    async def _answers(self) -> bool:
        with contextlib.suppress(OSError):
            return await self.say("PING") == "+PONG"
        return False

    def _end(self) -> None:
        self._process.kill()
        self._process.wait(10)
        shutil.rmtree(self._folder, ignore_errors=True)

    async def say(self, *words: object) -> str:
        """A command, and the first line of its reply, or the string that it is."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write((" ".join(map(str, words)) + "\r\n").encode())
            async with asyncio.timeout(10):
                line = await reader.readline()
                if line.startswith(b"$"):
                    line = await reader.readexactly(int(line[1:]) + 2)
                return line.decode().strip()
        finally:
            writer.close()
            await writer.wait_closed()

    async def used_memory(self) -> int:
        """Octets that the server has in use."""
        info = await self.say("INFO", "memory")
        return int(info.partition("used_memory:")[2].split()[0])
