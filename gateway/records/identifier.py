"""Ids of records, messages and outcomes: ULIDs, which sort by time.

26 characters of Crockford's base 32: 48 bits of milliseconds, 80 of chance (the ULID
specification).  Three are made for every message, so they are put together from a
table.  Chance need only keep ids apart: they open nothing.
"""

from __future__ import annotations

import random
import time

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_PAIRS = tuple(first + second for first in _ALPHABET for second in _ALPHABET)
"""Two characters for every ten bits."""
_bits = random.getrandbits  # seeded anew after a fork

_moment: tuple[int, str] = (-1, "")


def new_id() -> str:
    """A new ULID of this moment."""
    global _moment  # noqa: PLW0603 - the one that the last ids began with
    now = time.time_ns() // 1_000_000
    known, head = _moment
    if known != now:
        head = "".join([_PAIRS[now >> shift & 1023] for shift in range(40, -1, -10)])
        _moment = (now, head)
    pairs = _PAIRS
    high, low = _bits(40), _bits(40)
    return (
        f"{head}{pairs[high >> 30]}{pairs[high >> 20 & 1023]}{pairs[high >> 10 & 1023]}"
        f"{pairs[high & 1023]}{pairs[low >> 30]}{pairs[low >> 20 & 1023]}"
        f"{pairs[low >> 10 & 1023]}{pairs[low & 1023]}"
    )
