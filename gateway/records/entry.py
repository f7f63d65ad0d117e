"""The entries of the record stream: a message, a batch of outcomes, a rule set, an act.

Fields of a stream entry: ``m`` a message's JSON with ``s`` its sealed parts; ``o`` a
JSON array of outcomes, each of one record or many; ``r`` a rule set's JSON; ``a`` an
act's.  The sealed parts are framed (four octets of length, then the octets): the header
section, the envelope sender, then one address per recipient, in order; an empty frame is
a part that was not kept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from struct import Struct
from typing import Final

import orjson

from gateway.records.act import Act
from gateway.records.record import MessageRecord, OutcomeRecord, RecordError, RuleSetRecord

RECORDS: Final = b"sg:{rec}:records"
"""The default record stream."""
MESSAGE: Final = b"m"
SEALED: Final = b"s"
OUTCOMES: Final = b"o"
RULES: Final = b"r"
ACT: Final = b"a"

_LENGTH: Final = 4
"""Octets of a frame's length, which is big-endian."""
_length = Struct(">I").pack
_HEADERS: Final = "headers:"
_SENDER: Final = "sender:"
_ADDRESS: Final = "address:"
_RECORD: Final = "record:"
_EVIDENCE: Final = "evidence:"


@dataclass(frozen=True, slots=True)
class SealedParts:
    """What lies sealed beside a message's record; empty where it was not kept."""

    headers: bytes = b""
    sender: bytes = b""
    addresses: tuple[bytes, ...] = ()


def headers_context(message_id: str) -> bytes:
    """What a header section is bound to when sealed."""
    return f"{_HEADERS}{message_id}".encode()


def sender_context(message_id: str) -> bytes:
    """What an envelope sender is bound to when sealed."""
    return f"{_SENDER}{message_id}".encode()


def address_context(digest: str) -> bytes:
    """What a recipient's address is bound to when sealed: the person, not the message."""
    return f"{_ADDRESS}{digest}".encode()


def record_context(record_id: str) -> bytes:
    """What a record's message key and address are bound to in the archive."""
    return f"{_RECORD}{record_id}".encode()


def evidence_context(event_id: str) -> bytes:
    """What an event's evidence is bound to: the event that told it first."""
    return f"{_EVIDENCE}{event_id}".encode()


def contexts(message_id: str, digests: Sequence[str]) -> list[bytes]:
    """What each part of a message's entry is bound to, in the order of its frames."""
    words = [_HEADERS + message_id, _SENDER + message_id, *map(_ADDRESS.__add__, digests)]
    return list(map(str.encode, words))


def pack(parts: Sequence[bytes]) -> bytes:
    """The parts framed, one after the other."""
    return b"".join(chain.from_iterable(zip(map(_length, map(len, parts)), parts, strict=True)))


def unpack(framed: bytes) -> list[bytes]:
    """The parts that :func:`pack` framed; raises RecordError."""
    parts = []
    at, end = 0, len(framed)
    while at < end:
        start = at + _LENGTH
        at = start + int.from_bytes(framed[at:start])
        parts.append(framed[start:at])
    if at > end:
        raise RecordError("sealed parts end early")
    return parts


def outcomes_json(outcomes: Sequence[bytes]) -> bytes:
    """The array of outcomes, each already in JSON."""
    return b"[" + b",".join(outcomes) + b"]"


Parsed = tuple[MessageRecord, SealedParts] | RuleSetRecord | Act | tuple[OutcomeRecord, ...]


def parse(fields: Mapping[bytes, bytes]) -> Parsed:
    """What an entry of the record stream holds; raises RecordError."""
    if MESSAGE in fields:
        message = MessageRecord.from_json(fields[MESSAGE])
        parts = unpack(fields.get(SEALED, b""))
        if len(parts) != len(message.recipients) + 2:
            raise RecordError("sealed parts do not match the recipients")
        return message, SealedParts(parts[0], parts[1], tuple(parts[2:]))
    if OUTCOMES in fields:
        try:
            outcomes = orjson.loads(fields[OUTCOMES])
        except ValueError:
            raise RecordError("outcomes are not JSON") from None
        if not isinstance(outcomes, list) or not all(isinstance(one, dict) for one in outcomes):
            raise RecordError("outcomes are not an array of objects")
        return tuple(told for one in outcomes for told in OutcomeRecord.each_of(one))
    if RULES in fields:
        return RuleSetRecord.from_json(fields[RULES])
    if ACT in fields:
        return Act.from_json(fields[ACT])
    raise RecordError("an entry of no known kind")
