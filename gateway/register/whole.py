"""Whether the register knows everything that the archive knows, and who says so.

A register that was emptied, put back from an old copy, or taken over by a replica that
lagged answers as if the bans that it lost had never been.  So a look-up counts only
together with a *proof*, asked behind its questions in the same write: the mark that
somebody has compared this very server process with the archive.

The mark names the register's generation and the server's run id.  It lies among the
data, so that it goes when they go; a server that starts anew has another run id, so
that a mark among older data proves nothing.  Whoever has the archive compares and marks
(:func:`examine`).  In a Cluster each shard has a mark of its own.

What is compared, for each shard: how far the archive has its events (the cursor), with
how far the register knows them to be archived.  The archiver moves the second along
behind the first, and only over events that it read from this register; so where the
register knows less, and has no event of that number either, it has lost what was there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum

from gateway.failure import RegisterUnavailable
from gateway.register.layout import (
    META,
    SHARDS,
    Layout,
    archived_key,
    event_stream,
    tag_key,
    whole_key,
)
from gateway.register.question import question
from gateway.register.wire import Wire

START = b"0-0"
"""The cursor of a stream of which nothing is archived."""
LATER = b"""\
local function later(a, b)
  local x, y = string.match(a, '(%d+)-(%d+)')
  local m, n = string.match(b, '(%d+)-(%d+)')
  x, y, m, n = tonumber(x), tonumber(y), tonumber(m), tonumber(n)
  return x > m or (x == m and y > n)
end
"""

# KEYS: the hash with the mark, then for each shard: how far it is archived, its stream,
# its layout.  ARGV: generation, the layout's tag, the generation again where the hash
# tells it, then the archive's cursor of each shard.
# The reply: a number for each shard, see Finding.  All or nothing is marked.
_EXAMINE = (
    LATER
    + b"""\
local found, good = {}, true
for i = 4, #ARGV do
  local k, cursor, is = 2 + 3 * (i - 4), ARGV[i], 0
  local mark = redis.call('GET', KEYS[k]) or '0-0'
  if (redis.call('GET', KEYS[k+2]) or '') ~= ARGV[2] then is = 3
  elseif mark ~= cursor and #redis.call('XRANGE', KEYS[k+1], cursor, cursor) == 0 then
    is = later(mark, cursor) and 2 or 1
  end
  found[#found+1] = is
  good = good and is == 0
end
if ARGV[3] ~= '' and redis.call('HGET', KEYS[1], 'generation') ~= ARGV[3] then
  return {-1}
end
local run = string.match(redis.call('INFO', 'server'), 'run_id:(%w+)')
local whole = ARGV[1] .. ' ' .. run
local now = redis.call('HGET', KEYS[1], 'whole')
if good then
  if now ~= whole then redis.call('HSET', KEYS[1], 'whole', whole) end
else
  local lost = false
  for i = 1, #found do lost = lost or found[i] == 1 or found[i] == 3 end
  if now and lost then redis.call('HDEL', KEYS[1], 'whole') end
end
return found
"""
)


class NotWhole(RegisterUnavailable):
    """The register has not been found whole since it started, so its word counts nothing."""


class Finding(IntEnum):
    """What the comparison of one shard found."""

    WHOLE = 0
    BEHIND = 1
    """The archive has events that this register has lost."""
    ELSEWHERE = 2
    """The register's events were archived further than this archive knows."""
    REBUILT = 3
    """A rebuild has turned the shard to another layout, and has not ended."""
    ANOTHER = -1
    """The register is another than the one whose layout was read."""


@dataclass(frozen=True, slots=True)
class State:
    """What a comparison found, by shard."""

    found: tuple[Finding, ...]

    @property
    def whole(self) -> bool:
        """Whether every shard is, so that the register was marked."""
        return all(one is Finding.WHOLE for one in self.found)

    @property
    def behind(self) -> bool:
        """Whether it must be rebuilt."""
        return any(one in (Finding.BEHIND, Finding.REBUILT) for one in self.found)

    @property
    def count(self) -> int:
        """How many shards are not whole."""
        return sum(one is not Finding.WHOLE for one in self.found)


async def examine(
    wire: Wire, layout: Layout, cursors: Mapping[bytes, bytes], within: float
) -> State:
    """Compare the register with the archive's cursors, read before, by stream.

    Comparing and marking, or taking the mark away, are one step.  Raises
    RegisterUnavailable when the register does not answer.
    """
    found: list[Finding] = []
    for reply in await wire.exchange(_commands(wire, layout, cursors), within):
        if not isinstance(reply, list):
            raise RegisterUnavailable(
                f"the register cannot be compared with the archive ({type(reply).__name__})"
            )
        found += [Finding(one) for one in reply]
    return State(tuple(found))


class Proof:
    """What is asked behind the questions of a trip, and what the answers must be."""

    __slots__ = ("_begins", "_doubt", "_wire")

    def __init__(self, wire: Wire, generation: bytes, doubt: Callable[[bytes], None]) -> None:
        """Take the wire, and what is told of a mark that is not this generation's."""
        wire.identified = True
        self._wire = wire
        self._begins = generation + b" "
        self._doubt = doubt

    def of(self, packed: bytes) -> tuple[bytes, int]:
        """Return the proofs that belong behind packed questions, and how many."""
        return self._wire.proofs(packed)

    def require(self, replies: Sequence[Sequence[bytes | None]], run: bytes) -> None:
        """Raise NotWhole unless every reply proves that its server is whole.

        ``run`` is the run id of the server that gave them all; empty: each has its own.
        """
        begins = self._begins
        for reply in replies:
            mark, own = reply[0], run or reply[-1]
            if not own or mark != begins + own:
                told = mark or b""
                if not told.startswith(begins):
                    self._doubt(told)
                raise NotWhole(
                    "the register has not been compared with the archive since it was started, "
                    "emptied or replaced, or is being rebuilt from it"
                )


async def require(wire: Wire, layout: Layout, within: float) -> None:
    """Raise NotWhole unless the register is marked, RegisterUnavailable as always."""
    every = b"".join([question(tag_key(shard), b"") for shard in range(SHARDS)])
    proof = Proof(wire, layout.generation, lambda _: None)
    packed, count = proof.of(every)
    proof.require(*await wire.look_up_proved(packed, count, within, anew=True))


def _commands(
    wire: Wire, layout: Layout, cursors: Mapping[bytes, bytes]
) -> list[tuple[bytes, ...]]:
    if wire.sharded:
        return [
            _command(whole_key(shard), layout, [shard], cursors, b"") for shard in range(SHARDS)
        ]
    return [_command(META, layout, range(SHARDS), cursors, layout.generation)]


def _command(
    mark: bytes,
    layout: Layout,
    shards: Sequence[int],
    cursors: Mapping[bytes, bytes],
    told: bytes,
) -> tuple[bytes, ...]:
    keys = [mark]
    for shard in shards:
        keys += (archived_key(shard), event_stream(shard), tag_key(shard))
    ours = [cursors.get(event_stream(shard), START) for shard in shards]
    return (
        *(b"EVAL", _EXAMINE, b"%d" % len(keys), *keys),
        *(layout.generation, layout.tag, told, *ours),
    )
