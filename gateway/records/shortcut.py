"""The short way from an entry's JSON to the journal's lines.

Pure.  Nearly every entry was written by this very version: its members are the
columns.  They are checked as they stand and never become records, and what is said
again and again is put in words for the digests once, which takes a small part of the
time.  Whatever is unusual in any way is left to
:mod:`gateway.records.journal`, which reads every version and words every error; for
what both read, both give the same lines.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from hashlib import sha256
from operator import itemgetter
from typing import Any, Final

import orjson

from gateway.contacts.contact import Channel, Tier
from gateway.decision.facts import Kind, Outcome
from gateway.records.entry import MESSAGE, OUTCOMES, SEALED, unpack
from gateway.records.ground import ground_line, name_of
from gateway.records.line import COLUMNS, INT_MOST, TYPES, Line
from gateway.records.record import VERSION, Direction, Result, pattern

_NUL: Final = b"\\u0000"
"""How JSON writes what no text column takes; an escaped backslash may look like it."""
_plain = re.compile(r"[0-9A-Za-z:._-]*+").fullmatch
"""What ids, digests and positions consist of; JSON writes it as it is."""

# The members of a message are its columns that the entry does not hold sealed.
_OF_MESSAGE: Final = COLUMNS["message"][:-2]
_OF_OUTCOMES: Final = frozenset(COLUMNS["outcome"]) - {"id", "record_id"}

_message_values = itemgetter(*_OF_MESSAGE)
_shared_values = itemgetter(*COLUMNS["outcome"][2:])

_DIRECTIONS: Final = frozenset(map(str, Direction))
_CHANNELS: Final = frozenset(map(str, Channel))
_KINDS: Final = frozenset(map(str, Kind))
_DECISIONS: Final = frozenset(map(str, Outcome))
_TIERS: Final = frozenset((None, *map(str, Tier)))
_RESULTS: Final = frozenset(map(str, Result))

_KNOWN: Final = 4096
_words: dict[tuple[object, ...], str] = {}
"""What is hashed of a record, by its grounds; the same ones come again and again."""
_OF_ONE: Final = {
    "client": b"%s",
    "decided": b"%d",
    "digest": b'"%s"',
    "id": b'"%s"',
    "message_id": b"%s",
    "register_position": b'"%s"',
    "retain_until": b"%s",
    "sealed_address": b'"%s"',
}
"""What differs between records of the same grounds, in the order of its names."""
_OF_ONE_OUTCOME: Final = {
    "at": b"%d",
    "id": b'"%s"',
    "record_id": b'"%s"',
    "reply_text": b"%s",
}


class _UnusualError(Exception):
    """Not for the short way."""


def short(fields: Mapping[bytes, bytes]) -> list[tuple[str, Line]] | None:
    """The lines of an entry of messages or outcomes with their kinds; None: go the long way."""
    try:
        if MESSAGE in fields:
            return _message(fields[MESSAGE], fields[SEALED])
        if OUTCOMES in fields:
            return _outcomes(fields[OUTCOMES])
    except Exception:  # the long way finds the words for it, or reads it after all
        return None
    return None


def _message(text: bytes, framed: bytes) -> list[tuple[str, Line]]:
    members = orjson.loads(text)
    grounds, recipients = members.pop("grounds"), members.pop("recipients")
    version = members.pop("v")
    headers, sender, *addresses = unpack(framed)
    values = (*_message_values(members), headers, sender)
    message_id, client, decided = members["id"], members["client"], members["decided"]
    _require(
        _NUL not in text
        and version == VERSION
        and len(members) == len(_OF_MESSAGE)
        and tuple(map(type, values)) in TYPES["message"]
        and 0 <= members["received"] <= INT_MOST
        and 0 <= decided <= INT_MOST
        and 0 <= members["size"] <= INT_MOST
        and members["direction"] in _DIRECTIONS
        and members["channel"] in _CHANNELS
        and members["kind"] in _KINDS
        and len(addresses) == len(recipients)
    )
    members["sealed_headers"] = headers.hex()
    members["sealed_sender"] = sender.hex()
    message = ("message", (values, _digest(b"message\n", members)))
    if not recipients:
        _require(not grounds)
        return [message]
    ids, digests, numbers, positions = zip(*recipients, strict=True)
    _require(
        # Joining them fails for what is no text.
        _plain("".join((*ids, *digests, *positions))) is not None
        and set(map(type, numbers)) == {int}
        and min(numbers) >= 0
    )
    known = [(*each, _words_of(*each)) for each in grounds]
    used = dict.fromkeys([known[number][4] for number in numbers])
    lines = [*(("ground", ground_line(facts)) for facts in used), message]
    in_client, in_message = _json(client), _json(message_id)
    add = lines.append
    for (one, digest, number, position), address in zip(recipients, addresses, strict=True):
        outcome, rule, of_class, tier, facts, retain, words = known[number]
        grounds_name = name_of(facts)
        values = (
            *(one, message_id, client, decided, digest, outcome, rule, of_class, tier),
            *(grounds_name, position, retain, address),
        )
        until = "null" if retain is None else retain
        hashed = words % (
            *(in_client, decided, digest, one, in_message, position, until, address.hex()),
        )
        add(("record", (values, sha256(hashed.encode()).digest())))
    return lines


def _words_of(
    outcome: str, rule: str, address_class: str, tier: str | None, facts: str, retain: int | None
) -> str:
    """What is hashed of a record of these grounds, with places for what is its own."""
    _require(retain is None or (type(retain) is int and 0 <= retain <= INT_MOST))
    key = outcome, rule, address_class, tier, facts
    words = _words.get(key)
    if words is None:
        _require(outcome in _DECISIONS and tier in _TIERS)
        _require(type(rule) is type(address_class) is type(facts) is str)
        read = orjson.loads(facts)
        _require(type(read) is dict and _json(read) == facts)
        members = dict.fromkeys(COLUMNS["record"]) | {
            "outcome": outcome,
            "rule": rule,
            "address_class": address_class,
            "tier": tier,
            "facts": name_of(facts),
        }
        words = "record\n" + pattern(dict(sorted(members.items())), _OF_ONE).decode()
        if len(_words) >= _KNOWN:
            _words.clear()
        _words[key] = words
    return words


def _outcomes(text: bytes) -> list[tuple[str, Line]]:
    _require(_NUL not in text)
    lines: list[tuple[str, Line]] = []
    for members in orjson.loads(text):
        of = members.pop("of")
        _require(members.pop("v") == VERSION and members.keys() == _OF_OUTCOMES)
        at, result, code = members["at"], members["result"], members["reply_code"]
        shared = _shared_values(members)
        _require(result in _RESULTS and 0 <= at <= INT_MOST and 0 <= (code or 0) <= INT_MOST)
        _require((str, str, *map(type, shared)) in TYPES["outcome"])
        ids, record_ids = zip(*of, strict=True)
        _require(_plain("".join((*ids, *record_ids))) is not None)
        person, reason = members["person"], members["reason"]
        words = _words_of_outcome(result, code, members["upstream"], person, reason)
        said = _json(members["reply_text"])
        for one, record_id in of:
            hashed = words % (at, one, record_id, said)
            lines.append(("outcome", ((one, record_id, *shared), sha256(hashed.encode()).digest())))
    return lines


@lru_cache(maxsize=256)
def _words_of_outcome(
    result: str, reply_code: int | None, upstream: str, person: str, reason: str
) -> str:
    """What is hashed of an outcome, with places for what differs from one to the next."""
    members = dict.fromkeys(COLUMNS["outcome"]) | {
        "result": result,
        "reply_code": reply_code,
        "upstream": upstream,
        "person": person,
        "reason": reason,
    }
    return "outcome\n" + pattern(dict(sorted(members.items())), _OF_ONE_OUTCOME).decode()


def _json(value: object) -> str:
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()


def _require(usual: bool) -> None:
    if not usual:
        raise _UnusualError


def _digest(kind: bytes, members: dict[str, Any]) -> bytes:
    return sha256(kind + orjson.dumps(members, option=orjson.OPT_SORT_KEYS)).digest()
