"""Runs what a connector asks of a tool on real sockets, as whoever keeps it must.

429, 5xx and what breaks off are asked again; all else is sent in.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, TypeVar

import aiohttp
from hypothesis import strategies as st
from yarl import URL

from gateway.clock import Clock, now_ms
from gateway.connector.connector import Connector, Exchange, Page, Put
from gateway.connector.suppression import Change, Suppression
from gateway.provider.request import Answer, Request

T = TypeVar("T")


class Broken(Exception):
    """The tool did not answer."""


class Driver:
    """One connector and the HTTP to its tool, at ``url`` or where it says; ``async with`` it."""

    def __init__(
        self, connector: Connector, *, url: str = "", clock: Clock = now_ms, tries: int = 3
    ) -> None:
        self.connector = connector
        self.clock = clock
        self.tries = tries
        self.bad = 0
        self.waits: list[float] = []
        """Seconds that the tool asked to wait."""
        self.requests: list[Request] = []
        """As they were sent, each once however often it was."""
        self._base = url or connector.place.url or connector.url

    async def __aenter__(self):
        self._http = aiohttp.ClientSession()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.close()

    async def run(self, exchange: Exchange[T]) -> T:
        """The exchange's result; raises Broken."""
        try:
            request = next(exchange)
            while True:
                request = exchange.send(await self.ask(request))
        except StopIteration as stop:
            return stop.value

    async def ask(self, request: Request) -> Answer:
        """The answer to one request; raises Broken."""
        for number in range(self.tries):
            sent = self.connector.prepare(request, self.clock())
            if number == 0:
                self.requests.append(sent)
            target = f"{self._base}{sent.path}" + (f"?{sent.query}" if sent.query else "")
            try:
                async with self._http.request(
                    sent.method,
                    URL(target, encoded=True),
                    headers=sent.headers,
                    data=sent.body or None,
                    allow_redirects=False,
                    skip_auto_headers=("Content-Type",),
                    timeout=aiohttp.ClientTimeout(30),
                ) as answer:
                    body = await answer.read()
            except aiohttp.ClientError:
                continue
            status = answer.status
            if status in self.connector.speaks or (status != 429 and status < 500):
                pairs = tuple(answer.headers.items())
                return Answer(status, body, answer.headers.get("Content-Type", ""), pairs)
            self.waits.append(_wait(answer.headers))
            await asyncio.sleep(0)
        raise Broken

    async def pages(
        self, ask: Callable[[str], Exchange[Page]], cursor: str = ""
    ) -> AsyncIterator[Page]:
        """Pages from a cursor on, until there are no more at once."""
        for _ in range(10_000):
            page = await self.run(ask(cursor))
            self.bad += page.bad
            yield page
            if not page.more:
                return
            cursor = page.cursor
        raise AssertionError("it never ends")

    async def read(
        self, ask: Callable[[str], Exchange[Page]], cursor: str = ""
    ) -> tuple[list[Change], str]:
        """Every change from a cursor on, and the last cursor."""
        found: list[Change] = []
        async for page in self.pages(ask, cursor):
            found += page.changes
            cursor = page.cursor
        return found, cursor

    async def put(self, entries: list[Suppression]) -> list[Put]:
        """In as many steps as it takes."""
        results: list[Put] = []
        most = self.connector.most
        for start in range(0, len(entries), most):
            part = entries[start : start + most]
            told = await self.run(self.connector.put(part))
            assert len(told) == len(part)
            results += told
        return results


def _wait(headers: Mapping[str, str]) -> float:
    if value := headers.get("Retry-After"):
        return float(value)
    if value := headers.get("X-RateLimit-Reset"):
        return max(0.0, float(value) - time.time())
    return 0.0


def answered(exchange: Exchange[T], *answers: Answer) -> T:
    """The result of an exchange, answered by hand."""
    next(exchange)
    for answer in answers:
        try:
            exchange.send(answer)
        except StopIteration as done:
            return done.value
    raise AssertionError("it asks for more")


def held(changes: list[Change]) -> set[tuple[Any, ...]]:
    """What is said, without when and how."""
    return {
        (
            one.said.value,
            one.suppression.contact.canonical,
            one.suppression.scope.value,
            one.suppression.topic,
            one.suppression.reason.value,
        )
        for one in changes
    }


odd = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=4,
)
"""Any JSON, but small."""
