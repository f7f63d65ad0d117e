"""What stands in a tool's list is taken into the register, by what is new and by the whole.

Each cursor is stored behind what it stands for, so that a crash reads some of it again
and skips none.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import orjson
import structlog

from gateway.clock import Clock, now_ms
from gateway.connector.connector import ToolRefused, ToolUnreadable
from gateway.sync.cursor import Course, CursorSeal
from gateway.sync.intake import Intake, Taken, Via
from gateway.sync.session import Session
from gateway.sync.store import Cursors, SyncStore
from gateway.sync.task import Tasks, Told, Why
from gateway.sync.tool import Tool
from gateway.sync.trail import Trail

log = structlog.get_logger(__name__)

_LAG: Final = 10 * 60_000
"""Milliseconds for which a tool may not list what was put there."""
_STALE: Final = 3_600_000
"""Milliseconds of failing after which a place in a list is given up."""
_ASKED_SINGLY: Final = 500
"""Entries gone from one listing for each of which a person is asked."""
_PORTION: Final = 1000
_PAGES: Final = 1000
"""Pages of what is new that are read before something else has its turn."""


@dataclass(frozen=True, slots=True)
class Listing:
    """A full listing that is under way."""

    cursor: str
    began: int
    trail: Trail = field(default_factory=Trail)

    @classmethod
    def read(cls, text: str) -> Listing | None:
        """What :meth:`text` wrote; None: none is under way.  Older versions kept no trail."""
        if not text:
            return None
        members = orjson.loads(text)
        trail = Trail(*members.get("trail", ()))
        return cls(str(members["cursor"]), int(members["began"]), trail)

    @property
    def text(self) -> str:
        """It as the store keeps it."""
        members = {"cursor": self.cursor, "began": self.began, "trail": [*self.trail]}
        return orjson.dumps(members).decode()


class Puller:
    """Reads tools' lists; raises ToolAway, and as the connector and the intake do."""

    def __init__(
        self,
        store: SyncStore,
        seal: CursorSeal,
        tasks: Tasks,
        intake: Intake,
        clock: Clock = now_ms,
    ) -> None:
        self._store = store
        self._seal = seal
        self._tasks = tasks
        self._intake = intake
        self._clock = clock
        self._paused: dict[str, tuple[str, Trail]] = {}
        """Of each tool that had more that is new than was read at once: where it was left."""

    async def changes(self, tool: Tool, session: Session, cursors: Cursors) -> Taken:
        """Take in what is new since the last time."""
        taken = Taken()
        cursor = self._seal.open(tool.name, Course.PULLED, cursors.sealed_pulled)
        first = cursors.listed is None
        left, trail = self._paused.pop(tool.name, ("", Trail()))
        if left != cursor:
            trail = Trail()
        for _ in range(_PAGES):
            asked = self._clock()
            try:
                page = await session.run(tool.connector.changes(cursor))
            except (ToolUnreadable, ToolRefused):
                if cursor and self._long(cursors):
                    await self._anew(tool)
                raise
            part = await self._intake.take(tool, page.changes, Via.LIST, first=first, asked=asked)
            part.bad += page.bad
            await self._store.count_bad(tool.name, part.bad)
            taken.add(part)
            moved, cursor = page.cursor != cursor, page.cursor
            if moved:
                sealed = self._seal.close(tool.name, Course.PULLED, cursor)
                await self._store.change(tool.name, sealed_pulled=sealed)
            if not page.more:
                break
            if not moved:
                raise _standing()
            trail = trail.on(cursor)
        else:
            self._paused[tool.name] = cursor, trail
        self._tell(tool, taken)
        return taken

    async def listing(self, tool: Tool, session: Session, cursors: Cursors) -> bool:
        """Take in one page of the whole list, from where it was left; whether there is more.

        Of a tool that has no whole list nothing is missed.
        """
        if not tool.holds.lists:
            await self._store.change(tool.name, sealed_listing=b"", listed=self._clock())
            return False
        kept = self._seal.open(tool.name, Course.LISTING, cursors.sealed_listing)
        under_way = Listing.read(kept) or Listing("", self._clock())
        first = cursors.listed is None
        asked = self._clock()
        try:
            page = await session.run(tool.connector.listing(under_way.cursor))
        except (ToolUnreadable, ToolRefused):
            if under_way.cursor and self._long(cursors):
                await self._store.change(tool.name, sealed_listing=b"")
            raise
        taken = await self._intake.take(
            tool, page.changes, Via.LIST, first=first, whole=True, asked=asked
        )
        taken.bad += page.bad
        await self._store.count_bad(tool.name, taken.bad)
        self._tell(tool, taken)
        if page.more:
            if page.cursor == under_way.cursor:
                raise _standing()
            try:
                trail = under_way.trail.on(page.cursor)
            except ToolUnreadable:
                # It is read from its beginning the next time; nothing counts as gone by it.
                await self._read_on(tool, Listing("", self._clock()))
                raise
            await self._read_on(tool, Listing(page.cursor, under_way.began, trail))
            return True
        await self._compare(tool, under_way.began, cursors.anew)
        await self._store.change(tool.name, sealed_listing=b"", listed=under_way.began)
        return False

    def _long(self, cursors: Cursors) -> bool:
        """Whether it has failed for so long that its place may be one the tool forgot."""
        since = cursors.failing_since
        return since is not None and self._clock() - since >= _STALE

    async def _anew(self, tool: Tool) -> None:
        """Ask what is new from a day ago, and let the whole list tell what came before that."""
        log.warning("sync_cursor_given_up", tool=tool.name)
        await self._read_on(tool, Listing("", self._clock()), sealed_pulled=b"")

    async def _read_on(self, tool: Tool, listing: Listing, **more: bytes) -> None:
        """Keep where the whole list is to be read on, together with other cursors."""
        sealed = self._seal.close(tool.name, Course.LISTING, listing.text)
        await self._store.change(tool.name, sealed_listing=sealed, **more)

    async def _compare(self, tool: Tool, began: int, anew: int) -> None:
        """What was known to be in the list and was not seen in it is gone."""
        before, name = began - _LAG, tool.name
        total = await self._store.unseen(name, before, anew)
        if total < _ASKED_SINGLY:
            await self._store.missing(name, before, _ASKED_SINGLY, anew=anew)
        # What only a webhook has told, too: it is put there, and nobody is asked.
        while await self._store.missing(name, before, _PORTION):
            pass
        if total < _ASKED_SINGLY:
            if total:
                log.warning("sync_entries_gone", tool=name, count=total)
            return
        log.error("sync_list_shrank", tool=name, count=total)
        await self._tasks.tell(name, [Told("", f"{total} entries", Why.SHRUNK)])

    def _tell(self, tool: Tool, taken: Taken) -> None:
        if taken.bad:
            log.warning("sync_entries_unreadable", tool=tool.name, count=taken.bad)
        if taken.news or taken.removed:
            log.info("sync_taken", tool=tool.name, news=taken.news, removed=taken.removed)


def _standing() -> ToolUnreadable:
    """A page that is not the last leads to itself.

    Taken for the end, it would make all that is further on count as gone.
    """
    return ToolUnreadable("the tool says that its list goes on, and its cursor stays where it was")
