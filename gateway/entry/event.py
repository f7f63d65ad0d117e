"""Events: every change of what the register knows, with who, when, what and why.

The append-only log of events is the register's truth and its evidence (the ban and
consent records of the law's "Evidence"); entries are its projection.  An event
carries a keyed digest, never an address; ``sealed`` may hold the address encrypted
by the caller, so that a person's own export can show it.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from dataclasses import dataclass, fields
from datetime import date
from enum import StrEnum
from typing import Any, Self

import orjson

from gateway.contacts.contact import Channel
from gateway.decision.facts import Age, Collected, PersonClass
from gateway.entry.entry import ANY_TOPIC, ConsentStatus, DeliveryReason, Scope, normal_name
from gateway.failure import InputError


class EventError(InputError):
    """An event lacks what its kind needs, or its JSON is not an event."""


class EventKind(StrEnum):
    """What happened."""

    BAN = "ban"
    UNBAN = "unban"
    CONSENT = "consent"
    """A consent was granted or asked for (pending)."""
    WITHDRAW = "withdraw"
    """A consent was withdrawn: a ban of its scope."""
    RELATIONSHIP = "relationship"
    CLASSIFY = "classify"
    """The person class became known."""
    RESTRICT = "restrict"
    UNRESTRICT = "unrestrict"
    DESCRIBE = "describe"
    """Other attributes: age, product groups, how the contact was collected."""
    ERASE = "erase"
    """The person was erased (GDPR 17); bans and a tombstone stay."""
    FORGET = "forget"
    """Retention has ended (GDPR 5(1)(e)): consents and attributes go, bans stay."""
    UNDELIVERABLE = "undeliverable"
    """Mail cannot be delivered, or was complained of: suppressed for delivery's sake."""
    DELIVERABLE = "deliverable"
    """Somebody says that mail can be delivered again: lifts one such reason, or all."""


TIGHTENING = frozenset({EventKind.BAN, EventKind.WITHDRAW, EventKind.ERASE})
"""Kinds that another spelling of the mailbox inherits; see :func:`heritable`."""


@dataclass(frozen=True, slots=True)
class Attributes:
    """Attributes that an event states; ``None`` is unsaid and changes nothing."""

    person_class: PersonClass | None = None
    age: Age | None = None
    guardian_consent: bool | None = None
    relationship_start: date | None = None
    relationship_end: date | None = None
    collected: Collected | None = None
    opt_out_offered: bool | None = None
    product_groups: frozenset[str] | None = None
    source_known: bool | None = None


