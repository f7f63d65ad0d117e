"""Many commands, one write, one reply each: the way to the register's servers.

Replies are paired with requests by order alone, so a connection is used for one
exchange at a time and thrown away whenever an exchange does not end as expected: a
timeout, a cancellation, a server error in the protocol.  A connection is never
returned to use with a reply outstanding.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Protocol, cast

from hiredis import pack_command
from redis.asyncio import RedisCluster
from redis.asyncio.connection import ConnectionPool
from redis.exceptions import RedisClusterException, RedisError

from gateway.failure import RegisterUnavailable
from gateway.register.session import Session, SessionLost

Command = tuple[bytes, ...]


class Wire(Protocol):
    """What carries commands to the register."""

    async def exchange(self, commands: Sequence[Command], within: float) -> list[Any]:
        """Return one reply per command, in order; an error reply is an exception in it.

        Commands are sent in one write per server.  Raises RegisterUnavailable when
        the replies are not complete within ``within`` seconds; it is then unknown
        which commands took effect.
        """

    async def look_up(
        self, places: Sequence[tuple[bytes, bytes]], within: float
    ) -> list[list[bytes | None]]:
        """Return for every bucket and field the entry's octets and the bucket's mark.

        Raises RegisterUnavailable as :meth:`exchange`, and for any error reply.
        """

    async def aclose(self) -> None:
        """Close the connections."""


# The library's own annotation takes tuples of one member only.
_pack = cast("Callable[[Command], bytes]", pack_command)

# HMGET bucket field @, as one write (RESP arrays of bulk strings).
_HMGET = b"*4\r\n$5\r\nHMGET\r\n$%d\r\n%b\r\n$%d\r\n%b\r\n$1\r\n@\r\n"


class ServerWire:
    """One server, or the master that Sentinel names.

    redis-py opens the connections; the commands are packed once as octets and the
    replies read by its hiredis parser, which is ten times faster than its command
    layer.
    """

    def __init__(self, pool: ConnectionPool, limit: int) -> None:
        """Take the pool that makes connections, and how many may be open at once."""
        # Untyped in the library.
        self._pool: Any = pool
        self._free: list[Session] = []
        self._slots = asyncio.Semaphore(limit)
        self._closed = False

    async def exchange(self, commands: Sequence[Command], within: float) -> list[Any]:
        """See :meth:`Wire.exchange`."""
        packed = b"".join([_pack(command) for command in commands])
        return await self._send(packed, len(commands), within, retry=False)

    async def look_up(
        self, places: Sequence[tuple[bytes, bytes]], within: float
    ) -> list[list[bytes | None]]:
        """See :meth:`Wire.look_up`."""
        packed = b"".join(
            [_HMGET % (len(bucket), bucket, len(field), field) for bucket, field in places]
        )
        replies = await self._send(packed, len(places), within, retry=True)
        _refuse_errors(replies)
        return replies

    async def aclose(self) -> None:
        """See :meth:`Wire.aclose`."""
        self._closed = True
        while self._free:
            self._free.pop().close()
        await self._pool.aclose()

    async def _send(self, packed: bytes, count: int, within: float, *, retry: bool) -> list[Any]:
        lost = False
        try:
            if not self._slots.locked() and (session := self._idle()) is not None:
                # The usual case needs no timer of its own.
                async with self._slots:
                    try:
                        return await self._trip(session, packed, count, within)
                    except SessionLost:
                        if not retry:
                            raise
                        # The server may have gone since the connection was last used.
                        lost = True
            async with asyncio.timeout(within), self._slots:
                session = (None if lost else self._idle()) or await self._connect()
                return await self._trip(session, packed, count, within)
        except TimeoutError:
            raise RegisterUnavailable(f"the register did not answer in {within:g} s") from None
        except (RedisError, OSError) as error:
            raise RegisterUnavailable(
                f"the register cannot be reached ({type(error).__name__})"
            ) from error

    def _idle(self) -> Session | None:
        while self._free:
            session = self._free.pop()
            if session.usable:
                return session
            session.close()
        return None

    async def _connect(self) -> Session:
        made: Any = self._pool.make_connection()
        await made.connect()
        return Session.take_over(made)

    async def _trip(self, session: Session, packed: bytes, count: int, within: float) -> list[Any]:
        replies = await session.exchange(packed, count, within)
        if self._closed:
            session.close()
        else:
            self._free.append(session)
        return replies


class ClusterWire:
    """A Cluster: redis-py's cluster client routes every command to its slot's node."""

    def __init__(self, client: RedisCluster, limit: int) -> None:
        """Take the client, and how many exchanges may run at once."""
        self._client = client
        self._slots = asyncio.Semaphore(limit)

    async def exchange(self, commands: Sequence[Command], within: float) -> list[Any]:
        """See :meth:`Wire.exchange`."""
        try:
            async with asyncio.timeout(within), self._slots:
                pipeline = self._client.pipeline()
                for command in commands:
                    pipeline.execute_command(command[0].decode(), *command[1:])
                replies: list[Any] = await pipeline.execute(raise_on_error=False)
                return replies
        except TimeoutError:
            raise RegisterUnavailable(f"the register did not answer in {within:g} s") from None
        except (RedisError, RedisClusterException, OSError) as error:
            raise RegisterUnavailable(
                f"the register cannot be reached ({type(error).__name__})"
            ) from error

    async def look_up(
        self, places: Sequence[tuple[bytes, bytes]], within: float
    ) -> list[list[bytes | None]]:
        """See :meth:`Wire.look_up`."""
        commands = [(b"HMGET", bucket, field, b"@") for bucket, field in places]
        replies = await self.exchange(commands, within)
        _refuse_errors(replies)
        return replies

    async def aclose(self) -> None:
        """See :meth:`Wire.aclose`."""
        await self._client.aclose()


def _refuse_errors(replies: list[Any]) -> None:
    for reply in replies:
        if type(reply) is not list:
            raise RegisterUnavailable(
                f"the register answered with an error ({type(reply).__name__})"
            )
