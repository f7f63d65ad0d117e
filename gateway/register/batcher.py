"""Look-ups of concurrent callers in shared round trips.

Whatever waits in the same tick of the loop, or while a trip is under way, goes in
one write.  A caller that is cancelled takes nothing from the others: the trip
belongs to the batcher.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence

from gateway.failure import Overloaded, RegisterUnavailable
from gateway.register.wire import Wire

Place = tuple[bytes, bytes]
Found = list[list[bytes | None]]
_Asked = tuple[Sequence[Place], asyncio.Future[Found], float]
"""The places, whose answer it is, and by when (loop time)."""


class Batcher:
    """Collects look-ups; at most ``lanes`` trips of ``limit`` places run at once.

    A call is never split, so that a trip may exceed the limit by one call's places.
    At most ``waiting`` places wait; further callers hear Overloaded.
    """

    def __init__(
        self,
        wire: Wire,
        timeout: float,
        *,
        lanes: int = 2,
        limit: int = 2048,
        waiting: int = 262_144,
    ) -> None:
        """Take the wire and the seconds that a caller waits for an answer."""
        self._wire = wire
        self._timeout = timeout
        self._lanes = lanes
        self._limit = limit
        self._most = waiting
        self._queue: deque[_Asked] = deque()
        self._sweep: asyncio.TimerHandle | None = None
        self._waiting = 0
        self._trips: set[asyncio.Task[None]] = set()
        self._called = False
        self._closed = False
        self.trips = 0
        """Round trips since the start."""

    async def ask(self, places: Sequence[Place]) -> Found:
        """Return what :meth:`Wire.look_up` returns for the places.

        Raises RegisterUnavailable after the timeout, counted from the call, or
        earlier if the register cannot be reached; Overloaded when too much waits.
        """
        if self._closed:
            raise RegisterUnavailable("the register is closed")
        if self._waiting + len(places) > self._most:
            raise Overloaded(f"more than {self._most} look-ups wait for the register")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Found] = loop.create_future()
        self._queue.append((places, future, loop.time() + self._timeout))
        self._waiting += len(places)
        if len(self._trips) >= self._lanes:
            self._watch(loop)
        elif not self._called:
            self._called = True
            loop.call_soon(self._depart)
        return await future

    async def aclose(self) -> None:
        """End the trips under way; their callers hear RegisterUnavailable."""
        self._closed = True
        for trip in self._trips:
            trip.cancel()
        await asyncio.gather(*self._trips, return_exceptions=True)
        self._fail(list(self._queue), RegisterUnavailable("the register is closed"))
        self._queue.clear()
        self._waiting = 0
        if self._sweep is not None:
            self._sweep.cancel()

    def _watch(self, loop: asyncio.AbstractEventLoop) -> None:
        """See that nobody waits for a lane past his time; one timer, for the oldest."""
        if self._sweep is None and self._queue:
            self._sweep = loop.call_at(self._queue[0][2], self._expire)

    def _expire(self) -> None:
        self._sweep = None
        loop = asyncio.get_running_loop()
        now = loop.time() + 0.001
        late: list[_Asked] = []
        while self._queue and self._queue[0][2] <= now:
            late.append(self._queue.popleft())
            self._waiting -= len(late[-1][0])
        self._fail(late, self._silent())
        self._watch(loop)

    def _silent(self) -> RegisterUnavailable:
        return RegisterUnavailable(f"the register did not answer in {self._timeout:g} s")

    def _depart(self) -> None:
        """Send off what waits, if there is a lane."""
        self._called = False
        if self._closed or not self._queue or len(self._trips) >= self._lanes:
            return
        batch: list[_Asked] = []
        places: list[Place] = []
        while self._queue and len(places) < self._limit:
            asked = self._queue.popleft()
            self._waiting -= len(asked[0])
            if not asked[1].done():
                batch.append(asked)
                places.extend(asked[0])
        if batch:
            self.trips += 1
            trip = asyncio.get_running_loop().create_task(self._trip(batch, places))
            self._trips.add(trip)
            trip.add_done_callback(self._returned)

    def _returned(self, trip: asyncio.Task[None]) -> None:
        self._trips.discard(trip)
        self._depart()

    async def _trip(self, batch: list[_Asked], places: list[Place]) -> None:
        within = batch[0][2] - asyncio.get_running_loop().time()
        if within <= 0:
            self._fail(batch, self._silent())
            return
        try:
            found = await self._wire.look_up(places, within)
        except asyncio.CancelledError:
            self._fail(batch, RegisterUnavailable("the register is closed"))
            raise
        except Exception as error:
            self._fail(batch, error)
            return
        start = 0
        for asked, future, _ in batch:
            end = start + len(asked)
            if not future.done():
                future.set_result(found[start:end])
            start = end

    @staticmethod
    def _fail(batch: list[_Asked], error: Exception) -> None:
        for _, future, _ in batch:
            if not future.done():
                future.set_exception(error)
