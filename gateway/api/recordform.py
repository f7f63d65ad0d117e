"""What comes in and goes out about records, held messages and acts: see :mod:`.form`."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field

from gateway.api.account import Permission, Role
from gateway.api.form import Address, Form, Id, Line, Needed, Reasons, Shown, Time
from gateway.contacts.contact import Channel, Tier
from gateway.decision.facts import Kind, Outcome
from gateway.records.act import Action
from gateway.records.record import Direction, Result

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


class CountQuery(Form):
    """Which messages are counted; everything given must match."""

    since: Time
    until: Time | None = None
    client: Line | None = None
    campaign: Line | None = None
    topic: Line | None = None
    channel: Channel | None = None


class Share(Shown):
    """Recipients of whom the same was decided for the same reason, with the same end."""

    outcome: Outcome
    rule: str
    result: Result | None
    reason: Reasons | None
    recipients: int


class Sums(Shown):
    """How many went, how many did not, and why; the largest share first."""

    messages: int
    recipients: int
    shares: list[Share]


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
