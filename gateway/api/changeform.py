"""What comes in and goes out of the feed, of hashed lists and of imports: see :mod:`.form`."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from gateway.api.form import Form, Line, Shown, Text
from gateway.contacts.contact import Channel
from gateway.entry.entry import ConsentStatus, DeliveryReason, Scope

WAIT_MOST = 25
"""Seconds that a caller of the feed may wait."""
LATEST = "latest"
"""The cursor that stands for the end of what is archived now."""

# -- the feed -------------------------------------------------------------------------


class EventQuery(Form):
    """Where to go on, how many, and how long to wait for one."""

    after: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,64}$")] | None = Field(
        None,
        description='The cursor of the answer before; "latest": from now on; '
        "without one: from the first change on.",
    )
    limit: Annotated[int, Field(ge=1, le=1000)] = 100
    wait: Annotated[int, Field(ge=0, le=WAIT_MOST)] = Field(
        0, description="Seconds to wait where there is none yet."
    )
    addresses: bool = Field(
        default=False, description="Tell addresses too; needs the right to read, and is recorded."
    )


class Change(Shown):
    """One change of the register, without evidence and without an address."""

    id: str = Field(description="Of one event; with its subject it occurs once.")
    kind: str
    at: datetime | None = Field(description="When it took effect.")
    recorded: datetime | None
    source: str
    subject: str = Field(description="Whose: a keyed digest, the same for the same contact.")
    address: str | None = Field(description="With addresses=true, where it can be told.")
    scope: Scope | None
    channel: Channel | None
    topic: str | None
    status: ConsentStatus | None
    delivery: DeliveryReason | None
    expires: datetime | None
    imported: bool
    through_another_spelling: bool


class Changes(Shown):
    """Changes in the order in which they were archived, and where to go on."""

    events: list[Change]
    cursor: str
    more: bool = Field(description="Whether there may be more at once.")


# -- hashed lists ---------------------------------------------------------------------


class HashedQuery(Form):
    """Which bans, hashed how, for whom."""

    scheme: Annotated[str, StringConstraints(pattern=r"^[a-z0-9:-]{1,64}$")] = Field(
        description="ALGORITHM:NORMALISATION, as sha256:trim-lower; or the name of a salted "
        "scheme that the register uses."
    )
    purpose: Literal["own", "supplier"] = Field(
        "own", description="supplier leaves out who has banned disclosure, is restricted or erased."
    )
    scope: Literal["all", "email", "sms", "topic", "contact", "disclosure"] | None = Field(
        None, description="Which bans; else whatever stops all marketing of the channel."
    )
    topic: Line | None = None


# -- imports --------------------------------------------------------------------------


class ImportQuery(Form):
    """The options of a list that is the body itself."""

    source: Line = Field("api", description="Where rows without a source came from.")
    columns: Line = Field("", description="OURS=THEIRS, several with ; (email=Address).")
    region: Annotated[str, StringConstraints(pattern=r"^[A-Z]{2}$")] | None = Field(
        None, description="Country of numbers without + (FI)."
    )
    skip_bad: bool = Field(default=False, description="Apply the good rows although some are bad.")


class ImportForm(Form):
    """A list with its options."""

    rows: Annotated[Text, StringConstraints(min_length=1)] = Field(
        description="CSV with a header, or NDJSON with one object a line."
    )
    source: Line = "api"
    columns: dict[Line, Line] = Field(
        default_factory=dict, description="Our column names to the list's."
    )
    region: Annotated[str, StringConstraints(pattern=r"^[A-Z]{2}$")] | None = None
    skip_bad: bool = False


class ImportsQuery(Form):
    """How many."""

    limit: Annotated[int, Field(ge=1, le=1000)] = 100


class BadRow(Shown):
    """A row that cannot be imported; what stands in it is not repeated."""

    line: int
    column: str
    cause: str


class Import(Shown):
    """A list that is taken in."""

    id: str
    state: Literal["waiting", "running", "done", "refused", "failed", "cancelled"]
    account: str
    created: datetime
    ended: datetime | None
    source: str
    rows: int = Field(description="Good rows, once the list was read through.")
    done: int = Field(description="Good rows that have been gone through.")
    contacts: int
    changed: int
    unchanged: int
    bad: int
    bad_rows: list[BadRow] = Field(description="The first hundred.")
    warnings: list[str]
    cause: str = Field(description="Why it was refused, failed, or waits.")
    begun: int = Field(
        description="How often it was begun. Counts are of the last time: what an earlier one "
        "changed is unchanged then."
    )


class Imports(Shown):
    """The newest first."""

    imports: list[Import]
