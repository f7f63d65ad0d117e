"""The public HTTP server: who calls from where, bounds, and which part answers a path.

Whoever is on the internet may call, so that nothing said here tells whether a contact is
known.  Bounds: connections, the size of a body and of all, requests that are being answered,
requests a minute of an address, and the time a request may take.  None of them may keep a
refusal out: who is waited for makes room for who comes, pages that are shown have places of
their own, and large bodies count apart from small ones.  Paths are never logged: they hold
secrets.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final
from urllib.parse import urlsplit

import structlog
from aiohttp import HttpVersion11, web

from gateway.failure import GatewayError
from gateway.network import Address, networks_of, peer_address, place_of, within
from gateway.rate import Bucket
from gateway.settings.public import Public
from gateway.sms.connection import SAID, UNHEARD, Connection, Server, answered

log = structlog.get_logger(__name__)

_REMEMBERED: Final = 10_000
"""Addresses whose rate is remembered."""
_SECURE: Final = {**SAID, "Referrer-Policy": "no-referrer"}


@dataclass(frozen=True, slots=True)
class Visit:
    """One request, read whole."""

    method: str
    path: str
    """As it was written (not decoded), with what stands before the part's own prefix cut."""
    query: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    peer: Address | None
    """Where it came from, behind the proxies that the settings name."""

    def header(self, name: str) -> str:
        """The first header of this lower-case name; "" where there is none."""
        return next((value for one, value in self.headers if one.lower() == name), "")


@dataclass(frozen=True, slots=True)
class Reply:
    """What is answered."""

    status: int
    body: bytes = b""
    content_type: str = "text/plain; charset=utf-8"
    headers: tuple[tuple[str, str], ...] = ()


Part = Callable[[Visit], Awaitable[Reply]]
"""Answers every path below its prefix.  A GatewayError becomes 503, with ``Retry-After``."""


@dataclass(slots=True)
class _Body:
    """What has come of a body."""

    octets: bytearray = field(default_factory=bytearray)
    counted: int = 0
    """Of these, those that are counted with all others'."""


