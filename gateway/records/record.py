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
from functools import lru_cache
from typing import Any, NamedTuple, Self

import orjson

from gateway.contacts.contact import Channel, Tier
from gateway.contacts.identity_code import mask
from gateway.decision.facts import Kind, Outcome
from gateway.failure import GatewayError
from gateway.records.identifier import new_id, new_ids

REPLY_CHARACTERS = 512
"""How much of an upstream's reply is kept."""

VERSION = 2
"""Of every JSON object here; another version's is set aside and never misread."""


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
    """Stored for a person, or until a time."""
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
    """A held message was sent on by a person, one that waited for a time by the gateway."""
    DISCARDED = "discarded"
    """A held message was thrown away by a person."""
    EXPIRED = "expired"
    """Nobody decided about a held message in time: it was not sent."""


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
        """The record as one JSON object.

        Recipients that are alike share their grounds (see :func:`grounds_of`): each is
        its id, its digest, the number of its grounds and its position in the register.
        """
        numbers: dict[tuple[object, ...], int] = {}
        grounds: list[tuple[object, ...]] = []
        recipients: list[tuple[object, ...]] = []
        for one in self.recipients:
            about = one.outcome, one.rule, one.address_class, one.tier
            number = numbers.setdefault((*about, id(one.facts), one.retain_until), len(numbers))
            if number == len(grounds):
                grounds.append((*grounds_of(*about, one.facts), one.retain_until))
            recipients.append((one.id, one.digest, number, one.register_position))
        members = {"v": VERSION, **self._asdict(), "grounds": grounds, "recipients": recipients}
        return orjson.dumps(members)

    @classmethod
    def from_json(cls, text: bytes) -> Self:
        """The record that :meth:`to_json` wrote.

        Raises RecordError, without the text, when it is none or of an unknown version.
        """
        try:
            members = _members(text)
            grounds = [_grounds_members(*each) for each in members.pop("grounds")]
            recipients = []
            for record_id, digest, number, position in members["recipients"]:
                if type(number) is not int or number < 0:
                    raise RecordError("a recipient without the number of its grounds")
                recipients.append(
                    RecipientRecord(
                        id=record_id,
                        digest=digest,
                        register_position=position,
                        **grounds[number],
                    )
                )
            members["recipients"] = tuple(recipients)
            members["direction"] = Direction(members["direction"])
            members["channel"] = Channel(members["channel"])
            members["kind"] = Kind(members["kind"])
            return cls(**members)
        except (ValueError, TypeError, LookupError, AttributeError) as error:
            raise RecordError(f"not a message record ({type(error).__name__})") from None


def grounds_of(
    outcome: Outcome,
    rule: str,
    address_class: str,
    tier: Tier | None,
    facts: Mapping[str, Fact],
) -> tuple[Outcome, str, str, Tier | None, str]:
    """What stands in JSON once for all recipients that are alike: decision and facts.

    The facts are JSON themselves, their names sorted, as the archive keeps them.  Last
    in the JSON, and not here, comes until when it is all kept.
    """
    text = orjson.dumps(facts, default=dict, option=orjson.OPT_SORT_KEYS).decode()
    return outcome, rule, address_class, tier, text


def _grounds_members(
    outcome: str,
    rule: str,
    address_class: str,
    tier: str | None,
    facts: str,
    retain_until: int | None,
) -> dict[str, Any]:
    read = orjson.loads(facts)
    if not isinstance(read, dict):
        raise RecordError("facts that are no object")
    return {
        "outcome": Outcome(outcome),
        "rule": rule,
        "address_class": address_class,
        "tier": None if tier is None else Tier(tier),
        "facts": read,
        "retain_until": retain_until,
    }


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

    def __post_init__(self) -> None:
        if self.reason:
            object.__setattr__(self, "reason", mask(self.reason))

    def to_json(self) -> bytes:
        """The outcome as one JSON object, the reply's text cut and its addresses masked."""
        return orjson.dumps(
            {
                "v": VERSION,
                "result": self.result,
                "reply_code": self.reply_code,
                "upstream": self.upstream,
                "person": self.person,
                "reason": self.reason,
                "at": self.at,
                "reply_text": masked(self.reply_text),
                "of": [(self.id, self.record_id)],
            }
        )

    @classmethod
    def each_of(cls, members: dict[str, Any]) -> list[Self]:
        """The outcomes of one parsed JSON object, which may tell the same of many records.

        Raises RecordError.
        """
        try:
            _check_version(members)
            of = members.pop("of")
            members["result"] = Result(members["result"])
            return [cls(id=own, record_id=record_id, **members) for own, record_id in of]
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise RecordError(f"not an outcome ({type(error).__name__})") from None


def outcome_json(
    record_ids: Sequence[str],
    at: int,
    result: Result,
    reply_code: int | None,
    reply_text: str,
    upstream: str,
) -> bytes:
    """:meth:`OutcomeRecord.to_json` of the same outcome for all these records.

    Each gets an id of its own.
    """
    text = orjson.dumps(masked(reply_text))
    of = orjson.dumps(list(zip(new_ids(len(record_ids)), record_ids, strict=True)))
    return _outcome_pattern(result, reply_code, upstream) % (at, text, of)


@lru_cache(maxsize=256)
def _outcome_pattern(result: Result, reply_code: int | None, upstream: str) -> bytes:
    """The outcome with places for time, reply and records: the rest comes again and again."""
    outcome = OutcomeRecord(
        record_id="", at=0, result=result, reply_code=reply_code, upstream=upstream, id=""
    )
    members = orjson.loads(outcome.to_json())
    return pattern(members, {"at": b"%d", "reply_text": b"%b", "of": b"%b"})


def pattern(members: Mapping[str, object], places: Mapping[str, bytes]) -> bytes:
    """The JSON object as a format that :data:`places` are filled in, in the members' order."""
    return b"{%b}" % b",".join(
        [
            b'"%b":%b' % (name.encode(), places.get(name) or _escaped(value))
            for name, value in members.items()
        ]
    )


def _escaped(value: object) -> bytes:
    return orjson.dumps(value).replace(b"%", b"%%")


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
                "v": VERSION,
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
    if version != VERSION:
        raise RecordError(f"a record of version {version}; this program reads {VERSION}")


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
