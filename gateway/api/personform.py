"""What comes in and goes out about people and their requests: see :mod:`.form`."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field, StrictBool

from gateway.api.form import Address, Form, Id, Line, Needed, Said, Shown, Time
from gateway.contacts.contact import Channel

# -- people and their requests --------------------------------------------------------


class OneContact(Form):
    """One address or number."""

    contact: Address


class SubjectForm(Form):
    """A person of contacts that belong together."""

    name: Line = ""
    contacts: Annotated[list[Address], Field(max_length=100)] = Field(default_factory=list)
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
    excepted: list[Literal["relationship", "contract", "warranty", "hold"]] = Field(
        default_factory=list
    )
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
    tools_untold: list[str] = Field(description="Tools whose lists lack a ban of the person.")
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
