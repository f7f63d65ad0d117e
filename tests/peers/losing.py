"""A redis-server that may be killed, emptied, and put back from an older copy of its folder."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Self

import pytest
from redis.asyncio import Redis

from gateway.register.server import answers


class LosingServer:
    """``async with LosingServer() as server``: serves on ``server.url``."""

    def __init__(self) -> None:
        program = shutil.which("redis-server") or shutil.which("valkey-server")
        if program is None:
            pytest.skip("redis-server or valkey-server is needed")
        self._program = program
        self.folder = Path(tempfile.mkdtemp(prefix="sg-"))
        self.socket = self.folder / "s"
        self._copies: list[Path] = []
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"unix://{self.socket}"

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    async def start(self) -> None:
        settings = {
            "port": "0",
            "unixsocket": str(self.socket),
            "dir": str(self.folder),
            "save": "",
            "appendonly": "yes",
            "appendfsync": "no",  # a process that is killed has written it all the same
            "maxmemory-policy": "noeviction",
            "hash-max-listpack-entries": "1024",
        }
        arguments = [part for name, value in settings.items() for part in (f"--{name}", value)]
        self._process = subprocess.Popen(
            [self._program, *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
        )
        async with asyncio.timeout(30):
            while not await answers(self.socket):
                await asyncio.sleep(0.005)

    def kill(self) -> None:
        """SIGKILL."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self.socket.unlink(missing_ok=True)

    async def restart(self) -> None:
        """Kill it and start it on what it has written."""
        self.kill()
        await self.start()

    def copy(self) -> None:
        """Keep a copy of what it has written so far."""
        self._copies.append(Path(tempfile.mkdtemp(dir=self.folder, prefix="copy-")))
        shutil.copytree(self.folder / "appendonlydir", self._copies[-1] / "appendonlydir")

    async def put_back(self, which: int = 0) -> None:
        """Kill it and start it on an older copy."""
        if not self._copies:
            return
        self.kill()
        shutil.rmtree(self.folder / "appendonlydir")
        older = self._copies[which % len(self._copies)]
        shutil.copytree(older / "appendonlydir", self.folder / "appendonlydir")
        await self.start()

    async def flush(self) -> None:
        """FLUSHALL."""
        async with self.client() as client:
            await client.flushall()

    def client(self) -> Redis:
        """The server as anybody asks it."""
        return Redis(unix_socket_path=str(self.socket))
