"""One logged-in connection to a server: commands out, replies back, in order.

redis-py connects (TLS, login, Sentinel); then the transport is taken over, for the
library's stream layer costs more than the look-up itself.  At most one exchange is
under way.  After a failure, a time-out, a cancellation, or a reply that nobody asked
for, the connection is closed: its place in the dialogue is uncertain, and a reply
may reach the wrong caller otherwise.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Protocol

from hiredis import PushNotification, Reader
from redis._parsers.hiredis import NOT_ENOUGH_DATA
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError

from gateway.deadline import Deadline

_DATA = frozenset({list, bytes, int, float, bool, str, dict, set, type(None)})
"""What replies are but for errors, and for what the server says unasked."""


class SessionLost(ConnectionError):
    """The connection ended before all replies had come."""


class Answer(Protocol):
    """Who hears how an exchange ends, once; an ``asyncio.Future`` is one."""

    def done(self) -> bool:
        """Whether nobody waits any more (a cancelled future)."""

    def set_result(self, replies: list[Any], /) -> None:
        """Take one reply for each command; an error reply is an exception among them."""

    def set_exception(self, error: Exception, /) -> None:
        """Take SessionLost, TimeoutError, or RedisError for octets that are no replies."""


class Session(asyncio.Protocol):
    """A connection that redis-py has opened; made by :meth:`take_over`."""

    def __init__(
        self,
        transport: asyncio.Transport,
        reader: Reader,
        keep: object,
        ended: Callable[[Session], None],
    ) -> None:
        """For :meth:`take_over`; ``keep`` lives as long as the session."""
        self._transport = transport
        self._reader = reader
        # A stream writer that is collected closes its transport.
        self._keep = keep
        self._ended = ended
        self._loop = asyncio.get_running_loop()
        self._answer: Answer | None = None
        self._wanted = 0
        self._replies: list[Any] = []
        self._lost = False
        self.run = b""
        """The run id of the server process, where it was asked for it."""
        self._deadline = Deadline(self._loop, self._late)

    @classmethod
    def take_over(cls, connection: AbstractConnection, ended: Callable[[Session], None]) -> Session:
        """Take the transport of a connection that has just been made.

        ``ended`` is called after each exchange, before its answer is given.  Raises
        RedisError when something is there to be read already.
        """
        made: Any = connection
        writer, stream, reader = made._writer, made._reader, made._parser._reader
        if stream._buffer or reader.has_data():
            raise RedisError("the server spoke unasked")
        session = cls(writer.transport, reader, writer, ended)
        session._transport.set_protocol(session)
        # The library's object is an empty shell from here on.
        made._parser.on_disconnect()
        made._writer = made._reader = None
        return session

    @property
    def usable(self) -> bool:
        """Whether another exchange may begin."""
        return not self._lost and self._answer is None and not self._transport.is_closing()

    def begin(self, packed: bytes, count: int, within: float, answer: Answer) -> None:
        """Send packed commands; ``answer`` hears of their ``count`` replies.

        It hears TimeoutError when they are not complete after ``within`` seconds,
        and SessionLost at once when the connection is lost already.
        """
        self._answer, self._wanted, self._replies = answer, count, []
        if self._lost:
            self._fail(SessionLost("the connection was lost"))
            return
        self._deadline.arm(within)
        try:
            self._transport.write(packed)
        except RuntimeError:  # uvloop's word for a transport that is closed
            self._fail(SessionLost("the connection was lost"))

    async def exchange(self, packed: bytes, count: int, within: float) -> list[Any]:
        """Send packed commands and return their replies; an error reply is an exception.

        Raises SessionLost, TimeoutError after ``within`` seconds, RedisError for
        octets that are no replies.
        """
        waiter: asyncio.Future[list[Any]] = self._loop.create_future()
        self.begin(packed, count, within, waiter)
        try:
            return await waiter
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End the connection; an exchange under way hears SessionLost."""
        self._fail(SessionLost("the connection was closed"))

    # Part of asyncio.Protocol

    def data_received(self, data: bytes) -> None:
        """Collect the replies of the exchange."""
        answer = self._answer
        if answer is None or answer.done():
            self.close()
            return
        reader, replies = self._reader, self._replies
        reader.feed(data)
        try:
            replies.extend(iter(reader.gets, NOT_ENOUGH_DATA))
        except RedisError as error:
            self._fail(error)
            return
        wanted = self._wanted
        if len(replies) < wanted:
            return
        if not _DATA.issuperset(map(type, replies)) and not self._sorted():
            return
        if len(replies) > wanted or reader.has_data():
            # Nobody asked for the rest.
            del replies[wanted:]
            self._lost = True
            self._transport.abort()
        self._answer = None
        self._deadline.clear()
        self._ended(self)
        answer.set_result(replies)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell whoever waits."""
        self._fail(SessionLost("the server closed the connection"))

    def _sorted(self) -> bool:
        """Leave out what the server says unasked; whether the replies are complete.

        The exchange fails with an error that says that the server is loading, or
        throws us out.
        """
        replies = self._replies
        replies[:] = [reply for reply in replies if type(reply) is not PushNotification]
        for reply in replies[: self._wanted]:
            if isinstance(reply, RedisConnectionError):
                self._fail(reply)
                return False
        return len(replies) >= self._wanted

    def _late(self) -> None:
        self._fail(TimeoutError())

    def _fail(self, error: Exception) -> None:
        self._lost = True
        self._deadline.close()
        self._transport.abort()
        answer, self._answer = self._answer, None
        if answer is not None:
            self._ended(self)
            if not answer.done():
                answer.set_exception(error)
