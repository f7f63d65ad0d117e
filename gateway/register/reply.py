"""Replies of the register's server in one shape, whichever protocol they came by."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from gateway.failure import RegisterUnavailable


def members_of(reply: object) -> dict[bytes, Any]:
    """A map reply with octet keys; RESP2, and stream entries, give flat lists."""
    if isinstance(reply, dict):
        return {key.encode() if isinstance(key, str) else key: reply[key] for key in reply}
    flat = cast("list[Any]", reply)
    return dict(zip(flat[::2], flat[1::2], strict=True))


def cause(reply: object) -> str:
    """An error reply's name, its first word (OOM, MISCONF, READONLY...): no data in it."""
    return str(reply).partition(" ")[0] if isinstance(reply, Exception) else type(reply).__name__


def require_good(replies: Sequence[object], what: str) -> None:
    """Raise RegisterUnavailable, which begins with ``what``, where a reply is an error."""
    for reply in replies:
        if isinstance(reply, Exception):
            raise RegisterUnavailable(f"{what} ({cause(reply)})")


def stream_id(text: bytes) -> tuple[int, int]:
    """The id of a stream's entry, as it sorts: milliseconds since the epoch, sequence."""
    milliseconds, _, sequence = text.partition(b"-")
    return int(milliseconds), int(sequence)
