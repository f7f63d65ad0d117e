"""Ids of records, messages and outcomes: ULIDs, which sort by time.

26 characters of Crockford's base 32 (the ULID specification): ten for 48 bits of
milliseconds, sixteen for chance.  Three ids are made for every message, so chance is
written in hexadecimal digits, which are digits of base 32 as well: 64 bits of it where
80 would fit.  It need only keep ids of one millisecond apart; it opens nothing.
"""

from __future__ import annotations

import random
from itertools import product
from time import time_ns

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_PAIRS = tuple(map("".join, product(_ALPHABET, repeat=2)))
"""Ten bits as two digits."""
_OCTETS = 8
"""Of chance in an id."""
_bits = random.getrandbits  # seeded anew after a fork


_second = (-1, "")
"""The last moment's 1024 ms, and what ids of them begin with."""


def new_id() -> str:
    """A new ULID of this moment."""
    now = time_ns() // 1_000_000
    known, head = _second
    if now >> 10 != known:
        head = _begin(now >> 10)
    return f"{head}{_PAIRS[now & 1023]}{_bits(64):016X}"


def new_ids(count: int) -> list[str]:
    """That many new ULIDs of this moment; none where ``count`` is 0."""
    if count < 2:
        return [new_id()] if count else []
    now = time_ns() // 1_000_000
    head = _begin(now >> 10) + _PAIRS[now & 1023]
    chance = _bits(64 * count).to_bytes(_OCTETS * count, "big").hex(",", _OCTETS).upper()
    return (head + chance.replace(",", "," + head)).split(",")


def _begin(second: int) -> str:
    global _second  # noqa: PLW0603 - most ids begin as the last one did
    head = "".join([_PAIRS[second >> shift & 1023] for shift in (30, 20, 10, 0)])
    _second = second, head
    return head
