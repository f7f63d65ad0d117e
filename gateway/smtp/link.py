"""What a dialogue needs of its connection."""

from __future__ import annotations

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