UNSAID = Attributes()
"""Attributes that say nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One change.  Times are milliseconds since the epoch.

    The register fills ``id`` (a ULID), ``recorded``, ``subject`` and ``sealed`` when
    it applies an event that leaves them empty.  Topics are kept in their compared
    form.  A BAN without a scope bans all marketing: an unclear ban is the widest.

    Raises EventError when a field that the kind needs is missing.
    """

    kind: EventKind
    at: int
    """When it took effect."""
    actor: str
    """Who made the change: an account, a client, a system."""
    source: str = ""
    """Where it came from: a page, a webhook, an import's file, a form."""
    evidence: str = ""
    """The request's wording or a reference to it; never the address."""
    id: str = ""
    recorded: int = 0
    """When it was logged."""
    subject: str = ""
    """The digest of the contact or organisation, ``key:hex``."""
    origin: bytes = b""
    """Set in an event inherited from another spelling: that one's digest's beginning."""
    cause: str = ""
    """The id of the event that this one follows from."""
    scope: Scope | None = None
    channel: Channel | None = None
    topic: str | None = None
    status: ConsentStatus | None = None
    expires: int | None = None
    proven: bool = False
    lifts: bool = False
    """A consent given live and for exactly this: it may lift an earlier ban."""
    wording: str = ""
    """The consent's wording, its version and language."""
    imported: bool = False
    """Came from a file or feed: adds and tightens, never lifts."""
    undated: bool = False
    """``at`` is only when it was recorded, so it refreshes nothing known already."""
    delivery: DeliveryReason | None = None
    """Why mail is given up; without one, DELIVERABLE lifts every reason."""
    scheme: str = ""
    """A way of hashing that lists are taken in from now on, as ``register.schemes`` keeps it."""
    attributes: Attributes = UNSAID
    sealed: bytes | None = None
    sealed_evidence: bytes | None = None
    """The evidence encrypted by the caller; the JSON then has it so alone."""

    def __post_init__(self) -> None:
        if self.at < 0 or (self.expires is not None and self.expires < 0):
            raise EventError("an event's time is before 1970: give milliseconds since the epoch")
        if self.topic is not None:
            object.__setattr__(self, "topic", normal_name(self.topic) or None)
        if self.kind is EventKind.BAN or self.kind is EventKind.UNBAN:
            self._check_ban()
        elif self.kind is EventKind.CONSENT or self.kind is EventKind.WITHDRAW:
            self._check_consent()
        elif self.kind is EventKind.UNDELIVERABLE and self.delivery is None:
            raise EventError("an undeliverable address has a reason: name it")

    def _check_ban(self) -> None:
        if self.scope is None:
            if self.kind is EventKind.UNBAN:
                raise EventError("an unban names the scope it lifts")
            object.__setattr__(self, "scope", Scope.ALL)
        if self.scope is Scope.CHANNEL and self.channel is None:
            raise EventError("a ban of a channel names the channel")
        if self.scope is Scope.TOPIC and self.topic is None:
            raise EventError("a ban of a topic names the topic")

    def _check_consent(self) -> None:
        if self.channel is None:
            raise EventError("a consent names its channel")
        if self.topic is None:
            object.__setattr__(self, "topic", ANY_TOPIC)
        withdrawn = self.kind is EventKind.WITHDRAW
        if self.status is None:
            status = ConsentStatus.WITHDRAWN if withdrawn else ConsentStatus.GRANTED
            object.__setattr__(self, "status", status)
        if withdrawn != (self.status is ConsentStatus.WITHDRAWN):
            raise EventError("a withdrawn consent is an event of kind withdraw, and no other is")

    def to_json(self) -> bytes:
        """Return the event as one JSON object; what has its default is left out."""
        members: dict[str, Any] = {}
        for name, default in _DEFAULTS:
            value = getattr(self, name)
            if value != default:
                members[name] = value
        if self.origin:
            members["origin"] = self.origin.hex()
        if self.sealed is not None:
            members["sealed"] = b64encode(self.sealed).decode("ascii")
        if self.sealed_evidence is not None:
            members["sealed_evidence"] = b64encode(self.sealed_evidence).decode("ascii")
            members.pop("evidence", None)
        if self.attributes != UNSAID:
            members["attributes"] = _attributes_out(self.attributes)
        return orjson.dumps(members)

    @classmethod
    def from_json(cls, text: bytes | str) -> Self:
        """Return the event that :meth:`to_json` wrote.

        Raises EventError naming what is wrong, without the text itself.
        """
        try:
            members = orjson.loads(text)
            for name, kind in _ENUMS.items():
                if name in members:
                    members[name] = kind(members[name])
            if "origin" in members:
                members["origin"] = bytes.fromhex(members["origin"])
            for name in ("sealed", "sealed_evidence"):
                if name in members:
                    members[name] = b64decode(members[name], validate=True)
            if "attributes" in members:
                members["attributes"] = _attributes_in(members["attributes"])
            return cls(**members)
        except EventError:
            raise
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise EventError(f"the text is not an event ({type(error).__name__})") from None


def heritable(event: Event) -> bool:
    """Whether another spelling of the mailbox inherits what the event tells.

    A complaint is the person's own word, so it counts for every spelling.  A bounce is
    its mail server's word on one spelling: ``maija+x@`` may be refused where ``maija@``
    is not.
    """
    if event.kind is EventKind.UNDELIVERABLE:
        return event.delivery is DeliveryReason.COMPLAINT
    return event.kind in TIGHTENING


_ENUMS: dict[str, type[StrEnum]] = {
    "kind": EventKind,
    "scope": Scope,
    "channel": Channel,
    "status": ConsentStatus,
    "delivery": DeliveryReason,
}
_ATTRIBUTE_ENUMS: dict[str, type[StrEnum]] = {
    "person_class": PersonClass,
    "age": Age,
    "collected": Collected,
}
_REQUIRED = object()
_DEFAULTS = tuple(
    (field.name, _REQUIRED if field.name in ("kind", "at", "actor") else field.default)
    for field in fields(Event)
    if field.name not in ("origin", "sealed", "sealed_evidence", "attributes")
)
_ATTRIBUTE_NAMES = tuple(field.name for field in fields(Attributes))


def _attributes_out(attributes: Attributes) -> dict[str, Any]:
    members = {}
    for name in _ATTRIBUTE_NAMES:
        value = getattr(attributes, name)
        if isinstance(value, frozenset):
            members[name] = sorted(value)
        elif value is not None:
            members[name] = value
    return members


def _attributes_in(members: dict[str, Any]) -> Attributes:
    values = dict(members)
    for name, kind in _ATTRIBUTE_ENUMS.items():
        if name in values:
            values[name] = kind(values[name])
    for name in ("relationship_start", "relationship_end"):
        if name in values:
            values[name] = date.fromisoformat(values[name])
    if "product_groups" in values:
        values["product_groups"] = frozenset(values["product_groups"])
    return Attributes(**values)
