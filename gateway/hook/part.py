"""Long messages, which arrive in parts.

A message longer than 140 octets travels in several, each with a header that says which
part of how many it is (3GPP TS 23.040, 9.2.3.24.1 and .8).  Most providers put them
together; some hand over each part as it comes, in any order.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

MOST: Final = 255
"""Parts of a message at the most: their count is one octet."""

_CONCATENATED = {0x00: 1, 0x08: 2}
"""The header elements that say so, and the octets of the reference in each."""


class Part(NamedTuple):
    """Which part of a long message something is."""

    reference: str
    """The same in all parts of a message, and soon used again for another."""
    number: int
    """From 1."""
    total: int


def part_of(reference: str, number: str, total: str) -> Part | None:
    """A part from the texts that name it; None where there is but one part.

    Raises:
        ValueError: they are no count and no place in it.

    """
    part = Part(reference, int(number), int(total))
    if not 1 <= part.number <= part.total <= MOST:
        raise ValueError("no part of a message")
    return part if part.total > 1 else None


def part_of_header(header: str) -> Part | None:
    """A part from a user data header in hex; None where the header says nothing of parts."""
    try:
        octets = bytes.fromhex(header)
    except ValueError:
        return None
    elements = octets[1 : octets[0] + 1] if octets else b""
    while len(elements) >= 2:
        size = _CONCATENATED.get(elements[0])
        value, elements = elements[2 : elements[1] + 2], elements[elements[1] + 2 :]
        if size is not None and len(value) == size + 2:
            total, number = value[size], value[size + 1]
            if 1 <= number <= total:
                return Part(value[:size].hex(), number, total) if total > 1 else None
    return None


def joined(parts: Mapping[int, str], total: int) -> str | None:
    """The text of a long message by the numbers of its parts; None while one is missing."""
    if total < 1 or any(number not in parts for number in range(1, total + 1)):
        return None
    return "".join(parts[number] for number in range(1, total + 1))
