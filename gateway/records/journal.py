"""From stream entries to the archive's rows.

Pure: the archive only adds what this gives it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import orjson

from gateway.records.act import Act
from gateway.records.entry import SealedParts, pack, parse
from gateway.records.ground import ground_line, name_of
from gateway.records.line import KINDS, Line, Row, line_of
from gateway.records.record import (
    MessageRecord,
    OutcomeRecord,
    RecipientRecord,
    RecordError,
    Result,
    RuleSetRecord,
)
from gateway.records.shortcut import short


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
    """The rows of a run of entries, by table and id."""

    lines: dict[str, dict[str, Line]] = field(default_factory=lambda: {kind: {} for kind in KINDS})
    unreadable: list[Row] = field(default_factory=list)

    def add(self, kind: str, line: Line) -> None:
        """Take a row, unless the batch has one of that id: the first counts."""
        self.lines[kind].setdefault(line[0][0], line)


def rows_of(entries: Sequence[StreamEntry]) -> Batch:
    """The rows that the entries become; what cannot be read is set aside.

    An entry gives all its rows or none.
    """
    batch = Batch()
    add = batch.add
    for entry in entries:
        try:
            for kind, line in lines_of(entry):
                add(kind, line)
        except RecordError as error:
            batch.unreadable.append(set_aside(entry, str(error)))
        except Exception as error:  # one bad entry must not stop all that follow
            batch.unreadable.append(set_aside(entry, type(error).__name__))
    return batch


def lines_of(entry: StreamEntry) -> list[tuple[str, Line]]:
    """The entry's rows with their kinds; raises RecordError when it cannot be read."""
    if entry.is_event:
        return [("event", _event_line(entry))]
    lines = short(entry.fields)
    return long(entry.fields) if lines is None else lines


def long(fields: Mapping[bytes, bytes]) -> list[tuple[str, Line]]:
    """The rows of any entry of the record stream, read as records; raises RecordError."""
    parsed = parse(fields)
    if isinstance(parsed, RuleSetRecord):
        return [("rule_set", _rule_set_line(parsed))]
    if isinstance(parsed, Act):
        return [("act", act_line(parsed))]
    if parsed and isinstance(parsed[0], MessageRecord):
        message, parts = parsed
        grounds = dict.fromkeys(map(_facts_json, message.recipients))
        return [
            *(("ground", ground_line(facts)) for facts in grounds),
            ("message", line_of("message", _message_row(message, parts))),
            *(
                ("record", line_of("record", _record_row(message, at, address)))
                for at, address in enumerate(parts.addresses)
            ),
        ]
    return [("outcome", outcome_line(one)) for one in parsed if isinstance(one, OutcomeRecord)]


def set_aside(entry: StreamEntry, cause: str) -> Row:
    """The row of ``unreadable`` for an entry that cannot be archived otherwise."""
    flat = [part for pair in entry.fields.items() for part in pair]
    return {
        "stream": entry.stream.decode("utf-8", "backslashreplace"),
        "entry": entry.id.decode("ascii", "backslashreplace"),
        "cause": cause[:500],
        "body": pack(flat),
    }


def _rule_set_line(rules: RuleSetRecord) -> Line:
    members = orjson.loads(rules.to_json())
    row = {
        "id": rules.hash,
        "name": rules.name,
        "version": rules.version,
        "text": rules.text,
        "rules": orjson.dumps(members["rules"]).decode(),
    }
    return line_of("rule_set", row)


def act_line(act: Act) -> Line:
    """The row of an act; raises RecordError."""
    row = {
        "id": act.id,
        "at": act.at,
        "action": act.action.value,
        "actor": act.actor,
        "subject": act.subject,
        "reason": act.reason,
        "detail": act.detail_json,
    }
    return line_of("act", row)


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
        "facts": name_of(_facts_json(recipient)),
        "register_position": recipient.register_position,
        "retain_until": recipient.retain_until,
        "sealed_address": address,
    }


def _facts_json(recipient: RecipientRecord) -> str:
    return orjson.dumps(recipient.facts, option=orjson.OPT_SORT_KEYS).decode()


def outcome_line(outcome: OutcomeRecord) -> Line:
    """The row of an outcome; raises RecordError."""
    row = {
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
    return line_of("outcome", row)


Told = tuple[str, int]
"""A result and when it came, in ms since the epoch."""


def later(new: Told, old: Told | None) -> Told:
    """Which of two results of a record counts.

    ``unknown`` never hides anything, and anything told replaces it; else the later one.
    """
    if old is None:
        return new
    if new[0] == Result.UNKNOWN:
        return old
    return new if old[0] == Result.UNKNOWN or new[1] >= old[1] else old


def _event_line(entry: StreamEntry) -> Line:
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
        "at": moment if type(moment) is int else None,
        "kind": str(members.get("kind", "")),
        "subject": subject,
        "body": body,
    }
    return line_of("event", row)


def _event_json(fields: Mapping[bytes, bytes]) -> str:
    if len(fields) != 1:
        raise RecordError("an event entry of more than one field")
    try:
        return next(iter(fields.values())).decode()
    except UnicodeDecodeError:
        raise RecordError("an event that is not UTF-8") from None
