"""What a rebuild is made from, and what it has done."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

Progress = Callable[[int, int], Awaitable[None]]
"""Called with how many shards and events are done; what it raises ends the rebuild."""

Adopt = Callable[[str], Awaitable[None]]
"""Puts a way of hashing in use; see :meth:`gateway.register.schemes.Schemes.adopt`."""


class History(Protocol):
    """The archive's events; every method raises RecordsUnavailable."""

    async def cursors(self) -> dict[bytes, bytes]:
        """How far each stream is archived."""

    async def lacking(self) -> list[str]:
        """The streams of which earlier events were archived elsewhere."""

    async def key_ids(self) -> list[str]:
        """The ids of the digest keys that events are known by."""

    async def has(self, ids: Sequence[str]) -> set[str]:
        """Those of the rows' ids (an event's id, ``/`` and its subject) that are archived."""

    async def page(self, after: str, before: str, most: int) -> list[tuple[str, str, str]]:
        """Some subjects' events between two subjects, by subject: subject, stream id, JSON."""


@dataclass(slots=True)
class Rebuilt:
    """What a rebuild has done."""

    bits: int
    events: int = 0
    contacts: int = 0
    kept: int = 0
    """Entries that no event tells of, and that stay as they were."""
    unreadable: int = 0
    """Events that could not be read; whom they are about is not known as it should be."""
    resumed: bool = False
