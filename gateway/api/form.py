"""What comes in and goes out, as pydantic models: the border of the API.

Unknown members are refused, so that a typo cannot pass for a default.  An address
stands in a body, never in a URL: URLs end up in logs.  Times are ISO 8601 with a zone.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    StringConstraints,
)

from gateway.api.account import Permission, Role
from gateway.contacts.contact import Channel, Tier
from gateway.decision.facts import Age, Collected, Kind, Outcome, PersonClass
from gateway.entry.entry import ConsentStatus, Scope
from gateway.records.act import Action
from gateway.records.record import Direction, Result

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


Time = Annotated[AwareDatetime, BeforeValidator(_as_text)]
Id = Annotated[Text, StringConstraints(min_length=1, max_length=64)]


def moment(milliseconds: int | None) -> datetime | None:
    """A time as it goes out."""
    return None if milliseconds is None else datetime.fromtimestamp(milliseconds / 1000, UTC)


def time(milliseconds: int) -> datetime:
    """A time that is known, as it goes out."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


def milliseconds(at: datetime | None) -> int | None:
    """A time as it came in, in milliseconds since the epoch."""
    return None if at is None else int(at.timestamp() * 1000)


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


class Contact(Shown):
    """What the register knows of a contact."""

    known: bool
    bans: list[Ban]
    consents: list[Consent]
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
    expires: datetime | None
    proven: bool
    wording: str
    imported: bool


class History(Shown):
    """Every change of a contact, the oldest first."""

    events: list[Event]


# -- records --------------------------------------------------------------------------


class RecordSearch(Form):
    """Which records; everything given must match."""

    contact: Address | None = None
    client: Line | None = None
    rule: Line | None = None
    outcome: Outcome | None = None
    result: Result | None = None
    since: Time | None = None
    until: Time | None = None
    limit: Annotated[int, Field(ge=1, le=1000)] = 100
    before: Id | None = Field(None, description="The last record of the page before.")


class Record(Shown):
    """One recipient's record in a search."""

    record: str
    message: str
    decided: datetime
    client: str
    kind: Kind
    channel: Channel
    direction: Direction
    digest: str
    outcome: Outcome
    rule: str
    result: Result | None
    result_at: datetime | None


class Records(Shown):
    """A page of records, the newest first."""

    records: list[Record]


class Told(Shown):
    """What came of a message."""

    at: datetime
    result: Result
    reply_code: int | None
    reply_text: str
    upstream: str
    person: str
    reason: str


class WholeRecord(Shown):
    """Everything of one recipient's record."""

    record: str
    message: str
    direction: Direction
    received: datetime
    decided: datetime
    controller: str
    register_name: str
    client: str
    campaign: str | None
    channel: Channel
    kind: Kind
    kind_declared: str
    topic: str | None
    product_group: str | None
    body_hash: str
    size: int
    opt_out: str
    sender: str
    rule_set: str
    rule_set_version: str
    rule_set_hash: str
    digest: str
    address: str | None = Field(description="None where it cannot be opened any more.")
    outcome: Outcome
    rule: str
    reason: Reasons | None
    basis: str | None
    source: str | None
    tier: Tier | None
    facts: dict[str, Any]
    position: str
    retain_until: datetime | None
    results: list[Told]


# -- held messages --------------------------------------------------------------------


class HeldQuery(Form):
    """Which held messages."""

    limit: Annotated[int, Field(ge=1, le=1000)] = 100


class HeldRecipient(Shown):
    """One recipient that a message is held for."""

    digest: str
    record: str
    rule: str
    reason: str
    facts: dict[str, Any]
    address: str | None = None


class Held(Shown):
    """A message that waits for a person."""

    held: str
    message: str
    state: str
    channel: Channel
    since: datetime
    client: str
    kind: Kind
    topic: str | None
    recipients: list[HeldRecipient]


class HeldList(Shown):
    """Held messages, the newest first."""

    held: list[Held]


class ReleaseForm(Form):
    """A person's word that it may go; the rules are asked once more."""

    reason: Needed
    kind: Literal["marketing", "service", "transactional", "notice"] | None = Field(
        None, description="What it is, where its kind was unclear."
    )


class DiscardForm(Form):
    """A person's word that it may not."""

    reason: Needed


