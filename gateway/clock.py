"""The time, passed in wherever it matters so that a test can set it."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, date, datetime
from functools import lru_cache

Clock = Callable[[], int]
"""Milliseconds since the epoch (UTC)."""


def now_ms() -> int:
    """The wall clock in milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


DAY_MS = 86_400_000
LATEST_MS = 253_402_300_799_999
"""The last millisecond of the year 9999 (UTC): what lies behind it, no calendar here tells."""
CLOCK_SKEW_MS = 5 * 60_000
"""How far another machine's clock may be ahead of ours or behind."""
_EPOCH = date(1970, 1, 1).toordinal()


@lru_cache(maxsize=64)
def _years_from(day: int, years: int) -> int:
    """Milliseconds from the start of a day (UTC, days since the epoch) to years later."""
    start = date.fromordinal(_EPOCH + day)
    try:
        end = start.replace(year=start.year + years)
    except ValueError:  # 29 February
        end = start.replace(year=start.year + years, day=28)
    return (end - start).days * DAY_MS


def utc(moment: int) -> datetime:
    """A time as it is told (ms since the epoch); one that no calendar tells as the last."""
    return datetime.fromtimestamp(min(moment, LATEST_MS) / 1000, UTC)


def years_later(moment: int, years: int) -> int:
    """The same time of day so many calendar years later, in UTC; ms since the epoch.

    Of 29 February it is the 28th where the year has no other.  ``years`` may be below 0.
    """
    return moment + _years_from(moment // DAY_MS, years)
