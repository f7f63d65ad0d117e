"""Connectors driven against servers: requests out, answers in, as the loop does it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import aiohttp
import aiohttp.web
import yarl

from gateway.clock import now_ms
from gateway.connector.connector import Connector, Exchange, Page, Place, Put
from gateway.connector.suppression import Change, Suppression
from gateway.provider.request import Answer, Request

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
    """A tool that listens, and a session that calls it."""

    url: str
    session: aiohttp.ClientSession
    requests: list[Request] = field(default_factory=list)

    async def run(self, connector: Connector, exchange: Exchange[_Result]) -> _Result:
        """The exchange's result; 429 and 5xx are asked again, at most a hundred times."""
        try:
            request = next(exchange)
            while True:
                request = exchange.send(await self._answer(connector, request))
        except StopIteration as done:
            return done.value

    async def _answer(self, connector: Connector, request: Request) -> Answer:
        sent = connector.prepare(request, now_ms())
        self.requests.append(sent)
        query = f"?{sent.query}" if sent.query else ""
        url = yarl.URL(f"{self.url}{sent.path}{query}", encoded=True)
        for _ in range(100):
            async with self.session.request(
                sent.method, url, headers=list(sent.headers), data=sent.body, allow_redirects=False
            ) as got:
                body = await got.read()
                if got.status != 429 and got.status < 500:
                    headers = tuple(got.headers.items())
                    return Answer(got.status, body, got.content_type, headers)
                wait = float(got.headers.get("Retry-After", 0))
            assert wait < 1
            await asyncio.sleep(wait)
        raise AssertionError("it never answers")

    async def listed(self, connector: Connector) -> list[Change]:
        """The whole list."""
        pages = [page async for page in self.pages(connector, connector.listing, "")]
        return [change for page in pages for change in page.changes]

    async def pages(self, connector: Connector, ask: Any, cursor: str) -> AsyncIterator[Page]:
        """Pages until there are no more at once."""
        for _ in range(10_000):
            page = await self.run(connector, ask(cursor))
            yield page
            if not page.more:
                return
            assert page.cursor != cursor
            cursor = page.cursor
        raise AssertionError("it never ends")

    async def changed(self, connector: Connector, cursor: str) -> tuple[list[Change], str]:
        """What is new since the cursor, and the next one."""
        found: list[Change] = []
        async for page in self.pages(connector, connector.changes, cursor):
            found += page.changes
            cursor = page.cursor
        return found, cursor

    async def put(self, connector: Connector, entries: Sequence[Suppression]) -> list[Put]:
        """All entries, as many at once as the connector takes."""
        results: list[Put] = []
        for start in range(0, len(entries), connector.most):
            some = entries[start : start + connector.most]
            found = await self.run(connector, connector.put(some))
            assert len(found) == len(some)
            results += found
        return results


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
        async with aiohttp.ClientSession() as session:
            yield Served(f"http://127.0.0.1:{port}", session)
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
