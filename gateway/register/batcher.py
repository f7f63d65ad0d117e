"""Look-ups of concurrent callers in shared round trips.

Whatever waits in the same tick of the loop, or while a trip is under way, goes in
one write.  A caller that is cancelled takes nothing from the others: the trip
belongs to the batcher.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from itertools import islice
from operator import itemgetter
from typing import Any

from gateway.failure import Overloaded, RegisterUnavailable
from gateway.register.session import Session, SessionLost
from gateway.register.whole import Proof
from gateway.register.wire import Found, Wire, found, unavailable

_Asked = tuple[bytes, int, asyncio.Future[Found], float]
"""Packed questions, how many they are, whose answer it is, and by when (loop time)."""
_questions: Callable[[_Asked], bytes] = itemgetter(0)
_count: Callable[[_Asked], int] = itemgetter(1)


class Batcher:
    """Collects look-ups; at most ``lanes`` trips of ``limit`` questions run at once.

    A call is never split, so that a trip may exceed the limit by one call's
    questions.  At most ``waiting`` questions wait; further callers hear Overloaded.
    """

    def __init__(
        self,
        wire: Wire,
        timeout: float,
        *,
        lanes: int = 2,
        limit: int = 2048,
        waiting: int = 262_144,
        proof: Proof | None = None,
    ) -> None:
        """Take the wire and the seconds that a caller waits for an answer.

        With a ``proof`` each trip asks whether the register is whole, and where it is
        not its callers hear NotWhole.
        """
        self._loop = asyncio.get_running_loop()
        self._wire = wire
        self._timeout = timeout
        self._lanes = lanes
        self._limit = limit
        self._most = waiting
        self._proof = proof
        self._queue: deque[_Asked] = deque()
        self._sweep: asyncio.TimerHandle | None = None
        self._waiting = 0
        self._trips: set[_Trip] = set()
        self._called = False
        self._closed = False
        self.trips = 0
        """Round trips since the start."""

    def ask(self, packed: bytes, count: int) -> asyncio.Future[Found]:
        """Ask ``count`` questions (see ``register.question``), each answered in order.

        The future hears RegisterUnavailable after the timeout, counted from the
        call, or earlier if the register cannot be reached.  Raises Overloaded when
        too much waits, RegisterUnavailable when closed.
        """
        waiting = self._waiting + count
        if waiting > self._most:
            raise Overloaded(f"more than {self._most} look-ups wait for the register")
        if self._closed:
            raise RegisterUnavailable("the register is closed")
        loop = self._loop
        answer: asyncio.Future[Found] = loop.create_future()
        self._queue.append((packed, count, answer, loop.time() + self._timeout))
        self._waiting = waiting
        if not self._called:
            if len(self._trips) < self._lanes:
                self._called = True
                loop.call_soon(self._depart)
            else:
                self._watch()
        return answer

    async def aclose(self) -> None:
        """End the trips under way; their callers hear RegisterUnavailable."""
        self._closed = True
        tasks = [task for trip in list(self._trips) if (task := trip.end()) is not None]
        await asyncio.gather(*tasks, return_exceptions=True)
        _fail(self._queue, RegisterUnavailable("the register is closed"))
        self._queue.clear()
        self._waiting = 0
        if self._sweep is not None:
            self._sweep.cancel()

    def _watch(self) -> None:
        """See that nobody waits for a lane past his time; one timer, for the oldest."""
        if self._sweep is None and self._queue:
            self._sweep = self._loop.call_at(self._queue[0][3], self._expire)

    def _expire(self) -> None:
        self._sweep = None
        now = self._loop.time() + 0.001
        late: list[_Asked] = []
        while self._queue and self._queue[0][3] <= now:
            late.append(self._queue.popleft())
            self._waiting -= late[-1][1]
        _fail(late, unavailable(TimeoutError(), self._timeout))
        self._watch()

    def _depart(self) -> None:
        """Send off what waits, as far as there are lanes."""
        self._called = False
        queue = self._queue
        while queue and not self._closed:
            if len(self._trips) >= self._lanes:
                self._watch()
                return
            batch = self._boarding()
            if batch:
                self.trips += 1
                trip = _Trip(batch, self._wire, self._returned, self._proof)
                self._trips.add(trip)
                trip.start(batch[0][3] - self._loop.time())

    def _boarding(self) -> list[_Asked]:
        """Take the next trip's callers from the queue."""
        queue = self._queue
        if self._waiting <= self._limit:
            self._waiting = 0
            batch = [asked for asked in queue if not asked[2].done()]
            queue.clear()
            return batch
        batch = []
        count = 0
        while queue and count < self._limit:
            asked = queue.popleft()
            self._waiting -= asked[1]
            if not asked[2].done():
                batch.append(asked)
                count += asked[1]
        return batch

    def _returned(self, trip: _Trip) -> None:
        self._trips.discard(trip)
        self._depart()


