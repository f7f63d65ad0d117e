"""Sends what waits when its time has come.

One worker of a machine does it, the first: the others need not open the archive for
it.  That is economy alone.  What keeps two from sending the same (two machines on one
archive, a worker that ends slowly while the next begins) is the claim in the archive,
which one of them gets.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

import structlog

from gateway.clock import Clock, now_ms
from gateway.failure import GatewayError
from gateway.sms.release import Turn, claim_ms, send_due
from gateway.sms.site import Site

log = structlog.get_logger(__name__)

BATCH = 40
"""Messages that are looked up at once."""
_AT_ONCE = 8
_EVERY = 5.0
_EARLIER = 120
"""Seconds by which a try ends before its claim."""
_REST_MS = 30_000
"""How long nothing more is tried with a provider that is away."""


class Waiting:
    """The loop of one worker; ``site``: the one in force."""

    def __init__(self, site: Callable[[], Site], clock: Clock = now_ms) -> None:
        self._site = site
        self._clock = clock
        self._stop = asyncio.Event()
        self._ended = asyncio.Event()
        self._away: dict[str, int] = {}
        """Routes whose provider is away, and until when they rest."""

    async def run(self) -> None:
        """Send what is due, until :meth:`stop`; what is under way then is finished."""
        try:
            while not self._stop.is_set():
                if await self._turn() < BATCH:
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(self._stop.wait(), _EVERY)
        finally:
            self._ended.set()

    def stop(self) -> None:
        """Begin nothing more."""
        self._stop.set()

    async def ended(self, seconds: float) -> bool:
        """Whether it has ended, within this time."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._ended.wait(), seconds)
        return self._ended.is_set()

    async def _turn(self) -> int:
        try:
            return await self.send_due()
        except GatewayError as error:
            log.warning("waiting_unread", cause=str(error))
        except Exception:
            log.exception("waiting_failed")
        return 0

    async def send_due(self) -> int:
        """Turn to a batch of what is due; how many there were.

        Raises:
            RecordsUnavailable: the archive cannot say.

        """
        site, now = self._site(), self._clock()
        self._away = {name: until for name, until in self._away.items() if until > now}
        found = await site.held.due(now, BATCH, tuple(self._away))
        few = asyncio.Semaphore(_AT_ONCE)
        await asyncio.gather(*(self._one(site, few, *one) for one in found))
        return len(found)

    async def _one(self, site: Site, few: asyncio.Semaphore, held_id: str, route: str) -> None:
        async with few:
            if self._stop.is_set() or route in self._away:
                return
            try:
                # Ends before the claim does.
                async with asyncio.timeout(claim_ms(site) / 1000 - _EARLIER):
                    turn = await send_due(site, held_id, self._clock)
            except TimeoutError:
                log.warning("waiting_timed_out", held=held_id)
            except Exception:
                log.exception("waiting_failed", held=held_id)
            else:
                if turn is Turn.AWAY:
                    self._away[route] = self._clock() + _REST_MS
