"""What stand-ins of tools share: their clock, and faults that a test asks for, on real sockets."""

from __future__ import annotations

import json
import time
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
        self.coming: list[str] = []
        """What goes wrong next, one for each request: "429" and "500" are answers, "cut" breaks
        the connection off, "late" does what is asked and then breaks it off, "" is none."""
        self.called: list[str] = []
        """Method, path and query of every request."""
        self.says: web.Response | None = None
        """What it answers to everything."""
        self.requests = 0
        self._server = Provider(self.answer)

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

    def now(self) -> float:
        """The same in seconds, as fine as the machine has it."""
        return time.time() + self.skew / 1000

    def throttled(self) -> web.Response:
        """The answer of 429."""
        return web.json_response({}, status=429, headers={"Retry-After": "0"})

    async def answer(self, request: web.Request, body: bytes) -> web.StreamResponse:
        """For a server that is started elsewhere."""
        self.requests += 1
        self.called.append(f"{request.method} {request.raw_path}")
        if self.says is not None:
            return web.Response(
                status=self.says.status,
                body=self.says.body,
                content_type=self.says.content_type,
            )
        trouble = self.coming.pop(0) if self.coming else ""
        if self.busy:
            self.busy -= 1
            trouble = "429"
        if trouble == "429":
            return self.throttled()
        if trouble == "500" or self.requests in self.fails_at:
            return web.Response(status=500, text="oops")
        if trouble != "cut":
            found = self.handle(request, body)
            if trouble != "late":
                return found
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

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
