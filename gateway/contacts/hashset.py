"""Many hashes in little memory, to be asked one by one whether they are among them."""

from __future__ import annotations

_LEAD = 2
_KEPT = 16
_REST = _KEPT - _LEAD


class HashSet:
    """A set of hashes of at least 16 octets, about 20 octets of memory each.

    The first 16 octets tell one from another: that two of a thousand million hashes of
    SHA-256 agree in them has a chance of one to 10^20.
    """

    __slots__ = ("_buckets", "_count")

    def __init__(self) -> None:
        self._buckets: dict[bytes, bytearray] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, value: bytes) -> None:
        """Add a hash; one that is there already is not added again."""
        if value in self:
            return
        bucket = self._buckets.get(value[:_LEAD])
        if bucket is None:
            bucket = self._buckets[value[:_LEAD]] = bytearray()
        bucket += value[_LEAD:_KEPT]
        self._count += 1

    def __contains__(self, value: bytes) -> bool:
        bucket = self._buckets.get(value[:_LEAD])
        if bucket is None:
            return False
        rest = value[_LEAD:_KEPT]
        at = bucket.find(rest)
        # What is found across two hashes is none.
        while at >= 0 and at % _REST:
            at = bucket.find(rest, at + 1)
        return at >= 0
