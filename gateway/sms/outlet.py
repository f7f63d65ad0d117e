"""The providers' side: one pool of connections, and what can go wrong on the way.

A hand-over begins with the first octet of the request's body.  Just before it the
verdicts are confirmed: the head of a request names no recipient and can be taken back
by closing the connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import orjson
from aiohttp.abc import AbstractStreamWriter
from aiohttp.payload import BytesPayload
from yarl import URL

from gateway.failure import GatewayError, InputError
from gateway.provider.request import Answer, Request
from gateway.settings.sms import SmsRoute
from gateway.sms.route import Route

MOST = 4 * 1024 * 1024
"""Octets of a provider's answer to a message, at the most."""
OF_CONNECTION = frozenset(
    (
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "content-length",
        "content-encoding",
        "host",
        "accept-encoding",
        "expect",
        # Not of the connection, but none of what a provider is asked by: the method is the
        # one that was looked at.
        "x-http-method",
        "x-http-method-override",
        "x-method-override",
    )
)
"""Names of headers that speak of one connection and go no further."""
_NEEDED = frozenset(("authorization", "content-type"))
"""Never taken out because a tool calls them the connection's."""
_CONTROL = "x-gateway-"
_FILE = 0o600

Begin = Callable[[], Awaitable[None]]
"""Awaited before the first octet that holds a recipient; may raise."""


class ProviderAway(GatewayError):
    """The provider could not be reached, or was lost.

    ``begun``: it may have the message all the same.
    """

    status = "4.4.1"
    line = "The provider cannot be reached; try again later"

    def __init__(self, text: str, *, begun: bool) -> None:
        super().__init__(text)
        self.begun = begun


class _Body(BytesPayload):
    """A request's body, which begins by confirming the verdicts."""

    def __init__(self, value: bytes, content_type: str, begin: Begin) -> None:
        super().__init__(value, content_type=content_type)
        self._begin = begin
        self.begun = False
        self.refused: Exception | None = None

    async def write_with_length(
        self, writer: AbstractStreamWriter, content_length: int | None
    ) -> None:
        try:
            await self._begin()
        except Exception as error:
            self.refused = error
            raise
        self.begun = True
        await super().write_with_length(writer, content_length)


class Outlets:
    """The connections of one worker to all providers."""

    def __init__(self) -> None:
        self._sessions: dict[str, tuple[SmsRoute, aiohttp.ClientSession]] = {}
        self._old: list[aiohttp.ClientSession] = []
        self._of_tools: aiohttp.ClientSession | None = None

    async def aclose(self) -> None:
        """Close every connection."""
        for session in (*(session for _, session in self._sessions.values()), *self._old):
            await session.close()
        if self._of_tools is not None:
            await self._of_tools.close()

    @staticmethod
    def outgoing(route: Route, original: Request, request: Request) -> Request:
        """The request as the provider is to see it: its own host, its own credential.

        ``original``: as it came, by which the tool's token is known.
        """
        return route.credited(original, _hosted(route, request))

    @staticmethod
    def outgoing_stored(route: Route, request: Request, scheme: int | None) -> Request:
        """The same of a request that was stored; raises InputError."""
        return route.with_secret(_hosted(route, request), scheme)

    async def tell(self, route: Route, url: str, request: Request, within: float) -> int:
        """Pass an incoming request on to the tool; the status of its answer, and no more.

        Raises:
            ProviderAway: it did not answer in time.

        """
        target = URL(url, encoded=True)
        hosted = request.with_headers({"Host": target.authority})
        try:
            async with asyncio.timeout(within):
                async with self._tools().request(
                    request.method,
                    target,
                    headers=_headers(hosted),
                    data=request.body or None,
                    allow_redirects=False,
                    skip_auto_headers=("User-Agent", "Accept", "Content-Type"),
                ) as response:
                    return response.status
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            raise ProviderAway(
                f"the tool of {route.name}: {type(error).__name__}", begun=False
            ) from None

    def _tools(self) -> aiohttp.ClientSession:
        if self._of_tools is None:
            self._of_tools = aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar())
        return self._of_tools

    async def send(self, route: Route, request: Request, begin: Begin) -> Answer | None:
        """Hand the request over; None where the route has no provider but a file.

        Raises:
            ProviderAway: no answer.
            GatewayError: what ``begin`` raised; nothing has left.

        """
        if route.settings.sandbox is not None:
            await begin()
            await asyncio.to_thread(_write_down, route.settings.sandbox, route, request)
            return None
        body = _Body(request.body, request.header("content-type") or "text/plain", begin)
        try:
            async with asyncio.timeout(route.settings.answer_timeout):
                async with self._request(route, request, body) as response:
                    return await _answer(response)
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            if body.refused is not None and not body.begun:
                raise body.refused from None
            cause = str(error) or "no answer in time"
            raise ProviderAway(f"{type(error).__name__}: {cause}", begun=body.begun) from None

    @asynccontextmanager
    async def passing(
        self, route: Route, request: Request
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """The provider's answer to a request that sends nothing, as it comes.

        Raises:
            ProviderAway: none came.

        """
        body = request.body or None
        try:
            async with asyncio.timeout(route.settings.answer_timeout):
                async with self._request(route, request, body) as response:
                    yield response
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            raise ProviderAway(type(error).__name__, begun=False) from None

    def _request(
        self, route: Route, request: Request, body: bytes | BytesPayload | None
    ) -> contextlib.AbstractAsyncContextManager[aiohttp.ClientResponse]:
        query = f"?{request.query}" if request.query else ""
        return self._session(route).request(
            request.method,
            URL(route.base_url + request.path + query, encoded=True),
            headers=_headers(request),
            data=body,
            allow_redirects=False,
            skip_auto_headers=("User-Agent", "Accept", "Content-Type"),
        )

    def _session(self, route: Route) -> aiohttp.ClientSession:
        settings = route.settings
        known = self._sessions.get(route.name)
        if known is not None:
            if known[0] == settings:
                return known[1]
            # Requests under way end on it.
            self._old.append(known[1])
        session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=settings.max_connections,
                ssl=tls_context(settings),
                keepalive_timeout=15,
            ),
            timeout=aiohttp.ClientTimeout(
                total=None, connect=settings.answer_timeout, sock_connect=settings.connect_timeout
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=True,
            trust_env=False,
        )
        self._sessions[route.name] = settings, session
        return session


