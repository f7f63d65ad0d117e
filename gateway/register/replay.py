"""Events in JSON, as the log and the archive have them, projected to an entry's octets.

A list of a million suppressed addresses makes a million events that say the same of
each; so what an event says is told apart from whom, when it was written down and by
which id it is known, and worked out once.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import orjson

from gateway.entry.codec import decode, encode
from gateway.entry.entry import EMPTY, Entry
from gateway.entry.event import Event, EventError
from gateway.entry.projection import project

_ASIDE = frozenset(
    {
        *("id", "recorded", "actor", "evidence", "cause", "wording", "subject", "at"),
        *("sealed", "sealed_evidence"),
    }
)
"""Members that bear on no entry made anew, and the time, which is put in for each."""
_TIME = 0x1FFF_FFFF_FFF
"""Stands for the time of the event: as many octets of LEB128 as times from 2004 to 2039.

Later ones are projected singly."""


def replayed(octets: bytes, events: Sequence[str | bytes]) -> bytes:
    """Return the octets of an entry after events in their order; empty ones: nothing is known.

    Raises EventError for a text that is not an event, CodecError for octets that are
    not an entry.
    """
    if len(events) == 1 and not octets:
        return _first(events[0])
    entry = decode(octets) if octets else EMPTY
    for text in events:
        entry = project(entry, Event.from_json(text))
    return _written(entry)


def _first(text: str | bytes) -> bytes:
    """The entry that one event makes of an unknown contact."""
    try:
        members = orjson.loads(text)
        at = members["at"]
        said = orjson.dumps({name: members[name] for name in members if name not in _ASIDE})
    except (ValueError, TypeError, KeyError):
        raise EventError("the text is not an event") from None
    if type(at) is not int or not 1 << 40 <= at < _TIME:
        return _written(project(EMPTY, Event.from_json(text)))
    before, after = _parts(said)
    return before if after is None else before + _number(at) + after


@lru_cache(maxsize=4096)
def _parts(said: bytes) -> tuple[bytes, bytes | None]:
    """The entry's octets before and behind the event's time; None behind where it has none."""
    members = {**orjson.loads(said), "at": _TIME, "actor": ""}
    octets = _written(project(EMPTY, Event.from_json(orjson.dumps(members))))
    before, found, after = octets.partition(_number(_TIME))
    return (before, after) if found else (octets, None)


@lru_cache(maxsize=4096)
def _number(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _written(entry: Entry) -> bytes:
    return b"" if entry == EMPTY else encode(entry)
