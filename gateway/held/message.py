"""A message that waits, for a person or a time: its envelope and why each recipient does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Self

import orjson

from gateway.contacts.contact import Channel
from gateway.decision.facts import Kind
from gateway.failure import GatewayError
from gateway.records.record import Fact


class HeldError(GatewayError):
    """What is stored of a held message cannot be read."""


class State(StrEnum):
    """Where a held message is in its life."""

    PREPARED = "prepared"
    """Stored, but the client has not heard 250 yet: it may still send it again."""
    KEPT = "kept"
    """Stored for good, while the hand-over to its other recipients is under way: the
    client may still hear 4xx, so that nobody can act on it yet."""
    HELD = "held"
    """It waits for a person."""
    WAITING = "waiting"
    """It waits for a time, and is decided anew and sent on by the gateway then."""
    RELEASING = "releasing"
    """It is being sent on; nobody else may begin to."""
    UNCERTAIN = "uncertain"
    """It may have been sent, and nobody can say: it is never sent again from here."""
    RELEASED = "released"
    DISCARDED = "discarded"
    EXPIRED = "expired"
    """Nobody decided in time: it is not sent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldRecipient:
    """One recipient the message is held for."""

    address: str
    record_id: str
    digest: str
    rule: str
    reason: str = ""
    facts: Mapping[str, Fact] = field(default_factory=dict)
    params: tuple[str, ...] = ()
    """Parameters of RCPT, such as ``NOTIFY=NEVER`` (RFC 3461)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldMessage:
    """The envelope and what a person needs to decide; the content is kept apart.

    Of a text message the content is the request to the provider for exactly these
    recipients, the sender is its sender ID, and the addresses are numbers.
    """

    channel: Channel = Channel.EMAIL
    message_id: str
    client: str
    upstream: str
    kind: Kind
    topic: str | None = None
    content_id: str
    sender: str
    """The envelope sender; empty for the null sender."""
    params: tuple[str, ...] = ()
    """Parameters of MAIL, such as ``BODY=8BITMIME``, ``SMTPUTF8``, ``RET``, ``ENVID``."""
    recipients: tuple[HeldRecipient, ...]
    due: int | None = None
    """From when it may be sent, in ms since the epoch; None: it waits for a person."""

    def envelope(self) -> bytes:
        """The part that is sealed when stored."""
        members: dict[str, object] = {
            "v": 1,
            "sender": self.sender,
            "params": self.params,
            "recipients": [asdict(recipient) for recipient in self.recipients],
        }
        if self.due is not None:
            members["due"] = self.due
        return orjson.dumps(members)

    @classmethod
    def from_envelope(
        cls,
        envelope: bytes,
        *,
        channel: Channel = Channel.EMAIL,
        message_id: str,
        client: str,
        upstream: str,
        kind: Kind,
        topic: str | None,
        content_id: str,
    ) -> Self:
        """The message from its stored parts; raises HeldError."""
        try:
            members = orjson.loads(envelope)
            if members["v"] != 1:
                raise HeldError("an envelope of an unknown version")
            recipients = tuple(
                HeldRecipient(**{**one, "params": tuple(one["params"])})
                for one in members["recipients"]
            )
            return cls(
                channel=channel,
                message_id=message_id,
                client=client,
                upstream=upstream,
                kind=kind,
                topic=topic,
                content_id=content_id,
                sender=members["sender"],
                params=tuple(members["params"]),
                recipients=recipients,
                due=members.get("due"),
            )
        except (ValueError, TypeError, KeyError) as error:
            raise HeldError(f"not an envelope ({type(error).__name__})") from None


@dataclass(frozen=True, slots=True)
class Held:
    """A held message as the store has it."""

    id: str
    state: State
    created: int
    """Milliseconds since the epoch."""
    message: HeldMessage
    ended: int | None
    """When it was released or discarded."""
    person: str
    reason: str
    next_try: int | None = None
    """When the gateway turns to it next; None: it does not."""
