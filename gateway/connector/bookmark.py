"""Where a reader of a list has got to: what its cursors hold.

A round of ``changes`` goes through the parts of a list, page by page, and asks for what
is new since a moment.  The next round's moment lies before the beginning of this one, by
``OVERLAP_MS``: what the tool's clock calls older than it is, or writes into its list
late, is read again and not left out.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import orjson

from gateway.clock import DAY_MS
from gateway.connector.connector import ToolUnreadable

OVERLAP_MS: Final = 45 * 60 * 1000
"""Ten minutes that the tool's clock may be wrong, and half an hour (Mailgun's own figure)
in which an entry may appear late, with something to spare."""


class Bookmark(NamedTuple):
    """A place in a list."""

    part: int = 0
    """Which of the tool's lists is read."""
    next: str = ""
    """The tool's word for the next page; "": the part's beginning."""
    since: int = 0
    """What is asked for is newer than this (milliseconds since the epoch)."""
    began: int = 0
    """When the round began; 0 between two rounds."""
    tail: tuple[str, ...] = ()
    """Marks of the last entries that were read, where pages are counted, not named."""

    @classmethod
    def read(cls, cursor: str) -> Bookmark:
        """The place that a cursor names, "" the beginning; raises ToolUnreadable."""
        if not cursor:
            return cls()
        try:
            part, after, since, began, tail = orjson.loads(cursor)
        except (ValueError, TypeError):
            raise _foreign() from None
        numbers, texts = (part, since, began), (after, *_list(tail))
        if not all(type(one) is int for one in numbers) or part < 0:
            raise _foreign()
        if not all(type(one) is str for one in texts):
            raise _foreign()
        return cls(part, after, since, began, tuple(tail))

    @classmethod
    def resume(cls, cursor: str, now: int) -> Bookmark:
        """The place in a round of ``changes``; a round that is to begin begins now.

        Raises ToolUnreadable.
        """
        place = cls.read(cursor)
        if place.began:
            return place
        # Our own clock may have been ahead when the last round began.
        since = min(place.since, now - OVERLAP_MS) if cursor else now - DAY_MS
        return place._replace(since=since, began=now)

    def follow(self, after: str, tail: tuple[str, ...] = ()) -> Bookmark:
        """The next page of the same part."""
        return self._replace(next=after, tail=tail)

    def turn(self) -> Bookmark:
        """The beginning of the next part."""
        return self._replace(part=self.part + 1, next="", tail=())

    def close(self) -> Bookmark:
        """The beginning of the next round."""
        return Bookmark(since=self.began - OVERLAP_MS)

    @property
    def cursor(self) -> str:
        """The text that :meth:`read` reads."""
        return orjson.dumps([*self]).decode()


def _list(value: Any) -> list[Any]:  # noqa: ANN401 - JSON is of any type
    if type(value) is not list:
        raise _foreign()
    return value


def _foreign() -> ToolUnreadable:
    return ToolUnreadable("the cursor is none of this connector's; a full listing renews it")
