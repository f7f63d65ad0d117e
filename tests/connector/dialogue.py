"""Connectors driven against servers: requests out, answers in, as the loop does it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import aiohttp.web

from gateway.connector.connector import Connector, Exchange, Page, Place, Put
from gateway.connector.suppression import Change, Suppression
from gateway.provider.request import Answer, Request
from tests.peers.tools.driver import Driver

_Result = TypeVar("_Result")


def answered(exchange: Exchange[_Result], *answers: Answer) -> tuple[_Result, list[Request]]:
    """An exchange's result and its requests, where these are the answers to them."""
    asked: list[Request] = []
    left = list(answers)
    try:
        request = next(exchange)
        while True:
            asked.append(request)
            request = exchange.send(left.pop(0))
    except StopIteration as done:
        assert not left
        return done.value, asked


@dataclass
class Served:
    """A tool that listens, and drivers of connectors to it."""

    url: str
    requests: list[Request] = field(default_factory=list)

    @asynccontextmanager
    async def driver(self, connector: Connector) -> AsyncIterator[Driver]:
        """What drives this connector to it; patient with one that puts off."""
        async with Driver(connector, url=self.url, tries=100) as driver:
            driver.requests = self.requests
            yield driver

    async def run(self, connector: Connector, exchange: Exchange[_Result]) -> _Result:
        """The exchange's result."""
        async with self.driver(connector) as driver:
            return await driver.run(exchange)

    async def listed(self, connector: Connector) -> list[Change]:
        """The whole list."""
        async with self.driver(connector) as driver:
            return (await driver.read(connector.listing))[0]

    async def pages(self, connector: Connector, ask: Any, cursor: str) -> AsyncIterator[Page]:
        """Pages until there are no more at once."""
        async with self.driver(connector) as driver:
            async for page in driver.pages(ask, cursor):
                yield page

    async def changed(self, connector: Connector, cursor: str) -> tuple[list[Change], str]:
        """What is new since the cursor, and the next one."""
        async with self.driver(connector) as driver:
            return await driver.read(connector.changes, cursor)

    async def put(self, connector: Connector, entries: Sequence[Suppression]) -> list[Put]:
        """All entries, as many at once as the connector takes."""
        async with self.driver(connector) as driver:
            return await driver.put(list(entries))


@asynccontextmanager
async def served(app: aiohttp.web.Application) -> AsyncIterator[Served]:
    """The application on a port of its own, and a session to call it."""
    runner = aiohttp.web.AppRunner(app)
    await runner.setup()
    site = aiohttp.web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    assert site._server is not None
    port = site._server.sockets[0].getsockname()[1]  # type: ignore[attr-defined]
    try:
        yield Served(f"http://127.0.0.1:{port}")
    finally:
        await runner.cleanup()


def place(**changes: Any) -> Place:
    """What the settings say of a tool."""
    given: dict[str, Any] = {
        "name": "tool",
        "username": "gateway",
        "secret": "t0ken",
        "url": "https://tool.example.com",
    }
    return Place(**(given | changes))
