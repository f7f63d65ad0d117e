"""The record of one message, of each of its recipients, and of what came of it.

The fields are those that make a decision provable (GDPR 5(2); the reference page
"Evidence").  Nothing here carries an address or number in the clear: recipients are
keyed digests, addresses and header sections are sealed beside the record (see
:mod:`gateway.records.entry`).  The texts of a rule (basis, source, reasons) are kept
once per rule set, not in every record.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import Any, NamedTuple, Self

import orjson

from gateway.contacts.contact import Channel, Tier
from gateway.decision.facts import Kind, Outcome
from gateway.failure import GatewayError
from gateway.records.identifier import new_id

REPLY_CHARACTERS = 512
"""How much of an upstream's reply is kept."""

_VERSION = 1


class RecordError(GatewayError):
    """A text is not a record that this version can read."""


class Direction(StrEnum):
    """Which way a message went, seen from the controller."""

    OUT = "out"
    IN = "in"


class Result(StrEnum):
    """What came of a message for one recipient after the decision."""

    FORWARDED = "forwarded"
    """The upstream took it."""
    SUPPRESSED = "suppressed"
    """Left out; the client heard a positive reply."""
    HELD = "held"
    """Stored for a person."""
    REJECTED = "rejected"
    """Suppressed, and the client heard so."""
    REFUSED = "refused"
    """The upstream refused for good."""
    DEFERRED = "deferred"
    """The client was told to try again."""
    FAILED = "failed"
    """A fault before the hand-over was complete; the client was told to try again."""
    UNKNOWN = "unknown"
    """It may have left: the answer was lost, or nobody ever told."""
    RELEASED = "released"
    """A held message was sent on by a person."""
    DISCARDED = "discarded"
    """A held message was thrown away by a person."""


Fact = str | bool | int | None


class RecipientRecord(NamedTuple):
    """The decision for one recipient and what it rests on."""

    id: str
    """A ULID; SMTP replies and held messages name it."""
    digest: str
    """The recipient's keyed digest, ``key_id:hex``."""
    outcome: Outcome
    rule: str
    """The rule's id in the message's rule set."""
    address_class: str = ""
    """Whom the address belongs to and how that was determined."""
    tier: Tier | None = None
    """By which spelling the register's ban was matched."""
    facts: Mapping[str, Fact] = {}  # read only, as every Mapping
    """All facts that the decision used."""
    register_position: str = ""
    retain_until: int | None = None
    """Milliseconds since the epoch; ``None``: not known yet."""


class MessageRecord(NamedTuple):
    """One message with the decisions for all its recipients.  Times are ms since the epoch."""

    id: str
    received: int
    decided: int
    direction: Direction = Direction.OUT
    controller: str = ""
    register: str = ""
    """The register's name (a section of the notice demands it)."""
    client: str = ""
    campaign: str | None = None
    upstream: str = ""
    channel: Channel = Channel.EMAIL
    kind_declared: str = ""
    kind: Kind = Kind.UNCLEAR
    topic: str | None = None
    product_group: str | None = None
    body_hash: str = ""
    """SHA-256 of the body without dot-stuffing, in hex."""
    size: int = 0
    """Octets of the message as received."""
    opt_out: str = ""
    """The means to refuse that the message shows; empty when none."""
    sender: str = ""
    """The sender shown: domains of From, or the SMS sender ID; never an address."""
    sender_digest: str = ""
    rule_set: str = ""
    rule_set_version: str = ""
    rule_set_hash: str = ""
    content: str | None = None
    """The id of the stored content, where it is kept."""
    recipients: tuple[RecipientRecord, ...] = ()

    def to_json(self) -> bytes:
        """The record as one JSON object."""
        # Written out: this runs once per message on the hot path, and a generic walk
        # over the fields takes three times as long.  Recipients that are alike share
        # their facts, which are then put in words once.
        said: dict[int, orjson.Fragment] = {}
        for recipient in self.recipients:
            if id(recipient.facts) not in said:
                said[id(recipient.facts)] = orjson.Fragment(
                    orjson.dumps(recipient.facts, default=dict)
                )
        return orjson.dumps(
            {
                "v": _VERSION,
                "id": self.id,
                "direction": self.direction,
                "received": self.received,
                "decided": self.decided,
                "controller": self.controller,
                "register": self.register,
                "client": self.client,
                "campaign": self.campaign,
                "upstream": self.upstream,
                "channel": self.channel,
                "kind_declared": self.kind_declared,
                "kind": self.kind,
                "topic": self.topic,
                "product_group": self.product_group,
                "body_hash": self.body_hash,
                "size": self.size,
                "opt_out": self.opt_out,
                "sender": self.sender,
                "sender_digest": self.sender_digest,
                "rule_set": self.rule_set,
                "rule_set_version": self.rule_set_version,
                "rule_set_hash": self.rule_set_hash,
                "content": self.content,
                "recipients": [
                    {
                        "id": r.id,
                        "digest": r.digest,
                        "outcome": r.outcome,
                        "rule": r.rule,
                        "address_class": r.address_class,
                        "tier": r.tier,
                        "facts": said[id(r.facts)],
                        "register_position": r.register_position,
                        "retain_until": r.retain_until,
                    }
                    for r in self.recipients
                ],
            }
        )

    @classmethod
    def from_json(cls, text: bytes) -> Self:
        """The record that :meth:`to_json` wrote.

        Raises RecordError, without the text, when it is none or of an unknown version.
        """
        try:
            members = _members(text)
            recipients = []
            for one in members["recipients"]:
                tier = one["tier"]
                one["outcome"] = Outcome(one["outcome"])
                one["tier"] = None if tier is None else Tier(tier)
                recipients.append(RecipientRecord(**one))
            members["recipients"] = tuple(recipients)
            members["direction"] = Direction(members["direction"])
            members["channel"] = Channel(members["channel"])
            members["kind"] = Kind(members["kind"])
            return cls(**members)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise RecordError(f"not a message record ({type(error).__name__})") from None


