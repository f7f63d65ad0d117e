"""Where a page of a counted list joins the one before it.

A list that is asked for by offset moves while it is read: what is taken out of it, or
comes in before the offset, moves all that follows, and a page would skip entries.  So
each page begins a little before the last one's end, and the last one's final entries are
looked for in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b
from typing import Final

OVERLAP: Final = 20
"""Entries of a page that are read again with the next."""
_ENOUGH: Final = 4
"""Entries in a row that show where a page joins: marks of 16 bits each."""


def marks_of(keys: Sequence[str]) -> tuple[str, ...]:
    """Marks of the last entries of a page: enough to find them again, too little to tell
    whose they are."""
    return tuple(
        blake2b(key.encode(errors="replace"), digest_size=2).hexdigest() for key in keys[-OVERLAP:]
    )


def joint_of(tail: Sequence[str], keys: Sequence[str]) -> int | None:
    """How many of a page's first entries were read before; None where it does not join.

    ``tail`` is what :func:`marks_of` said of the page before.
    """
    if not tail:
        return 0
    marks = [blake2b(key.encode(errors="replace"), digest_size=2).hexdigest() for key in keys]
    best, found = 0, None
    for place in range(len(marks)):
        alike = 0
        while alike < min(len(tail), place + 1) and marks[place - alike] == tail[-1 - alike]:
            alike += 1
        if alike > best:
            best, found = alike, place + 1
    return found if best >= min(_ENOUGH, len(tail)) else None
