"""The connections to one upstream.

Mutable state: ``_idle`` (usable, in the order they became idle), ``_leased`` (in
somebody's hands), ``_slots`` (the two and those being made, never more than the
target's ``max_connections``) and ``_waiters`` (never more than ``max_waiting``).

A slot that comes free has exactly these ways to go: a connection given back goes
to the first waiter, else to the idle; a connection lost, discarded or refused
leaves its slot to the first waiter, who connects in it, else the slot is gone.
Waiters exist only while there is neither an idle connection nor a free slot.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass

from gateway.failure import Overloaded, UpstreamUnavailable
from gateway.upstream.connection import Connection
from gateway.upstream.failure import ConnectionFailed
from gateway.upstream.opening import open_connection
from gateway.upstream.target import Target, Tls
from gateway.wire.ehlo import Capabilities


@dataclass(frozen=True, slots=True)
class PoolStats:
    """A pool at one moment; the last three count since its start."""

    open: int
    idle: int
    leased: int
    waiting: int
    connects: int
    failures: int
    reused: int


class Pool:
    """Leases connections to one target, the most recently used first."""

    def __init__(self, target: Target, hostname: str) -> None:
        """``hostname`` is what EHLO says.  Reads the target's certificate files."""
        self.target = target
        self.hostname = hostname
        self.capabilities: Capabilities | None = None
        """What the upstream said last, or None while it has said nothing."""
        self._context = target.context() if target.tls is not Tls.NONE else None
        self._idle: list[Connection] = []
        self._leased: set[Connection] = set()
        self._slots = 0
        self._waiters: deque[asyncio.Future[Connection | None]] = deque()
        self._retired = False
        self._reaper: asyncio.TimerHandle | None = None
        self._emptied: asyncio.Future[None] | None = None
        self._connects = self._failures = self._reused = 0

    @property
    def stats(self) -> PoolStats:
        """Numbers for the metrics."""
        return PoolStats(
            open=len(self._idle) + len(self._leased),
            idle=len(self._idle),
            leased=len(self._leased),
            waiting=len(self._waiters),
            connects=self._connects,
            failures=self._failures,
            reused=self._reused,
        )

    @property
    def exhausted(self) -> bool:
        """Whether the next lease would have to wait for another's end."""
        return not self._idle and self._slots >= self.target.max_connections

    def take(self, now: float) -> Connection | None:
        """:meth:`lease` without waiting: an idle connection, or None if there is none.

        ``now`` is the loop's time.
        """
        idle = self._idle
        while idle:
            connection = idle.pop()
            # One that has failed is not here any more: see _lost.
            if now < connection.expires_at:
                self._reused += 1
                self._leased.add(connection)
                return connection
            self._slots -= 1
            connection.close()
        return None

    async def lease(self, timeout: float) -> Connection:
        """A connection for one transaction; ``give_back`` or ``discard`` it.

        Waits at most ``timeout`` seconds for a free one (connecting has its own
        limits).  Raises :class:`Overloaded` when none comes free or too many wait
        already, :class:`ConnectionFailed` when a new one cannot be made.
        """
        connection = self.take(asyncio.get_running_loop().time())
        if connection is not None:
            return connection
        if self._retired:
            raise UpstreamUnavailable("this upstream is being retired")
        if self._slots < self.target.max_connections:
            self._slots += 1
            return await self._connect()
        got = await self._wait(timeout)
        if got is None:
            return await self._connect()
        if got.usable:
            self._reused += 1
            self._leased.add(got)
            return got
        return await self.renew(got)

    async def renew(self, connection: Connection) -> Connection:
        """Cuts a leased connection and leases a new one in its place, without waiting."""
        if connection not in self._leased:
            raise UpstreamUnavailable("the lease has ended")
        self._leased.discard(connection)
        connection.abort()
        return await self._connect()

    def give_back(self, connection: Connection) -> None:
        """Ends a lease; the connection is kept if it is still good."""
        leased = self._leased
        if connection not in leased:
            return
        leased.remove(connection)
        connection.fresh = False
        loop = asyncio.get_running_loop()
        if not connection.rest(loop.time()) or self._retired:
            connection.close()
            self._free_slot()
            return
        if self._waiters and (waiter := self._next_waiter()) is not None:
            leased.add(connection)
            waiter.set_result(connection)
            return
        self._idle.append(connection)
        if self._reaper is None:
            self._reaper = loop.call_later(self.target.timeouts.idle, self._reap)

    def discard(self, connection: Connection) -> None:
        """Ends a lease and cuts the connection."""
        if connection in self._leased:
            self._leased.discard(connection)
            connection.abort()
            self._free_slot()

    async def check(self) -> None:
        """Asks the upstream whether it is there (NOOP); raises as :meth:`lease` does."""
        seconds = self.target.timeouts.command
        connection = await self.lease(seconds)
        try:
            try:
                await connection.exchange(b"NOOP\r\n", 1, seconds)
                connection.require_open()
            except ConnectionFailed:
                # It may only have been idle for too long; a new one has just greeted.
                connection = await self.renew(connection)
        except BaseException:
            self.discard(connection)
            raise
        self.give_back(connection)

    def retire(self) -> None:
        """No new leases; idle connections end now, leased ones when they come back."""
        self._retired = True
        if self._reaper is not None:
            self._reaper.cancel()
            self._reaper = None
        while self._idle:
            self._slots -= 1
            self._idle.pop().close()

    async def aclose(self, grace: float = 5.0) -> None:
        """Retires the pool and cuts what is not back after ``grace`` seconds."""
        self.retire()
        while (waiter := self._next_waiter()) is not None:
            waiter.set_exception(UpstreamUnavailable("this upstream is being closed"))
        if self._slots and grace > 0:
            self._emptied = asyncio.get_running_loop().create_future()
            await asyncio.wait([self._emptied], timeout=grace)
        for connection in tuple(self._leased):
            self.discard(connection)

    # -- slots ------------------------------------------------------------------

    async def _connect(self) -> Connection:
        """Connects in a slot already taken."""
        self._connects += 1
        try:
            connection = await open_connection(self.target, self.hostname, self._context)
        except BaseException as error:
            if not isinstance(error, asyncio.CancelledError):
                self._failures += 1
            self._free_slot()
            raise
        self.capabilities = connection.capabilities
        connection.on_lost = self._lost
        self._leased.add(connection)
        return connection

    async def _wait(self, seconds: float) -> Connection | None:
        """A connection, or None for a slot to connect in."""
        if len(self._waiters) >= self.target.max_waiting:
            raise Overloaded(f"{len(self._waiters)} transactions wait for {self.target.name}")
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[Connection | None] = loop.create_future()
        self._waiters.append(waiter)
        timer = loop.call_later(seconds, self._expire, waiter)
        try:
            return await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                # Cancelled with the answer already under way: pass it on.
                got = waiter.result()
                if got is None:
                    self._free_slot()
                else:
                    self.give_back(got)
            elif waiter in self._waiters:
                self._waiters.remove(waiter)
            raise
        finally:
            timer.cancel()

    def _expire(self, waiter: asyncio.Future[Connection | None]) -> None:
        if not waiter.done():
            self._waiters.remove(waiter)
            waiter.set_exception(Overloaded(f"no connection to {self.target.name} came free"))

    def _next_waiter(self) -> asyncio.Future[Connection | None] | None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                return waiter
        return None

    def _free_slot(self) -> None:
        waiter = self._next_waiter()
        if waiter is not None:
            waiter.set_result(None)
            return
        self._slots -= 1
        if not self._slots and self._emptied is not None and not self._emptied.done():
            self._emptied.set_result(None)

    def _lost(self, connection: Connection) -> None:
        """An idle connection has gone (a leased one is its holder's to discard)."""
        if connection in self._idle:
            self._idle.remove(connection)
            self._free_slot()

    def _reap(self) -> None:
        loop = asyncio.get_running_loop()
        self._reaper = None
        now = loop.time()
        for connection in tuple(self._idle):
            if now >= connection.expires_at:
                self._idle.remove(connection)
                connection.close()
                self._free_slot()
        if self._idle:
            # A hair late, or a rounded clock would find it not yet expired.
            delay = self._idle[0].expires_at - now + 0.01
            self._reaper = loop.call_later(delay, self._reap)
