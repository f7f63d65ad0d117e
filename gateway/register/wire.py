"""Many commands, one write, one reply each: the way to the register's servers.

Replies are paired with requests by order alone, so a connection is used for one
exchange at a time and thrown away whenever an exchange does not end as expected: a
timeout, a cancellation, a server error in the protocol.  A connection is never
returned to use with a reply outstanding.
"""

from __future__ import annotations

import asyncio
import re
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Protocol, cast

from hiredis import Reader, pack_command
from redis._parsers.hiredis import NOT_ENOUGH_DATA
from redis.asyncio import RedisCluster
from redis.asyncio.cluster import PipelineCommand
from redis.asyncio.connection import ConnectionPool
from redis.exceptions import RedisClusterException, RedisError

from gateway.failure import RegisterUnavailable
from gateway.register.layout import META, whole_key
from gateway.register.session import Answer, Session, SessionLost

Command = tuple[bytes, ...]
Found = list[list[bytes | None]]
"""For each question the entry's octets and the bucket's mark."""

_LISTS = frozenset({list})
_SEEN = b":seen"
"""The end of keys that are written to see a replica follow."""
_REPLICATED_WITHIN = 0.5


class Wire(Protocol):
    """What carries commands to the register."""

    async def exchange(self, commands: Sequence[Command], within: float) -> list[Any]:
        """Return one reply per command, in order; an error reply is an exception in it.

        Commands are sent in one write per server.  Raises RegisterUnavailable when
        the replies are not complete within ``within`` seconds; it is then unknown
        which commands took effect.
        """

    async def look_up(
        self, packed: bytes, count: int, within: float, *, anew: bool = False
    ) -> Found:
        """Return what is found for ``count`` questions (see ``register.question``).

        ``anew`` asks on a connection made for it.  Raises RegisterUnavailable as
        :meth:`exchange`, and for any error reply.
        """

    async def look_up_proved(
        self, packed: bytes, count: int, within: float, *, anew: bool = False
    ) -> tuple[Found, bytes]:
        """As :meth:`look_up`; also the run id of the server that answered, if it is one.

        It is known for the first time when a connection is made after this was called.
        """

    sharded: bool
    """Whether shards lie on several servers, each of which must be proved whole."""
    identified: bool
    """Whether each new connection is to learn which server process it has reached."""

    def proofs(self, packed: bytes) -> tuple[bytes, int]:
        """Return the packed proofs that belong behind packed questions, and how many.

        The reply to each is what the server is marked with, and its run id unless the
        session knows it; see ``register.whole``.
        """

    def begin(self, packed: bytes, count: int, within: float, answer: Answer) -> Session | None:
        """Send questions at once; ``answer`` hears all that the session tells.

        None, and nothing was sent, where no connection is free: then
        :meth:`look_up` finds one.
        """

    async def replicated(self, key: bytes, question: Command, within: float) -> object:
        """Ask a key's server once a replica has what it was told before, or half a second on.

        Returns the reply, which may be an error.  Raises as :meth:`exchange`.
        """

    async def aclose(self) -> None:
        """Close the connections."""


# The library's own annotation takes tuples of one member only.
_pack = cast("Callable[[Command], bytes]", pack_command)

_PROOF = b"""\
local run = string.match(redis.call('INFO', 'server'), 'run_id:(%w+)')
return {redis.call('HGET', KEYS[1], 'whole') or '', run}
"""
_PROOF_OF_ALL = _pack((b"HMGET", META, b"whole"))
_run_id = re.compile(rb"^run_id:(\w+)", re.MULTILINE).search
_shards_in = re.compile(rb"\r\nsg:\{s([0-3][0-9a-f])\}").findall


