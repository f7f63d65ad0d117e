"""The gateway's own signature over a message, whose body passes piece by piece."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from gateway.message.signature import BodyHash, SigningKey

_AT_ONCE = 64 << 10
"""Octets that are hashed in the loop (a third of a millisecond); more in a thread."""


async def signature(
    key: SigningKey, section: bytes, message: AsyncIterator[bytes], head: int, now: int
) -> bytes:
    """The ``DKIM-Signature`` field for a message that leaves with this header section.

    ``message`` is what came, un-stuffed, in pieces; its first ``head`` octets are the
    header section that came, with the empty line.  ``now`` is in ms since 1970.
    """
    body = BodyHash()
    async for piece in message:
        rest = piece[head:] if head else piece
        head = max(0, head - len(piece))
        if len(rest) <= _AT_ONCE:
            body.feed(rest)
        else:
            await asyncio.to_thread(body.feed, rest)
    return key.field(section, body.digest(), now // 1000)
