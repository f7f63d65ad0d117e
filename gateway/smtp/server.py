"""The SMTP server: one instance per client connection, on aiosmtpd.

Kept from aiosmtpd: the protocol object and its life cycle, its Session, the STARTTLS
handshake.  Replaced: its command loop (a task switch, a log call and a write per
line), its DATA loop (a line at a time), its streams and its per-connection set-up
(``inspect`` over itself).

What has arrived is taken at once, where it arrives: commands that need no waiting
and the octets of a body never wake a task.  What must wait (a register, an upstream,
a handshake) is the session's one task's, and what arrives meanwhile lies in the
inbox.  All replies to one burst leave in one write.  What the commands do is
:mod:`gateway.smtp.dialogue`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

import structlog
from aiosmtpd.smtp import SMTP, TLSSetupException

from gateway.deadline import Deadline
from gateway.smtp import replies
from gateway.smtp.dialogue import Dialogue
from gateway.smtp.limit import TooManyConnections
from gateway.smtp.link import READ, ClientGone, Conversation
from gateway.smtp.listener import Listener

log = structlog.get_logger(__name__)

_LINGER = 5.0
"""Seconds a closed connection may take to send what was said last."""
_WRITE_HIGH = 64 * 1024
"""Octets of replies that may wait for a client to read them."""


class Server(SMTP):
    """One client connection; the :class:`~gateway.smtp.link.Link` of its dialogue.

    Memory: in the inbox lie at most ``READ`` octets and one more read of the
    loop's (256 KiB); the message itself is the :class:`~gateway.smtp.spool.Spool`'s.
    """

    line_length_limit = READ

    def __init__(self, listener: Listener, *, implicit_tls: bool = False) -> None:
        # Not SMTP.__init__: it inspects itself and its handler for every connection,
        # which costs more than a whole small message.  What its kept methods use is
        # set here instead.
        settings = listener.site.settings.smtp
        self.loop = loop = asyncio.get_running_loop()
        self.event_handler = None
        self.hostname = settings.hostname
        self.tls_context = None if implicit_tls else listener.tls_context
        self.session = None
        self.envelope = None
        self.transport = None
        self._handle_hooks: dict[str, Any] = {}
        self._tls_protocol = None
        self._original_transport = None
        self._handler_coroutine = None
        self._listener = listener
        self._implicit_tls = implicit_tls
        self._peer_address = ""
        self._idle_timeout = settings.idle_timeout
        self._deadline = Deadline(loop, self._late)
        self._inbox: list[bytes] = []
        self._inbox_size = 0
        self._reading_paused = False
        self._ended_by_client = False
        self._lost = False
        self._waiter: asyncio.Future[None] | None = None
        """What the session's task waits for: octets, or room to write."""
        self._between = False
        """Whether the task waits for the next burst; what arrives is then taken at once."""
        self._out: list[bytes] = []
        self.say: Callable[[bytes], None] = self._out.append
        """Add a reply to those that leave with the next flush."""
        self._write: Callable[[bytes], None] = _nowhere
        self._writing_paused = False
        self._dialogue: Conversation | None = None

    # -- asyncio.Protocol ---------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin the session; called again with the TLS transport after STARTTLS."""
        if self._tls_protocol is not None:
            self.session = self._create_session()
            self.session.ssl = self._tls_protocol._extra
            self._adopt(cast(asyncio.WriteTransport, transport))
            # RFC 3207 section 4.2: nothing said in clear counts after the handshake.
            self._inbox.clear()
            self._inbox_size = 0
            return
        # uvloop's transports are instances of no class of asyncio's.
        both_ways = cast(asyncio.WriteTransport, transport)
        self._adopt(both_ways)
        self.session = self._create_session()
        self.session.peer = transport.get_extra_info("peername")
        both_ways.set_write_buffer_limits(high=_WRITE_HIGH)
        self._handler_coroutine = self.loop.create_task(self._handle_client())

    def _adopt(self, transport: asyncio.WriteTransport) -> None:
        self.transport = transport
        self._write = transport.write

    def data_received(self, data: bytes) -> None:
        """Take what arrives, as far as it needs no waiting."""
        if not self._between:
            self._inbox.append(data)
            self._inbox_size += len(data)
            if self._inbox_size > READ:
                self._pause_reading()
            # Nobody waits for octets while he waits for room to write.
            if not self._writing_paused:
                self._wake()
            return
        self._between = False
        dialogue = cast(Conversation, self._dialogue)
        try:
            waits = dialogue.advance(data)
        except Exception as error:
            self._wake(error)
            return
        if waits:
            self._wake()
            return
        self._between = True
        self._deadline.arm(dialogue.patience)
        self._send()

    def eof_received(self) -> bool:
        """Half-closed: answer what has been asked, then end (aiosmtpd would cancel)."""
        self._ended_by_client = True
        if not self._writing_paused:
            self._wake()
        return self._tls_protocol is None and not self._implicit_tls

    def connection_lost(self, error: Exception | None) -> None:
        """The task ends by itself; a hand-over that has begun is finished first."""
        self._lost = self._ended_by_client = True
        if self._original_transport is not None:
            self._original_transport.close()
        self.transport = None
        self._write = _nowhere
        self._deadline.close()
        self._wake()

    def pause_writing(self) -> None:
        """The client does not read: nothing more is done for it until it does."""
        self._writing_paused = True
        if self._between:
            self._wake()

    def resume_writing(self) -> None:
        """The client has read."""
        self._writing_paused = False
        self._wake()

    def _wake(self, error: Exception | None = None) -> None:
        self._between = False
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            if error is None:
                waiter.set_result(None)
            else:
                waiter.set_exception(error)

    def _late(self) -> None:
        self._wake(TimeoutError())

    async def _wait(self, within: float) -> None:
        """Until something changes; raises TimeoutError."""
        self._waiter = self.loop.create_future()
        self._deadline.arm(within)
        await self._waiter

    # -- the session --------------------------------------------------------------

    async def push(self, status: str | bytes) -> None:
        """Send the one reply that is aiosmtpd's own, to STARTTLS."""
        self.say((status.encode() if isinstance(status, str) else status) + b"\r\n")
        await self.flush()

    async def _handle_client(self) -> None:
        listener = self._listener
        transport = self.transport
        if transport is None:
            return
        if not listener.limits.connect():
            listener.site.metrics.fault("connections")
            self._last_words(replies.line(TooManyConnections("all connections taken")))
            transport.close()
            return
        listener.sessions.add(self)
        try:
            await self._serve(_address(transport))
        finally:
            self._between = False
            listener.sessions.discard(self)
            listener.limits.disconnect()
            if self._dialogue is not None:
                self._dialogue.end()
            self._deadline.close()
            if self.transport is not None:
                self.transport.close()
                if cast(asyncio.WriteTransport, transport).get_write_buffer_size():
                    # Whoever does not read the last words does not hold us up with them.
                    self.loop.call_later(_LINGER, self.drop)

    def _converse(self, address: str) -> Conversation:
        """What the client is talked to with; another listener's server has its own."""
        return Dialogue(self._listener, self, address)

    async def _serve(self, address: str) -> None:
        """The whole dialogue; whatever ends it early is told where it can be."""
        try:
            self._peer_address = address
            dialogue = self._dialogue = self._converse(address)
            dialogue.welcome()
            while True:
                step, dialogue.step = dialogue.step, None
                while step is not None:
                    await step()
                    step = dialogue.next_step()
                if self._lost:
                    # What had begun is finished.  What lies in the inbox had not: its
                    # client hears nothing of it and sends it again.
                    return
                self._send()
                if self._writing_paused:
                    await self._until_read()
                if dialogue.ended:
                    return
                if self._inbox:
                    dialogue.advance(self._take_inbox())
                elif self._ended_by_client:
                    return
                else:
                    # As _wait does it, for most of a session's life is spent here.
                    self._waiter = self.loop.create_future()
                    self._deadline.arm(dialogue.patience)
                    self._between = True
                    await self._waiter
        except (ClientGone, ConnectionError):
            pass
        except TooManyConnections as error:
            self._last_words(replies.line(error))
        except TimeoutError:
            self._last_words(b"421 4.4.2 Timeout; closing the connection\r\n")
        except Exception:
            log.exception("session_failed")
            self._listener.site.metrics.fault("internal")
            self._last_words(b"421 4.3.0 Local error; try again later\r\n")

    def _last_words(self, line: bytes) -> None:
        self._out.append(line)
        if self.transport is not None and not self.transport.is_closing():
            self._send()
        self._out.clear()

    # -- what the listener asks when it drains ------------------------------------

    def retire_if_idle(self) -> None:
        """Tell a client that waits between two transactions to go."""
        dialogue = self._dialogue
        if self._between and dialogue is not None and not dialogue.in_transaction:
            self._last_words(replies.SHUTTING_DOWN)
            dialogue.ended = True
            self._wake()

    def drop(self) -> None:
        """Time has run out: cut the connection."""
        if self.transport is not None:
            cast(asyncio.WriteTransport, self.transport).abort()

    def cancel(self) -> asyncio.Task[None] | None:
        """End the session's task, hand-over and all."""
        if self._handler_coroutine is not None:
            self._handler_coroutine.cancel()
        return self._handler_coroutine

    # -- the link of the dialogue -------------------------------------------------

    @property
    def secure(self) -> bool:
        """Whether TLS protects the connection."""
        return self._tls_protocol is not None or self._implicit_tls

    @property
    def offers_tls(self) -> bool:
        """Whether STARTTLS is possible now."""
        return self.tls_context is not None and not self.secure

    async def flush(self) -> None:
        """Send what has been said; a client that never reads ends the connection."""
        if self.transport is None or self.transport.is_closing():
            raise ClientGone
        self._send()
        await self._until_read()

    async def _until_read(self) -> None:
        while self._writing_paused:
            try:
                await self._wait(self._idle_timeout)
            except TimeoutError:
                # Closing would wait for the same buffer; only cutting frees it.
                self.drop()
                raise ClientGone from None
            if self._lost:
                raise ClientGone

    def _send(self) -> None:
        out = self._out
        if out:
            self._write(out[0] if len(out) == 1 else b"".join(out))
            out.clear()

    async def read(self, within: float) -> bytes:
        """What arrives next; raises ClientGone at the end of the stream."""
        while not self._inbox:
            if self._ended_by_client:
                raise ClientGone
            await self._wait(within)
        return self._take_inbox()

    def _take_inbox(self) -> bytes:
        inbox = self._inbox
        data = inbox[0] if len(inbox) == 1 else b"".join(inbox)
        inbox.clear()
        self._inbox_size = 0
        if self._reading_paused and self.transport is not None:
            self._reading_paused = False
            cast(asyncio.ReadTransport, self.transport).resume_reading()
        return data

    def _pause_reading(self) -> None:
        if not self._reading_paused and self.transport is not None:
            self._reading_paused = True
            cast(asyncio.ReadTransport, self.transport).pause_reading()

    async def start_tls(self) -> None:
        """The handshake (RFC 3207), aiosmtpd's; what came in clear before it is gone."""
        try:
            async with asyncio.timeout(self._idle_timeout):
                await self.smtp_STARTTLS("")
        except TLSSetupException as error:
            cause = type(error.__cause__).__name__
            log.warning("tls_failed", peer=self._peer_address, cause=cause)
            raise ClientGone from error


def _nowhere(_octets: bytes) -> None:
    """Where replies go when the connection is gone."""


def _address(transport: asyncio.BaseTransport) -> str:
    peer = transport.get_extra_info("peername")
    return str(peer[0]) if isinstance(peer, tuple) else "local"
