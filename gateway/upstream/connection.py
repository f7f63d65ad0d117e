"""One SMTP connection to an upstream: asking, and hearing the answers.

The protocol is a request-and-replies machine: at most one exchange is under way,
it knows how many replies it waits for, and one timer watches its deadline.  What
arrives while no exchange is under way was not asked for (a 421 before the server
closes, or garbage), so the connection is dead and is closed.  After any failure,
time-out or cancellation it is closed as well: a connection whose place in the
dialogue is uncertain is never used again.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Sequence
from typing import cast

from gateway.deadline import Deadline
from gateway.upstream.failure import ConnectionFailed
from gateway.upstream.target import Target
from gateway.wire.ehlo import Capabilities
from gateway.wire.reply import ProtocolError, Reply, ReplyParser, code_of

_CLOSING = 421
_WRITE_HIGH = 256 * 1024
"""Octets of a body that may wait in our own buffer before the source is paused."""


class Connection(asyncio.Protocol):
    """The way to one upstream; made and greeted by ``opening.open_connection``."""

    def __init__(self, target: Target, loop: asyncio.AbstractEventLoop) -> None:
        """Not connected yet: see :meth:`connect`."""
        self.target = target
        self.capabilities = Capabilities()
        self.created = loop.time()
        self.expires_at = 0.0
        """When age or idle time say that it should be dropped; set by :meth:`rest`."""
        self.transactions = 0
        """Transactions begun on it."""
        self.fresh = True
        """Whether it has just greeted: then a 421 is news, not the end of a long session."""
        self.needs_reset = False
        """Whether RSET must come before the next MAIL."""
        self.early: Reply | None = None
        """A reply that came while the body was being sent (a refusal, a 421)."""
        self.on_lost: Callable[[Connection], None] | None = None
        """Called once when the connection has gone, whoever ended it."""
        self._loop = loop
        self._transport: asyncio.Transport | None = None
        self._parser = ReplyParser()
        self._failure: ConnectionFailed | None = None
        self._waiter: asyncio.Future[list[Reply]] | None = None
        self._missing = 0
        self._got: list[Reply] = []
        self._deaf = False
        self._listening = False
        self._drained: asyncio.Future[None] | None = None
        self._paused = False
        self._deadline = Deadline(loop, self._late)
        self._patience = 0.0
        self._waiting_for = ""

    # -- life ---------------------------------------------------------------

    async def connect(self, context: ssl.SSLContext | None) -> Reply:
        """Connects, under TLS if there is a context, and returns the greeting.

        Raises :class:`ConnectionFailed` and OSError; then the caller calls :meth:`abort`.
        """
        # The greeting may arrive with the connection: it must be expected before.
        # Its time counts from then on.
        seconds = self.target.timeouts.greeting
        greeting = self.ask(b"", 1, seconds, "the greeting")
        self._deadline.clear()
        await self._connect(context)
        if not greeting.done():
            self._deadline.arm(seconds)
        (reply,) = await greeting
        return reply

    async def _connect(self, context: ssl.SSLContext | None) -> None:
        target, seconds = self.target, self.target.timeouts.connect
        name = (target.server_name or target.host) if context else None
        handshake = 2 * seconds if context else None
        try:
            async with asyncio.timeout(2 * seconds if context else seconds):
                if target.path:
                    await self._loop.create_unix_connection(
                        lambda: self,
                        target.path,
                        ssl=context,
                        server_hostname=name,
                        ssl_handshake_timeout=handshake,
                    )
                else:
                    await self._loop.create_connection(
                        lambda: self,
                        target.host,
                        target.port,
                        ssl=context,
                        server_hostname=name,
                        ssl_handshake_timeout=handshake,
                    )
        except TimeoutError:
            raise ConnectionFailed("no connection in time", silent=True) from None

    async def ask_for_tls(self) -> Reply:
        """The answer to STARTTLS; what follows it in the clear is dropped.

        It may come from anyone (CVE-2011-0411 is this fault on the server side).
        """
        self._deaf = True
        (reply,) = await self.exchange(b"STARTTLS\r\n", 1, self.target.timeouts.command)
        return reply

    async def start_tls(self, context: ssl.SSLContext) -> None:
        """Protects what follows, after a positive answer; raises :class:`ConnectionFailed`."""
        transport = self._transport
        if transport is None or self._failure is not None:
            raise self._failure or ConnectionFailed("the connection was lost")
        seconds = self.target.timeouts.connect
        try:
            async with asyncio.timeout(seconds):
                self._transport = cast(
                    asyncio.Transport,
                    await self._loop.start_tls(
                        transport,
                        self,
                        context,
                        server_hostname=self.target.server_name or self.target.host,
                        ssl_handshake_timeout=seconds,
                    ),
                )
        except TimeoutError:
            transport.abort()
            raise ConnectionFailed("no TLS handshake in time", silent=True) from None
        except BaseException:
            transport.abort()
            raise
        self._parser = ReplyParser()
        self._deaf = False

    @property
    def usable(self) -> bool:
        """Whether nothing is known against using it for one more transaction."""
        transport = self._transport
        return (
            self._failure is None
            and self._waiter is None
            and transport is not None
            and not transport.is_closing()
        )

    def rest(self, now: float) -> bool:
        """Unused from now on; returns whether it is good for one more transaction."""
        target = self.target
        limits = target.timeouts
        self.expires_at = end = min(self.created + limits.age, now + limits.idle)
        return now < end and self.transactions < target.max_messages and self.usable

    def close(self) -> None:
        """Says QUIT, as far as it can be said, and closes without waiting."""
        if self.usable and self._transport is not None:
            self._transport.write(b"QUIT\r\n")
            self._deaf = True
            self._transport.close()
        self._fail(ConnectionFailed("the connection was closed here"), abort=False)

    def abort(self) -> None:
        """Cuts the connection at once; the upstream drops the unfinished transaction."""
        self._fail(ConnectionFailed("the connection was cut here"))

    # -- exchanges ------------------------------------------------------------

    def ask(
        self, commands: bytes, count: int, seconds: float, name: str = "a reply"
    ) -> asyncio.Future[list[Reply]]:
        """Writes commands; the future gets their ``count`` replies, ``seconds`` for each.

        The list is shorter only if its last reply is a 421: the upstream is
        closing, no other reply will come, and the connection is dead.  The future
        gets :class:`ConnectionFailed`, with the replies that did come, if it fails
        while they are waited for; it need not be awaited.  Who waits for it calls
        :meth:`abort` whatever is raised there: after a cancellation nobody knows which
        reply comes next.  Raises :class:`ConnectionFailed` if it is gone already.
        """
        if self._failure is not None or self._waiter is not None:
            self.require_open()
            raise RuntimeError("an exchange is already under way on this connection")
        self._waiter = waiter = self._loop.create_future()
        self._missing = count
        self._listening = False
        self._patience = seconds
        self._waiting_for = name
        self._deadline.arm(seconds)
        transport = self._transport
        if transport is not None:
            transport.write(commands)
        return waiter

    async def exchange(
        self, commands: bytes, count: int, seconds: float, name: str = "a reply"
    ) -> list[Reply]:
        """:meth:`ask`, and waits."""
        waiter = self.ask(commands, count, seconds, name)
        try:
            return await waiter
        except BaseException:
            self.abort()
            raise

    async def converse(
        self, commands: Sequence[bytes], seconds: float, name: str = "a reply"
    ) -> list[Reply]:
        """Like :meth:`exchange`, one command at a time (no PIPELINING)."""
        replies: list[Reply] = []
        for command in commands:
            try:
                replies += await self.exchange(command, 1, seconds, name)
            except ConnectionFailed as failure:
                failure.replies = (*replies, *failure.replies)
                raise
            if replies[-1].code == _CLOSING:
                break
        return replies

    # -- the body -------------------------------------------------------------

    def begin_body(self) -> None:
        """From here until :meth:`ask` a reply is early, not unsolicited.

        Raises :class:`ConnectionFailed` if the connection is gone.
        """
        if self._failure is not None:
            self.require_open()
        self._listening = True
        self.early = None

    def require_open(self) -> None:
        """Raises :class:`ConnectionFailed` if the connection is gone."""
        if self._failure is not None:
            raise ConnectionFailed(str(self._failure))

    def write(self, chunk: bytes) -> bool:
        """Hands a chunk to the transport; False asks to :meth:`drain` before the next."""
        if self._transport is not None and self._failure is None:
            self._transport.write(chunk)
        return not self._paused

    async def drain(self, seconds: float) -> None:
        """Waits until the upstream has taken enough; raises :class:`ConnectionFailed`."""
        if not self._paused or self._failure is not None or self.early is not None:
            return
        self._drained = self._loop.create_future()
        self._arm(seconds, "the upstream to take the body")
        try:
            await self._drained
        except BaseException:
            self.abort()
            raise
        finally:
            self._drained = None

    # -- asyncio.Protocol -----------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Part of asyncio.Protocol."""
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=_WRITE_HIGH)
        if self._failure is not None:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """Part of asyncio.Protocol."""
        try:
            replies = self._parser.feed(data)
        except ProtocolError as error:
            self._take(list(error.replies))
            if not self._deaf:
                self._fail(ConnectionFailed(f"no SMTP: {error}"))
            return
        waiter = self._waiter
        if (
            waiter is None
            or len(replies) != self._missing
            or _CLOSING in map(code_of, replies)
            or self._got
            or waiter.done()
        ):
            self._take(replies)
        else:
            # The usual answer: all that was waited for, in one piece.
            self._waiter = None
            waiter.set_result(replies)

    def _take(self, replies: list[Reply]) -> None:
        waiter = self._waiter
        if waiter is None or waiter.done():
            self._overhear(replies)
            return
        closing = next((i for i, reply in enumerate(replies) if reply.code == _CLOSING), None)
        if closing is not None and closing < self._missing:
            self._answer(waiter, replies[: closing + 1])
            self._fail(ConnectionFailed("the upstream is closing (421)"))
        elif len(replies) >= self._missing:
            self._answer(waiter, replies[: self._missing])
            self._overhear(replies[self._missing :])
        elif replies:
            self._got += replies
            self._missing -= len(replies)
            # Each reply of a burst has the whole time, counted from the one before.
            self._deadline.arm(self._patience)

    def _answer(self, waiter: asyncio.Future[list[Reply]], replies: list[Reply]) -> None:
        """Ends the exchange with what has come of it before and these."""
        self._waiter = None
        waiter.set_result(self._got + replies)
        self._got = []

    def _overhear(self, replies: list[Reply]) -> None:
        """Takes replies that nobody has asked for."""
        if not replies or self._deaf:
            return
        if not self._listening:
            self._fail(ConnectionFailed(f"an unsolicited reply ({replies[0].code})"))
            return
        self.early = self.early or replies[0]
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        """Part of asyncio.Protocol."""
        cause = type(exc).__name__ if exc is not None else "end of stream"
        self._fail(ConnectionFailed(f"the upstream hung up: {cause}"))

    def pause_writing(self) -> None:
        """Part of asyncio.Protocol."""
        self._paused = True

    def resume_writing(self) -> None:
        """Part of asyncio.Protocol."""
        self._paused = False
        if self._drained is not None and not self._drained.done():
            self._drained.set_result(None)

    # -- deadline and failure ---------------------------------------------------

    def _arm(self, seconds: float, name: str) -> None:
        self._patience = seconds
        self._waiting_for = name
        self._deadline.arm(seconds)

    def _late(self) -> None:
        # It rings as well where the answer came long ago: nobody takes the time to say so.
        if self._waiter is not None or self._drained is not None:
            self._fail(ConnectionFailed(f"waited too long for {self._waiting_for}", silent=True))

    def _fail(self, failure: ConnectionFailed, *, abort: bool = True) -> None:
        if abort and self._transport is not None:
            self._transport.abort()
        if self._failure is not None:
            return
        self._failure = failure
        self._deadline.close()
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            failure.replies = tuple(self._got)
            waiter.set_exception(failure)
            # Where nobody waits for it any more, asyncio need not complain of that.
            waiter.exception()
        if self._drained is not None and not self._drained.done():
            self._drained.set_exception(failure)
        if self.on_lost is not None:
            self.on_lost(self)