class _Trip:
    """One round trip: hears the replies, and tells each caller his.

    A free connection takes it at once, and calls back (``register.session.Answer``).
    A task looks for another connection where none is free, or where the server has
    closed it since it was last used.
    """

    __slots__ = (
        *("_batch", "_count", "_over", "_proof", "_returned"),
        *("_session", "_task", "_wire", "_within"),
    )

    def __init__(
        self,
        batch: list[_Asked],
        wire: Wire,
        returned: Callable[[_Trip], None],
        proof: Proof | None,
    ) -> None:
        self._batch = batch
        self._count = sum(map(_count, batch))
        self._wire = wire
        self._returned = returned
        self._proof = proof
        self._within = 0.0
        self._session: Session | None = None
        self._task: asyncio.Task[None] | None = None
        self._over = False

    def start(self, within: float) -> None:
        """Send the questions, or find a connection first; all is done ``within`` seconds."""
        self._within = within
        if within <= 0:
            self.set_exception(TimeoutError())
            return
        self._session = self._wire.begin(*self._packed(), within, self)
        if self._session is None:
            self._task = asyncio.create_task(self._search(within, anew=False))

    def end(self) -> asyncio.Task[None] | None:
        """Give up; returns a task that ends soon."""
        self._over = True
        if self._task is not None:
            self._task.cancel()
        elif self._session is not None:
            self._session.close()
        return self._task

    # Part of Answer

    def done(self) -> bool:
        """Whether nobody waits: never, for the replies are also counted off."""
        return False

    def set_result(self, replies: list[Any], /) -> None:
        """Tell each caller what his questions found."""
        try:
            entries = found(replies)
            self._prove(entries, b"" if self._session is None else self._session.run)
        except RegisterUnavailable as error:
            self._failed(error)
        else:
            self._told(entries)

    def set_exception(self, error: Exception, /) -> None:
        """Ask again, once, where the connection was lost; else tell the callers."""
        if self._over:
            self._failed(RegisterUnavailable("the register is closed"))
        elif isinstance(error, SessionLost):
            left = self._batch[0][3] - asyncio.get_running_loop().time()
            self._task = asyncio.create_task(self._search(left, anew=True))
        else:
            self._failed(unavailable(error, self._within))

    def _packed(self) -> tuple[bytes, int]:
        """The questions with their proofs behind them, and how many replies there will be."""
        packed = b"".join(map(_questions, self._batch))
        if self._proof is None:
            return packed, self._count
        proofs, count = self._proof.of(packed)
        return packed + proofs, self._count + count

    def _prove(self, entries: Found, run: bytes) -> None:
        """Raise NotWhole unless the proofs, which come last, say that all before them counts."""
        if self._proof is not None:
            self._proof.require(entries[self._count :], run)

    async def _search(self, within: float, *, anew: bool) -> None:
        try:
            packed, count = self._packed()
            entries, run = await self._wire.look_up_proved(packed, count, within, anew=anew)
            self._prove(entries, run)
        except asyncio.CancelledError:
            self._failed(RegisterUnavailable("the register is closed"))
            raise
        except Exception as error:
            self._failed(error)
        else:
            self._told(entries)

    def _told(self, entries: Found) -> None:
        rest = iter(entries)
        for _, count, answer, _ in self._batch:
            part = list(islice(rest, count))
            if not answer.done():
                answer.set_result(part)
        self._returned(self)

    def _failed(self, error: Exception) -> None:
        _fail(self._batch, error)
        self._returned(self)


def _fail(batch: Iterable[_Asked], error: Exception) -> None:
    for _, _, answer, _ in batch:
        if not answer.done():
            answer.set_exception(error)
