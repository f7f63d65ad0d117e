"""A provider on this machine: answers as its stand-in says, remembers what it was asked.

Faults are made here, on real sockets: statuses, silence, garbage, a connection cut at a
chosen moment.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from typing import NamedTuple, Self

from aiohttp import web

from tests.peers.port import free_port

Answer = Callable[[web.Request, bytes], Awaitable[web.StreamResponse]]


class Asked(NamedTuple):
    """One request that came whole."""

    method: str
    path: str
    """With its query, undecoded."""
    headers: dict[str, str]
    """Names in lower case."""
    body: bytes


class Provider:
    """``async with Provider(twilio.answer) as provider``; its ``url`` is a base URL."""

    def __init__(self, answer: Answer) -> None:
        self.asked: list[Asked] = []
        self.times: list[float] = []
        """When each of them began to come, by the monotonic clock."""
        self.answer = answer
        """What it says; exchange it for another in the midst of a test."""
        self.port = 0
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def sends(self) -> list[Asked]:
        """What it was asked that is no GET."""
        return [one for one in self.asked if one.method != "GET"]

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def start(self) -> None:
        """Listen, at the same port as before if there was one."""
        app = web.Application(client_max_size=64 * 1024 * 1024)
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        self.port = self.port or free_port()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Be gone: connections are refused."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    def stall(self) -> asyncio.Event:
        """Let it answer, as it did so far, only once this is set."""
        free, usual = asyncio.Event(), self.answer

        async def slowly(request: web.Request, body: bytes) -> web.StreamResponse:
            await free.wait()
            return await usual(request, body)

        self.answer = slowly
        return free

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        began = time.monotonic()
        body = await request.read()
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.times.append(began)
        self.asked.append(Asked(request.method, request.raw_path, headers, body))
        return await self.answer(request, body)


def says(status: int, text: str = "", content_type: str = "application/json") -> Answer:
    """It says just this."""

    async def answer(_: web.Request, __: bytes) -> web.Response:
        return web.Response(status=status, text=text, content_type=content_type)

    return answer


async def silence(_: web.Request, __: bytes) -> web.Response:
    """It takes the request and says nothing."""
    await asyncio.sleep(60)
    return web.Response()


async def hanging_up(request: web.Request, _: bytes) -> web.Response:
    """It takes the request and cuts the connection."""
    with contextlib.suppress(AttributeError):
        request.transport.abort()
    return web.Response()
