"""One entry of a suppression list, in the register's own words, whoever the tool is."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from gateway.contacts.contact import Channel, Contact
from gateway.entry.entry import Scope


class Reason(StrEnum):
    """Why an entry is on a list."""

    OBJECTION = "objection"
    """The person said no: an unsubscribe, an opt-out; a legal ban."""
    COMPLAINT = "complaint"
    """The person told the mailbox's provider that it is spam."""
    BOUNCE = "bounce"
    """Mail does not reach the address, and will not."""
    BLOCKED = "blocked"
    """Somebody put it there, and the tool does not say why: taken for an objection."""

    @property
    def legal(self) -> bool:
        """Whether it is a ban; else the address is suppressed for delivery's sake."""
        return self in (Reason.OBJECTION, Reason.BLOCKED)


DELIVERY: Final = frozenset({Reason.BOUNCE, Reason.COMPLAINT})
"""The reasons that are no legal bans."""


@dataclass(frozen=True, slots=True)
class Suppression:
    """One contact that is not to be written to.

    ``scope`` is ALL (all direct marketing), CHANNEL (``channel`` names it) or TOPIC
    (``topic`` in the register's words, in ``channel`` only where one is named).
    ``at`` is when it began by the tool's own clock, milliseconds since the epoch;
    None where the tool does not say.
    """

    contact: Contact
    scope: Scope
    reason: Reason
    channel: Channel | None = None
    topic: str | None = None
    at: int | None = None
    note: str = ""
    """The tool's own words for the reason (``unsubscribedViaEmail``), for the evidence;
    never an address."""


class Said(StrEnum):
    """What a tool tells of an entry."""

    ADDED = "added"
    REMOVED = "removed"
    """It is gone there (a resubscribe, an unsuppress): nothing is lifted by that here, a
    person is asked."""


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that a tool tells, by webhook or listing."""

    said: Said
    suppression: Suppression
    id: str = ""
    """The tool's id of the message that told it, where a repeat would have the same."""
