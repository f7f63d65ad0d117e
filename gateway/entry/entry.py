"""What the register knows of one contact: bans, consents and attributes.

An :class:`Entry` is the projection of a contact's events and holds no personal
data.  Every attribute may be unsaid (``None``); what is unsaid counts as the
strictest value when facts are made of it.  Topics and product groups are compared
in the form :func:`normal_name` gives.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from functools import lru_cache

from gateway.contacts.contact import Channel
from gateway.decision.facts import Age, Collected, PersonClass

ANY_TOPIC = "*"
"""The topic of a consent that covers every topic of its channel."""

ORIGIN_SIZE = 4
"""Octets of the digest that an inherited ban keeps of the spelling it came from."""

ANY_ORIGIN = b"\xff\xff\xff\xff"
"""The origin of inherited bans that were joined because there were too many."""


class Scope(StrEnum):
    """What a ban forbids."""

    ALL = "all"
    """All direct marketing (GDPR 21(2)-(3))."""
    CHANNEL = "channel"
    TOPIC = "topic"
    """One brand, list or topic, in one channel or in all."""
    ORGANISATION = "organisation"
    """All direct marketing to a domain."""
    CONTACT = "contact"
    """All contact, service messages too (GDPR 21(1))."""
    DISCLOSURE = "disclosure"
    """Handing the contact on to others (the notice, section 9)."""


class ConsentStatus(StrEnum):
    """What was last said of a consent."""

    GRANTED = "granted"
    PENDING = "pending"
    """Asked for; the double opt-in is not confirmed."""
    WITHDRAWN = "withdrawn"
    """Taken back: a ban of the consent's scope."""


class DeliveryReason(StrEnum):
    """Why mail to an address is given up for delivery's sake; never a legal ban."""

    HARD_BOUNCE = "hard_bounce"
    """Its mail server says that there is no such mailbox (RFC 3463, class 5)."""
    COMPLAINT = "complaint"
    """The person marked a message as spam (RFC 5965): counts for all spellings of the mailbox."""
    REJECTED = "rejected"
    """A sending service refuses to deliver there, whatever made it."""


@lru_cache(maxsize=1024)
def normal_name(text: str) -> str:
    """Return the form in which topics and product groups are compared."""
    return unicodedata.normalize("NFC", text).strip().casefold()


@dataclass(frozen=True, slots=True)
class Ban:
    """One objection, in force since ``at`` (milliseconds since the epoch).

    ``channel`` is set in a CHANNEL ban, and in a TOPIC ban that holds in that
    channel only.  ``origin`` is empty in a ban of the contact itself; otherwise the
    ban was inherited from another spelling of the same mailbox, and ``origin`` is
    the beginning of that spelling's digest.
    """

    scope: Scope
    at: int
    channel: Channel | None = None
    topic: str | None = None
    origin: bytes = b""

    @property
    def inherited(self) -> bool:
        """Whether the ban was set through another spelling with the same base."""
        return self.origin != b""

    @property
    def key(self) -> tuple[str, str, str, bytes]:
        """What at most one ban of an entry has; also the order bans are kept in."""
        return (self.scope, self.channel or "", self.topic or "", self.origin)

    def covers(self, channel: Channel, topic: str | None) -> bool:
        """Whether it forbids marketing of this channel and topic.

        A message without a topic may belong to any, so that every TOPIC ban of its
        channel covers it.  A DISCLOSURE ban forbids no message.
        """
        if self.scope is Scope.DISCLOSURE:
            return False
        if self.channel is not None and self.channel is not channel:
            return False
        return self.scope is not Scope.TOPIC or topic is None or self.topic == topic


@dataclass(frozen=True, slots=True)
class Consent:
    """The latest word on one channel and topic (``"*"``: every topic).

    ``at`` and ``expires`` are milliseconds since the epoch.  ``proven``: the
    evidence that GDPR 7(1) asks for is complete.  ``lifts``: it may lift an earlier
    ban, because it was given live, specifically and with proof; a consent that came
    by an import never may.
    """

    channel: Channel
    topic: str
    status: ConsentStatus
    at: int
    expires: int | None = None
    proven: bool = False
    lifts: bool = False

    @property
    def key(self) -> tuple[str, str]:
        """What at most one consent of an entry has; also their order."""
        return (self.channel, self.topic)

    def expired(self, now: int) -> bool:
        """Whether it no longer holds at ``now`` (milliseconds since the epoch)."""
        return self.expires is not None and self.expires <= now

    def as_ban(self) -> Ban:
        """Return the ban that its withdrawal amounts to."""
        if self.topic == ANY_TOPIC:
            return Ban(Scope.CHANNEL, self.at, self.channel)
        return Ban(Scope.TOPIC, self.at, self.channel, self.topic)


@dataclass(frozen=True, slots=True)
class Undeliverable:
    """One delivery suppression, of ``at`` and until ``expires`` (ms since the epoch).

    Without ``expires`` it holds until a person lifts it.  It is told by mail servers and
    sending services, says nothing of what the person wants by law, and is kept apart
    from bans.
    """

    reason: DeliveryReason
    at: int
    expires: int | None = None

    def expired(self, now: int) -> bool:
        """Whether it no longer holds at ``now`` (milliseconds since the epoch)."""
        return self.expires is not None and self.expires <= now


@dataclass(frozen=True, slots=True)
class Entry:
    """All that the register knows of one contact under one key.

    ``bans`` and ``consents`` are kept in the order of their keys, one of each key,
    ``delivery`` in the order of its reasons, one of each.
    Dates are calendar days; the relationship lasts to the end of its last day.
    """

    bans: tuple[Ban, ...] = ()
    consents: tuple[Consent, ...] = ()
    person_class: PersonClass | None = None
    age: Age | None = None
    guardian_consent: bool | None = None
    relationship_start: date | None = None
    relationship_end: date | None = None
    collected: Collected | None = None
    opt_out_offered: bool | None = None
    product_groups: frozenset[str] | None = None
    restricted: bool = False
    tombstone: bool = False
    """The person was erased; the entry is kept so that the bans stay known."""
    source_known: bool = False
    delivery: tuple[Undeliverable, ...] = ()

    @property
    def own(self) -> bool:
        """Whether it tells of the person beyond bans inherited from other spellings.

        That mail could not be delivered tells nothing of a person.
        """
        for ban in self.bans:
            if not ban.origin:
                return True
        return self != Entry(self.bans, delivery=self.delivery)


EMPTY = Entry()
"""The entry of a contact of which nothing is known."""
