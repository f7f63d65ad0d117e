"""How far a list has been read: the cursor of tools that are asked "what is new since".

Several lists may be read one after the other (streams, statuses), each with a time of its
own since which it was not read.  That time goes by the tool's own clock: it is that of the
newest entry seen, but never later than when the reading began by ours, less what clocks
may differ; so what comes while a list is read page by page, or comes late, is asked for
again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import orjson

OVERLAP: Final = 20 * 60 * 1000
"""Milliseconds that are asked for again: clocks differ by 10 minutes, and entries come late
by as much."""


@dataclass(frozen=True, slots=True)
class Reach:
    """One list is being read, the others wait; times in milliseconds since the epoch."""

    lists: tuple[str, ...]
    since: tuple[int, ...]
    """Of each list, since when it is to be read."""
    index: int = 0
    """Which list is being read."""
    offset: int = 0
    """Entries of it that have been passed over since ``low``."""
    low: int = 0
    """Since when the tool is asked, while pages of one list are read; 0: its ``since``."""
    began: int = 0
    """When its first page was asked for, by our clock; 0: not yet."""
    newest: int = 0
    """The newest entry of it seen."""

    @classmethod
    def read(cls, text: str, lists: Sequence[str], start: int) -> Reach:
        """Read a cursor that :attr:`text` gave; lists unknown to it begin at ``start``."""
        told: dict[str, Any] = {}
        try:
            told = orjson.loads(text) if text else {}
            times = [int(told["since"].get(name, start)) for name in lists] if told else []
            rest = {name: int(told.get(name, 0)) for name in _NUMBERS} if told else {}
        except (ValueError, TypeError, KeyError, AttributeError):
            told, times, rest = {}, [], {}
        if not told:
            return cls(tuple(lists), (start,) * len(lists))
        index = lists.index(told["at"]) if told.get("at") in lists else 0
        if lists[index] != told.get("at"):
            rest = {}
        return cls(tuple(lists), tuple(times), index, **rest)

    @property
    def text(self) -> str:
        """The cursor."""
        told: dict[str, Any] = {"since": dict(zip(self.lists, self.since, strict=True))}
        told["at"] = self.name
        told |= {name: getattr(self, name) for name in _NUMBERS if getattr(self, name)}
        return orjson.dumps(told).decode()

    @property
    def name(self) -> str:
        """The list that is being read."""
        return self.lists[self.index]

    @property
    def asked(self) -> int:
        """Since when the tool is to be asked."""
        return self.low or self.since[self.index]

    def on(self, now: int, newest: int, *, offset: int, low: int = 0) -> Reach:
        """The same list has more."""
        return replace(
            self,
            offset=offset,
            low=low or self.low,
            began=self.began or now,
            newest=max(self.newest, newest),
        )

    def done(self, now: int, newest: int) -> Reach:
        """The list is read; the next one is due, the first one again after the last."""
        seen = min(max(self.newest, newest), self.began or now)
        times = list(self.since)
        times[self.index] = max(times[self.index], seen - OVERLAP)
        return Reach(self.lists, tuple(times), (self.index + 1) % len(self.lists))


_NUMBERS: Final = ("offset", "low", "began", "newest")
