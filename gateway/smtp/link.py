"""What a dialogue needs of its connection, and the connection of its dialogue."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

READ = 64 * 1024
"""Octets that may wait unread before a client's sending is paused."""


class ClientGone(Exception):
    """The client's side of the connection has ended."""


class Link(Protocol):
    """One client connection, as its dialogue sees it."""

    @property
    def secure(self) -> bool:
        """Whether TLS protects the connection."""

    @property
    def offers_tls(self) -> bool:
        """Whether STARTTLS is possible now."""

    def say(self, line: bytes) -> None:
        """Add a reply (with its CRLF) to those that leave with the next flush."""

    async def flush(self) -> None:
        """Send what has been said; raises ClientGone if the client does not read."""

    async def read(self, within: float) -> bytes:
        """What arrives next; raises ClientGone at the end, TimeoutError when it is late."""

    async def start_tls(self) -> None:
        """Shake hands; says the 220 itself."""


class Conversation(Protocol):
    """A dialogue, as its connection sees it."""

    ended: bool
    """Whether nothing more is read once what was said has been sent."""
    step: Callable[[], Awaitable[None]] | None
    """What must be awaited, once, before :meth:`advance` is called again."""

    @property
    def patience(self) -> float:
        """Seconds to wait for what the client says next."""

    @property
    def in_transaction(self) -> bool:
        """Whether MAIL has been accepted and its message not been answered."""

    def welcome(self) -> None:
        """Say who we are; raises TooManyConnections."""

    def advance(self, data: bytes) -> bool:
        """Take what has arrived; True: there is a step to be awaited, or it has ended."""

    def next_step(self) -> Callable[[], Awaitable[None]] | None:
        """What must be awaited next; None: all that came is done."""

    def end(self) -> None:
        """The connection is over."""
