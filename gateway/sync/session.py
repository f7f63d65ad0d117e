"""Runs what a connector asks of its tool over HTTP: rates, time-outs, repeats, bounds.

TLS is verified, redirects are not followed, and nothing but the configured address is
ever asked: a connector names paths.  An answer may have 32 MiB.  What the tool puts off
(429), fails at (5xx) or does not answer is tried five times with growing pauses of chance
("full jitter"), or after the time that the tool names; then the tool is away.

A tool that lets requests in by tokens is asked for one when it is needed; it is kept here
and nowhere else.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from email.utils import parsedate_to_datetime
from typing import Final, TypeVar

import aiohttp
from yarl import URL

from gateway import __version__
from gateway.clock import Clock, now_ms
from gateway.connector.connector import Connector, Exchange, Token, ToolUnreadable
from gateway.failure import GatewayError
from gateway.provider.request import Answer, Request
from gateway.settings.sync import SyncTool

T = TypeVar("T")

ANSWER_MOST: Final = 32 * 1024 * 1024
"""Octets of one answer at the most."""
TRIES: Final = 5
_FIRST: Final = 0.5
_MOST: Final = 30.0
_WAIT_MOST: Final = 120.0
"""Seconds that are waited here because a tool asks for it; for longer it is away."""
_AGENT: Final = f"suppression-gateway/{__version__}"
_DAY: Final = 86_400
_EARLY: Final = 30.0
"""Seconds before its end at which a token is no longer shown."""
_LOST: Final = (aiohttp.ClientError, OSError, TimeoutError)
_RESETS: Final = ("x-ratelimit-reset", "x-sib-ratelimit-reset")


class ToolAway(GatewayError):
    """The tool cannot be reached, or puts everybody off; ``after``: for so many seconds.

    ``busy``: it asks for time, whatever was asked of it.  The text holds nothing personal.
    """

    status = "4.4.1"

    def __init__(self, text: str, after: float = 0.0, *, busy: bool = False) -> None:
        super().__init__(text)
        self.after = after
        self.busy = busy


class Session:
    """The requests to one tool, one at a time."""

    def __init__(self, tool: SyncTool, connector: Connector, clock: Clock = now_ms) -> None:
        self._tool = tool
        self._connector = connector
        self._clock = clock
        self._turn = asyncio.Lock()
        self._next = 0.0
        self._http: aiohttp.ClientSession | None = None
        self._token: Token | None = None
        self._until = 0.0
        """Until when the token is shown, by the monotonic clock."""
        self.requests = 0
        """Requests made since the start."""

    async def aclose(self) -> None:
        """Close the connections."""
        if self._http is not None:
            await self._http.close()
            self._http = None

    async def run(self, exchange: Exchange[T]) -> T:
        """What the exchange comes to; raises ToolAway, and what the connector raises."""
        return await self._run(exchange, self.ask)

    async def _run(self, exchange: Exchange[T], ask: Callable[[Request], Awaitable[Answer]]) -> T:
        try:
            request = next(exchange)
            while True:
                request = exchange.send(await ask(request))
        except StopIteration as stop:
            result: T = stop.value
            return result
        except (ValueError, TypeError, LookupError, AttributeError) as error:
            # An answer that its connector was not made for; nothing of it is repeated.
            cause = type(error).__name__
            raise ToolUnreadable(f"answers what cannot be read ({cause})") from error
        finally:
            exchange.close()

    async def ask(self, request: Request) -> Answer:
        """The tool's answer to one request; raises ToolAway.

        And what the connector raises, where the tool gives no token.
        """
        async with self._turn:
            anew = await self._sign_in()
            answer = await self._asked(request)
            if answer.status == 401 and self._token is not None:
                # It was not taken, so that it may be asked again: once, by a new one.
                self._token = None
                if not anew:
                    await self._sign_in()
                    answer = await self._asked(request)
            return answer

    async def _sign_in(self) -> bool:
        """Have a token where requests must show one; whether it was asked for now."""
        if self._token is not None and time.monotonic() < self._until:
            return False
        self._token = None
        exchange = self._connector.signing_in()
        if exchange is None:
            return False
        began = time.monotonic()
        token = await self._run(exchange, self._asked)
        lasts = _DAY if token.lasts is None else min(token.lasts, _DAY)
        self._token, self._until = token, began + lasts - min(_EARLY, lasts / 10)
        return True

    async def _asked(self, request: Request) -> Answer:
        """The answer to one request, which is repeated as it must be."""
        if self._token is not None:
            request = self._connector.admitted(request, self._token)
        for attempt in range(TRIES):
            last = attempt == TRIES - 1
            pause = random.uniform(0, min(_MOST, _FIRST * 2**attempt))  # noqa: S311
            try:
                await self._rated()
                answer = await self._sent(request)
            except _LOST as error:
                if last:
                    raise ToolAway(f"does not answer: {silence_of(error)}") from None
                await asyncio.sleep(pause)
                continue
            if self._is_said(answer):
                return answer
            headers = dict(_lowered(answer.headers))
            asked = asked_pause(headers, self._clock())
            if last or asked > _WAIT_MOST:
                # When a rate begins anew some tell with every answer.
                busy = answer.status == 429 or "retry-after" in headers
                raise ToolAway(f"answers {answer.status}", max(asked, pause), busy=busy)
            await asyncio.sleep(max(asked, pause))
        raise AssertionError

    def _is_said(self, answer: Answer) -> bool:
        """Whether the tool answers the request, and does not put it off or break down."""
        status = answer.status
        return (status != 429 and status < 500) or status in self._connector.speaks

    async def _rated(self) -> None:
        """Wait until another request is within the rate."""
        now = time.monotonic()
        at = max(now, self._next)
        self._next = at + 1 / self._tool.requests_per_second
        if at > now:
            await asyncio.sleep(at - now)

    async def _sent(self, request: Request) -> Answer:
        prepared = self._connector.prepare(request, self._clock())
        target = target_of(self._connector.place.url or self._connector.url, prepared)
        self.requests += 1
        async with asyncio.timeout(self._tool.timeout):
            async with self._session().request(
                prepared.method,
                target,
                headers=prepared.headers,
                data=prepared.body or None,
                allow_redirects=False,
                skip_auto_headers=("Content-Type",),
            ) as response:
                body = await self._body(response.content)
                pairs = tuple(response.headers.items())
                kind = response.headers.get("Content-Type", "")
                return Answer(response.status, body, kind, pairs)

    @staticmethod
    async def _body(content: aiohttp.StreamReader) -> bytes:
        body = bytearray()
        while piece := await content.readany():
            body += piece
            if len(body) > ANSWER_MOST:
                raise ToolAway(f"answers more than {ANSWER_MOST} octets")
        return bytes(body)

    def _session(self) -> aiohttp.ClientSession:
        if self._http is None:
            self._http = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=2),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=self._tool.timeout),
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={"User-Agent": _AGENT},
                auto_decompress=True,
                trust_env=False,
            )
        return self._http


def silence_of(error: BaseException) -> str:
    """Why no answer came, for an administrator; nothing of the request is in it."""
    match error:
        case aiohttp.ClientConnectorDNSError():
            return "the name of its host is not known"
        case aiohttp.ClientConnectorCertificateError():
            return "its certificate is not trusted, or is another host's"
        case aiohttp.ClientConnectorSSLError():
            return "TLS with it fails; is it https at this port?"
        case aiohttp.ClientConnectorError(os_error=OSError(errno=int(number))) if number > 0:
            return os.strerror(number).lower()
        case TimeoutError():
            return "nothing came in time (sync.tools, timeout)"
        case _:
            return f"the connection broke off ({type(error).__name__})"


def target_of(base: str, request: Request) -> URL:
    """Where a request goes: below the base, whatever the path says.

    Raises ToolAway for a path that could lead elsewhere.
    """
    path, query = request.path, f"?{request.query}" if request.query else ""
    text = path + query
    segments = path.split("/")
    if (
        not path.startswith("/")
        or not text.isascii()
        or not text.isprintable()
        or any(one in text for one in (" ", "#", "\\"))
        or ".." in segments
        or "." in segments
    ):
        raise ToolAway("a path that the tool named leads elsewhere")
    return URL(base.rstrip("/") + text, encoded=True)


def asked_pause(headers: Mapping[str, str], now: int) -> float:
    """The seconds that a tool asks to wait; 0 where it asks for none.

    ``headers`` by their lower-case names; ``now`` is milliseconds since the epoch.
    ``Retry-After`` is seconds or a date (RFC 9110, 10.2.3); the others are seconds, or
    the second since the epoch at which one may go on.
    """
    told = headers.get("retry-after", "").strip()
    if told:
        if told.isascii() and told.isdigit():
            return float(min(int(told[:9]), _DAY))
        try:
            at = parsedate_to_datetime(told).timestamp()
        except (ValueError, OverflowError):
            return 0.0
        return min(max(0.0, at - now / 1000), _DAY)
    for name in _RESETS:
        told = headers.get(name, "").strip()
        try:
            value = float(told)
        except ValueError:
            continue
        if value > 10**12:
            value /= 1000
        if value > 10**9:
            value -= now / 1000
        if 0 <= value < float("inf"):
            return min(value, _DAY)
    return 0.0


def _lowered(headers: tuple[tuple[str, str], ...]) -> list[tuple[str, str]]:
    return [(name.lower(), value) for name, value in headers]
