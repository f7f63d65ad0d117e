"""Keeps watch that the register is whole, and has it rebuilt from the archive if not."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import structlog

from gateway.failure import GatewayError, InputError
from gateway.records.events import EventArchive
from gateway.register.layout import SHARDS
from gateway.register.register import Register
from gateway.register.whole import NotWhole, State
from gateway.serve.rebuilding import Elsewhere, rebuild

log = structlog.get_logger(__name__)

_WATCH_SECONDS: Final = 0.5
_RETRY_SECONDS: Final = 0.2
_PAUSE_SECONDS: Final = 5.0
"""Between two tries to rebuild."""


@dataclass(slots=True)
class Watch:
    """What the warden last found, for metrics and ``/readyz``."""

    whole: bool = False
    rebuilding: bool = False
    shards: int = 0
    """Of 64, those that are built."""
    rebuilds: int = 0
    """Rebuilds done since the start."""
    cause: str = "not compared with the archive yet"
    """Why it is not whole; empty if it is."""


class Warden:
    """Compares register and archive twice a second.

    What makes a register count as whole for all look-ups is the mark that comparing
    leaves in it; so a register that is emptied or replaced is refused by its look-ups at
    once, and until the warden has seen to it.
    """

    def __init__(
        self,
        register: Register,
        events: EventArchive,
        key_ids: Sequence[str],
        *,
        rebuilds: bool,
        bits: int | None = None,
    ) -> None:
        """``rebuilds``: by itself, else it waits for the command; into 2**bits buckets."""
        self._register = register
        self._events = events
        self._key_ids = key_ids
        self._rebuilds = rebuilds
        self._bits = bits
        self.watch = Watch()

    async def look(self) -> State | None:
        """Compare once; None where one of the two does not answer."""
        watch = self.watch
        try:
            state = await self._register.current.examine(await self._events.cursors())
            if not (state.whole or state.behind):
                # Whoever archived it further says whether it is whole.
                await self._register.current.require_whole()
        except NotWhole:
            self._not_whole("its events were archived elsewhere; that machine must compare it")
            return state
        except GatewayError as error:
            watch.whole, watch.cause = False, str(error)
            return None
        if state.behind:
            lost = f"{state.count} of {SHARDS} shards lack events that the archive has"
            self._not_whole(f"behind the archive: {lost}")
        else:
            if not watch.whole:
                log.info("register_whole")
            watch.whole, watch.cause = True, ""
        return state

    async def run(self) -> None:
        """Watch, and rebuild what is not whole, until cancelled."""
        while True:
            state = await self.look()
            if state is not None and state.behind and self._rebuilds:
                pause = await self._rebuild()
            else:
                pause = _WATCH_SECONDS if self.watch.whole else _RETRY_SECONDS
            await asyncio.sleep(pause)

    def _not_whole(self, cause: str) -> None:
        watch = self.watch
        if watch.whole or watch.cause != cause:
            log.error("register_not_whole", cause=cause)
        watch.whole, watch.cause = False, cause

    async def _rebuild(self) -> float:
        """Rebuild; returns how long to wait before the next look."""
        watch = self.watch
        watch.rebuilding, watch.shards = True, 0
        log.info("register_rebuilding")
        try:
            done = await rebuild(
                self._register,
                self._events,
                self._key_ids,
                bits=self._bits,
                progress=self._progress,
            )
        except Elsewhere:
            log.info("register_rebuilt_elsewhere")
            return _WATCH_SECONDS
        except InputError as error:
            self._not_whole(str(error))
            return _PAUSE_SECONDS
        except GatewayError as error:
            log.error("register_rebuild_failed", cause=str(error))
            return _RETRY_SECONDS
        finally:
            watch.rebuilding = False
        watch.rebuilds += 1
        log.info(
            "register_rebuilt",
            events=done.events,
            contacts=done.contacts,
            kept=done.kept,
            unreadable=done.unreadable,
            resumed=done.resumed,
        )
        return 0.0

    async def _progress(self, shards: int, _: int) -> None:
        self.watch.shards = shards
