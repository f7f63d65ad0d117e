"""Ids of records, messages and outcomes: ULIDs, which sort by time.

26 characters of Crockford's base 32 (the ULID specification): ten for 48 bits of
milliseconds, sixteen for chance.  Three ids are made for every message, so chance is
written in hexadecimal digits, which are digits of base 32 as well: 64 bits of it where
80 would fit.  It need only keep ids of one millisecond apart; it opens nothing.
"""

from __future__ import annotations

import random
import time

_ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_bits = random.getrandbits  # seeded anew after a fork

_moment: tuple[int, str] = (-1, "")


def new_id() -> str:
    """A new ULID of this moment."""
    global _moment  # noqa: PLW0603 - the one that the last ids began with
    now = time.time_ns() // 1_000_000
    known, head = _moment
    if known != now:
        head = "".join([_ALPHABET[now >> shift & 31] for shift in range(45, -1, -5)])
        _moment = (now, head)
    return f"{head}{_bits(64):016X}"
