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
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import lru_cache
from pathlib import Path

import aiohttp
import orjson
from yarl import URL

from gateway.failure import GatewayError, InputError
from gateway.provider.request import Answer, Request
from gateway.settings.sms import SmsRoute
from gateway.sms.head import passed_on
from gateway.sms.route import Route
from gateway.sms.upstream import LOST, Begin, Sending, Upstream

_FILE = 0o600


class ProviderAway(GatewayError):
    """The provider could not be reached, or was lost.

    ``begun``: it may have the message all the same.
    """

    status = "4.4.1"
    line = "The provider cannot be reached; try again later"

    def __init__(self, text: str, *, begun: bool) -> None:
        super().__init__(text)
        self.begun = begun


class Outlets:
    """The connections of one worker to all providers."""

    def __init__(self) -> None:
        self._ways: dict[str, tuple[SmsRoute, Upstream]] = {}
        self._old: list[Upstream] = []
        self._of_tools: aiohttp.ClientSession | None = None

    async def aclose(self) -> None:
        """Close every connection."""
        for upstream in (*(upstream for _, upstream in self._ways.values()), *self._old):
            await upstream.session.close()
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
                    headers=passed_on(hosted.headers),
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
        sending = Sending(begin)
        try:
            async with asyncio.timeout(route.settings.answer_timeout):
                return await self._upstream(route).send(request, sending)
        except LOST as error:
            if sending.refused is not None and not sending.begun:
                raise sending.refused from None
            cause = str(error) or "no answer in time"
            raise ProviderAway(f"{type(error).__name__}: {cause}", begun=sending.begun) from None

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
        self, route: Route, request: Request, body: bytes | None
    ) -> contextlib.AbstractAsyncContextManager[aiohttp.ClientResponse]:
        query = f"?{request.query}" if request.query else ""
        return self._upstream(route).session.request(
            request.method,
            URL(route.base_url + request.path + query, encoded=True),
            headers=passed_on(request.headers),
            data=body,
            allow_redirects=False,
            skip_auto_headers=("User-Agent", "Accept", "Content-Type"),
        )

    def _upstream(self, route: Route) -> Upstream:
        settings = route.settings
        known = self._ways.get(route.name)
        if known is not None:
            if known[0] is settings or known[0] == settings:
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
        upstream = Upstream(session, route.base_url)
        self._ways[route.name] = settings, upstream
        return upstream


def tls_context(route: SmsRoute) -> ssl.SSLContext:
    """How the provider's certificate is checked; raises InputError."""
    try:
        return ssl.create_default_context(cafile=route.ca_file)
    except (OSError, ssl.SSLError) as error:
        raise InputError(f"sms.routes {route.name}: ca_file: {error}") from None


def _hosted(route: Route, request: Request) -> Request:
    headers = [pair for pair in request.headers if pair[0].lower() != "host"]
    headers.append(("Host", _authority(route.base_url)))
    method, path, query, _, body = request
    return Request(method, path, query, tuple(headers), body)


@lru_cache(maxsize=256)
def _authority(base_url: str) -> str:
    return URL(base_url).authority


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