def tls_context(route: SmsRoute) -> ssl.SSLContext:
    """How the provider's certificate is checked; raises InputError."""
    try:
        return ssl.create_default_context(cafile=route.ca_file)
    except (OSError, ssl.SSLError) as error:
        raise InputError(f"sms.routes {route.name}: ca_file: {error}") from None


def _hosted(route: Route, request: Request) -> Request:
    return request.with_headers({"Host": URL(route.base_url).authority})


def _headers(request: Request) -> list[tuple[str, str]]:
    """The headers that go on: none of the connection's, none that speak to the gateway."""
    # What ``Connection`` names is of this one connection as well (RFC 9110, 7.6.1).
    named = {
        one.strip().lower()
        for name, value in request.headers
        if name.lower() == "connection"
        for one in value.split(",")
    } - _NEEDED
    kept = [
        (name, value)
        for name, value in request.headers
        if name.lower() not in OF_CONNECTION | named and not name.lower().startswith(_CONTROL)
    ]
    kept.append(("Host", request.header("host")))
    kept.append(("Accept-Encoding", "identity"))
    return kept


def passing_headers(headers: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    """A provider's headers that go back to the tool."""
    return tuple(
        (name, value)
        for name, value in headers.items()
        if name.lower() not in OF_CONNECTION and name.lower() != "content-type"
    )


async def _answer(response: aiohttp.ClientResponse) -> Answer:
    body = bytearray()
    async for piece in response.content.iter_chunked(64 * 1024):
        body += piece
        if len(body) > MOST:
            raise ValueError(f"an answer of more than {MOST} octets")
    return Answer(
        response.status,
        bytes(body),
        response.headers.get("Content-Type", ""),
        passing_headers(response.headers),
    )


def _write_down(path: Path, route: Route, request: Request) -> None:
    """Add the request to the sandbox's file, one JSON object a line."""
    line = orjson.dumps(
        {
            "route": route.name,
            "provider": route.adapter.name,
            "method": request.method,
            "path": request.path,
            "content_type": request.header("content-type"),
            "body": request.body.decode(errors="replace"),
        },
        option=orjson.OPT_APPEND_NEWLINE,
    )
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, _FILE)
    with os.fdopen(descriptor, "ab") as file:
        file.write(line)
