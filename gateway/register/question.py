"""What the register is asked about a contact: one command for each spelling and key.

A question is ``HMGET bucket field @`` as the octets of one write: the entry, and the
mark of the bucket's last change.  Digest, place and command are made in one go, for
this is done for every recipient of every message.
"""

from __future__ import annotations

from binascii import hexlify
from collections.abc import Iterable, Mapping
from hashlib import blake2b

from gateway.register.layout import MARK, Layout

# RESP arrays of bulk strings.
_HEAD = b"*4\r\n$5\r\nHMGET\r\n$%d\r\n%b"
_FIELD = b"\r\n$%d\r\n"
_MARK = b"\r\n$%d\r\n%b\r\n" % (len(MARK), MARK)


def question(bucket: bytes, field: bytes) -> bytes:
    """Return the question for one field of a bucket."""
    return b"".join((_HEAD % (len(bucket), bucket), _FIELD % len(field), field, _MARK))


class Questions:
    """The questions about subjects under one live key."""

    __slots__ = ("_copies", "_field", "_field_at", "_heads", "_key_id", "_layout")

    def __init__(self, key_id: str, begun: Mapping[str, blake2b], layout: Layout) -> None:
        """Take the key's id, its hashers (see ``KeyRing.begun``) and the layout."""
        self._key_id = key_id.encode()
        self._copies = {prefix: hasher.copy for prefix, hasher in begun.items()}
        self._layout = layout
        self._field_at = at = layout.field_at
        self._field = _FIELD % layout.field_octets
        # A bucket's number is written in hex.  Where it ends with an octet of the
        # digest and begins with no zero, it is these octets in hex, and all before it
        # depends on the first of them.
        self._heads = [b""] * 256
        if layout.bits == 8 * at:
            for first in range(0x10, 0x100):
                bucket, _ = layout.bucket(self._key_id, bytes((first,)).ljust(16))
                self._heads[first] = _HEAD % (len(bucket), bucket[: -2 * at])

    def ask(self, prefix: str, name: str, more: bytes = b"") -> tuple[bytes, bytes]:
        """Return a subject's digest in octets, and the question with ``more`` behind it.

        A subject is given in two parts, the prefix and what it names.
        """
        hasher = self._copies[prefix]()
        hasher.update(name.encode())
        value = hasher.digest()
        head = self._heads[value[0]]
        if not head:
            return value, question(*self._layout.bucket(self._key_id, value)) + more
        at = self._field_at
        packed = (head, hexlify(value[:at]), self._field, value[at:], _MARK, more)
        return value, b"".join(packed)

    def ask_all(self, prefix: str, names: Iterable[str], packed: list[bytes]) -> list[bytes]:
        """Add the question for each of these subjects to ``packed``; returns the digests."""
        copy, heads, at, field = self._copies[prefix], self._heads, self._field_at, self._field
        values: list[bytes] = []
        add = values.append
        for name in map(str.encode, names):
            hasher = copy()
            hasher.update(name)
            value = hasher.digest()
            add(value)
            if head := heads[value[0]]:
                packed += (head, hexlify(value[:at]), field, value[at:], _MARK)
            else:
                packed.append(question(*self._layout.bucket(self._key_id, value)))
        return values
