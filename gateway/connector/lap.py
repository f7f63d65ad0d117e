"""A lap through a list of numbered rows: the cursor of tools whose entries may change in place.

Each lap asks for what changed since a moment, and passes through the rows by their numbers.
The next lap's moment is that at which this one began, less what clocks and transactions
take: what changes behind the lap is found by the next.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final, NamedTuple, Self

from gateway.connector.connector import Page

OVERLAP: Final = 15 * 60 * 1000
"""Milliseconds looked back: ten minutes of another clock, five of a transaction's length."""


class Lap(NamedTuple):
    """Where a lap stands."""

    since: int
    """Milliseconds; 0: the whole list."""
    start: int = 0
    """When the lap began; 0: it has not."""
    row: int = 0
    """The number of the last row that was told; 0: none was yet."""
    page: int = 0
    """The page to read next of a list behind the rows; 0: the rows are not through yet."""

    @classmethod
    def read(cls, text: str, since: int, now: int) -> Self:
        """A cursor read; the beginning of a lap where it is none."""
        kept = numbers(text.split(".")) if text else []
        at = cls(*kept) if 3 <= len(kept) <= 4 else cls(since)
        if at.start:
            return at
        # Our clock may have been ahead when the lap before began.
        return at._replace(start=now, since=min(at.since, max(0, now - OVERLAP)))

    def next(self) -> Self:
        """The beginning of the next lap."""
        return type(self)(self.start - OVERLAP)

    def __str__(self) -> str:
        return ".".join(map(str, self))


def closed(at: Lap, page: Page) -> Page:
    """A page of what is new; the last one leads to the next lap."""
    return page if page.more else replace(page, cursor=str(at.next()))


def numbers(texts: Sequence[str]) -> list[int]:
    """Whole numbers; an empty list where one of them is none."""
    good = all(text.isascii() and text.isdecimal() and len(text) < 20 for text in texts)
    return [int(text) for text in texts] if good else []
