"""One logged-in connection to a server: commands out, replies back, in order.

redis-py connects (TLS, login, Sentinel); then the transport is taken over, for the
library's stream layer costs more than the look-up itself.  At most one exchange is
under way.  After a failure, a time-out, a cancellation, or a reply that nobody asked
for, the connection is closed: its place in the dialogue is uncertain, and a reply
may reach the wrong caller otherwise.
"""

from __future__ import annotations

import asyncio
from typing import Any, cast

from hiredis import PushNotification, Reader
from redis._parsers.hiredis import NOT_ENOUGH_DATA
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

from gateway.deadline import Deadline


class SessionLost(ConnectionError):
    """The connection ended before all replies had come."""


class Session(asyncio.Protocol):
    """A connection that redis-py has opened; made by :meth:`take_over`."""

    def __init__(self, transport: asyncio.Transport, reader: Reader, keep: object) -> None:
        """For :meth:`take_over`; ``keep`` lives as long as the session."""
        self._transport = transport
        self._reader = reader
        # A stream writer that is collected closes its transport.
        self._keep = keep
        self._loop = asyncio.get_running_loop()
        self._waiter: asyncio.Future[list[Any]] | None = None
        self._wanted = 0
        self._replies: list[Any] = []
        self._lost = False
        self._deadline = Deadline(self._loop, self._late)

    @classmethod
    def take_over(cls, connection: AbstractConnection) -> Session:
        """Take the transport of a connection that has just been made.

        Raises RedisError when something is there to be read already.
        """
        made: Any = connection
        writer, stream, reader = made._writer, made._reader, made._parser._reader
        if stream._buffer or reader.has_data():
            raise RedisError("the server spoke unasked")
        session = cls(writer.transport, reader, writer)
        session._transport.set_protocol(session)
        # The library's object is an empty shell from here on.
        made._parser.on_disconnect()
        made._writer = made._reader = None
        return session

    @property
    def usable(self) -> bool:
        """Whether another exchange may begin."""
        return not self._lost and self._waiter is None and not self._transport.is_closing()

    async def exchange(self, packed: bytes, count: int, within: float) -> list[Any]:
        """Send packed commands and return their replies; an error reply is an exception.

        Raises SessionLost, TimeoutError after ``within`` seconds, RedisError for
        octets that are no replies.
        """
        if self._lost:
            raise SessionLost("the connection was lost")
        waiter = self._loop.create_future()
        self._waiter, self._wanted, self._replies = waiter, count, []
        self._deadline.arm(within)
        self._transport.write(packed)
        try:
            return cast("list[Any]", await waiter)
        except BaseException:
            self.close()
            raise
        finally:
            self._waiter = None
            self._deadline.clear()

    def close(self) -> None:
        """End the connection; an exchange under way hears SessionLost."""
        self._transport.abort()
        self._fail(SessionLost("the connection was closed"))

    # Part of asyncio.Protocol

    def data_received(self, data: bytes) -> None:
        """Collect the replies of the exchange."""
        waiter = self._waiter
        if waiter is None or waiter.done():
            self.close()
            return
        reader, replies = self._reader, self._replies
        reader.feed(data)
        try:
            while True:
                reply = reader.gets(False)
                if reply is NOT_ENOUGH_DATA:
                    return
                if type(reply) is PushNotification:
                    continue
                if isinstance(reply, RedisConnectionError):
                    # The server is loading, or throws us out.
                    self._fail(reply)
                    return
                replies.append(reply)
                if len(replies) == self._wanted:
                    break
        except RedisError as error:
            self._fail(error)
            return
        waiter.set_result(replies)
        if reader.has_data():
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell whoever waits."""
        self._fail(SessionLost("the server closed the connection"))

    def _late(self) -> None:
        self._fail(TimeoutError())

    def _fail(self, error: Exception) -> None:
        self._lost = True
        self._deadline.close()
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(error)
