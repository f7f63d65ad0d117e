"""The layout that is in use now, and the look-ups in it; another after a rebuild.

Whoever writes is told of the new layout as soon as it is known.  Questions that are under
way then were made for the old buckets, and are refused.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence

from gateway.contacts.digest import KeyRing
from gateway.register.batcher import Batcher
from gateway.register.check import prepare
from gateway.register.connect import Connections
from gateway.register.layout import Layout
from gateway.register.lookup import LookUp
from gateway.register.schemes import Schemes
from gateway.register.whole import Finding, Proof, State, examine, require


class Current:
    """Follows the register from one layout to the next."""

    def __init__(
        self,
        connections: Connections,
        ring: KeyRing,
        places: Layout,
        schemes: Schemes,
        *,
        timeout: float,
        write_timeout: float,
        lanes: int,
        guarded: bool,
    ) -> None:
        """See :meth:`gateway.register.register.Register.open`."""
        self._connections = connections
        self._ring = ring
        self._schemes = schemes
        self._timeout = timeout
        self._within = write_timeout
        self._lanes = lanes
        self._guarded = guarded
        self._writers: Sequence[Callable[[Layout], None]] = ()
        self._earlier_trips = self._earlier_contacts = 0
        self._refreshing: asyncio.Task[Layout] | None = None
        self._take(places)

    def tell(self, *writers: Callable[[Layout], None]) -> None:
        """Call these with each layout that is in use from then on."""
        self._writers = writers

    def _take(self, places: Layout) -> None:
        """Look up in this layout from now on."""
        wire = self._connections.wire
        proof = Proof(wire, places.generation, self._doubt) if self._guarded else None
        self.places = places
        """Where entries are."""
        self._schemes.forget()
        self._batcher = Batcher(wire, self._timeout, lanes=self._lanes, proof=proof)
        self.look_up = LookUp(self._batcher, self._ring, places, self._schemes)
        """Looks up in it."""
        for turn in self._writers:
            turn(places)

    def _doubt(self, _: bytes) -> None:
        """See whether the register was rebuilt or emptied, in a task of our own."""
        if self._refreshing is None:
            task = asyncio.create_task(self._read_again(), name="register-refresh")
            self._refreshing = task
            task.add_done_callback(self._refreshed)

    def _refreshed(self, task: asyncio.Task[Layout]) -> None:
        self._refreshing = None
        if not task.cancelled():
            task.exception()  # the next look-up is told, and tries again

    async def refresh(self) -> Layout:
        """Read the register's layout again; returns it.

        Raises as :meth:`gateway.register.register.Register.open`.
        """
        self._doubt(b"")
        task = self._refreshing
        if task is None:
            return self.places
        return await asyncio.shield(task)

    async def _read_again(self) -> Layout:
        places = await prepare(self._connections, self._ring, None, self._within)
        known = self.places
        if (places.generation, places.tag) != (known.generation, known.tag):
            old = self._batcher
            self._earlier_trips += old.trips
            self._earlier_contacts += self.look_up.contacts
            self._take(places)
            await old.aclose()
        return places

    async def examine(self, cursors: Mapping[bytes, bytes]) -> State:
        """Compare the register with the archive; see :func:`gateway.register.whole.examine`.

        A register that is whole is marked so, one that is not loses its mark.
        """
        wire = self._connections.wire
        state = await examine(wire, self.places, cursors, self._within)
        if Finding.ANOTHER in state.found or Finding.REBUILT in state.found:
            await self.refresh()
            state = await examine(wire, self.places, cursors, self._within)
        return state

    async def require_whole(self) -> None:
        """Raise NotWhole unless look-ups are answered, RegisterUnavailable as they do."""
        await require(self._connections.wire, self.places, self._within)

    @property
    def trips(self) -> int:
        """Round trips for look-ups since the start."""
        return self._earlier_trips + self._batcher.trips

    @property
    def looked_up(self) -> int:
        """Contacts looked up since the start."""
        return self._earlier_contacts + self.look_up.contacts

    async def aclose(self) -> None:
        """Look-ups under way hear RegisterUnavailable."""
        if self._refreshing is not None:
            self._refreshing.cancel()
        await self._batcher.aclose()
