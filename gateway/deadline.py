"""One deadline of a connection, armed for every wait and rarely moved.

A timer per wait costs more than most waits do.  Here the timer stays where it is as
long as it would not ring too late, and looks again when it rings.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

_ROUNDING = 0.001
_NEVER = float("inf")


class Deadline:
    """Calls ``late`` once when what was armed has not been cleared in time."""

    __slots__ = ("_at", "_late", "_loop", "_now", "_rings_at", "_timer")

    def __init__(self, loop: asyncio.AbstractEventLoop, late: Callable[[], None]) -> None:
        self._loop = loop
        self._now = loop.time
        self._late = late
        self._at = 0.0
        self._rings_at = _NEVER
        self._timer: asyncio.TimerHandle | None = None

    def arm(self, seconds: float) -> None:
        """Wait at most so long from now; replaces what was armed before."""
        self._at = at = self._now() + seconds
        if self._rings_at > at:
            if self._timer is not None:
                self._timer.cancel()
            self._set(at)

    def clear(self) -> None:
        """What was waited for has come."""
        self._at = 0.0

    def close(self) -> None:
        """Nothing will be waited for again."""
        self._at = 0.0
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._rings_at = _NEVER

    def _set(self, at: float) -> None:
        self._rings_at = at
        self._timer = self._loop.call_at(at, self._ring)

    def _ring(self) -> None:
        self._timer = None
        self._rings_at = _NEVER
        if self._at == 0.0:
            return
        if self._now() >= self._at - _ROUNDING:
            self._at = 0.0
            self._late()
        else:
            self._set(self._at)
