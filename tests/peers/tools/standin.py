"""What stand-ins of tools share: their clock, and faults that a test asks for."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any, Self

from aiohttp import web

from gateway.clock import now_ms
from tests.peers.provider import Provider


class StandIn:
    """A tool; ``async with`` it.  ``url`` is its base URL."""

    base = ""
    """The part of the path that belongs to the base URL."""

    def __init__(self) -> None:
        self.skew = 0
        """Milliseconds by which its clock is ahead."""
        self.busy = 0
        """Requests that it puts off (429)."""
        self.fails_at: set[int] = set()
        """The requests, counted from 1, at which it breaks (500)."""
        self.says: web.Response | None = None
        """What it answers to everything."""
        self.requests = 0
        self._server = Provider(self._answer)

    async def __aenter__(self) -> Self:
        await self._server.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._server.stop()

    @property
    def url(self) -> str:
        return self._server.url + self.base

    @property
    def asked(self):
        return self._server.asked

    def time(self) -> int:
        """Now, by the tool's own clock."""
        return now_ms() + self.skew

    def garble(self, status: int, body: bytes, content_type: str = "application/json") -> None:
        """Let it answer this to everything."""
        self.says = web.Response(status=status, body=body, content_type=content_type)

    async def _answer(self, request: web.Request, body: bytes) -> web.StreamResponse:
        self.requests += 1
        if self.says is not None:
            return web.Response(
                status=self.says.status,
                body=self.says.body,
                content_type=self.says.content_type,
            )
        if self.busy:
            self.busy -= 1
            return web.Response(status=429, headers={"Retry-After": "0"})
        if self.requests in self.fails_at:
            return web.Response(status=500)
        return self.handle(request, body)

    def handle(self, request: web.Request, body: bytes) -> web.Response:
        """What the tool answers."""
        raise NotImplementedError


def says(document: Any, status: int = 200) -> web.Response:
    """A JSON answer."""
    return web.Response(
        status=status, body=json.dumps(document).encode(), content_type="application/json"
    )


def iso(at: int, zone: str = "+00:00") -> str:
    """A time in whole seconds."""
    text = datetime.fromtimestamp(at // 1000, UTC).isoformat()
    return text.replace("+00:00", zone)