class ReleasedRecipient(Shown):
    """What became of one recipient."""

    record: str
    digest: str
    sent: bool
    rule: str | None
    reason: Reasons | None


class Released(Shown):
    """What a release did."""

    recipients: list[ReleasedRecipient]


# -- people and their requests --------------------------------------------------------


class OneContact(Form):
    """One address or number."""

    contact: Address


class SubjectForm(Form):
    """A person of contacts that belong together."""

    name: Line = ""
    contacts: Annotated[list[Address], Field(max_length=100)] = []
    source: Needed
    language: Literal["fi", "sv", "en"] = "fi"
    person_class: Literal["natural", "legal", "work"] = "natural"


class LinkForm(Form):
    """A contact of a person, and where it came from."""

    contact: Address
    source: Needed


class ObjectionForm(Form):
    """An objection in the person's own words."""

    words: Needed
    scope: Literal["all", "email", "sms", "topic", "contact", "disclosure"] = "all"
    topic: Line | None = None
    how: Line = ""
    received: Time | None = None


class PersonWithdrawForm(Form):
    """Consents that are taken back."""

    channel: Channel
    topic: Line = "*"
    words: Said = ""


class ReasonForm(Form):
    """Why; it is recorded."""

    reason: Needed


class AccessForm(Form):
    """How a report is wanted."""

    language: Literal["fi", "sv", "en"] | None = Field(None, description="Else the person's.")
    content: StrictBool = Field(False, description="With the text of the messages that are kept.")
    staff_names: StrictBool = True
    format: Literal["json", "html"] = "json"


class PortabilityForm(Form):
    """As what."""

    format: Literal["json", "csv"] = "json"


class EraseForm(Form):
    """An erasure, or a look at what one would do."""

    reason: Said = ""
    check: StrictBool = False
    excepted: list[Literal["relationship", "contract", "warranty", "hold"]] = []
    request: Id | None = Field(None, description="The request that is closed by it.")


class Subject(Shown):
    """A person."""

    id: str
    person: dict[str, Any]


class Subjects(Shown):
    """People."""

    subjects: list[Subject]


class Obstacle(Shown):
    """Why a person is not erased now."""

    ground: str
    reference: str
    until: str


class Erasing(Shown):
    """What an erasure would do, or did."""

    subject: str
    contacts: int
    shared: int
    obstacles: list[Obstacle]
    held_discarded: list[str]
    keys_destroyed: int
    ended: bool


class RequestForm(Form):
    """A request as it came."""

    kind: Literal[
        "access",
        "portability",
        "rectification",
        "erasure",
        "restriction",
        "objection",
        "withdrawal",
    ]
    subject: Id | None = None
    contact: Address | None = Field(None, description="What it came by.")
    words: Said = ""
    how: Line = ""
    received: Time | None = None


class IdentifyForm(Form):
    """How somebody's identity was checked."""

    how: Needed


class Step(Shown):
    """One thing that happened to a request."""

    at: datetime
    state: str
    by: str
    reason: str


class Request(Shown):
    """A request with all its steps."""

    id: str
    kind: str
    subject: str | None
    received: datetime
    due: datetime
    state: str
    late: bool
    words: str
    how: str
    identity: str | None
    closed: datetime | None
    outcome: str
    steps: list[Step]


class Due(Shown):
    """A request that must be answered soon."""

    id: str
    kind: str
    due: datetime
    state: str
    late: bool


class Requests(Shown):
    """Requests, the most urgent first."""

    requests: list[Due]


# -- who did what ---------------------------------------------------------------------


class ActQuery(Form):
    """Which acts; everything given must match."""

    actor: Line | None = None
    action: Action | None = None
    subject: Line | None = None
    since: Time | None = None
    until: Time | None = None
    limit: Annotated[int, Field(ge=1, le=1000)] = 100


class Act(Shown):
    """What somebody did."""

    id: str
    at: datetime
    action: Action
    actor: str
    subject: str
    reason: str
    detail: dict[str, str | int | bool | None]


class Acts(Shown):
    """A page of acts, the newest first."""

    acts: list[Act]


class Me(Shown):
    """The account that asks."""

    name: str
    role: Role
    may: list[Permission]
