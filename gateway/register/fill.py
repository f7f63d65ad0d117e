"""How full the register's buckets are, and how many contacts it has.

A bucket is kept compact while it has at most as many fields as the server's
``hash-max-listpack-entries`` (512 where nobody set it).  Past that, its memory triples.
On average a bucket should have no more than half as many: buckets differ.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from gateway.failure import RegisterUnavailable
from gateway.register.layout import Layout
from gateway.register.wire import Wire

FULL = 256
"""Contacts in a bucket, on average, from which on the register should get more buckets."""
_ROOMY = 128
"""Contacts in a bucket, on average, after it got more."""
_SAMPLE = 256
_PER_TRIP = 4096


@dataclass(frozen=True, slots=True)
class Fill:
    """How full the buckets are: of all keys together, with 2**bits buckets for each."""

    bits: int
    contacts: int
    """Entries: contacts, other spellings, organisations and hashes; an estimate, unless
    every bucket was looked at."""
    average: float
    """Entries in a bucket, under the key that has most."""
    fullest: int
    """Entries in the fullest bucket that was looked at."""

    @property
    def full(self) -> bool:
        """Whether the register should get more buckets."""
        return self.average > FULL

    @property
    def wanted_bits(self) -> int:
        """The bits that make the buckets roomy again."""
        return max(self.bits, bits_for(round(self.average * 2**self.bits)))


def bits_for(contacts: int) -> int:
    """Return the bits with which so many contacts take the least memory, with room to grow."""
    bits = 6
    while contacts > _ROOMY << bits:
        bits += 1
    return bits


async def fill(
    wire: Wire, layout: Layout, key_ids: Sequence[str], within: float, *, every: bool = False
) -> Fill:
    """Count the fields of some buckets, or of ``every`` one.

    ``within`` bounds each round trip in seconds.  Raises RegisterUnavailable.
    """
    count = 2**layout.bits
    numbers: Sequence[int] = range(count)
    if not every and count > _SAMPLE:
        numbers = random.sample(range(count), _SAMPLE)
    contacts, average, fullest = 0, 0.0, 0
    for key_id in key_ids:
        sizes: list[int] = []
        for start in range(0, len(numbers), _PER_TRIP):
            buckets = [
                layout.numbered(key_id.encode(), number)
                for number in numbers[start : start + _PER_TRIP]
            ]
            for reply in await wire.exchange([(b"HLEN", bucket) for bucket in buckets], within):
                if type(reply) is not int:
                    raise RegisterUnavailable("the register does not tell how full it is")
                sizes.append(max(0, reply - 1))  # one field is the mark
        mean = sum(sizes) / len(sizes)
        contacts += round(mean * count)
        average = max(average, mean)
        fullest = max(fullest, *sizes)
    return Fill(layout.bits, contacts, average, fullest)
