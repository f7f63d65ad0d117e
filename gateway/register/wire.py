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

from hiredis import PushNotification, pack_command
from redis._parsers.hiredis import NOT_ENOUGH_DATA
from redis.asyncio import RedisCluster
from redis.asyncio.connection import AbstractConnection, ConnectionPool
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisClusterException, RedisError

from gateway.failure import RegisterUnavailable

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

    redis-py opens the connections (TLS, login, Sentinel); the commands are packed
    once as octets and the replies read by its hiredis parser, which is ten times
    faster than its command layer.
    """

    def __init__(self, pool: ConnectionPool, limit: int) -> None:
        """Take the pool that makes connections, and how many may be open at once."""
        # Untyped in the library.
        self._pool: Any = pool
        self._free: list[AbstractConnection] = []
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
            await self._free.pop().disconnect(nowait=True)
        await self._pool.aclose()

    async def _send(self, packed: bytes, count: int, within: float, *, retry: bool) -> list[Any]:
        try:
            async with asyncio.timeout(within), self._slots:
                connection, used = await self._connection()
                try:
                    return await self._trip(connection, packed, count)
                except (RedisError, OSError):
                    # The server may have gone since the connection was last used.
                    if not (retry and used):
                        raise
                connection = await self._connect()
                return await self._trip(connection, packed, count)
        except TimeoutError:
            raise RegisterUnavailable(f"the register did not answer in {within:g} s") from None
        except (RedisError, OSError) as error:
            raise RegisterUnavailable(
                f"the register cannot be reached ({type(error).__name__})"
            ) from error

    async def _connection(self) -> tuple[AbstractConnection, bool]:
        while self._free:
            connection = self._free.pop()
            try:
                # Anything to read between exchanges is the end of the connection, or
                # a reply that nobody may take for his own.
                if not await connection.can_read():
                    return connection, True
            except (RedisError, OSError):
                pass
            await connection.disconnect(nowait=True)
        return await self._connect(), False

    async def _connect(self) -> AbstractConnection:
        made: Any = self._pool.make_connection()
        await made.connect()
        # From here on the exchange's own deadline holds, without a timer per write.
        made.socket_timeout = None
        connection: AbstractConnection = made
        return connection

    async def _trip(self, connection: AbstractConnection, packed: bytes, count: int) -> list[Any]:
        # The connection's parser is used directly: read_response costs a timer per reply.
        parser: Any = connection._parser
        replies: list[Any] = []
        try:
            await connection.send_packed_command(packed, check_health=False)
            get = parser._reader.gets
            while len(replies) < count:
                reply = get(False)
                if reply is NOT_ENOUGH_DATA:
                    await parser.read_from_socket()
                elif isinstance(reply, RedisConnectionError):
                    raise reply  # noqa: TRY301 - the server is loading, or throws us out
                elif type(reply) is not PushNotification:
                    replies.append(reply)
        except BaseException:
            await connection.disconnect(nowait=True)
            raise
        if self._closed:
            await connection.disconnect(nowait=True)
        else:
            self._free.append(connection)
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
