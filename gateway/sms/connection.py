"""Connections of HTTP servers, and bounds around them: how many, and how long until a request.

The library bounds neither: a head that never ends would hold a connection for ever.  What is
no HTTP is answered in words that are not the library's, which name its version and repeat
what was sent.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterator
from http import HTTPStatus
from operator import itemgetter
from typing import Any, Final

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

UNHEARD = logging.Logger("unheard", logging.CRITICAL + 1)
"""The library would log what strangers say wrongly, word by word: numbers and tokens too."""


SAID: Final = {
    "Cache-Control": "no-store",
    "Server": "suppression-gateway",  # the library would name its version
    "X-Content-Type-Options": "nosniff",
}
"""Header fields of every answer."""


async def answered(
    request: web.BaseRequest, answer: web.StreamResponse, seconds: float
) -> web.StreamResponse:
    """Write an answer within so many seconds, or cut the connection; returns the answer.

    The library would wait for ever for whoever reads nothing.
    """
    try:
        async with asyncio.timeout(seconds):
            await answer.prepare(request)
            await answer.write_eof()
    except TimeoutError:
        if request.transport is not None:
            request.transport.abort()
    return answer


class Connection(RequestHandler):
    """A connection that must begin its first request in time."""

    __slots__ = ("_begin_within", "_full", "_reads_since", "_timer")

    def __init__(
        self,
        server: web.Server,
        *,
        full: bool,
        within: float,
        **how: Any,  # noqa: ANN401 - the library's own options
    ) -> None:
        super().__init__(server, **how)
        self._full = full
        self._begin_within = within
        self._timer: asyncio.TimerHandle | None = None
        self._reads_since: float | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to wait for a request; where there are too many, close at once."""
        super().connection_made(transport)
        if self._full:
            self.force_close()
            transport.close()
            return
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(self._begin_within, self._too_late)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Wait no more."""
        if self._timer is not None:
            self._timer.cancel()
        super().connection_lost(exc)

    def resume_reading(self, resume_parser: bool = True) -> None:
        """Read on, where reading was held up: the library asks at every request's end."""
        if self._reading_paused:
            super().resume_reading(resume_parser)

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Say that a request could not be read."""
        reason = HTTPStatus(status).phrase
        answer = super().handle_error(request, status, exc, f"{reason}.\n")
        answer.headers.update(SAID)
        return answer

    @contextlib.contextmanager
    def reading(self) -> Iterator[None]:
        """While a body is read it is the client that is waited for."""
        self._reads_since = asyncio.get_running_loop().time()
        try:
            yield
        finally:
            self._reads_since = None

    @property
    def waits_since(self) -> float | None:
        """Since when (the loop's time) its client is waited for; None: it waits for us."""
        if self._force_close:
            return None
        if self._reads_since is not None:
            return self._reads_since
        waiter = self._waiter
        if waiter is None or waiter.done():
            return None
        return self._next_keepalive_close_time - self._keepalive_timeout

    def _too_late(self) -> None:
        """Nothing whole has come: a head that never ends holds a connection for ever."""
        if self._request_count == 0 and self.transport is not None:
            self.transport.close()


class Server(web.Server):
    """A server that bounds its connections, by what the settings say when one comes.

    Where there are too many, a new one is closed at once; or, with ``makes_room``, the one
    whose client has been waited for the longest, so that nobody who only holds connections
    keeps others out.
    """

    def __init__(
        self,
        handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]],
        *,
        most: Callable[[], int],
        first: Callable[[], float],
        makes_room: bool = False,
        **how: Any,  # noqa: ANN401 - the library's own options
    ) -> None:
        super().__init__(handler, **how)
        self._makes_room = makes_room
        self._most = most
        self._first = first
        self._open: dict[RequestHandler, asyncio.Transport] = {}
        """Until they are gone; the library's own forgets those that it has told to close."""
        self._gone = asyncio.Event()

    def connection_made(self, handler: RequestHandler, transport: asyncio.Transport) -> None:
        """Count one more."""
        super().connection_made(handler, transport)
        self._open[handler] = transport
        self._gone.clear()

    def connection_lost(self, handler: RequestHandler, exc: BaseException | None = None) -> None:
        """Count one less."""
        super().connection_lost(handler, exc)
        self._open.pop(handler, None)
        if not self._open:
            self._gone.set()

    async def end(self, seconds: float) -> None:
        """Close all connections, and cut those that are not gone in this time.

        Over TLS a close waits for the other side's; one that stays silent would keep
        the loop from ever closing.
        """
        await self.shutdown(seconds)
        if self._open:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._gone.wait(), seconds)
        for transport in list(self._open.values()):
            transport.abort()

    def __call__(self) -> RequestHandler:
        """A connection that has come."""
        full = len(self._connections) >= self._most()
        if full and self._makes_room:
            full = not self._made_room()
        return Connection(self, full=full, within=self._first(), loop=self._loop, **self._kwargs)

    def _made_room(self) -> bool:
        """Close the connection that has waited for its client the longest, if any does."""
        connections = (one for one in self._open if isinstance(one, Connection))
        waiting = [(since, one) for one in connections if (since := one.waits_since) is not None]
        if not waiting:
            return False
        _, longest = min(waiting, key=itemgetter(0))
        transport = self._open[longest]
        longest.force_close()
        # Over TLS a close waits for the other side's, and nobody there may be listening.
        transport.abort()
        return True
