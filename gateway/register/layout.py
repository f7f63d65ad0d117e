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
- ``sg:{s<shard>}:ev:archived``: how far they are archived (written by the archiver);
- ``sg:{s<shard>}:ev:hold``: a rebuild reads them, so they are not trimmed;
- ``sg:{s<shard>}:layout``: the tag of the layout that changes are written in;
- ``sg:meta``: the layout's version, bits and turn, the register's generation, and the
  mark that it is whole (see ``register.whole``; in a Cluster that mark is kept for each
  shard, in ``sg:{s<shard>}:whole``).

A rebuild writes buckets of another *turn* beside those in use, whose names it shares
with nobody: ``<turn>.<bucket>`` in the place of ``<bucket>``.
"""

from __future__ import annotations

from collections.abc import Iterator
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

TAG_CHECK = b"""\
if (redis.call('GET', KEYS[2]) or '') ~= ARGV[1] then
  return redis.error_reply('LAYOUT the shard is written in another layout')
end
"""
"""What a script that changes buckets begins with: KEYS[2] is the shard's :func:`tag_key`,
ARGV[1] the layout's tag.  What was written in another layout would never be found."""

_SHARD_BITS = 6
_MAX_BITS = 24


def event_stream(shard: int) -> bytes:
    """Return the key of a shard's event stream."""
    return b"sg:{s%02x}:ev" % shard


def archived_key(shard: int) -> bytes:
    """Return the key that holds how far a shard's events are archived."""
    return event_stream(shard) + b":archived"


def hold_key(shard: int) -> bytes:
    """Return the key that keeps a shard's events from being trimmed."""
    return event_stream(shard) + b":hold"


def tag_key(shard: int) -> bytes:
    """Return the key that holds the tag of the layout that a shard is written in."""
    return b"sg:{s%02x}:layout" % shard


def whole_key(shard: int) -> bytes:
    """Return the key of a shard's own mark of being whole, for a Cluster."""
    return b"sg:{s%02x}:whole" % shard


_STREAMS = tuple(event_stream(shard) for shard in range(SHARDS))


def event_streams() -> list[bytes]:
    """Return the keys of all event streams, by shard."""
    return list(_STREAMS)


def is_turned(reply: object) -> bool:
    """Whether a reply is the error of :data:`TAG_CHECK`: read the layout again."""
    return isinstance(reply, Exception) and str(reply).startswith("LAYOUT")


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
    """The places of digests for a number of buckets, ``2**bits``.

    ``turn`` tells buckets of a rebuilt register from those it had before, and
    ``generation`` the register from itself before it was rebuilt.
    """

    __slots__ = ("_prefix", "_shift", "bits", "field_at", "generation", "tag", "turn")

    def __init__(self, bits: int = DEFAULT_BITS, turn: int = 0, generation: bytes = b"") -> None:
        """Raise InputError unless ``bits`` is between 6 and 24."""
        if not _SHARD_BITS <= bits <= _MAX_BITS:
            raise InputError(
                f"the register's bucket bits are {bits}: give {_SHARD_BITS} to {_MAX_BITS}"
            )
        self.bits = bits
        self.turn = turn
        self.generation = generation
        self.tag = b"%d.%d" % (turn, bits)
        """What a shard says that is written in this layout."""
        self._prefix = b"%x." % turn if turn else b""
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
            b"sg:{s%02x}:%b:%b%x" % (lead >> 26, key_id, self._prefix, lead >> self._shift),
            value[self.field_at :],
        )

    def numbered(self, key_id: bytes, number: int) -> bytes:
        """Return the key of the bucket of a number, from 0 to ``2**bits - 1``."""
        shard = number >> (self.bits - _SHARD_BITS)
        return b"sg:{s%02x}:%b:%b%x" % (shard, key_id, self._prefix, number)

    def buckets(self, key_id: bytes, shard: int) -> Iterator[bytes]:
        """Return the keys of a shard's buckets, those too that there are not."""
        each = 1 << (self.bits - _SHARD_BITS)
        for number in range(shard * each, (shard + 1) * each):
            yield self.numbered(key_id, number)

    def place(self, digest: Digest) -> Place:
        """Return the place of a digest."""
        bucket, field = self.bucket(digest.key_id.encode(), digest.value)
        return Place(digest.value[0] >> 2, bucket, field)
