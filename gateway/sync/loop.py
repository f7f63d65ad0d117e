"""One task for each tool, which keeps its list and the register alike.

A tool that fails stops no other: it is tried again with growing pauses, and what is owed
to it waits in the archive.  Several machines may run: one at a time drives a tool, by a
lease.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

import structlog

from gateway.failure import GatewayError
from gateway.records.lease import Hold, Lease
from gateway.records.recorder import Exchange
from gateway.settings.sync import Sync
from gateway.sync.folder import session_of
from gateway.sync.pull import Puller
from gateway.sync.push import Pusher
from gateway.sync.session import Session, ToolAway
from gateway.sync.store import SyncStore
from gateway.sync.tool import Tool

log = structlog.get_logger(__name__)

LEASE_LASTS: Final = 15_000
_RENEW: Final = 5.0
_TICK: Final = 0.5
"""Seconds between two looks at what is owed."""
_ELSEWHERE: Final = 3.0
_RETRY_FIRST, _RETRY_MOST = 1.0, 60.0
_SLICE: Final = 1.0
"""Seconds that a listing goes on before what is owed has its turn."""
_WALK: Final = 1000
"""Contacts that are looked for at once when a tool is new."""
_WITHIN: Final = 5.0


def lease_key(name: str) -> bytes:
    """The key of a tool's lease."""
    return b"sg:{rec}:sync:" + name.encode()


def asked_key(name: str) -> bytes:
    """The key by which somebody asks whoever drives a tool for a round at once."""
    return lease_key(name) + b":asked"


@dataclass(frozen=True, slots=True)
class Hands:
    """What every tool's loop works with."""

    wire: Exchange
    store: SyncStore
    pusher: Pusher
    puller: Puller


async def _nothing() -> None:
    """Where a running gateway archives."""


class _Pace:
    """When something that may fail is tried next."""

    def __init__(self) -> None:
        self.at = 0.0
        self.pause = _RETRY_FIRST
        self.cause = ""

    def good(self, after: float = 0.0) -> None:
        self.at, self.pause, self.cause = time.monotonic() + after, _RETRY_FIRST, ""

    def bad(self, error: GatewayError) -> None:
        asked = error.after if isinstance(error, ToolAway) else 0.0
        pause = max(asked, random.uniform(self.pause / 2, self.pause))  # noqa: S311
        self.at = time.monotonic() + pause
        self.pause = min(2 * self.pause, _RETRY_MOST)
        self.cause = str(error)

    @property
    def due(self) -> bool:
        return time.monotonic() >= self.at


class Drive:
    """Drives one tool; whoever holds its lease does."""

    def __init__(self, hands: Hands, tool: Tool, settings: Sync, session: Session) -> None:
        self.tool = tool
        self._hands = hands
        self._settings = settings
        self._session = session
        self._push = _Pace()
        self._changes = _Pace()
        self._listing = _Pace()
        self._keep = _Pace()
        self._told = ""
        self._answering = False
        self._configured = False

    async def forever(self) -> None:
        """Turn after turn until cancelled."""
        while True:
            pause = await self.turn()
            await asyncio.sleep(pause)

    async def turn(self) -> float:
        """A little of all that is to be done; the seconds until the next turn."""
        try:
            pause = await self._turn()
            self._keep.good()
        except GatewayError as error:
            self._keep.bad(error)
            pause = max(_TICK, self._keep.at - time.monotonic())
        await self._tell()
        if self._answering and (pause or self._cause):
            with suppress(GatewayError):
                await self._hands.store.answered(self.tool.name)
                self._answering = False
        return pause

    async def round(
        self, *, whole: bool = False, archived: Callable[[], Awaitable[object]] = _nothing
    ) -> None:
        """All that there is to be done now; ``whole``: the whole list is read too.

        ``archived`` archives what waits, where no running gateway does.  Raises what
        stands against it, which is kept as well.
        """
        try:
            await self._round(whole, archived)
        except GatewayError as error:
            with suppress(GatewayError):
                await self._hands.store.failed(self.tool.name, str(error))
            raise

    async def _round(self, whole: bool, archived: Callable[[], Awaitable[object]]) -> None:
        store, name = self._hands.store, self.tool.name
        await self._configure()
        await self._catch_up()
        if self.tool.pulls:
            await self._hands.puller.changes(self.tool, self._session, await store.tool(name))
            cursors = await store.tool(name)
            if whole or cursors.listed is None or cursors.listing:
                while await self._hands.puller.listing(
                    self.tool, self._session, await store.tool(name)
                ):
                    pass
            await archived()
            await self._catch_up()
        await store.succeeded(name)

    async def _catch_up(self) -> None:
        store, name = self._hands.store, self.tool.name
        while await store.follow(name):
            pass
        while await store.walk(name, _WALK):
            await self._drain()
        await self._drain()

    async def _drain(self) -> None:
        while (await self._hands.pusher.push(self.tool, self._session)).looked_at:
            pass

    async def _configure(self) -> None:
        """Follow what was changed in the settings, once."""
        if not self._configured:
            store, name = self._hands.store, self.tool.name
            await store.tool(name)
            await store.configured(name, self.tool.marks)
            self._configured = True

    async def _turn(self) -> float:
        store, name = self._hands.store, self.tool.name
        await self._configure()
        cursors = await store.tool(name)
        asked = await self._asked()
        if asked:
            self._answering = True
            for pace in (self._push, self._changes, self._listing):
                pace.good()
        more = await store.follow(name)
        if cursors.walked is not None and not await store.due(name, 1):
            more = await store.walk(name, _WALK) or more
        if self._push.due:
            try:
                pushed = await self._hands.pusher.push(self.tool, self._session)
                self._push.good()
                more = more or bool(pushed.looked_at)
            except GatewayError as error:
                self._push.bad(error)
        if self.tool.pulls:
            more = await self._pull(whole=asked == b"whole") or more
        elif self._changes.due:
            self._changes.good(self._settings.every)
            await self._done()
        return 0.0 if more else _TICK

    async def _pull(self, *, whole: bool) -> bool:
        """Read what is new, and go on with the whole list; whether there is more of that."""
        puller, store, name = self._hands.puller, self._hands.store, self.tool.name
        if self._changes.due:
            try:
                await puller.changes(self.tool, self._session, await store.tool(name))
                self._changes.good(self._settings.every)
            except GatewayError as error:
                self._changes.bad(error)
            else:
                await self._done()
        cursors = await store.tool(name)
        period = self._settings.full_every * 3_600_000
        now = self._hands.store.now()
        wanted = (
            whole or cursors.listing or cursors.listed is None or now - cursors.listed >= period
        )
        if not wanted or not self._listing.due:
            return False
        until = time.monotonic() + _SLICE
        try:
            while await puller.listing(self.tool, self._session, await store.tool(name)):
                if time.monotonic() > until:
                    return True
            self._listing.good()
        except GatewayError as error:
            self._listing.bad(error)
        return False

    async def _asked(self) -> bytes:
        """What somebody asks for, once."""
        command = (b"GETDEL", asked_key(self.tool.name))
        (reply,) = await self._hands.wire.exchange([command], _WITHIN)
        return reply if isinstance(reply, bytes) else b""

    async def _done(self) -> None:
        """Note that all that is new was read."""
        if not self._cause:
            await self._hands.store.succeeded(self.tool.name)

    @property
    def _cause(self) -> str:
        paces = (self._keep, self._push, self._changes, self._listing)
        return next((pace.cause for pace in paces if pace.cause), "")

    async def _tell(self) -> None:
        """Keep why it fails, once for each cause."""
        cause, name = self._cause, self.tool.name
        if cause == self._told:
            return
        if cause:
            log.error("sync_failing", tool=name, cause=cause)
        else:
            log.info("sync_recovered", tool=name)
        with suppress(GatewayError):
            if cause:
                await self._hands.store.failed(name, cause)
            else:
                await self._hands.store.succeeded(name)
            self._told = cause


