"""Outcomes that wait to be stored: a bounded queue that only memory holds."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

import structlog

from gateway.records.record import OutcomeRecord, Result, outcome_json

log = structlog.get_logger(__name__)

_AT_ONCE = 4096
"""A batch of text messages has a thousand recipients: no fewer may leave than come."""


Told = tuple[int, bytes]
"""Of how many records, and what came of them, in JSON."""


class OutcomeQueue:
    """Outcomes of at most ``bound`` records, the oldest first.

    What it cannot take is counted as lost.
    """

    __slots__ = ("_bound", "_told", "closed", "lost", "waiting")

    def __init__(self, bound: int) -> None:
        self._bound = bound
        self._told: deque[Told] = deque()
        self.waiting = 0
        """Records whose outcome is not stored yet, those that were taken included."""
        self.lost = 0
        """Records whose outcome could not be queued or stored."""
        self.closed = False
        """Whether nothing more is taken in."""

    def __bool__(self) -> bool:
        return bool(self._told)

    def add(self, outcome: OutcomeRecord) -> None:
        """Queue one outcome."""
        if self._room(1):
            self.waiting += 1
            self._told.append((1, outcome.to_json()))

    def add_alike(
        self,
        record_ids: Sequence[str],
        at: int,
        result: Result,
        reply_code: int | None,
        reply_text: str,
        upstream: str,
    ) -> None:
        """Queue the same outcome for each of these records."""
        count = len(record_ids)
        waiting = self.waiting + count
        if self.closed or waiting > self._bound or not count:
            record_ids = record_ids[: self._room(count)]
            count = len(record_ids)
            if not count:
                return
            waiting = self.waiting + count
        text = outcome_json(record_ids, at, result, reply_code, reply_text, upstream)
        self.waiting = waiting
        self._told.append((count, text))

    def take(self) -> list[Told]:
        """The next outcomes, of some thousand records; :meth:`stored` or :meth:`put_back` them."""
        taken: list[Told] = []
        records = 0
        while self._told and records < _AT_ONCE:
            told = self._told.popleft()
            taken.append(told)
            records += told[0]
        return taken

    def stored(self, taken: Sequence[Told]) -> None:
        """Forget what was taken."""
        self.waiting -= sum([told[0] for told in taken])

    def put_back(self, taken: Sequence[Told]) -> None:
        """Queue again, in front, what was taken and not stored."""
        self._told.extendleft(reversed(taken))

    def give_up(self) -> None:
        """Take nothing more in, and count what still waits as lost."""
        self.closed = True
        if self.waiting:
            self.lost += self.waiting
            log.error("outcomes_lost", cause="closed", count=self.waiting)
            self._told.clear()
            self.waiting = 0

    def _room(self, outcomes: int) -> int:
        """How many of that many may still be queued; the others are lost."""
        room = 0 if self.closed else self._bound - self.waiting
        if outcomes <= room:
            return outcomes
        if not self.lost:
            log.error("outcomes_lost", cause="queue full", bound=self._bound)
        room = max(room, 0)
        self.lost += outcomes - room
        return room
