"""From stream entries to the archive's rows, and the hash chain over them.

Pure: the archive only adds what this gives it.  A row's digest is SHA-256 over its
kind and canonical JSON (keys sorted, octets in hex); a link's hash is SHA-256 over
the previous link's hash and the row's digest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Final

import orjson

from gateway.records.entry import SealedParts, pack, parse
from gateway.records.record import (
    MessageRecord,
    OutcomeRecord,
    RecordError,
    Result,
    RuleSetRecord,
)

KINDS: Final = ("rule_set", "message", "record", "outcome", "event")
"""The journal tables, in the order their rows of one batch are chained."""
DERIVED: Final = frozenset({"result", "result_at"})
"""Columns of ``record`` that are no part of the chain."""

_INT_MOST: Final = 2**63 - 1

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class StreamEntry:
    """One entry as it was read."""

    stream: bytes
    id: bytes
    fields: Mapping[bytes, bytes]
    is_event: bool = False
    """From one of the register's event streams."""


@dataclass(slots=True)
class Batch:
    """The rows of a run of entries, by table."""

    rows: dict[str, dict[str, Row]] = field(default_factory=lambda: {kind: {} for kind in KINDS})
    unreadable: list[Row] = field(default_factory=list)

    def add(self, kind: str, row: Row) -> None:
        """Take a row, unless the batch has one of that id: the first counts."""
        self.rows[kind].setdefault(row["id"], row)


def rows_of(entries: Sequence[StreamEntry]) -> Batch:
    """The rows that the entries become; what cannot be read is set aside."""
    batch = Batch()
    for entry in entries:
        try:
            if entry.is_event:
                batch.add("event", _event_row(entry))
            else:
                _add_record_entry(batch, entry)
        except RecordError as error:
            batch.unreadable.append(set_aside(entry, str(error)))
        except Exception as error:  # one bad entry must not stop all that follow
            batch.unreadable.append(set_aside(entry, type(error).__name__))
    return batch


def set_aside(entry: StreamEntry, cause: str) -> Row:
    """The row of ``unreadable`` for an entry that cannot be archived otherwise."""
    flat = [part for pair in entry.fields.items() for part in pair]
    return {
        "stream": entry.stream.decode("utf-8", "backslashreplace"),
        "entry": entry.id.decode("ascii", "backslashreplace"),
        "cause": cause[:500],
        "body": pack(flat),
    }


def _add_record_entry(batch: Batch, entry: StreamEntry) -> None:
    parsed = parse(entry.fields)
    if isinstance(parsed, RuleSetRecord):
        batch.add("rule_set", _rule_set_row(parsed))
    elif isinstance(parsed[0], MessageRecord):
        message, parts = parsed
        _check_row(row := _message_row(message, parts))
        rows = [_record_row(message, at, address) for at, address in enumerate(parts.addresses)]
        for each in rows:
            _check_row(each)
        batch.add("message", row)
        for each in rows:
            batch.add("record", each)
    else:
        rows = [outcome_row(outcome) for outcome in parsed if isinstance(outcome, OutcomeRecord)]
        for each in rows:
            _check_row(each)
        for each in rows:
            batch.add("outcome", each)


def _rule_set_row(rules: RuleSetRecord) -> Row:
    members = orjson.loads(rules.to_json())
    row = {
        "id": rules.hash,
        "name": rules.name,
        "version": rules.version,
        "text": rules.text,
        "rules": orjson.dumps(members["rules"]).decode(),
    }
    _check_row(row)
    return row


def _message_row(message: MessageRecord, parts: SealedParts) -> Row:
    return {
        "id": message.id,
        "direction": message.direction.value,
        "received": message.received,
        "decided": message.decided,
        "controller": message.controller,
        "register": message.register,
        "client": message.client,
        "campaign": message.campaign,
        "upstream": message.upstream,
        "channel": message.channel.value,
        "kind_declared": message.kind_declared,
        "kind": message.kind.value,
        "topic": message.topic,
        "product_group": message.product_group,
        "body_hash": message.body_hash,
        "size": message.size,
        "opt_out": message.opt_out,
        "sender": message.sender,
        "sender_digest": message.sender_digest,
        "rule_set": message.rule_set,
        "rule_set_version": message.rule_set_version,
        "rule_set_hash": message.rule_set_hash,
        "content": message.content,
        "sealed_headers": parts.headers,
        "sealed_sender": parts.sender,
    }


