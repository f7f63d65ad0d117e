"""Callers who wait until the archive has grown: one look at it serves them all."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

from gateway.failure import GatewayError

_EVERY = 0.25
"""Seconds between looks, while anybody waits."""


class Waiting:
    """Waits for the archive's last row to rise; bounded by whoever asks."""

    def __init__(self, head: Callable[[], Awaitable[int]]) -> None:
        self._head = head
        self._seen = 0
        self._pulse = asyncio.Event()
        self._looking: asyncio.Task[None] | None = None
        self._ended = False
        self.waiting = 0
        """Callers who wait now."""

    async def beyond(self, row: int, until: float, left: Callable[[], bool]) -> bool:
        """Wait until there are rows behind ``row``, at most ``until`` (the loop's time).

        False when there are none by then, when the caller has ``left``, and at once when
        the process ends.
        """
        loop = asyncio.get_running_loop()
        self.waiting += 1
        try:
            if self._looking is None:
                self._looking = loop.create_task(self._look())
            while not self._ended and not left():
                if self._seen > row:
                    return True
                remaining = until - loop.time()
                if remaining <= 0:
                    return False
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._pulse.wait(), remaining)
            return False
        finally:
            self.waiting -= 1
            if not self.waiting and self._looking is not None:
                self._looking.cancel()
                self._looking = None

    def end(self) -> None:
        """Let everybody go: the process ends."""
        self._ended = True
        self._pulse.set()

    async def _look(self) -> None:
        while True:
            with suppress(GatewayError):  # whoever waits is told when reading on
                self._seen = await self._head()
            pulse, self._pulse = self._pulse, asyncio.Event()
            pulse.set()
            await asyncio.sleep(_EVERY)
