"""What the register's server does for a rebuild, each in one step, and how it is asked.

Every script that changes something compares the shard's hold with the one that it was
given, so that a rebuild that was overtaken, or whose register was emptied, does nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gateway.failure import RegisterUnavailable
from gateway.register.whole import LATER
from gateway.register.wire import Command, Wire

_LAST = b"""\
local function last(stream)
  if redis.call('EXISTS', stream) == 0 then return '0-0' end
  local facts = redis.call('XINFO', 'STREAM', stream)
  for i = 1, #facts, 2 do if facts[i] == 'last-generated-id' then return facts[i+1] end end
end
"""
_FENCE = b"""\
if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return redis.error_reply('HOLD another rebuild has begun, or the register was emptied')
end
"""
# KEYS: stream, hold.  ARGV: the hold, the archive's cursor, for how long.
# The ids of later events follow those that are archived.
HOLD = (
    LATER
    + _LAST
    + b"""\
local cursor, now = ARGV[2], last(KEYS[1])
if later(cursor, now) then
  if redis.call('EXISTS', KEYS[1]) == 0 then
    redis.call('XGROUP', 'CREATE', KEYS[1], 'g', '$', 'MKSTREAM')
    redis.call('XGROUP', 'DESTROY', KEYS[1], 'g')
  end
  redis.call('XSETID', KEYS[1], cursor)
  now = cursor
end
redis.call('SET', KEYS[2], ARGV[1], 'PX', ARGV[3])
return now
"""
)
# KEYS: hold, bucket.  ARGV: the hold, then fields and values.
FILL = (
    _FENCE
    + b"""\
for i = 2, #ARGV, 1000 do
  redis.call('HSET', KEYS[2], unpack(ARGV, i, math.min(i + 999, #ARGV)))
end
return 1
"""
)
# KEYS: hold, stream.  ARGV: the hold, then ids and events.  The stream's last id.
LOG_ANEW = (
    _FENCE
    + b"""\
local now
for i = 2, #ARGV, 2 do
  redis.call('XDEL', KEYS[2], ARGV[i])
  now = redis.call('XADD', KEYS[2], '*', 'e', ARGV[i+1])
end
return now
"""
)
_MARKED = b"""\
local function marked(bucket, id)
  if later(id, redis.call('HGET', bucket, '@') or '0-0') then
    redis.call('HSET', bucket, '@', id)
  end
end
"""
# KEYS: hold, bucket.  ARGV: the hold, the bucket's mark, then fields and values.
KEEP = (
    LATER
    + _MARKED
    + _FENCE
    + b"""\
local kept = 0
for i = 3, #ARGV, 2 do kept = kept + redis.call('HSETNX', KEYS[2], ARGV[i], ARGV[i+1]) end
if kept > 0 then marked(KEYS[2], ARGV[2]) end
return kept
"""
)
# KEYS: hold, buckets.  ARGV: the hold, the next one, for how long, then for each entry its
# bucket's place in KEYS, field, value and the id of its last event.
PUT = (
    LATER
    + _MARKED
    + _FENCE
    + b"""\
for i = 4, #ARGV, 4 do
  local bucket = KEYS[tonumber(ARGV[i])]
  if ARGV[i+2] == '' then redis.call('HDEL', bucket, ARGV[i+1])
  else redis.call('HSET', bucket, ARGV[i+1], ARGV[i+2]) end
  marked(bucket, ARGV[i+3])
end
redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3])
return 1
"""
)
# KEYS: hold, stream, layout, archived, the hash with the mark.  ARGV: the hold, up to which
# event it is built, the layout's tag, the archive's cursor.
TURN = (
    LATER
    + _LAST
    + _FENCE
    + b"""\
redis.call('HDEL', KEYS[5], 'whole')
if last(KEYS[2]) ~= ARGV[2] then return 0 end
if later(ARGV[4], ARGV[2]) then
  return redis.error_reply('HOLD events were archived that the stream does not have')
end
redis.call('SET', KEYS[3], ARGV[3])
if later(ARGV[4], redis.call('GET', KEYS[4]) or '0-0') then
  redis.call('SET', KEYS[4], ARGV[4])
end
return 1
"""
)
# KEYS: hold, stream, layout, archived.  ARGV: the archive's cursor.
# The hold, the layout's tag, and whether the register knows all that is archived.
FOUND = b"""\
local mark = redis.call('GET', KEYS[4]) or '0-0'
local known = mark == ARGV[1] or #redis.call('XRANGE', KEYS[2], ARGV[1], ARGV[1]) > 0
return {redis.call('GET', KEYS[1]) or '', redis.call('GET', KEYS[3]) or '', known and 1 or 0}
"""


class Disturbed(RegisterUnavailable):
    """The register was emptied, replaced or taken by another rebuild meanwhile: begin again."""


class Steps:
    """Runs a rebuild's commands at the server."""

    def __init__(self, wire: Wire, within: float) -> None:
        """Take the wire, and the seconds that each trip may take."""
        self._wire = wire
        self._within = within

    async def one(self, command: Command) -> Any:  # noqa: ANN401 - any command's reply
        """Run a command; raises as :meth:`all`."""
        (reply,) = await self.all([command])
        return reply

    async def all(self, commands: Sequence[Command]) -> list[Any]:
        """Run commands in one trip; raises Disturbed, RegisterUnavailable."""
        if not commands:
            return []
        replies = await self._wire.exchange(commands, self._within)
        for reply in replies:
            if isinstance(reply, Exception):
                if str(reply).startswith("HOLD"):
                    raise Disturbed(str(reply).removeprefix("HOLD "))
                cause = str(reply).partition(" ")[0]
                raise RegisterUnavailable(f"the register refused a part of its rebuild ({cause})")
        return replies
