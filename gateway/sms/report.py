"""Delivery reports of messages that were accepted and are not sent.

Where a provider accepts a message to an opted-out number and tells of the failure
later, so does the gateway: to the URL that the request names, if its host is among
those that the route's settings allow, for a URL in a request may point anywhere.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from urllib.parse import urlsplit

import aiohttp
import structlog
from yarl import URL

from gateway.provider.submission import Report

log = structlog.get_logger(__name__)

_WAITING = 10_000
"""Reports that wait at the most; more are given up, and the log says so."""
_AT_ONCE = 8
_TRIES = 5
_FIRST_PAUSE = 0.5
_TIMEOUT = 10.0


class Reporter:
    """Sends reports, each a few times until it is taken; what waits is lost in a crash."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[Report] = asyncio.Queue(_WAITING)
        self._tasks: list[asyncio.Task[None]] = []
        self._session: aiohttp.ClientSession | None = None
        self.sent = 0
        self.lost = 0

    def submit(self, report: Report, hosts: Collection[str]) -> None:
        """Send it soon; one to a host that is not allowed is given up, and logged."""
        address = urlsplit(report.url)
        if address.scheme not in ("http", "https") or not (
            address.netloc.lower() in hosts or (address.hostname or "") in hosts
        ):
            self.lost += 1
            log.warning("report_not_allowed", host=(address.hostname or "")[:100])
            return
        if not self._tasks:
            self._tasks = [
                asyncio.create_task(self._work(), name="reporter") for _ in range(_AT_ONCE)
            ]
        try:
            self._queue.put_nowait(report)
        except asyncio.QueueFull:
            self.lost += 1
            log.error("report_given_up", cause=f"{_WAITING} wait already")

    async def aclose(self, timeout: float = 5.0) -> None:
        """Send what waits for at most ``timeout`` seconds, and end."""
        if self._tasks:
            try:
                async with asyncio.timeout(timeout):
                    await self._queue.join()
            except TimeoutError:
                log.warning("reports_lost", count=self._queue.qsize())
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._session is not None:
            await self._session.close()

    async def _work(self) -> None:
        while True:
            report = await self._queue.get()
            try:
                await self._send(report)
            finally:
                self._queue.task_done()

    async def _send(self, report: Report) -> None:
        pause = _FIRST_PAUSE
        for number in range(_TRIES):
            try:
                cause = await self._once(report)
            except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
                cause = type(error).__name__
            if not cause:
                self.sent += 1
                return
            if number < _TRIES - 1:
                await asyncio.sleep(pause)
                pause *= 3
        self.lost += 1
        log.warning("report_given_up", cause=cause, tries=_TRIES)

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
