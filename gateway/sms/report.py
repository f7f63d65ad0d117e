"""Delivery reports of messages that were accepted and are not sent.

Where a provider accepts a message to an opted-out number and tells of the failure
later, so does the gateway: to the URL that the request names, if its host is among
those that the route's settings allow, for a URL in a request may point anywhere.

A report is kept before the tool hears that its message was accepted, and tried for a
day.  Any worker may send it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Collection, Sequence
from urllib.parse import urlsplit

import aiohttp
import structlog
from yarl import URL

from gateway.clock import Clock, now_ms
from gateway.failure import GatewayError
from gateway.provider.submission import Report
from gateway.sms.owed import MOST, Debts, Owed

log = structlog.get_logger(__name__)

_AT_ONCE = 8
_TIMEOUT = 10.0
_EVERY = 5.0
"""Seconds after which is looked for what another worker has left."""
_FIRST_PAUSE, _LONGEST_PAUSE = 500, 3_600_000
_DAY = 86_400_000
"""Milliseconds after which a report is given up."""


class Reporter:
    """Sends what is owed, each until it is taken."""

    def __init__(self, debts: Debts, clock: Clock = now_ms) -> None:
        self._debts = debts
        self._clock = clock
        self._loop: asyncio.Task[None] | None = None
        self._news = asyncio.Event()
        self._sending: dict[asyncio.Task[None], Owed] = {}
        self._session: aiohttp.ClientSession | None = None
        self.sent = 0
        self.lost = 0

    def start(self) -> None:
        """Send what is owed, from now on."""
        if self._loop is None:
            self._loop = asyncio.create_task(self._run(), name="reporter")

    async def keep(self, reports: Sequence[Report], hosts: Collection[str]) -> None:
        """Owe these from now on; those to hosts that are not allowed are given up.

        Never raises: what cannot be kept is lost, and the log says so.
        """
        wanted = [one for one in reports if self._allowed(one, hosts)]
        if not wanted:
            return
        try:
            taken = await self._debts.put(wanted, self._clock())
        except GatewayError as error:
            self._give_up(str(error), len(wanted))
            return
        if taken < len(wanted):
            self._give_up(f"{MOST} are owed already", len(wanted) - taken)
        self.start()
        self._news.set()

    async def aclose(self, timeout: float = 5.0) -> None:
        """End what is under way within ``timeout`` seconds; the rest stays owed."""
        if self._loop is not None:
            self._loop.cancel()
            await asyncio.gather(self._loop, return_exceptions=True)
        if self._sending:
            await asyncio.wait(self._sending, timeout=timeout)
        left = dict(self._sending)
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        with contextlib.suppress(GatewayError):
            for owed in left.values():
                await self._debts.postpone(owed, self._clock())
        if self._session is not None:
            await self._session.close()

    def _allowed(self, report: Report, hosts: Collection[str]) -> bool:
        address = urlsplit(report.url)
        name = address.hostname or ""
        if address.scheme in ("http", "https") and (
            address.netloc.lower() in hosts or name in hosts
        ):
            return True
        self.lost += 1
        log.warning("report_not_allowed", host=name[:100])
        return False

    def _give_up(self, cause: str, count: int = 1) -> None:
        self.lost += count
        log.error("report_given_up", cause=cause, count=count)

    async def _run(self) -> None:
        while True:
            pause = _EVERY
            try:
                pause = await self._turn()
            except GatewayError as error:
                log.warning("reports_unread", cause=str(error))
            except Exception:
                log.exception("reports_failed")
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._news.wait(), pause)

    async def _turn(self) -> float:
        """Begin what is due, as far as there is room; seconds until the next is."""
        self._news.clear()
        room = _AT_ONCE - len(self._sending)
        if room <= 0:
            return _EVERY  # the end of one is news
        now = self._clock()
        found, following = await self._debts.claim(now, room)
        for owed in found:
            task = asyncio.create_task(self._send(owed), name="report")
            self._sending[task] = owed
            task.add_done_callback(self._ended)
        if len(found) == room:
            return _EVERY
        return _EVERY if following is None else min(_EVERY, max(0.01, (following - now) / 1000))

    def _ended(self, task: asyncio.Task[None]) -> None:
        del self._sending[task]
        self._news.set()
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("report_failed", exc_info=error)

    async def _send(self, owed: Owed) -> None:
        if owed.report is None:
            self._give_up("unreadable")
            await self._debts.settle(owed)
            return
        try:
            cause = await self._once(owed.report)
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            cause = type(error).__name__
        now = self._clock()
        try:
            if not cause:
                self.sent += 1
                await self._debts.settle(owed)
            elif now - owed.born > _DAY:
                self._give_up(cause)
                await self._debts.settle(owed)
            else:
                # As long again as it has been tried.
                pause = min(_LONGEST_PAUSE, max(_FIRST_PAUSE, now - owed.born))
                await self._debts.postpone(owed, now + pause)
        except GatewayError as error:
            log.warning("report_not_settled", cause=str(error))

    async def _once(self, report: Report) -> str:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=_TIMEOUT),
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        async with self._session.request(
            report.method,
            # As it is: a signature may cover the URL's own characters.
            URL(report.url, encoded=True),
            headers=report.headers,
            data=report.body,
            allow_redirects=False,
        ) as response:
            return "" if response.status < 400 else f"HTTP {response.status}"
