"""Callers who wait until the archive has grown: one look at it serves them all."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress

from gateway.failure import GatewayError

_EVERY = 0.25
"""Seconds between looks, while anybody waits."""


class Waiting:
    """Waits for the archive's last row to rise."""

    def __init__(self, head: Callable[[], Awaitable[int]]) -> None:
        self._head = head
        self._seen = 0
        self._pulse = asyncio.Event()
        self._looking: asyncio.Task[None] | None = None
        self._ended = False
        self._waiting = 0
        self._places: Counter[str] = Counter()
        """Places taken, by account."""

    @contextmanager
    def place(self, account: str, requests: int) -> Iterator[bool]:
        """A place to wait in; False where there is none.

        Half of the ``requests`` that may be under way can wait.  So that one account keeps
        no other out, one of each other account can beyond that, up to three quarters.
        """
        taken = self._places.total()
        mine = self._places[account]
        free = taken < requests // 2 or (not mine and taken < requests * 3 // 4)
        if free:
            self._places[account] = mine + 1
        try:
            yield free
        finally:
            if free:
                self._places[account] -= 1
                if not self._places[account]:
                    del self._places[account]

    async def beyond(self, row: int, until: float, left: Callable[[], bool]) -> bool:
        """Wait until there are rows behind ``row``, at most ``until`` (the loop's time).

        False when there are none by then, when the caller has ``left``, and at once when
        the process ends.
        """
        loop = asyncio.get_running_loop()
        self._waiting += 1
        try:
            if self._looking is None or self._looking.done():
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
            self._waiting -= 1
            if not self._waiting and self._looking is not None:
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
