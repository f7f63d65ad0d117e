"""How many forms of one contact are taken in a minute."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Final

from gateway.rate import Bucket

LATER: Final = (("Retry-After", "30"),)
"""The header of an answer that a try later may change."""
_FORMS: Final = 20
"""A minute; refusals are not counted."""
_REMEMBERED: Final = 5_000
"""Contacts whose forms are counted."""


@dataclass(slots=True)
class Pace:
    """How many forms of one contact there were of late."""

    _buckets: OrderedDict[str, Bucket] = field(default_factory=OrderedDict)

    def take(self, who: str) -> bool:
        """Count one; False: it is one too many."""
        now = asyncio.get_running_loop().time()
        bucket = self._buckets.pop(who, None) or Bucket(_FORMS, now)
        self._buckets[who] = bucket
        if len(self._buckets) > _REMEMBERED:
            self._buckets.popitem(last=False)
        return bucket.take(now)
