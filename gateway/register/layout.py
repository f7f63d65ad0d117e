"""The names of keys and fields: where an entry and its events live.

Digests are uniformly distributed, so their leading bits choose the place: the first
six one of 64 shards, the first ``bits`` one of ``2**bits`` buckets.  A bucket is a
hash of a few dozen entries, small enough for the server's compact encoding; its
shard's event stream has the same hash tag, so that both live in one Cluster slot
and change in one script.

- ``sg:{s<shard>}:<key id>:<bucket>``: the bucket; a field is the rest of the digest,
  its value an encoded entry; field ``@`` is the stream id of the last event that
  changed the bucket;
- ``sg:{s<shard>}:ev``: the shard's events, one per stream entry, its JSON in ``e``;
- ``sg:meta``: the layout's version and bits, fixed at creation.
"""

from __future__ import annotations

from dataclasses import dataclass

from gateway.contacts.digest import DIGEST_OCTETS, Digest
from gateway.failure import InputError

VERSION = 1
SHARDS = 64
DEFAULT_BITS = 16
META = b"sg:meta"
MARK = b"@"
"""The bucket field that holds the id of the last event; digests' fields are longer."""
EVENT = b"e"
"""The field of a stream entry that holds the event's JSON."""

_SHARD_BITS = 6
_MAX_BITS = 24


def event_stream(shard: int) -> bytes:
    """Return the key of a shard's event stream."""
    return b"sg:{s%02x}:ev" % shard


_STREAMS = tuple(event_stream(shard) for shard in range(SHARDS))


def event_streams() -> list[bytes]:
    """Return the keys of all event streams, by shard."""
    return list(_STREAMS)


@dataclass(frozen=True, slots=True)
class Place:
    """Where one digest's entry is kept."""

    shard: int
    bucket: bytes
    field: bytes

    @property
    def stream(self) -> bytes:
        """The key of the event stream in the bucket's slot."""
        return _STREAMS[self.shard]


class Layout:
    """The places of digests for a number of buckets, ``2**bits``."""

    __slots__ = ("_shift", "bits", "field_at")

    def __init__(self, bits: int = DEFAULT_BITS) -> None:
        """Raise InputError unless ``bits`` is between 6 and 24."""
        if not _SHARD_BITS <= bits <= _MAX_BITS:
            raise InputError(
                f"the register's bucket bits are {bits}: give {_SHARD_BITS} to {_MAX_BITS}"
            )
        self.bits = bits
        self._shift = 32 - bits
        self.field_at = bits // 8
        """The octet of a digest at which its field begins."""

    @property
    def field_octets(self) -> int:
        """The length of a digest's field."""
        return DIGEST_OCTETS - self.field_at

    def bucket(self, key_id: bytes, value: bytes) -> tuple[bytes, bytes]:
        """Return the bucket key and the field of a digest's octets."""
        lead = int.from_bytes(value[:4], "big")
        return (
            b"sg:{s%02x}:%b:%x" % (lead >> 26, key_id, lead >> self._shift),
            value[self.field_at :],
        )

    def numbered(self, key_id: bytes, number: int) -> bytes:
        """Return the key of the bucket of a number, from 0 to ``2**bits - 1``."""
        return b"sg:{s%02x}:%b:%x" % (number >> (self.bits - _SHARD_BITS), key_id, number)

    def place(self, digest: Digest) -> Place:
        """Return the place of a digest."""
        bucket, field = self.bucket(digest.key_id.encode(), digest.value)
        return Place(digest.value[0] >> 2, bucket, field)
