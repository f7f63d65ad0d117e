"""What a search, a count and a look at one record ask and give."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from gateway.contacts.contact import Channel, Tier
from gateway.decision.facts import Kind, Outcome
from gateway.records.record import (
    Direction,
    MessageRecord,
    OutcomeRecord,
    RecipientRecord,
    Result,
    RuleText,
)

if TYPE_CHECKING:
    # Which loads the tables, and with them the database's library.
    from gateway.records.line import Row


@dataclass(frozen=True, slots=True)
class Found:
    """One recipient's record in a search."""

    record_id: str
    message_id: str
    decided: int
    """Milliseconds since the epoch."""
    client: str
    kind: Kind
    channel: Channel
    digest: str
    outcome: Outcome
    rule: str
    result: Result | None
    """The latest outcome told; ``None``: none yet."""
    result_at: int | None
    direction: Direction = Direction.OUT


@dataclass(frozen=True, slots=True)
class Shown:
    """Everything known of one recipient's record."""

    message: MessageRecord
    """With this one recipient only."""
    rule: RuleText | None
    """The rule's texts; ``None`` when its rule set is not in the archive."""
    outcomes: tuple[OutcomeRecord, ...]
    """The oldest first."""
    address: str | None
    """``None`` where it cannot be opened (any more)."""
    sender: str | None
    headers: bytes | None

    @property
    def recipient(self) -> RecipientRecord:
        """The recipient's part."""
        return self.message.recipients[0]


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which messages are counted; what is None does not matter."""

    since: int | None = None
    """Milliseconds since the epoch, of the decision."""
    until: int | None = None
    """The end, excluded."""
    client: str | None = None
    campaign: str | None = None
    topic: str | None = None
    channel: Channel | None = None


@dataclass(frozen=True, slots=True)
class Share:
    """Recipients of whom the same was decided for the same reason, with the same end."""

    outcome: Outcome
    rule: str
    result: Result | None
    """The latest that was told; None: none yet."""
    text: RuleText | None
    """What the rule said then; None where its rule set is not in the archive."""
    recipients: int


@dataclass(frozen=True, slots=True)
class Sums:
    """All shares, the largest first."""

    messages: int
    recipients: int
    shares: tuple[Share, ...]


def found_of(row: Mapping[Any, Any]) -> Found:
    """The found record of a joined row."""
    return Found(
        record_id=row["id"],
        message_id=row["message_id"],
        decided=row["decided"],
        client=row["client"],
        kind=Kind(row["kind"]),
        channel=Channel(row["channel"]),
        digest=row["digest"],
        outcome=Outcome(row["outcome"]),
        rule=row["rule"],
        result=None if row["result"] is None else Result(row["result"]),
        result_at=row["result_at"],
        direction=Direction(row["direction"]),
    )


def message_of(row: Row, record: Row, facts: str) -> MessageRecord:
    """The message of its row, with the one recipient of a record's row and its facts."""
    plain = {name: value for name, value in row.items() if not name.startswith("sealed_")}
    plain["direction"] = Direction(row["direction"])
    plain["channel"] = Channel(row["channel"])
    plain["kind"] = Kind(row["kind"])
    recipient = RecipientRecord(
        id=record["id"],
        digest=record["digest"],
        outcome=Outcome(record["outcome"]),
        rule=record["rule"],
        address_class=record["address_class"],
        tier=None if record["tier"] is None else Tier(record["tier"]),
        facts=orjson.loads(facts),
        register_position=record["register_position"],
        retain_until=record["retain_until"],
    )
    return MessageRecord(**plain, recipients=(recipient,))
