"""Carries what a connector asks to a server on this machine: the least that is needed.

One request after another; what is answered 429 or 5xx, and what breaks off, is sent
again, as whoever keeps a connector must.
"""

import asyncio
import time

import aiohttp
from yarl import URL

from gateway.clock import now_ms
from gateway.provider.request import Answer


class Carrier:
    """``async with Carrier(connector) as carrier: page = await carrier.run(exchange)``."""

    def __init__(self, connector, clock=now_ms, attempts=4):
        self.connector = connector
        self.clock = clock
        self.attempts = attempts
        self.waits = []
        """Seconds that the tool asked to wait."""

    async def __aenter__(self):
        self.session = aiohttp.ClientSession()
        return self

    async def __aexit__(self, *_):
        await self.session.close()

    async def run(self, exchange):
        """The result of an exchange."""
        answer = None
        while True:
            try:
                request = exchange.send(answer)
            except StopIteration as done:
                return done.value
            answer = await self._sent(request)

    async def _sent(self, request):
        for _ in range(self.attempts):
            prepared = self.connector.prepare(request, self.clock())
            where = self.connector.place.url + prepared.path
            if prepared.query:
                where += f"?{prepared.query}"
            try:
                async with self.session.request(
                    prepared.method,
                    URL(where, encoded=True),
                    headers=prepared.headers,
                    data=prepared.body or None,
                    allow_redirects=False,
                    timeout=aiohttp.ClientTimeout(30),
                ) as found:
                    body = await found.read()
                    headers = tuple(found.headers.items())
            except aiohttp.ClientError:
                continue
            if found.status == 429 or found.status >= 500:
                self.waits.append(_wait(found.headers))
                await asyncio.sleep(0)
                continue
            return Answer(found.status, body, found.content_type, headers)
        raise AssertionError("the tool never answers")

    async def all_pages(self, ask, cursor=""):
        """Every change of ``connector.changes`` or ``.listing``, the last cursor, the bad."""
        changes, bad = [], 0
        while True:
            page = await self.run(ask(cursor))
            changes += page.changes
            bad += page.bad
            cursor = page.cursor
            if not page.more:
                return changes, cursor, bad


def _wait(headers):
    if value := headers.get("Retry-After"):
        return float(value)
    if value := headers.get("X-RateLimit-Reset"):
        return max(0.0, float(value) - time.time())
    return 0.0