class ServerWire:
    """One server, or the master that Sentinel names.

    redis-py opens the connections; the commands are packed once as octets and the
    replies read by its hiredis parser, which is ten times faster than its command
    layer.
    """

    def __init__(self, pool: ConnectionPool, limit: int) -> None:
        """Take the pool that makes connections, and how many may be in use at once."""
        # Untyped in the library.
        self._pool: Any = pool
        self._free: list[Session] = []
        self._room = limit
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._closed = False
        self.identified = False
        """Whether each new connection asks which server process it has reached."""

    sharded = False

    def proofs(self, packed: bytes) -> tuple[bytes, int]:
        """See :meth:`Wire.proofs`; one is enough."""
        return _PROOF_OF_ALL, 1

    async def exchange(self, commands: Sequence[Command], within: float) -> list[Any]:
        """See :meth:`Wire.exchange`."""
        packed = b"".join([_pack(command) for command in commands])
        replies, _ = await self._send(packed, len(commands), within)
        return replies

    async def look_up(
        self, packed: bytes, count: int, within: float, *, anew: bool = False
    ) -> Found:
        """See :meth:`Wire.look_up`."""
        replies, _ = await self._send(packed, count, within, retry=True, anew=anew)
        return found(replies)

    async def look_up_proved(
        self, packed: bytes, count: int, within: float, *, anew: bool = False
    ) -> tuple[Found, bytes]:
        """See :meth:`Wire.look_up_proved`."""
        replies, run = await self._send(packed, count, within, retry=True, anew=anew)
        return found(replies), run

    async def replicated(self, key: bytes, question: Command, within: float) -> object:
        """See :meth:`Wire.replicated`."""
        replies: list[object] = await self.exchange([*_waited(key, within), question], within)
        return replies[-1]

    def begin(self, packed: bytes, count: int, within: float, answer: Answer) -> Session | None:
        """See :meth:`Wire.begin`."""
        if not self._room or (session := self._idle()) is None:
            return None
        self._room -= 1
        session.begin(packed, count, within, answer)
        return session

    async def aclose(self) -> None:
        """See :meth:`Wire.aclose`."""
        self._closed = True
        while self._free:
            self._free.pop().close()
        await self._pool.aclose()

    async def _send(
        self,
        packed: bytes,
        count: int,
        within: float,
        *,
        retry: bool = False,
        anew: bool = False,
    ) -> tuple[list[Any], bytes]:
        """The replies, and which server process gave them."""
        try:
            if self._room and not anew and (session := self._idle()) is not None:
                # The usual case needs no timer of its own.
                self._room -= 1
                try:
                    return await session.exchange(packed, count, within), session.run
                except SessionLost:
                    if not retry:
                        raise
                    # The server may have gone since the connection was last used.
                    anew = True
            async with asyncio.timeout(within):
                session = await self._session(anew)
                return await session.exchange(packed, count, within), session.run
        except (RedisError, OSError) as error:
            raise unavailable(error, within) from error

    async def _session(self, anew: bool) -> Session:
        """Return a session to use once, when there is room for it."""
        if self._room:
            self._room -= 1
        else:
            await self._turn()
        try:
            return (None if anew else self._idle()) or await self._connect()
        except BaseException:
            self._leave()
            raise

    async def _turn(self) -> None:
        """Wait for the room that another exchange leaves."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn
        except BaseException:
            if turn.cancelled():
                self._waiting.remove(turn)
            else:
                self._leave()
            raise

    def _leave(self) -> None:
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._room += 1

    def _idle(self) -> Session | None:
        while self._free:
            session = self._free.pop()
            if session.usable and (session.run or not self.identified):
                return session
            session.close()
        return None

    async def _connect(self) -> Session:
        made: Any = self._pool.make_connection()
        await made.connect()
        run = b""
        if self.identified:
            try:
                await made.send_command("INFO", "server")
                told = await made.read_response()
            except BaseException:
                await made.disconnect(nowait=True)
                raise
            match = _run_id(told.encode() if isinstance(told, str) else told)
            run = match[1] if match is not None else b""
        session = Session.take_over(made, self._ended)
        session.run = run
        return session

    def _ended(self, session: Session) -> None:
        """Take back a session whose exchange is over, and the room it took."""
        if self._closed:
            session.close()
        elif session.usable:
            self._free.append(session)
        self._leave()


_GONE = (RedisError, RedisClusterException, OSError, AttributeError)
"""A Cluster's client closes connections of nodes that left while others write on them: the
library then finds no stream to write to (AttributeError)."""


class ClusterWire:
    """A Cluster: redis-py's cluster client routes every command to its slot's node."""

    def __init__(self, client: RedisCluster, limit: int) -> None:
        """Take the client, and how many exchanges may run at once."""
        self._client = client
        self._slots = asyncio.Semaphore(limit)

    sharded = True
    identified = False

    def proofs(self, packed: bytes) -> tuple[bytes, int]:
        """See :meth:`Wire.proofs`; one for each shard that is asked."""
        shards = {int(shard, 16) for shard in _shards_in(packed)}
        proofs = [_pack((b"EVAL", _PROOF, b"1", whole_key(shard))) for shard in shards]
        return b"".join(proofs), len(proofs)

    async def exchange(self, commands: Sequence[Command], within: float) -> list[Any]:
        """See :meth:`Wire.exchange`."""
        try:
            async with asyncio.timeout(within), self._slots:
                pipeline = self._client.pipeline()
                for command in commands:
                    pipeline.execute_command(command[0].decode(), *command[1:])
                replies: list[Any] = await pipeline.execute(raise_on_error=False)
                return replies
        except _GONE as error:
            raise unavailable(error, within) from error

    async def look_up(
        self, packed: bytes, count: int, within: float, *, anew: bool = False
    ) -> Found:
        """See :meth:`Wire.look_up`."""
        # A command is an array of strings, which the parser of replies reads as well.
        reader = Reader(notEnoughData=NOT_ENOUGH_DATA)
        reader.feed(packed)
        return found(await self.exchange(list(iter(reader.gets, NOT_ENOUGH_DATA)), within))

    async def look_up_proved(
        self, packed: bytes, count: int, within: float, *, anew: bool = False
    ) -> tuple[Found, bytes]:
        """See :meth:`Wire.look_up_proved`; here each proof tells of its own server."""
        return await self.look_up(packed, count, within), b""

    async def replicated(self, key: bytes, question: Command, within: float) -> object:
        """See :meth:`Wire.replicated`."""
        commands = [
            PipelineCommand(place, *command)
            for place, command in enumerate([*_waited(key, within), question])
        ]
        try:
            async with asyncio.timeout(within), self._slots:
                node: Any = self._client.get_node_from_key(key.decode())
                # On one connection: WAIT is about what its own connection wrote.
                await node.execute_pipeline(commands)
        except _GONE as error:
            raise unavailable(error, within) from error
        reply: object = commands[-1].result
        return reply

    def begin(self, packed: bytes, count: int, within: float, answer: Answer) -> Session | None:
        """See :meth:`Wire.begin`; here a command's server must be found first."""
        return None

    async def aclose(self) -> None:
        """See :meth:`Wire.aclose`."""
        await self._client.aclose()


def _waited(key: bytes, within: float) -> list[Command]:
    """Return a write beside the key, and the wait for a replica that has it."""
    tag = key.partition(b"}")[0] + b"}"
    milliseconds = int(1000 * min(_REPLICATED_WITHIN, within / 2))
    return [(b"SET", tag + _SEEN, b"1"), (b"WAIT", b"1", b"%d" % max(milliseconds, 1))]


def found(replies: list[Any]) -> Found:
    """Return the replies to questions.

    Raises RegisterUnavailable for an error among them.
    """
    if not _LISTS.issuperset(map(type, replies)):
        name = next(type(reply).__name__ for reply in replies if type(reply) is not list)
        raise RegisterUnavailable(f"the register answered with an error ({name})")
    return replies


def unavailable(error: Exception, within: float) -> RegisterUnavailable:
    """Return what a caller hears of an exchange that failed; the cause is in the text."""
    if isinstance(error, TimeoutError):
        return RegisterUnavailable(f"the register did not answer in {within:g} s")
    return RegisterUnavailable(f"the register cannot be reached ({type(error).__name__})")