def _record_row(message: MessageRecord, at: int, address: bytes) -> Row:
    recipient = message.recipients[at]
    return {
        "id": recipient.id,
        "message_id": message.id,
        "client": message.client,
        "decided": message.decided,
        "digest": recipient.digest,
        "outcome": recipient.outcome.value,
        "rule": recipient.rule,
        "address_class": recipient.address_class,
        "tier": None if recipient.tier is None else recipient.tier.value,
        "facts": orjson.dumps(recipient.facts, option=orjson.OPT_SORT_KEYS).decode(),
        "register_position": recipient.register_position,
        "retain_until": recipient.retain_until,
        "sealed_address": address,
        "result": None,
        "result_at": None,
    }


def outcome_row(outcome: OutcomeRecord) -> Row:
    """The row of an outcome."""
    return {
        "id": outcome.id,
        "record_id": outcome.record_id,
        "at": outcome.at,
        "result": outcome.result.value,
        "reply_code": outcome.reply_code,
        "reply_text": outcome.reply_text,
        "upstream": outcome.upstream,
        "person": outcome.person,
        "reason": outcome.reason,
    }


def supersedes(new: Row, result: str | None, result_at: int | None) -> bool:
    """Whether an outcome's row tells more of a record than the result it has.

    ``unknown`` never hides anything, and anything told replaces it; else the later one.
    """
    if result is None:
        return True
    if new["result"] == Result.UNKNOWN:
        return False
    return result == Result.UNKNOWN or new["at"] >= (result_at or 0)


def _event_row(entry: StreamEntry) -> Row:
    body = _event_json(entry.fields)
    try:
        members = orjson.loads(body)
    except ValueError:
        raise RecordError("an event that is not JSON") from None
    if not isinstance(members, dict):
        raise RecordError("an event that is no object")
    stream, at = entry.stream.decode(), entry.id.decode()
    subject = str(members.get("subject", ""))
    moment = members.get("at")
    row = {
        # One event may stand in several streams, once for each subject.
        "id": f"{members['id']}/{subject}" if members.get("id") else f"{stream}/{at}",
        "stream": stream,
        "entry": at,
        "at": moment if isinstance(moment, int) else None,
        "kind": str(members.get("kind", "")),
        "subject": subject,
        "body": body,
    }
    _check_row(row)
    return row


def _event_json(fields: Mapping[bytes, bytes]) -> str:
    if len(fields) != 1:
        raise RecordError("an event entry of more than one field")
    try:
        return next(iter(fields.values())).decode()
    except UnicodeDecodeError:
        raise RecordError("an event that is not UTF-8") from None


def _check_row(row: Row) -> None:
    """Refuse what a database would: one bad row must not stop all that follow."""
    for name, value in row.items():
        if isinstance(value, str):
            if "\0" in value:
                raise RecordError(f"NUL in {name}")
        elif isinstance(value, int) and not -_INT_MOST <= value <= _INT_MOST:
            raise RecordError(f"{name} is out of range")
        elif not isinstance(value, str | int | bytes | None):
            raise RecordError(f"{name} is a {type(value).__name__}")


def digest_of(kind: str, row: Mapping[str, Any]) -> bytes:
    """The digest of a journal row, as the archive gave or got it."""
    # A column's name may come as a subclass of str, which the encoder refuses as a key.
    plain = {str(name): value for name, value in row.items() if name not in DERIVED}
    text = orjson.dumps(plain, default=_hex, option=orjson.OPT_SORT_KEYS)
    return sha256(kind.encode() + b"\n" + text).digest()


def link(previous: bytes, digest: bytes) -> bytes:
    """The hash of the next link."""
    return sha256(previous + digest).digest()


def _hex(value: object) -> str:
    if isinstance(value, bytes | memoryview):
        return value.hex()
    raise TypeError(type(value).__name__)
