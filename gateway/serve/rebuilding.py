"""The register's rebuild from the archive, by one process at a time."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Final

from gateway.failure import GatewayError, RegisterUnavailable
from gateway.records.events import EventArchive
from gateway.records.lease import Hold, Lease
from gateway.register.rebuild import Rebuild
from gateway.register.rebuild_script import Disturbed
from gateway.register.rebuilt import Progress, Rebuilt
from gateway.register.register import Register
from gateway.serve.stores import restore_schemes

REBUILDER: Final = b"sg:{rec}:rebuilder"
_LEASE_MS: Final = 30_000
_RENEW_SECONDS: Final = 5.0
_ATTEMPTS: Final = 3
_WITHIN: Final = 30.0
"""Seconds that the register may take for one part of a rebuild."""


class Elsewhere(RegisterUnavailable):
    """Another process rebuilds the register."""


async def rebuild(
    register: Register,
    events: EventArchive,
    key_ids: Sequence[str],
    *,
    bits: int | None = None,
    although_lacking: bool = False,
    progress: Progress | None = None,
) -> Rebuilt:
    """Rebuild the register and see that it is whole.

    Raises Elsewhere when another process does it, InputError when the archive cannot
    rebuild it, RegisterUnavailable, RecordsUnavailable; run again it goes on where it was.
    """
    wire = register.connections.wire
    async with _alone(Lease(wire, REBUILDER, lasts=_LEASE_MS)):
        for attempt in range(1, _ATTEMPTS + 1):
            places = await register.current.refresh()
            await restore_schemes(register, events)
            one = Rebuild(
                *(wire, places, events, key_ids),
                bits=bits,
                adopt=register.schemes.adopt,
                within=_WITHIN,
                progress=progress,
            )
            try:
                done = await one.run(although_lacking=although_lacking)
            except Disturbed:
                if attempt == _ATTEMPTS:
                    raise
                continue
            await register.current.refresh()
            if (await register.current.examine(await events.cursors())).behind:
                if attempt == _ATTEMPTS:
                    break
                continue
            return replace(done)
    raise Disturbed("the register is behind the archive again: it was emptied or replaced anew")


@asynccontextmanager
async def _alone(lease: Lease) -> AsyncIterator[None]:
    """Hold the lease; whoever loses it is cut off."""
    if await lease.hold() is Hold.ELSEWHERE:
        raise Elsewhere("another process rebuilds the register")
    lost = False

    async def renew(owner: asyncio.Task[None]) -> None:
        nonlocal lost
        while True:
            await asyncio.sleep(_RENEW_SECONDS)
            # A register that does not answer now is the rebuild's own failure.
            with contextlib.suppress(GatewayError):
                if await lease.hold() is Hold.ELSEWHERE:
                    lost = True
                    owner.cancel()
                    return

    owner = asyncio.current_task()
    assert owner is not None  # noqa: S101 - a coroutine runs in a task
    renewing = asyncio.create_task(renew(owner), name="rebuild-lease")
    try:
        yield
    except asyncio.CancelledError:
        if lost:
            owner.uncancel()
            raise Elsewhere("another process rebuilds the register") from None
        raise
    finally:
        renewing.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await renewing
        with contextlib.suppress(GatewayError):
            await lease.release()
