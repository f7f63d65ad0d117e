"""The form that the records of messages are written in, all but filled in.

Nearly everything in a record is the same message after message of one client: it is
put into JSON once.  What is written reads back as any record does; a form only knows
the quicker way to the very same text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple, Self

import orjson

from gateway.contacts.contact import Tier
from gateway.decision.facts import Outcome
from gateway.records.record import (
    VERSION,
    Fact,
    MessageRecord,
    grounds_of,
    pattern,
)

_PLACES: Final = {
    "id": b'"%b"',
    "received": b"%d",
    "decided": b"%d",
    "campaign": b"%b",
    "body_hash": b'"%b"',
    "size": b"%d",
    "sender_digest": b'"%b"',
    "content": b"%b",
    "recipients": b"%b",
    "grounds": b"[%b]",
}
"""What differs from message to message; the rest of a record is its form's."""


class Written(NamedTuple):
    """A message's record in JSON, with what is needed of it while the message is here."""

    id: str
    rule_set_hash: str
    content: str | None
    """The id of the stored content, where it is kept."""
    ids: Sequence[str]
    """Of each recipient's record."""
    digests: Sequence[str]
    text: bytes

    @classmethod
    def of(cls, record: MessageRecord) -> Self:
        """A record that was not written in a form."""
        return cls(
            record.id,
            record.rule_set_hash,
            record.content,
            [recipient.id for recipient in record.recipients],
            [recipient.digest for recipient in record.recipients],
            record.to_json(),
        )


class Form:
    """Writes records that differ in what is theirs alone."""

    __slots__ = ("_pattern", "_rule_set_hash")

    def __init__(self, example: MessageRecord) -> None:
        """Take what all the records share from ``example``."""
        members = {"v": VERSION, **example._asdict(), "grounds": (), "recipients": ()}
        self._pattern = pattern(members, _PLACES)
        self._rule_set_hash = example.rule_set_hash

    def write(
        self,
        message_id: str,
        received: int,
        decided: int,
        campaign: str | None,
        body_hash: str,
        size: int,
        sender_digest: str,
        content: str | None,
        grounds: Sequence[bytes],
        retain_until: int,
        ids: Sequence[str],
        digests: Sequence[str],
        numbers: Sequence[int],
        positions: Sequence[str],
    ) -> Written:
        """The record of a message, :meth:`MessageRecord.to_json` octet for octet.

        ``grounds`` are texts of :func:`grounds_text`; ``ids``, ``digests``, ``numbers``
        (of the grounds) and ``positions`` have one for each recipient.  The message's
        id and both digests stand in JSON as they are.
        """
        end = b"%d]" % retain_until
        text = self._pattern % (
            message_id.encode(),
            received,
            decided,
            orjson.dumps(campaign),
            body_hash.encode(),
            size,
            sender_digest.encode(),
            orjson.dumps(content),
            orjson.dumps(list(zip(ids, digests, numbers, positions, strict=True))),
            (end + b",").join(grounds) + end,
        )
        return Written(message_id, self._rule_set_hash, content, ids, digests, text)


def grounds_text(
    outcome: Outcome,
    rule: str,
    address_class: str,
    tier: Tier | None,
    facts: Mapping[str, Fact],
) -> bytes:
    """:func:`grounds_of` in JSON, but for its end: until when it is kept."""
    return orjson.dumps(grounds_of(outcome, rule, address_class, tier, facts))[:-1] + b","
