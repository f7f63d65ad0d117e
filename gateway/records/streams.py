"""The streams that the archiver empties: what is asked of the store, and how it answers.

An event stream has a neighbour that tells how far it is archived.  It moves along only
over what was read from this very register, so that a register which lost events, or
got an older copy of them, is noticed (see ``register.whole``): its stream does not know
the cursor then, and nothing more is archived of it until it has been rebuilt.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

START = b"0-0"
"""The cursor of a stream of which nothing is archived."""

Command = tuple[bytes, ...]

_LAST_ID = b"""
if redis.call('EXISTS', KEYS[1]) == 0 then return '0-0' end
local info = redis.call('XINFO', 'STREAM', KEYS[1])
for i = 1, #info, 2 do
  if info[i] == 'last-generated-id' then return info[i + 1] end
end
return '0-0'
"""


# KEYS: the stream, its neighbour.  ARGV: the cursor, from where to read, how many.
_READ_EVENTS = b"""
local mark = redis.call('GET', KEYS[2]) or '0-0'
if mark ~= ARGV[1] and #redis.call('XRANGE', KEYS[1], ARGV[1], ARGV[1]) == 0 then return {} end
return redis.call('XRANGE', KEYS[1], ARGV[2], '+', 'COUNT', ARGV[3])
"""
# KEYS: the stream, its neighbour, what keeps it from being trimmed.  ARGV: the cursor, and
# the id from which on entries are kept.
_TRIM_EVENTS = b"""
local mark = redis.call('GET', KEYS[2]) or '0-0'
if mark ~= ARGV[1] then
  if #redis.call('XRANGE', KEYS[1], ARGV[1], ARGV[1]) == 0 then return 0 end
  local a, b = string.match(mark, '(%d+)-(%d+)')
  local c, d = string.match(ARGV[1], '(%d+)-(%d+)')
  a, b, c, d = tonumber(a), tonumber(b), tonumber(c), tonumber(d)
  if a > c or (a == c and b > d) then return 0 end
  redis.call('SET', KEYS[2], ARGV[1])
end
if redis.call('EXISTS', KEYS[3]) == 1 then return 0 end
return redis.call('XTRIM', KEYS[1], 'MINID', ARGV[2])
"""
# KEYS: the stream, its neighbour.  ARGV: the cursor.  Where the register knows more to be
# archived than this cursor, and the stream has no entry of it: how far that is.
_ELSEWHERE = b"""
local mark = redis.call('GET', KEYS[2]) or '0-0'
if mark == ARGV[1] or #redis.call('XRANGE', KEYS[1], ARGV[1], ARGV[1]) > 0 then return '0-0' end
return mark
"""


def last_id(stream: bytes) -> Command:
    """Ask for the id of a stream's last entry, of one that was trimmed too."""
    return (b"EVAL", _LAST_ID, b"1", stream)


def elsewhere(stream: bytes, cursor: bytes) -> Command:
    """Ask up to where an event stream was archived by somebody with another archive."""
    return (b"EVAL", _ELSEWHERE, b"2", stream, archived_key(stream), cursor)


def read(stream: bytes, after: bytes, count: bytes) -> Command:
    """Ask for a record stream's entries behind one."""
    return (b"XRANGE", stream, b"(" + after, b"+", b"COUNT", count)


def read_events(stream: bytes, cursor: bytes, after: bytes, count: bytes) -> Command:
    """Ask for an event stream's entries behind one; there are none unless it knows the cursor."""
    keys = (stream, archived_key(stream))
    return (b"EVAL", _READ_EVENTS, b"2", *keys, cursor, b"(" + after, count)


def trim(stream: bytes, cursor: bytes) -> Command:
    """Remove a record stream's entries up to the cursor."""
    return (b"XTRIM", stream, b"MINID", _behind(cursor))


def trim_events(stream: bytes, cursor: bytes) -> Command:
    """Note that an event stream is archived up to the cursor, and remove these unless held."""
    keys = (stream, archived_key(stream), hold_key(stream))
    return (b"EVAL", _TRIM_EVENTS, b"3", *keys, cursor, _behind(cursor))


def archived_key(stream: bytes) -> bytes:
    """The key beside an event stream that tells how far it is archived."""
    return stream + b":archived"


def hold_key(stream: bytes) -> bytes:
    """The key that keeps an event stream from being trimmed while it is there."""
    return stream + b":hold"


def number(entry_id: bytes) -> tuple[int, int]:
    """An entry's id as it sorts: milliseconds since the epoch, sequence."""
    time, _, number = bytes(entry_id).partition(b"-")
    return int(time), int(number or 0)


def fields(flat: Mapping[bytes, bytes] | Sequence[bytes]) -> dict[bytes, bytes]:
    """The fields, which a Cluster client gives as a mapping and a server as a list."""
    if isinstance(flat, Mapping):
        return dict(flat)
    return dict(zip(flat[::2], flat[1::2], strict=True))


def _behind(cursor: bytes) -> bytes:
    time, sequence = number(cursor)
    return b"%d-%d" % (time, sequence + 1)