@dataclass(frozen=True, slots=True, kw_only=True)
class OutcomeRecord:
    """What came of one recipient's message; a record may get several over time."""

    record_id: str
    """The recipient record's id."""
    at: int
    result: Result
    reply_code: int | None = None
    reply_text: str = ""
    upstream: str = ""
    person: str = ""
    """Who released or discarded it."""
    reason: str = ""
    id: str = field(default_factory=new_id)

    def to_json(self) -> bytes:
        """The outcome as one JSON object, the reply's text cut and its addresses masked."""
        return orjson.dumps(
            {
                "v": _VERSION,
                "id": self.id,
                "record_id": self.record_id,
                "at": self.at,
                "result": self.result,
                "reply_code": self.reply_code,
                "reply_text": masked(self.reply_text) if self.reply_text else "",
                "upstream": self.upstream,
                "person": self.person,
                "reason": self.reason,
            }
        )

    def for_each(self, record_ids: Sequence[str]) -> list[bytes]:
        """:meth:`to_json` of the same outcome for several records, each with an id of its own."""
        text = self.to_json()
        start = text.index(b'"id":"') + 6
        middle = text.index(b'"', start)
        record = text.index(b'"record_id":"', middle) + 13
        head, between, tail = text[:start], text[middle:record], text[text.index(b'"', record) :]
        return [
            b"%b%b%b%b%b" % (head, new_id().encode(), between, record_id.encode(), tail)
            for record_id in record_ids
        ]

    @classmethod
    def from_members(cls, members: dict[str, Any]) -> Self:
        """The outcome from its parsed JSON object; raises RecordError."""
        try:
            _check_version(members)
            members["result"] = Result(members["result"])
            return cls(**members)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise RecordError(f"not an outcome ({type(error).__name__})") from None


@dataclass(frozen=True, slots=True)
class RuleText:
    """What a rule says of itself, for whoever asks years later."""

    id: str
    basis: str
    """The legal basis."""
    source: str
    fi: str
    sv: str
    en: str


@dataclass(frozen=True, slots=True)
class RuleSetRecord:
    """A rule set as it was in force, kept once in the archive."""

    hash: str
    name: str
    version: str
    text: str
    """The rule file as it was read."""
    rules: tuple[RuleText, ...]

    def to_json(self) -> bytes:
        """The rule set as one JSON object."""
        return orjson.dumps(
            {
                "v": _VERSION,
                "hash": self.hash,
                "name": self.name,
                "version": self.version,
                "text": self.text,
                "rules": [{name: getattr(rule, name) for name in _RULE} for rule in self.rules],
            }
        )

    @classmethod
    def from_json(cls, text: bytes) -> Self:
        """The rule set that :meth:`to_json` wrote; raises RecordError."""
        try:
            members = _members(text)
            members["rules"] = tuple(RuleText(**rule) for rule in members["rules"])
            return cls(**members)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise RecordError(f"not a rule set ({type(error).__name__})") from None


_RULE = tuple(each.name for each in fields(RuleText))


def _members(text: bytes) -> dict[str, Any]:
    members: dict[str, Any] = orjson.loads(text)
    _check_version(members)
    return members


def _check_version(members: dict[str, Any]) -> None:
    version = members.pop("v")
    if version != _VERSION:
        raise RecordError(f"a record of version {version}; this program reads {_VERSION}")


# Begins where a word does and never looks back: a reply without "@" is read once.
_ADDRESS = re.compile(
    r"(?<![^\s<>()\[\],;:\"'])[^\s<>()\[\],;:\"'@]++@[^\s<>()\[\],;:\"']+"
    r"|\+\d[\d -]{5,20}\d"
)


def masked(text: str) -> str:
    """An upstream's reply without addresses and numbers, cut to 512 characters."""
    # Cut late, so that no half address is left at the end unseen; but never search
    # more than a line can hold.
    if "@" not in text and "+" not in text:
        return text[:REPLY_CHARACTERS]
    return _ADDRESS.sub("<...>", text[: 4 * REPLY_CHARACTERS])[:REPLY_CHARACTERS]
