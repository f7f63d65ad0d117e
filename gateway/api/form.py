"""What comes in and goes out, as pydantic models: the border of the API.

Unknown members are refused, so that a typo cannot pass for a default.  An address
stands in a body, never in a URL: URLs end up in logs.  Times are ISO 8601 with a zone.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
)

from gateway.clock import now_ms, utc
from gateway.contacts.contact import Channel, Tier
from gateway.decision.facts import Age, Collected, Outcome, PersonClass
from gateway.entry.entry import ConsentStatus, DeliveryReason, Scope

AT_ONCE = 1000
_DATED = re.compile(r"\d{4}-\d\d-\d\d[Tt ]").match
"""Contacts of one question at most."""


def _storable(text: str) -> str:
    if "\0" in text:
        raise ValueError("a NUL cannot be stored; leave it out")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("half a surrogate pair is no text; send UTF-8") from None
    return text


Text = Annotated[str, AfterValidator(_storable)]
Line = Annotated[Text, StringConstraints(max_length=200)]
Said = Annotated[Text, StringConstraints(max_length=10_000)]
Needed = Annotated[Text, StringConstraints(min_length=1, max_length=10_000, pattern=r"\S")]
Address = Annotated[
    Text,
    StringConstraints(min_length=1, max_length=512),
    Field(description="An e-mail address, or a number in E.164 form (+358401234567)."),
]
Target = Annotated[
    Text,
    StringConstraints(min_length=1, max_length=512),
    Field(description="An e-mail address, a number in E.164 form, or @domain."),
]


def _as_text(value: object) -> object:
    """Refuse numbers, which pydantic would take for seconds, as texts too."""
    if isinstance(value, int | float) or (isinstance(value, str) and not _DATED(value)):
        raise ValueError("write a time as 2026-11-22T14:00:00+02:00")
    return value


def _in_utc(value: datetime) -> datetime:
    """The same time in UTC: a last day in a zone behind it may be none there."""
    try:
        return value.astimezone(UTC)
    except OverflowError:
        raise ValueError("a time before the year 1 or after 9999 in UTC") from None


Time = Annotated[AwareDatetime, BeforeValidator(_as_text), AfterValidator(_in_utc)]
Id = Annotated[Text, StringConstraints(min_length=1, max_length=64)]


def moment(milliseconds: int | None) -> datetime | None:
    """A time as it goes out."""
    return None if milliseconds is None else utc(milliseconds)


def time(milliseconds: int) -> datetime:
    """A time that is known, as it goes out."""
    return utc(milliseconds)


def milliseconds(at: datetime | None) -> int | None:
    """A time as it came in, in milliseconds since the epoch."""
    return None if at is None else int(at.timestamp() * 1000)


def milliseconds_or_now(at: datetime | None) -> int:
    """When something was said, in milliseconds since the epoch; now where that is not told.

    The epoch itself is a time as any: software that knows none may send it.
    """
    return now_ms() if at is None else int(at.timestamp() * 1000)


class Form(BaseModel):
    """Anything that comes in."""

    model_config = ConfigDict(extra="forbid")


class Shown(BaseModel):
    """Anything that goes out."""

    model_config = ConfigDict(extra="forbid")


# -- decisions ------------------------------------------------------------------------


class DecisionForm(Form):
    """What a tool is about to send, and to whom."""

    contacts: Annotated[list[Address], Field(min_length=1, max_length=AT_ONCE)]
    kind: Literal["marketing", "service", "transactional", "notice"] = "marketing"
    channel: Channel | None = Field(None, description="Else e-mail for addresses, SMS for numbers.")
    topic: Line | None = None
    product_group: Line | None = None


class Reasons(Shown):
    """Why, in three languages."""

    fi: str
    sv: str
    en: str


class Verdict(Shown):
    """The decision for one contact, in the order asked."""

    outcome: Outcome
    rule: str
    reason: Reasons
    source: str
    tier: Tier | None
    position: str


class Decisions(Shown):
    """One verdict for each contact."""

    decisions: list[Verdict]
    rule_set: str
    rule_set_version: str


# -- the register ---------------------------------------------------------------------


class ContactForm(Form):
    """One contact or organisation."""

    contact: Target


class BanForm(Form):
    """An objection.  Without a scope it forbids all direct marketing."""

    contact: Target
    scope: Literal["all", "email", "sms", "topic", "contact", "disclosure"] = "all"
    topic: Line | None = None
    evidence: Said = Field("", description="The request's wording or a reference to it.")
    source: Line = "api"
    at: Time | None = None


class LiftForm(Form):
    """A ban that was set by mistake or taken back."""

    contact: Target
    scope: Literal["all", "email", "sms", "topic", "contact", "disclosure"]
    topic: Line | None = None
    evidence: Needed = Field(description="Why the ban is lifted.")
    source: Line = "api"


class DeliverableForm(Form):
    """Mail can be delivered again; without a reason every delivery suppression is lifted."""

    contact: Address
    reason: DeliveryReason | None = None
    evidence: Needed = Field(description="How it is known.")
    source: Line = "api"


class ConsentForm(Form):
    """A consent; with wording and evidence, by a person's account, it is proven."""

    contact: Address
    channel: Channel | None = None
    topic: Line = Field("*", description="* is every topic of the channel.")
    status: Literal["granted", "pending"] = "granted"
    wording: Said = ""
    evidence: Said = ""
    source: Line = "api"
    at: Time | None = None
    expires: Time | None = None


class WithdrawForm(Form):
    """A consent that is taken back: a ban of its channel and topic."""

    contact: Address
    channel: Channel | None = None
    topic: Line = "*"
    evidence: Said = ""
    source: Line = "api"
    at: Time | None = None


class Changed(Shown):
    """A change that is in force."""

    event: str
    in_force: bool = True


class Ban(Shown):
    """One objection."""

    scope: Scope
    channel: Channel | None
    topic: str | None
    since: datetime
    through_another_spelling: bool


class Consent(Shown):
    """The latest word on one channel and topic."""

    channel: Channel
    topic: str
    status: ConsentStatus
    since: datetime
    expires: datetime | None
    proven: bool


class Undeliverable(Shown):
    """That mail bounced or was complained of: no legal ban, and no marketing while it holds."""

    reason: DeliveryReason
    since: datetime
    expires: datetime | None
    expired: bool
    through_another_spelling: bool


class Contact(Shown):
    """What the register knows of a contact."""

    known: bool
    bans: list[Ban]
    consents: list[Consent]
    delivery: list[Undeliverable]
    banned_by_organisation: list[str]
    person_class: PersonClass | None
    age: Age | None
    guardian_consent: bool | None
    relationship_start: date | None
    relationship_end: date | None
    collected: Collected | None
    opt_out_offered: bool | None
    product_groups: list[str]
    restricted: bool
    tombstone: bool
    source_known: bool


class Event(Shown):
    """One change of the register."""

    id: str
    kind: str
    at: datetime
    recorded: datetime
    actor: str
    source: str
    evidence: str
    scope: Scope | None
    channel: Channel | None
    topic: str | None
    status: ConsentStatus | None
    delivery: DeliveryReason | None
    expires: datetime | None
    proven: bool
    wording: str
    imported: bool


class History(Shown):
    """Every change of a contact, the oldest first."""

    events: list[Event]