class Loops:
    """The loops of one process; :meth:`set` gives them the tools of new settings."""

    def __init__(self) -> None:
        self._running: dict[str, asyncio.Task[None]] = {}

    async def set(self, hands: Hands, tools: list[Tool], settings: Sync) -> None:
        """Run these tools' loops from now on, and no others."""
        await self.aclose()
        for tool in tools:
            self._running[tool.name] = asyncio.create_task(
                _run(hands, tool, settings), name=f"sync-{tool.name}"
            )

    async def aclose(self) -> None:
        """End every loop; what a tool was just told is waited for no longer."""
        running, self._running = list(self._running.values()), {}
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


async def _run(hands: Hands, tool: Tool, settings: Sync) -> None:
    lease = Lease(hands.wire, lease_key(tool.name), lasts=LEASE_LASTS)
    pause = _RETRY_FIRST
    while True:
        try:
            if await lease.hold() is not Hold.ELSEWHERE:
                await _hold(hands, tool, settings, lease)
                pause = _RETRY_FIRST
            await asyncio.sleep(_ELSEWHERE)
        except GatewayError as error:
            log.warning("sync_lease_failed", tool=tool.name, cause=str(error))
            await asyncio.sleep(pause)
            pause = min(2 * pause, _RETRY_MOST)
        except Exception:
            log.exception("sync_failed", tool=tool.name)
            await asyncio.sleep(pause)
            pause = min(2 * pause, _RETRY_MOST)


async def _hold(hands: Hands, tool: Tool, settings: Sync, lease: Lease) -> None:
    """Drive the tool while the lease is ours."""
    session = session_of(tool.settings, tool.connector)
    try:
        await renewed(lease, Drive(hands, tool, settings, session).forever())
    finally:
        await session.aclose()
        with suppress(GatewayError):
            await lease.release()


async def renewed(lease: Lease, work: Coroutine[Any, Any, None]) -> bool:
    """Do work while the lease is kept; False where it was lost, and the work cut off."""
    working = asyncio.create_task(work)
    renewing = asyncio.create_task(_renew(lease))
    try:
        await asyncio.wait({working, renewing}, return_when=asyncio.FIRST_COMPLETED)
        finished = working.done()
    finally:
        for task in (working, renewing):
            task.cancel()
        await asyncio.gather(working, renewing, return_exceptions=True)
    if finished:
        working.result()
    return finished


async def _renew(lease: Lease) -> None:
    """Keep the lease; returns when it is lost, or cannot be kept in time."""
    kept = time.monotonic()
    while True:
        await asyncio.sleep(_RENEW)
        try:
            if await lease.hold() is not Hold.KEPT:
                return
            kept = time.monotonic()
        except GatewayError:
            if time.monotonic() - kept > LEASE_LASTS / 1000 - _RENEW:
                return
