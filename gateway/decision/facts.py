"""Everything a decision may depend on, and nothing else.

The rules see these facts only: bans, consents, relationship, product group and
what the message shows of itself; never targeting attributes (the notice, section
4).  Every fact has a closed set of values, so that a rule set can be tested over
their full product.
"""

from __future__ import annotations

from enum import StrEnum
from typing import NamedTuple

from gateway.contacts.contact import Channel


class Kind(StrEnum):
    """What a message is for."""

    UNCLEAR = "unclear"
    MARKETING = "marketing"
    SERVICE = "service"
    TRANSACTIONAL = "transactional"
    NOTICE = "notice"


class Outcome(StrEnum):
    """What becomes of a message for one recipient."""

    FORWARD = "forward"
    SUPPRESS = "suppress"
    HOLD = "hold"
    DEFER = "defer"


class PersonClass(StrEnum):
    """Whom an address belongs to; everything unproven is a natural person."""

    NATURAL = "natural"
    LEGAL = "legal"
    WORK = "work"


class Age(StrEnum):
    """Age as far as direct marketing asks for it."""

    ADULT = "adult"
    MINOR = "minor"
    UNDER_15 = "under_15"


class ConsentState(StrEnum):
    """The best consent for this channel and topic (a withdrawn one is a ban)."""

    NONE = "none"
    GRANTED = "granted"
    PENDING = "pending"
    EXPIRED = "expired"


class Relationship(StrEnum):
    """The customer relationship on the day of the decision."""

    NONE = "none"
    ACTIVE = "active"
    ENDED = "ended"


class Collected(StrEnum):
    """How the contact detail was obtained from a customer."""

    OTHERWISE = "otherwise"
    FREE_ACCOUNT = "free_account"
    SALE = "sale"


class ProductMatch(StrEnum):
    """The message's product group against those the customer bought."""

    UNKNOWN = "unknown"
    SAME = "same"
    DIFFERENT = "different"


class Facts(NamedTuple):
    """The facts of one recipient and one message; the defaults are the strictest.

    A named tuple, for one is made for every recipient of every message.
    """

    kind: Kind = Kind.UNCLEAR
    channel: Channel = Channel.EMAIL
    sender_authorised: bool = False
    """The visible sender is one of the controller's own domains or sender IDs."""
    register_reachable: bool = True
    known: bool = False
    """The register has an entry for exactly this contact."""
    tombstone: bool = False
    ban_all: bool = False
    """All direct marketing is banned."""
    ban_channel: bool = False
    ban_topic: bool = False
    ban_organisation: bool = False
    ban_contact: bool = False
    """The person objects to all contact, service messages included."""
    restricted: bool = False
    """Processing is restricted (GDPR 18)."""
    undeliverable: bool = False
    """Mail to exactly this contact bounced, or was complained of; no legal ban."""
    opt_out_means: bool = False
    """The message offers a way to refuse further ones."""
    recognisable: bool = True
    """The message can be told for marketing on receipt."""
    source_known: bool = False
    age: Age = Age.ADULT
    guardian_consent: bool = False
    person_class: PersonClass = PersonClass.NATURAL
    consent: ConsentState = ConsentState.NONE
    consent_proven: bool = False
    relationship: Relationship = Relationship.NONE
    collected: Collected = Collected.OTHERWISE
    opt_out_offered: bool = False
    """A way to refuse was offered when the contact detail was collected."""
    own_product: bool = True
    """The message markets the controller's own products or services."""
    product: ProductMatch = ProductMatch.UNKNOWN
    quiet_hours: bool = False
    urgent: bool = False
