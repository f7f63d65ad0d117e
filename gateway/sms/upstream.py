"""A provider's connections: a request leaves in one write, its answer is read whole.

The connections are those of the HTTP library, with its pool, its TLS and its parser.
What lies above them there (cookies, redirects, proxies, uploads in pieces, a response
object) is left out, for none of it is wanted, and it costs more than the rest.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Awaitable, Callable

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.client_reqrep import ClientRequest
from aiohttp.connector import Connection
from aiohttp.http_exceptions import HttpProcessingError
from yarl import URL

from gateway.provider.request import Answer, Request
from gateway.sms.head import head_of, passed_on, passing_headers

MOST = 4 * 1024 * 1024
"""Octets of a provider's answer to a message, at the most."""
LOST = (aiohttp.ClientError, HttpProcessingError, OSError, TimeoutError, ValueError)
"""How the library says that there is no answer."""
_JOINED = 64 * 1024
"""Octets of a body that are copied behind the head rather than written beside it."""
_STALE = 8
"""Pooled connections that turn out to be unfit, before the provider counts as away."""
Begin = Callable[[], Awaitable[None]]
"""Awaited before the first octet that holds a recipient; may raise."""


class Sending:
    """One request on its way; tells how far it has come when it fails."""

    __slots__ = ("_begin", "begun", "refused")

    def __init__(self, begin: Begin) -> None:
        self._begin = begin
        self.begun = False
        """Whether the provider may have some of it."""
        self.refused: Exception | None = None
        """What the caller's ``begin`` raised."""

    async def start(self) -> None:
        """Confirm that it may leave; raises what ``begin`` raises."""
        try:
            await self._begin()
        except Exception as error:
            self.refused = error
            raise


class Upstream:
    """The connections of one worker to one route's provider."""

    def __init__(self, session: aiohttp.ClientSession, base_url: str) -> None:
        """``session``: its connections are used, and its time-outs hold."""
        self.session = session
        base = URL(base_url, encoded=True)
        self._path = base.raw_path.rstrip("/") if base.raw_path != "/" else ""
        self._credential = ""
        if base.user or base.password:
            pair = f"{base.user or ''}:{base.password or ''}"
            self._credential = f"Basic {base64.b64encode(pair.encode()).decode()}"
        # What the connector wants to know of the other side.
        self._asked = ClientRequest("POST", base, session=session)

    async def send(self, request: Request, sending: Sending) -> Answer:
        """Send it on a connection of its own; the answer, read whole.

        Raises one of :data:`LOST`, or what ``sending`` raises.
        """
        head = self._head(request)
        connection = await self._connection()
        try:
            await sending.start()
            protocol, transport = _usable(connection)
            protocol.set_response_params(read_until_eof=True)
            sending.begun = True
            if len(request.body) <= _JOINED:
                transport.write(head + request.body)
            else:
                transport.writelines((head, request.body))
            answer = await _read(protocol)
        except BaseException:
            connection.close()
            raise
        connection.release()
        return answer

    async def _connection(self) -> Connection:
        connector = self.session.connector
        if connector is None:
            raise aiohttp.ClientConnectionError("the session is closed")
        for _ in range(_STALE):
            connection = await connector.connect(self._asked, [], self.session.timeout)
            if connection.protocol is not None and not connection.protocol.should_close:
                return connection
            connection.close()
        raise aiohttp.ClientConnectionError("no connection of the pool is fit")

    def _head(self, request: Request) -> bytes:
        """The request's line and headers in octets; raises ValueError."""
        target = (self._path + request.path) or "/"
        if request.query:
            target = f"{target}?{request.query}"
        target = target.partition("#")[0]
        if not target.isprintable() or " " in target:
            raise ValueError("the request's target has characters that no target has")
        pairs = passed_on(request.headers)
        lines = [f"{request.method} {target} HTTP/1.1", *map(": ".join, pairs)]
        if self._credential:
            if any(name.lower() == "authorization" for name, _ in pairs):
                raise ValueError("credentials in base_url and in the request")
            lines.append(f"Authorization: {self._credential}")
        lines.append(f"Content-Length: {len(request.body)}\r\n\r\n")
        return head_of(lines)


def _usable(connection: Connection) -> tuple[ResponseHandler, asyncio.Transport]:
    """What a request can be written to; raises ClientConnectionResetError."""
    protocol, transport = connection.protocol, connection.transport
    if (
        protocol is None
        or transport is None
        or transport.is_closing()
        # What the provider said unasked must not be taken for an answer.
        or protocol.should_close
    ):
        raise aiohttp.ClientConnectionResetError("lost before the request")
    return protocol, transport


async def _read(protocol: ResponseHandler) -> Answer:
    while True:
        message, payload = await protocol.read()
        # An interim answer (RFC 9110, 15.2) is followed by another.
        if message.code < 100 or message.code > 199 or message.code == 101:
            break
    if payload.is_eof():
        body = payload.read_nowait()
        if len(body) > MOST:
            raise ValueError(f"an answer of more than {MOST} octets")
    else:
        body = await _whole(payload)
    headers = message.headers
    return Answer(
        message.code, body, headers.get("Content-Type", ""), passing_headers(headers.items())
    )


async def _whole(payload: aiohttp.StreamReader) -> bytes:
    body = bytearray()
    while piece := await payload.readany():
        body += piece
        if len(body) > MOST:
            raise ValueError(f"an answer of more than {MOST} octets")
    return bytes(body)
