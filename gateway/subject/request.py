"""Requests of people (GDPR 15-22) and the month that each is answered in.

Pure.  A request moves from being received to an end; the clock is that of GDPR 12(3):
one month from receipt, which may be made longer by two months if the person is told,
with the reason, within the first.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from typing import Final, Self
from zoneinfo import ZoneInfo

import orjson
from dateutil.relativedelta import relativedelta

from gateway.failure import InputError

ZONE: Final = ZoneInfo("Europe/Helsinki")
"""Whose calendar the month is counted in."""
SOON: Final = 7
"""Days before its end that a request raises its alarm."""
_EXTENSION: Final = 2
_TEXT_MOST: Final = 20_000


class RequestError(InputError):
    """A request cannot go this way: it is ended, too late, or lacks a reason."""


class Kind(StrEnum):
    """What is asked for."""

    ACCESS = "access"
    PORTABILITY = "portability"
    RECTIFICATION = "rectification"
    ERASURE = "erasure"
    RESTRICTION = "restriction"
    OBJECTION = "objection"
    WITHDRAWAL = "withdrawal"


class State(StrEnum):
    """How far a request is."""

    RECEIVED = "received"
    IDENTITY_ASKED = "identity_asked"
    """More was asked to confirm who asks (GDPR 12(6))."""
    IDENTIFIED = "identified"
    IN_PROGRESS = "in_progress"
    EXTENDED = "extended"
    ANSWERED = "answered"
    REFUSED = "refused"


ENDED: Final = frozenset({State.ANSWERED, State.REFUSED})


@dataclass(frozen=True, slots=True)
class Identification:
    """How somebody's identity was checked.  Never a copy of a document."""

    how: str
    by: str
    at: int
    """Milliseconds since the epoch."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One thing that happened to a request."""

    at: int
    state: State
    by: str
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request.  Times are milliseconds since the epoch."""

    id: str
    kind: Kind
    received: int
    due: int
    """When it must be answered at the latest."""
    state: State = State.RECEIVED
    person_id: str | None = None
    digest: str | None = None
    """The contact that it came by."""
    words: str = ""
    """What was asked, verbatim."""
    how: str = ""
    """By which way it came."""
    identity: Identification | None = None
    closed: int | None = None
    outcome: str = ""
    """How it was answered, or why it was refused."""
    extended: str = ""
    """Why it takes longer than a month, as the person was told."""
    steps: tuple[Step, ...] = ()

    @property
    def open(self) -> bool:
        """Whether it waits for an answer."""
        return self.state not in ENDED

    def late(self, now: int) -> bool:
        """Whether it should have been answered."""
        return self.open and now > self.due

    def alarms(self, now: int) -> bool:
        """Whether it is late or due within a week."""
        return self.open and now > self.due - SOON * 86_400_000

    def moved(self, state: State, by: str, at: int, reason: str = "") -> Self:
        """In another state; raises RequestError when it is ended, or a reason is missing."""
        if not self.open:
            raise RequestError(f"the request is {self.state} already")
        if state is State.REFUSED and not reason.strip():
            raise RequestError("say why it is refused: the person must be told (GDPR 12(4))")
        if state is State.ANSWERED and not reason.strip():
            raise RequestError("say how it was answered; it is recorded")
        ended = state in ENDED
        return replace(
            self,
            state=state,
            closed=at if ended else None,
            outcome=reason if ended else self.outcome,
            steps=(*self.steps, Step(at=at, state=state, by=by, reason=reason)),
        )

    def identified(self, how: str, by: str, at: int) -> Self:
        """With a checked identity; raises RequestError without how it was checked."""
        if not how.strip():
            raise RequestError("say how the identity was checked; keep no copy of a document")
        moved = self.moved(State.IDENTIFIED, by, at, how)
        return replace(moved, identity=Identification(how, by, at))

    def prolonged(self, by: str, at: int, reason: str) -> Self:
        """With two months more (GDPR 12(3)), once.

        Raises RequestError without the reason that the person was told, after the
        first month, or when it was made longer before.
        """
        if not reason.strip():
            raise RequestError("say the reason that the person was told (GDPR 12(3))")
        if self.extended:
            raise RequestError("the time was made longer already")
        if at > due(self.received):
            raise RequestError("the person must be told within the first month; it is over")
        moved = self.moved(State.EXTENDED, by, at, reason)
        return replace(moved, due=due(self.received, 1 + _EXTENSION), extended=reason)

    def detail(self) -> bytes:
        """The part that is sealed: words, reasons, steps."""
        return orjson.dumps(
            {
                "v": 1,
                "words": self.words[:_TEXT_MOST],
                "how": self.how,
                "outcome": self.outcome,
                "extended": self.extended,
                "identity": self.identity,
                "steps": self.steps,
            }
        )

    def with_detail(self, text: bytes) -> Self:
        """With the part that :meth:`detail` wrote; raises RequestError."""
        try:
            members: Mapping[str, object] = orjson.loads(text)
            return self._with(members)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise RequestError(f"not a request ({type(error).__name__})") from None

    def _with(self, members: Mapping[str, object]) -> Self:
        if members["v"] != 1:
            raise ValueError
        identity, steps = members["identity"], members["steps"]
        if not isinstance(steps, list):
            raise TypeError
        return replace(
            self,
            words=str(members["words"]),
            how=str(members["how"]),
            outcome=str(members["outcome"]),
            extended=str(members["extended"]),
            identity=None if identity is None else Identification(**identity),  # type: ignore[arg-type]
            steps=tuple(Step(**{**each, "state": State(each["state"])}) for each in steps),
        )


def local(at: datetime) -> datetime:
    """A time by Finland's clock; one of the last hours that any calendar tells stays as it is."""
    try:
        return at.astimezone(ZONE)
    except OverflowError:
        return at


def due(received: int, months: int = 1) -> int:
    """The end of the day that a request received then must be answered on, at the latest.

    The day with the same number some months later, or the month's last where it has no
    such day (31 January: 28 or 29 February).  By Regulation 1182/71, article 3(4), a
    period that ends on a holiday or weekend runs to the next working day; here it ends
    on the earlier, legal day all the same: nobody is late who keeps to it.
    """
    day = datetime.fromtimestamp(received / 1000, UTC).astimezone(ZONE).date()
    last = day + relativedelta(months=months)
    return _end_of(last)


def _end_of(day: date) -> int:
    end = datetime.combine(day + timedelta(days=1), time.min, ZONE)
    return int(end.timestamp() * 1000) - 1
