"""Message ids as the providers write them, made of our record's id.

A record's id is a ULID: 128 bits in Crockford's base 32.  Written as hex or as a UUID
it is the id that a tool hears, so that its log leads to the record and back.
"""

from __future__ import annotations

from ulid import ULID

# Crockford's digits as Python's base 32 has them; of a batch's ids each is written anew.
_BASE_32 = str.maketrans("0123456789ABCDEFGHJKMNPQRSTVWXYZ", "0123456789abcdefghijklmnopqrstuv")


def hex_of(record_id: str) -> str:
    """The record's id as 32 hex digits."""
    return f"{int(record_id.translate(_BASE_32), 32):032x}"


def uuid_of(record_id: str) -> str:
    """The record's id as a UUID."""
    digits = hex_of(record_id)
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def integer_of(record_id: str) -> int:
    """A positive number below 2**53 made of the record's id, for shapes that want one."""
    return int(hex_of(record_id), 16) % (1 << 53) or 1


def record_of(text: str) -> str:
    """The record's id in a message id, of which at least the last 32 hex digits are it."""
    return str(ULID(bytes.fromhex(text.replace("-", "")[-32:])))
