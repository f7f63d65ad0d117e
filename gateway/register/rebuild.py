"""The register made anew from its events: those archived, and those still in its streams.

The buckets are written beside those in use, under another turn's names, one shard after
the other.  While that goes on the register is used as it is: look-ups are answered if
it was whole and refused if it was not, and every change is logged.  What is logged
meanwhile is caught up with.  Then look-ups are refused, each shard is turned to the new
buckets in one step that also sees that nothing was logged behind it, and the register is
compared with the archive once more.  So no look-up and no change ever mixes the two.

Every event of one contact is in one stream, and is projected in that stream's order
(:mod:`gateway.register.shardbuild`).  Killed at any point it goes on where it was.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from ulid import ULID

from gateway.failure import InputError, RegisterUnavailable
from gateway.register import rebuild_script as script
from gateway.register.layout import (
    META,
    SHARDS,
    Layout,
    archived_key,
    event_stream,
    hold_key,
    tag_key,
    whole_key,
)
from gateway.register.litter import Litter
from gateway.register.rebuild_script import Steps
from gateway.register.rebuilt import Adopt, History, Progress, Rebuilt
from gateway.register.shardbuild import HELD_MS, Replaced, Shard, ShardBuild
from gateway.register.whole import START
from gateway.register.wire import Wire

_TURNS = 1000


class Rebuild:
    """One rebuild; one at a time, by whoever holds the lease for it."""

    def __init__(
        self,
        wire: Wire,
        layout: Layout,
        history: History,
        key_ids: Sequence[str],
        *,
        bits: int | None = None,
        adopt: Adopt | None = None,
        within: float = 5.0,
        progress: Progress | None = None,
    ) -> None:
        """Take the register's wire and layout, the archive, and the live keys' ids.

        ``bits``: for 2**bits buckets, else as many as there are.  ``adopt`` is told of
        each way of hashing that events in the streams tell of; see
        :meth:`gateway.register.hashed.HashedLists.restore` for those archived.
        """
        self._adopt = adopt
        self._wire = wire
        self._layout = layout
        self._history = history
        self._key_ids = [key_id.encode() for key_id in key_ids]
        self._bits = bits
        self._steps = Steps(wire, within)
        self._litter = Litter(self._steps, self._key_ids)
        self._progress = progress
        self._target = layout
        self._done = Rebuilt(layout.bits)
        self._shards: list[Shard] = []

    async def run(self, *, although_lacking: bool = False) -> Rebuilt:
        """Rebuild all; afterwards the register is to be opened anew and examined.

        Raises InputError when the archive cannot rebuild it, Disturbed when it is to
        be run again, RegisterUnavailable, RecordsUnavailable.
        """
        await self._check(although_lacking=although_lacking)
        await self._begin()
        build = ShardBuild(
            *(self._steps, self._litter, self._history, self._key_ids),
            used=self._layout,
            target=self._target,
            done=self._done,
        )
        for shard in range(SHARDS):
            try:
                self._shards.append(await build.build(shard))
            except Replaced:
                await self._abandon()
                raise
            while build.schemes and self._adopt is not None:
                await self._adopt(build.schemes.pop())
            await self._renew()
            await self._tell(shard + 1)
        await self._turn(build)
        await self._end()
        return self._done

    # -- before and after ------------------------------------------------------------

    async def _check(self, *, although_lacking: bool) -> None:
        lacking = await self._history.lacking()
        if lacking and not although_lacking:
            raise InputError(
                f"the archive lacks the events of {len(lacking)} streams that another machine "
                "archived, so that a register made from it would lack bans: run register "
                "rebuild with the archive that has them all, or with --although-lacking"
            )
        archived = {key_id.encode() for key_id in await self._history.key_ids()}
        if missing := sorted(archived.difference(self._key_ids, [b""])):
            raise InputError(
                f"the archive has events under key {missing[0].decode()}, which the key file "
                "lacks: restore the key file; without that key its bans cannot be found"
            )

    async def _begin(self) -> None:
        """Find what is to be gone on with, or begin."""
        asked = (b"HMGET", META, b"rebuild", b"bits")
        going, now = cast("list[bytes | None]", await self._steps.one(asked))
        bits = self._bits if self._bits is not None else int(now or self._layout.bits)
        self._done.bits = bits
        if going is not None:
            turn, old_bits, generation = going.split(b" ")
            self._target = Layout(int(old_bits), int(turn), generation)
            if int(old_bits) == bits:
                self._done.resumed = True
            else:
                await self._abandon()
        await self._litter.clear(self._layout)
        if not self._done.resumed:
            turn_now = await self._steps.one((b"HINCRBY", META, b"turns", b"1"))
            turn_now = max(turn_now, self._layout.turn + 1)
            self._target = Layout(bits, turn_now, str(ULID()).encode())
            words = b"%d %d %b" % (turn_now, bits, self._target.generation)
            turns = b"%d" % turn_now
            await self._steps.one((b"HSET", META, b"rebuild", words, b"turns", turns))

    async def _abandon(self) -> None:
        """Leave what was built, to be thrown away when it is begun anew."""
        await self._litter.throw_away(self._target)
        await self._steps.one((b"HDEL", META, b"rebuild"))

    async def _turn(self, build: ShardBuild) -> None:
        """Turn every shard to the new buckets."""
        if not self._wire.sharded:
            await self._steps.one((b"HDEL", META, b"whole"))
        for shard in self._shards:
            if shard.turned:
                continue
            mark = whole_key(shard.number) if self._wire.sharded else META
            keys = (
                *(hold_key(shard.number), event_stream(shard.number), tag_key(shard.number)),
                *(archived_key(shard.number), mark),
            )
            for _ in range(_TURNS):
                cursors = await self._history.cursors()
                cursor = cursors.get(event_stream(shard.number), START)
                told = (shard.hold, shard.upto, self._target.tag, cursor)
                if await self._steps.one((b"EVAL", script.TURN, b"5", *keys, *told)):
                    break
                await build.catch_up(shard)
            else:
                raise RegisterUnavailable("the register changes too fast to be rebuilt")

    async def _end(self) -> None:
        old, target = self._layout, self._target
        await self._litter.throw_away(old)
        bits, turn = b"%d" % target.bits, b"%d" % target.turn
        await self._steps.one(
            (b"HSET", META, b"bits", bits, b"turn", turn, b"generation", target.generation)
        )
        await self._steps.one((b"HDEL", META, b"rebuild"))
        await self._steps.all([(b"DEL", hold_key(shard)) for shard in range(SHARDS)])
        await self._litter.clear(target)

    async def _renew(self) -> None:
        holds = [hold_key(shard.number) for shard in self._shards]
        await self._steps.all([(b"PEXPIRE", hold, HELD_MS) for hold in holds])

    async def _tell(self, shards: int) -> None:
        if self._progress is not None:
            await self._progress(shards, self._done.events)
