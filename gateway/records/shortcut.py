"""The short way from an entry's JSON to the journal's lines.

Pure.  Nearly every entry was written by this very version: its members are the
columns.  They are checked as they stand and never become records, which takes a
quarter of the time.  Whatever is unusual in any way is left to
:mod:`gateway.records.journal`, which reads every version and words every error; for
what both read, both give the same lines.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from operator import itemgetter
from typing import Any, Final

import orjson

from gateway.contacts.contact import Channel, Tier
from gateway.decision.facts import Kind, Outcome
from gateway.records.entry import MESSAGE, OUTCOMES, SEALED, unpack
from gateway.records.line import COLUMNS, INT_MOST, TYPES, Line
from gateway.records.record import Direction, Result

_VERSION: Final = 1
_NUL: Final = b"\\u0000"
"""How JSON writes what no text column takes; an escaped backslash may look like it."""

# The members of an entry's objects are those columns that the entry does not hold
# sealed, or once for all recipients.
_OF_MESSAGE: Final = COLUMNS["message"][:-2]
_OF_OUTCOME: Final = COLUMNS["outcome"]
_RECIPIENT: Final = 9

_message_values = itemgetter(*_OF_MESSAGE)
_record_values = itemgetter(*COLUMNS["record"])
_outcome_values = itemgetter(*_OF_OUTCOME)

_CLOSED_OF_MESSAGE: Final = (
    ("direction", frozenset(map(str, Direction))),
    ("channel", frozenset(map(str, Channel))),
    ("kind", frozenset(map(str, Kind))),
)
_DECISIONS: Final = frozenset(map(str, Outcome))
_TIERS: Final = frozenset((None, *map(str, Tier)))
_RESULTS: Final = frozenset(map(str, Result))


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
    _require(_NUL not in text)
    members = orjson.loads(text)
    recipients = members.pop("recipients")
    headers, sender, *addresses = unpack(framed)
    values = (*_message_values(members), headers, sender)
    _require(
        members.pop("v") == _VERSION
        and len(members) == len(_OF_MESSAGE)
        and tuple(map(type, values)) in TYPES["message"]
        and max(members["received"], members["decided"], members["size"]) <= INT_MOST
        and min(members["received"], members["decided"], members["size"]) >= 0
        and len(addresses) == len(recipients)
    )
    for name, allowed in _CLOSED_OF_MESSAGE:
        _require(members[name] in allowed)
    members["sealed_headers"] = headers.hex()
    members["sealed_sender"] = sender.hex()
    lines = [("message", (values, _digest(b"message\n", members)))]
    of_all = members["id"], members["client"], members["decided"]
    for one, address in zip(recipients, addresses, strict=True):
        lines.append(("record", _record(one, address, *of_all)))
    return lines


def _record(
    members: dict[str, Any], address: bytes, message_id: str, client: str, decided: int
) -> Line:
    facts = members["facts"]
    _require(len(members) == _RECIPIENT and type(facts) is dict)
    members["facts"] = orjson.dumps(facts, option=orjson.OPT_SORT_KEYS).decode()
    members["message_id"] = message_id
    members["client"] = client
    members["decided"] = decided
    members["sealed_address"] = address
    values = _record_values(members)
    _require(
        tuple(map(type, values)) in TYPES["record"]
        and 0 <= (members["retain_until"] or 0) <= INT_MOST
        and members["outcome"] in _DECISIONS
        and members["tier"] in _TIERS
    )
    members["sealed_address"] = address.hex()
    return values, _digest(b"record\n", members)


def _outcomes(text: bytes) -> list[tuple[str, Line]]:
    _require(_NUL not in text)
    lines = []
    for members in orjson.loads(text):
        values = _outcome_values(members)
        _require(
            members.pop("v") == _VERSION
            and len(members) == len(_OF_OUTCOME)
            and tuple(map(type, values)) in TYPES["outcome"]
            and 0 <= members["at"] <= INT_MOST
            and 0 <= (members["reply_code"] or 0) <= INT_MOST
            and members["result"] in _RESULTS
        )
        lines.append(("outcome", (values, _digest(b"outcome\n", members))))
    return lines


def _require(usual: bool) -> None:
    if not usual:
        raise _UnusualError


def _digest(kind: bytes, members: dict[str, Any]) -> bytes:
    return sha256(kind + orjson.dumps(members, option=orjson.OPT_SORT_KEYS)).digest()
