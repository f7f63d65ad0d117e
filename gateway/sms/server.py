"""The HTTP server of the text message side: requests in, answers out, bounds around.

One low-level aiohttp server for each listening socket; no router and no middleware, for
what a path means is the adapter's to say.  Bounds: connections, requests under way, the
size of a request, and the time from its first octet to its last.
"""

from __future__ import annotations

import asyncio
import contextlib
from functools import lru_cache

import aiohttp
import structlog
from aiohttp import web

from gateway.clock import now_ms
from gateway.failure import GatewayError
from gateway.network import peer_address
from gateway.provider.problem import Problem, Refusal
from gateway.provider.request import Answer, Request
from gateway.rate import Bucket
from gateway.sms.connection import UNHEARD, Server
from gateway.sms.delivery import Delivery, Resting
from gateway.sms.head import passing_headers
from gateway.sms.reply import reply
from gateway.sms.route import Route
from gateway.sms.site import Site
from gateway.sms.webhook import Webhook

log = structlog.get_logger(__name__)

_RETRY_AFTER = "5"
_address = lru_cache(maxsize=1024)(peer_address)
"""Tools come again and again from the same few addresses."""
_LAST_WORDS = 1.0


class Door:
    """What all listening sockets of one worker's text message side share."""

    def __init__(self, site: Site, workers: int = 1) -> None:
        self.site = site
        self._workers = workers
        self._under_way = 0
        self._idle: asyncio.Event | None = None
        """Set when nothing is under way, once a drain waits for it."""
        self._buckets: dict[str, Bucket] = {}
        self._servers: list[Server] = []

    def server(self, listener: str = "") -> Server:
        """A server for one socket; ``listener``: the route whose own address it is."""

        async def handle(request: web.BaseRequest) -> web.StreamResponse:
            return await self._handle(listener, request)

        server = Server(
            handle,
            most=lambda: self.site.settings.sms.max_connections,
            first=lambda: self.site.settings.sms.read_timeout,
            keepalive_timeout=self.site.settings.sms.idle_timeout,
            access_log=None,
            logger=UNHEARD,
            auto_decompress=False,
            lingering_time=0,
        )
        self._servers.append(server)
        return server

    @property
    def connections(self) -> int:
        """Open connections."""
        return sum(len(server.connections) for server in self._servers)

    async def drain(self, seconds: float) -> bool:
        """Let the requests under way end; whether they did."""
        for server in self._servers:
            server.pre_shutdown()
        if self._under_way:
            self._idle = asyncio.Event()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._idle.wait()
        finished = not self._under_way
        for server in self._servers:
            # Answers are still being written; a tool that reads none must not keep us.
            await server.end(_LAST_WORDS if finished else 0.1)
        return finished

    # -- one request --------------------------------------------------------------

    async def _handle(self, listener: str, request: web.BaseRequest) -> web.StreamResponse:
        site = self.site
        if self._under_way >= site.settings.sms.max_requests:
            site.metrics.fault("busy")
            return _plain(503, "Too busy; try again later", retry=True)
        self._under_way += 1
        try:
            return await self._answer(site, listener, request)
        finally:
            self._under_way -= 1
            if self._idle is not None and not self._under_way:
                self._idle.set()

    async def _answer(
        self, site: Site, listener: str, request: web.BaseRequest
    ) -> web.StreamResponse:
        path, _, query = request.raw_path.partition("?")
        if not _readable(request):
            return _plain(400, "Bad request")
        webhook = site.incoming.find(listener, path)
        if webhook is not None:
            return await self._receive(site, webhook, path, query, request)
        found = site.routes.find(listener, request.headers.get("Host", ""), path)
        if found is None:
            return _plain(404, "Not found")
        route, inner = found
        octets = 0
        try:
            route.admit_address(_address(request.remote))
            body = await self._body(site, request)
            octets = len(body)
            method, headers = request.method, tuple(request.headers.items())
            original = Request(method, path, query, headers, body)
            route.admit(original)
            asked = original
            if inner is not path:
                asked = Request(method, inner, query, headers, body)
            answer = await self._carry_out(site, route, original, asked, request)
        except Resting as quiet:
            wait = max(1, (quiet.until - now_ms() + 999) // 1000)
            answer = route.adapter.problem(quiet.problem, str(quiet))
            answer = answer._replace(headers=(*answer.headers, ("Retry-After", str(wait))))
        except Refusal as refusal:
            answer = route.adapter.problem(refusal.problem, str(refusal))
            if refusal.problem.temporary:
                answer = answer._replace(headers=(*answer.headers, ("Retry-After", _RETRY_AFTER)))
        except GatewayError as error:
            log.warning("sms_failed", route=route.name, cause=str(error))
            site.metrics.fault(type(error).__name__)
            answer = _try_later(route)
        except Exception:
            log.exception("sms_request_failed", route=route.name)
            site.metrics.fault("program")
            answer = _try_later(route)
        if isinstance(answer, web.StreamResponse):
            return answer
        site.metrics.message(route.name, b"%d" % answer.status, octets)
        return reply(answer, request)

    async def _receive(
        self, site: Site, webhook: Webhook, path: str, query: str, request: web.BaseRequest
    ) -> web.StreamResponse:
        """A provider's call; what it hears of a failure tells nothing but to come again."""
        name = webhook.route.name
        called = Request(request.method, path, query, tuple(request.headers.items()))
        try:
            called = called._replace(body=await self._body(site, request))
            # Like a delivery it is finished even if the provider is gone.
            return reply(await site.incoming.receive(site, webhook, called), request)
        except Refusal as refusal:
            return _plain(refusal.problem.status, str(refusal), retry=refusal.problem.temporary)
        except GatewayError as error:
            log.warning("incoming_failed", route=name, cause=str(error))
            site.metrics.fault(type(error).__name__)
        except Exception:
            log.exception("incoming_request_failed", route=name)
            site.metrics.fault("program")
        return _plain(503, "Temporarily unavailable; try again later", retry=True)

    async def _body(self, site: Site, request: web.BaseRequest) -> bytes:
        settings = site.settings.sms
        length = request.content_length
        if length is not None and length > settings.max_body:
            raise _too_large(settings.max_body)
        content = request.content
        if content.is_eof() and content.exception() is None:
            # The usual case: it came with the head.
            whole = content.read_nowait()
            if len(whole) > settings.max_body:
                raise _too_large(settings.max_body)
            return whole
        if request.headers.get("Expect", "").lower() == "100-continue":
            await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            request.writer.output_size = 0
        body = bytearray()
        try:
            async with asyncio.timeout(settings.read_timeout):
                while piece := await content.readany():
                    body += piece
                    if len(body) > settings.max_body:
                        raise _too_large(settings.max_body)
        except TimeoutError:
            raise Refusal(Problem.TOO_SLOW, "the request did not come in time") from None
        except (web.RequestPayloadError, ConnectionError):
            raise Refusal(Problem.MALFORMED, "the body did not come whole") from None
        return bytes(body)

    async def _carry_out(
        self,
        site: Site,
        route: Route,
        original: Request,
        asked: Request,
        request: web.BaseRequest,
    ) -> Answer | web.StreamResponse:
        received = now_ms()
        began = asyncio.get_running_loop().time()
        submission = route.adapter.read(asked)
        if submission is None:
            return await self._pass(site, route, original, asked, request)
        count = sum(len(message.destinations) for message in submission.messages)
        if count > route.settings.max_recipients:
            raise Refusal(Problem.TOO_MANY, f"more than {route.settings.max_recipients} recipients")
        self._count(route, count, began)
        # Finished and recorded even if the tool is gone: aiohttp leaves a handler alone
        # then, and the drain waits for it.
        answer = await Delivery(site, route, original, submission, received).run()
        site.metrics.handed_over(asyncio.get_running_loop().time() - began)
        return answer

    def _count(self, route: Route, count: int, now: float) -> None:
        """Count recipients against the route's rate; each worker has its share."""
        rate = route.settings.messages_per_minute
        if rate is None:
            return
        share = max(1.0, rate / self._workers)
        bucket = self._buckets.get(route.name)
        if bucket is None or bucket.rate != share:
            bucket = self._buckets[route.name] = Bucket(share, now)
        if not bucket.take(now, count):
            raise Refusal(Problem.OVER_RATE, "Message rate exceeded; try again in a minute")

    async def _pass(
        self,
        site: Site,
        route: Route,
        original: Request,
        asked: Request,
        request: web.BaseRequest,
    ) -> web.StreamResponse | Answer:
        """The provider's answer to what sends nothing, as it comes."""
        if route.settings.sandbox is not None:
            raise Refusal(Problem.UNKNOWN_PATH, "the sandbox keeps nothing that could be read")
        outgoing = site.outlets.outgoing(route, original, asked)
        async with site.outlets.passing(route, outgoing) as answer:
            response = web.StreamResponse(status=answer.status)
            for name, value in passing_headers(answer.headers.items()):
                response.headers.add(name, value)
            if "Content-Type" in answer.headers:
                response.headers["Content-Type"] = answer.headers["Content-Type"]
            await response.prepare(request)
            try:
                async for piece in answer.content.iter_any():
                    await response.write(piece)
                await response.write_eof()
            except (aiohttp.ClientError, OSError, asyncio.CancelledError):
                # Half an answer stands on the connection: no other can follow it.
                if request.transport is not None:
                    request.transport.abort()
                raise
            return response


def _too_large(most: int) -> Refusal:
    return Refusal(Problem.TOO_LARGE, f"the body is larger than {most} octets")


def _try_later(route: Route) -> Answer:
    answer = route.adapter.problem(Problem.BUSY, "Temporarily unavailable; try again later")
    return answer._replace(headers=(*answer.headers, ("Retry-After", _RETRY_AFTER)))


def _readable(request: web.BaseRequest) -> bool:
    """Whether the head is text: what is not could be neither recorded nor passed on."""
    said = "".join((request.raw_path, *request.headers.values()))
    if said.isascii():
        return True
    try:
        said.encode()
    except UnicodeEncodeError:
        return False
    return True


def _plain(status: int, text: str, *, retry: bool = False) -> web.Response:
    headers = {"Retry-After": _RETRY_AFTER} if retry else None
    return web.Response(status=status, text=text + "\n", headers=headers)
