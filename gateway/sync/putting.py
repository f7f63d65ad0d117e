"""Entries are put into a tool's list, and one that breaks the tool keeps no other from it.

Some tools answer one odd address with a failure of their own (500), again and again.  From
outside that looks as if they were away.  So after a failure entries are put one by one, in
an order of chance: while the tool takes others, what it fails at is put off as what it
refuses is; where it takes none for a while, it is away, and nothing is put off.
"""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from gateway.clock import Clock, now_ms
from gateway.connector.connector import Put, ToolRefused, ToolUnreadable
from gateway.connector.suppression import Suppression
from gateway.settings.sync import ToolKind
from gateway.sync.entry import entry_of
from gateway.sync.owing import Owed
from gateway.sync.session import Session, ToolAway
from gateway.sync.store import Known, SyncStore
from gateway.sync.tool import Tool
from gateway.sync.wanted import as_held

_AWAY: Final = 3
"""Entries that fail one after the other until a tool is held to be away."""
_LATELY: Final = 120.0
"""Seconds for which a tool that took something is held to be there."""


@dataclass(slots=True)
class Work:
    """What is to be put for one contact that is owed, and its wider spelling."""

    owed: Owed
    puts: list[tuple[str, Suppression]] = field(default_factory=list)
    """Each with the digest of its contact."""
    failed: Put | None = None
    until: int | None = None
    """When a consent ends, so that it is to be looked at again (ms)."""


_Item = tuple[Work, str, Suppression]


class Putter:
    """Puts what is to be put; raises RecordsUnavailable."""

    def __init__(self, store: SyncStore, clock: Clock = now_ms) -> None:
        self._store = store
        self._clock = clock
        self._singly: set[str] = set()
        """Tools that failed at several entries at once."""
        self._took: dict[str, float] = {}
        """When they took something last, by the monotonic clock."""

    async def put(self, tool: Tool, session: Session, works: Sequence[Work], since: int) -> None:
        """Put all of it there, and note in each work what was not taken.

        ``since``: when it was looked at what stands there (ms).
        Raises ToolAway, ToolRefused, ToolUnreadable: what was done till then is kept.
        """
        items = [(work, digest, each) for work in works for digest, each in work.puts]
        if tool.name in self._singly:
            await self._one_by_one(tool, session, items, since)
            self._singly.discard(tool.name)
            return
        most = max(1, tool.connector.most)
        for at in range(0, len(items), most):
            try:
                await self._part(tool, session, items[at : at + most], since)
            except (ToolAway, ToolRefused, ToolUnreadable) as error:
                # A folder that cannot be written takes no entry; each would have a file.
                folder = tool.settings.kind is ToolKind.FILE
                if len(items) > 1 and not folder and not _busy(error):
                    self._singly.add(tool.name)
                raise

    async def _one_by_one(
        self, tool: Tool, session: Session, items: list[_Item], since: int
    ) -> None:
        random.shuffle(items)
        took = self._took.get(tool.name)
        takes, failed_at = took is not None and time.monotonic() - took < _LATELY, 0
        waiting: list[tuple[Work, Put]] = []
        for item in items:
            try:
                await self._part(tool, session, [item], since)
            except (ToolAway, ToolRefused, ToolUnreadable) as error:
                failed_at += 1
                if _busy(error) or failed_at == _AWAY:
                    raise
                waiting.append((item[0], Put(False, f"the tool fails at it: {error}")))
                last = error
            else:
                takes, failed_at = True, 0
            if takes:
                for work, result in waiting:
                    work.failed = work.failed or result
                waiting.clear()
        if waiting:
            raise last

    async def _part(self, tool: Tool, session: Session, part: Sequence[_Item], since: int) -> None:
        now = self._clock()
        # Before it is there: what the list then tells of it is known to be ours.
        rows = [
            Known(digest, entry_of(each), each.at, now, now, 0, listed=1)
            for _, digest, each in part
        ]
        await self._store.note(tool.name, rows, since)
        results = await session.run(
            tool.connector.put([as_held(each, tool.holds) for _, _, each in part])
        )
        if len(results) != len(part):
            raise ToolUnreadable(f"{tool.name}: it answers for other entries than were put")
        self._took[tool.name] = time.monotonic()
        # A tool that put us off for minutes dates it when it took it.
        taken = self._clock()
        stands = []
        refused = []
        for (work, _, _), row, result in zip(part, rows, results, strict=True):
            if result.done:
                stands.append(row._replace(put=taken, seen=taken))
            else:
                if work.failed is None or result.final:
                    work.failed = result
                if result.final:
                    refused.append(row)
        await self._store.note(tool.name, stands, since)
        await self._store.forget(tool.name, refused)


def _busy(error: Exception) -> bool:
    """Whether the tool asks for time, and no entry is the cause."""
    return isinstance(error, ToolAway) and error.busy
