"""Upstream connections that wait for their client, and may be lent to others.

Between two commands, and while a message comes in, a transaction holds an upstream
connection that does nothing.  When an upstream has no other left, the one that has
waited longest is taken back; its transaction begins anew at the hand-over, with the
recipients that the upstream had accepted.
"""

from __future__ import annotations

from typing import Protocol


class Parked(Protocol):
    """A transaction whose upstream connection waits."""

    @property
    def upstream_name(self) -> str:
        """The upstream it waits at."""

    def abandon(self) -> None:
        """Give the connection back."""


class Parking:
    """The waiting transactions of a worker, the longest waiting first."""

    def __init__(self) -> None:
        self._waiting: dict[Parked, None] = {}

    def enter(self, one: Parked) -> None:
        """Its upstream connection waits from now on."""
        self._waiting[one] = None

    def leave(self, one: Parked) -> None:
        """Its connection is in use again, or gone."""
        self._waiting.pop(one, None)

    def reclaim(self, upstream: str) -> bool:
        """Take back the longest waiting connection to an upstream; False: none waits."""
        for one in self._waiting:
            if one.upstream_name == upstream:
                one.abandon()
                return True
        return False
