"""A bound on how much happens in a minute."""

from __future__ import annotations


class Bucket:
    """A token bucket: ``rate`` tokens a minute, as many at once."""

    __slots__ = ("_at", "_level", "rate")

    def __init__(self, rate: float, now: float) -> None:
        self.rate = rate
        self._level = rate
        self._at = now

    def take(self, now: float, count: float = 1) -> bool:
        """Take tokens if there are as many; more than ``rate`` count as ``rate``."""
        count = min(count, self.rate)
        self._level = min(self.rate, self._level + (now - self._at) * self.rate / 60)
        self._at = now
        if self._level < count:
            return False
        self._level -= count
        return True
