"""Buckets of layouts that are no longer used: noted beside the layout, then removed.

Noted before anything else is done, so that a rebuild which was killed leaves none behind
that nobody knows of.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from gateway.register.layout import META, SHARDS, Layout
from gateway.register.rebuild_script import Steps

_UNLINKED = 1000


class Litter:
    """The buckets that rebuilds have left or given up."""

    def __init__(self, steps: Steps, key_ids: Sequence[bytes]) -> None:
        """Take what runs commands, and the live keys' ids."""
        self._steps = steps
        self._key_ids = key_ids

    async def throw_away(self, layout: Layout) -> None:
        """Note that a layout is used no longer; :meth:`clear` removes its buckets."""
        names = {*await self._noted(), b"%d.%d" % (layout.turn, layout.bits)}
        await self._steps.one((b"HSET", META, b"litter", b" ".join(sorted(names))))

    async def clear(self, used: Layout) -> None:
        """Remove what was noted, but for the layout that is used."""
        noted = await self._noted()
        for name in noted:
            turn, bits = map(int, name.split(b"."))
            if (turn, bits) == (used.turn, used.bits):
                continue
            for shard in range(SHARDS):
                await self.unlink(Layout(bits, turn), shard)
        if noted:
            await self._steps.one((b"HDEL", META, b"litter"))

    async def unlink(self, layout: Layout, shard: int) -> None:
        """Remove a shard's buckets in a layout."""
        keys = [key for key_id in self._key_ids for key in layout.buckets(key_id, shard)]
        for at in range(0, len(keys), _UNLINKED):
            await self._steps.one((b"UNLINK", *keys[at : at + _UNLINKED]))

    async def _noted(self) -> list[bytes]:
        found = cast("bytes | None", await self._steps.one((b"HGET", META, b"litter")))
        return (found or b"").split()
