"""What a request asks to be sent, and what was decided of it."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import Any, NamedTuple

from gateway.provider.request import Answer, Request


class Message(NamedTuple):
    """One text to one or more destinations."""

    sender: str
    """The sender ID as the request names it, or the id of what the provider chooses it
    from (a messaging service, a profile); empty: the provider's default."""
    text: str | None
    """None: it cannot be read here (a template of the provider's, media alone)."""
    destinations: tuple[str, ...]
    """Each as the request writes it."""
    report_url: str = ""
    """Where the tool wants to hear of the delivery; empty: nowhere, or by its account."""


class Submission(NamedTuple):
    """A request to send, read."""

    request: Request
    messages: tuple[Message, ...]
    document: Any = None
    """The body as the adapter read it."""
    refuses: bool = True
    """Whether the provider itself would refuse an opted-out number in its answer; else
    it accepts and tells of the failure in a delivery report."""
    scheduled: bool = False
    """Whether the provider is asked to send it later, when a ban may have come."""


class Fate(Enum):
    """What becomes of one destination in this answer."""

    SENT = "sent"
    """It goes to the provider."""
    BLOCKED = "blocked"
    """Suppressed, and said so."""
    TAKEN = "taken"
    """Accepted and not sent now: discarded, held for a person, or kept until later."""
    INVALID = "invalid"
    """No number that anybody could be asked about."""
    REPEATED = "repeated"
    """The same number as an earlier one of this message; it shares that one's fate."""


Fates = Sequence[Sequence[Fate]]
"""For each message, for each of its destinations."""


class Decided(NamedTuple):
    """What was decided of a submission."""

    fates: Fates
    ids: Sequence[Sequence[str]]
    """The record's id (ULID) of each destination; "" where there is no record."""
    at: int
    """Milliseconds since the epoch."""
    answered: Answer | None = None
    """What the tool hears, once the provider has answered for those that were sent."""

    def indices(self, fate: Fate) -> list[tuple[int, int]]:
        """Message and destination of those with this fate."""
        return [
            (number, place)
            for number, fates in enumerate(self.fates)
            for place, one in enumerate(fates)
            if one is fate
        ]

    def count(self, fate: Fate) -> int:
        """How many have this fate."""
        return sum([fates.count(fate) for fates in self.fates])

    def any(self, fate: Fate) -> bool:
        """Whether anybody has this fate."""
        return any(fate in fates for fates in self.fates)

    def first_record(self) -> str:
        """The record's id of the first destination that is a number; "" where none is."""
        return next(
            (
                record
                for fates, ids in zip(self.fates, self.ids, strict=True)
                for fate, record in zip(fates, ids, strict=True)
                if record and fate is not Fate.INVALID
            ),
            "",
        )

    def taken(self) -> Decided:
        """The same with those that are sent as accepted here: for an answer of our own."""
        fates = [[Fate.TAKEN if one is Fate.SENT else one for one in each] for each in self.fates]
        return self._replace(fates=fates)

    def kept(self) -> list[list[int]]:
        """For each message, the places of those that go to the provider."""
        sent = Fate.SENT
        return [[place for place, one in enumerate(fates) if one is sent] for fates in self.fates]


class Told(Enum):
    """What the provider's answer says of one destination that was sent."""

    ACCEPTED = "accepted"
    REFUSED = "refused"
    LATER = "later"
    """Refused for now."""


class Report(NamedTuple):
    """A delivery report that the provider would have sent to the tool."""

    url: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    method: str = "POST"
