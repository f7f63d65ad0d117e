"""Message ids as the providers write them, made of our record's id.

A record's id is a ULID: 128 bits in Crockford's base 32.  Written as hex or as a UUID
it is the id that a tool hears, so that its log leads to the record and back.
"""

from __future__ import annotations

from uuid import UUID

from ulid import ULID


def hex_of(record_id: str) -> str:
    """The record's id as 32 hex digits."""
    return ULID.from_str(record_id).hex


def uuid_of(record_id: str) -> str:
    """The record's id as a UUID."""
    return str(UUID(hex=hex_of(record_id)))


def integer_of(record_id: str) -> int:
    """A positive number below 2**53 made of the record's id, for shapes that want one."""
    return int(hex_of(record_id), 16) % (1 << 53) or 1


def record_of(text: str) -> str:
    """The record's id in a message id, of which at least the last 32 hex digits are it."""
    return str(ULID(bytes.fromhex(text.replace("-", "")[-32:])))