class Face:
    """Serves the parts; they and the settings may be exchanged."""

    def __init__(
        self,
        settings: Public,
        parts: Mapping[str, Part],
        *,
        unrated: frozenset[str] = frozenset(),
        largest: Mapping[str, int] = MappingProxyType({}),
    ) -> None:
        """Take the parts by the first segment of their paths.

        Of ``unrated`` ones the requests a minute are not counted: tools call in bursts.
        ``largest`` says of which a body is smaller than the settings allow, in octets: so
        small that all connections may hold one.
        """
        self.settings = settings
        self.parts = parts
        self._unrated = unrated
        self._largest = largest
        self._rates: OrderedDict[str, Bucket] = OrderedDict()
        self._under_way = {False: 0, True: 0}
        """Requests that are being answered, by whether they only ask to be shown something."""
        self._held = 0
        """Octets of large bodies in memory."""

    def server(self) -> Server:
        """A server for listening sockets."""
        return Server(
            self._handle,
            most=lambda: self.settings.max_connections,
            first=lambda: self.settings.timeout,
            makes_room=True,
            access_log=None,
            logger=UNHEARD,
            lingering_time=0,
        )

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        reply = await self._replied(request)
        answer = web.Response(
            status=reply.status,
            body=reply.body,
            headers=[
                *_SECURE.items(),
                ("Content-Type", reply.content_type),
                *reply.headers,
            ],
        )
        return await answered(request, answer, self.settings.timeout)

    async def _replied(self, request: web.BaseRequest) -> Reply:
        name, body = "", _Body()
        try:
            async with asyncio.timeout(self.settings.timeout):
                # Uncut as well: the path of public.url may be called as a part is.
                for base in (self.settings.url, ""):
                    name, _, rest = _path(request, base).partition("/")
                    part = self.parts.get(name)
                    if part is not None:
                        break
                if part is None:
                    return Reply(404, b"There is nothing here.\n")
                peer = self._peer(request)
                if name not in self._unrated and not self._take(place_of(peer)):
                    return Reply(429, b"Too many requests.\n", headers=(("Retry-After", "60"),))
                refused = await self._read(request, body, self._largest.get(name))
                if refused is not None:
                    return refused
                pairs = tuple(request.headers.items())
                visit = Visit(
                    request.method, rest, request.query_string, pairs, bytes(body.octets), peer
                )
                return await self._answered(part, visit)
        except TimeoutError:
            return _later("It took too long; try again later.")
        except GatewayError as error:
            log.warning("public_request_failed", part=name, cause=str(error))
            return _later("Try again later.")
        except (web.RequestPayloadError, ConnectionError):
            return Reply(400, b"The body did not come whole.\n")
        except Exception:
            log.exception("public_request_failed", part=name)
            return _later("Try again later.")
        finally:
            self._held -= body.counted

    async def _answered(self, part: Part, visit: Visit) -> Reply:
        # Counted from here on: who is slow to say what is wanted takes no other's place.
        # Mail filters open every link, and what a page shows may be long in coming: so
        # those who want something done have places of their own.
        shown = visit.method in ("GET", "HEAD")
        if self._under_way[shown] >= self.settings.max_requests:
            return _later("Too busy; try again later.")
        self._under_way[shown] += 1
        try:
            return await part(visit)
        finally:
            self._under_way[shown] -= 1

    def _peer(self, request: web.BaseRequest) -> Address | None:
        """Who calls: the last address that no proxy of ours has told."""
        peer = peer_address(request.remote)
        proxies = networks_of(self.settings.proxies)
        told = ",".join(request.headers.getall("X-Forwarded-For", [])).split(",")
        while told and within(proxies, peer):
            before = peer_address(told.pop().strip())
            if before is None:
                break
            peer = before
        return peer

    def _take(self, peer: str) -> bool:
        rate, now = self.settings.requests_per_minute, asyncio.get_running_loop().time()
        bucket = self._rates.pop(peer, None)
        if bucket is None or bucket.rate != rate:
            bucket = Bucket(rate, now)
        self._rates[peer] = bucket
        if len(self._rates) > _REMEMBERED:
            self._rates.popitem(last=False)
        return bucket.take(now)

    async def _read(
        self, request: web.BaseRequest, body: _Body, largest: int | None
    ) -> Reply | None:
        """Read the body into ``body``; the reply where it is too long, or all together are."""
        settings = self.settings
        most = settings.max_body if largest is None else min(settings.max_body, largest)
        if (request.content_length or 0) > most:
            return Reply(413, b"That is too much.\n")
        # Who speaks HTTP/1.0 is not told to go on (RFC 9110 section 10.1.1).
        waits = request.headers.get("Expect", "").lower() == "100-continue"
        if waits and request.version >= HttpVersion11:
            await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            request.writer.output_size = 0  # no part of the answer
        connection = request.protocol
        with connection.reading() if isinstance(connection, Connection) else nullcontext():
            while piece := await request.content.readany():
                body.octets += piece
                if len(body.octets) > most:
                    return Reply(413, b"That is too much.\n")
                if largest is None:
                    body.counted += len(piece)
                    self._held += len(piece)
                    if self._held > settings.max_requests * settings.max_body:
                        return _later("Too busy; try again later.")
        return None


def _path(request: web.BaseRequest, base: str) -> str:
    """The path below ``public.url`` as it was written, without the slashes before it.

    A target may be a whole URL (RFC 9112 section 3.2.2), and a proxy may have cut the path
    of ``public.url`` off, or not.
    """
    path = request.raw_path.partition("?")[0]
    if not path.startswith("/"):
        path = "/" + path.partition("://")[2].partition("/")[2]
    below = urlsplit(base).path + "/"
    return path.removeprefix(below).lstrip("/")


def _later(text: str) -> Reply:
    return Reply(503, text.encode() + b"\n", headers=(("Retry-After", "30"),))
