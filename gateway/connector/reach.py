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

from gateway.connector.connector import ToolUnreadable
from gateway.connector.joint import OVERLAP as OVERLAPPING
from gateway.connector.joint import joint_of, marks_of

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
    back: int = 0
    """How often pages did not join since they last did."""
    stood: int = 0
    """Full pages in a row that told only what was read before."""
    tail: tuple[str, ...] = ()
    """Marks of the last page's last entries, where pages are counted."""

    @classmethod
    def read(cls, text: str, lists: Sequence[str], start: int) -> Reach:
        """Read a cursor that :attr:`text` gave; lists unknown to it begin at ``start``."""
        told: dict[str, Any] = {}
        try:
            told = orjson.loads(text) if text else {}
            times = [int(told["since"].get(name, start)) for name in lists] if told else []
            rest: dict[str, Any] = {name: int(told.get(name, 0)) for name in _NUMBERS}
            rest["tail"] = tuple(str(one) for one in told.get("tail", ()))
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
        told |= {name: getattr(self, name) for name in (*_NUMBERS, "tail") if getattr(self, name)}
        return orjson.dumps(told).decode()

    @property
    def name(self) -> str:
        """The list that is being read."""
        return self.lists[self.index]

    @property
    def asked(self) -> int:
        """Since when the tool is to be asked."""
        return self.low or self.since[self.index]

    def on(self, now: int, newest: int, low: int) -> Reach:
        """The same list has more, since ``low``."""
        return replace(self._further(now, newest), offset=0, low=low, stood=0, tail=())

    def counted(
        self, now: int, newest: int, keys: Sequence[str], most: int
    ) -> tuple[Reach | None, int]:
        """Where a page of counted entries leads, and how many of them were read before.

        ``keys`` name the page's entries, ``most`` is how many a full page has.  None: it is
        the last.  Where a page does not join the one before, the list has moved by more
        than pages overlap: the page before it is asked for, until they join.  A list of no
        order, that joins nowhere, is read on after ten times all the same.  Raises
        ToolUnreadable where the same page is told whatever the offset: nobody knows its end.
        """
        further = self._further(now, newest)
        joint = joint_of(self.tail, keys)
        if joint is None and self.offset and self.back < _BACK:
            offset = max(0, self.offset - max(1, most - OVERLAPPING))
            return replace(further, offset=offset, back=self.back + 1), len(keys)
        if len(keys) < most:
            return None, joint or 0
        stood = self.stood + 1 if joint == len(keys) else 0
        if stood > _STOOD:
            raise ToolUnreadable("pages tell the same whatever the offset: its list never ends")
        return replace(
            further,
            offset=self.offset + len(keys) - min(OVERLAPPING, len(keys) // 2),
            back=0 if joint else self.back,
            stood=stood,
            tail=marks_of(keys),
        ), joint or 0

    def _further(self, now: int, newest: int) -> Reach:
        return replace(self, began=self.began or now, newest=max(self.newest, newest))

    def done(self, now: int, newest: int) -> Reach:
        """The list is read; the next one is due, the first one again after the last."""
        seen = min(max(self.newest, newest), self.began or now)
        times = list(self.since)
        times[self.index] = max(times[self.index], seen - OVERLAP)
        return Reach(self.lists, tuple(times), (self.index + 1) % len(self.lists))


_NUMBERS: Final = ("offset", "low", "began", "newest", "back", "stood")
_BACK: Final = 10
_STOOD: Final = 5
"""Full pages may come in front of one another while a list is read; nobody adds so many."""
