"""What goes wrong at a tool: said beforehand, done on real sockets."""

import time

from aiohttp import web


class Troubles:
    """Mix-in of a stand-in: before each answer one trouble is taken from ``coming``.

    "429" and "500" are answers, "cut" breaks the connection off, "late" does what is
    asked and then breaks it off, "" is none.  ``skew`` is how many milliseconds the
    tool's clock is ahead.
    """

    def __init__(self) -> None:
        self.coming: list[str] = []
        self.skew = 0
        self.asked: list[str] = []
        """Method, path and query of every request."""

    def now(self) -> float:
        """The tool's clock, in seconds."""
        return time.time() + self.skew / 1000

    def throttled(self) -> web.Response:
        """The answer of 429."""
        return web.json_response({}, status=429, headers={"Retry-After": "1"})

    async def answer(self, request: web.Request, body: bytes) -> web.StreamResponse:
        """For ``tests.peers.provider.Provider``."""
        self.asked.append(f"{request.method} {request.raw_path}")
        trouble = self.coming.pop(0) if self.coming else ""
        if trouble == "429":
            return self.throttled()
        if trouble == "500":
            return web.Response(status=500, text="oops")
        if trouble == "cut":
            request.transport.abort()
            return web.Response()
        found = self.respond(request, body)
        if trouble == "late":
            request.transport.abort()
        return found

    def respond(self, request: web.Request, body: bytes) -> web.Response:
        """What it says when nothing is wrong."""
        raise NotImplementedError
