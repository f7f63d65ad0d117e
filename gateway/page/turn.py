"""Turns: what is done for one contact is done by one form at a time."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from weakref import WeakValueDictionary


@dataclass(slots=True)
class Turns:
    """Locks by contact; each is there while somebody holds it or waits for it."""

    _locks: WeakValueDictionary[str, asyncio.Lock] = field(default_factory=WeakValueDictionary)

    def of(self, who: str) -> asyncio.Lock:
        """The lock of a contact, to be held while something is asked and then done."""
        lock = self._locks.get(who)
        if lock is None:
            lock = self._locks[who] = asyncio.Lock()
        return lock
