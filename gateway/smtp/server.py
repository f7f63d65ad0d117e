"""The SMTP server: one instance per client connection, on aiosmtpd.

Kept from aiosmtpd: the protocol object and its life cycle, Session and Envelope,
the STARTTLS handshake.  Replaced: its command loop (a task switch, a log call and a
write per line), its DATA loop (a line at a time) and its per-connection set-up
(``inspect`` over itself).  Here whatever has arrived is taken at once, and all
replies to one burst leave in one write.  What the commands do is
:mod:`gateway.smtp.dialogue`.
"""

from __future__ import annotations

import asyncio
from typing import Any, cast

import structlog
from aiosmtpd.smtp import SMTP, TLSSetupException

from gateway.smtp import replies
from gateway.smtp.dialogue import Dialogue
from gateway.smtp.limit import TooManyConnections
from gateway.smtp.link import READ, ClientGone
from gateway.smtp.listener import Listener

log = structlog.get_logger(__name__)

_LINGER = 5.0
"""Seconds a closed connection may take to send what was said last."""


class Server(SMTP):
    """One client connection; the :class:`~gateway.smtp.link.Link` of its dialogue.

    Memory: what has been read and not yet taken is at most ``2 * READ`` plus one
    ``READ``; the message itself is the :class:`~gateway.smtp.spool.Spool`'s.
    """

    line_length_limit = READ

    def __init__(self, listener: Listener, *, implicit_tls: bool = False) -> None:
        # Not SMTP.__init__: it inspects itself and its handler for every connection,
        # which costs more than a whole small message.  What its kept methods use is
        # set here instead.
        loop = asyncio.get_running_loop()
        self.loop = loop
        asyncio.StreamReaderProtocol.__init__(
            self,
            asyncio.StreamReader(limit=READ, loop=loop),
            client_connected_cb=self._cb_client_connected,
            loop=loop,
        )
        self.event_handler = None
        self.hostname = listener.site.settings.smtp.hostname
        self.enable_SMTPUTF8 = True
        self.tls_context = None if implicit_tls else listener.tls_context
        self.session = None
        self.envelope = None
        self.transport = None
        self._timeout_duration = listener.site.settings.smtp.idle_timeout
        self._timeout_handle = None
        self._tls_handshake_okay = True
        self._tls_protocol = None
        self._original_transport = None
        self._handler_coroutine = None
        self._handle_hooks: dict[str, Any] = {}
        self._listener = listener
        self._implicit_tls = implicit_tls
        self._out: list[bytes] = []
        self._waiting = False
        self._dialogue: Dialogue | None = None

    # -- what aiosmtpd calls ------------------------------------------------------

    def _reset_timeout(self, duration: float | None = None) -> None:
        # Every wait has its own bound below; aiosmtpd's timer closes without a 421.
        if self._timeout_handle is None:
            self._timeout_handle = self.loop.call_later(0, _nothing)

    def eof_received(self) -> bool | None:
        """Half-closed: answer what has been asked, then end (aiosmtpd would cancel)."""
        asyncio.StreamReaderProtocol.eof_received(self)
        return self.session is not None and self.session.ssl is None and not self._implicit_tls

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
            listener.site.metrics.faults.labels("connections").inc()
            self._writer.write(replies.line(TooManyConnections("all connections taken")))
            transport.close()
            return
        listener.sessions.add(self)
        listener.site.metrics.connections.inc()
        try:
            await self._serve(_address(transport))
        finally:
            listener.sessions.discard(self)
            listener.limits.disconnect()
            listener.site.metrics.connections.dec()
            if self._dialogue is not None:
                self._dialogue.end()
            if self.transport is not None:
                self.transport.close()
                if cast(asyncio.WriteTransport, transport).get_write_buffer_size():
                    # Whoever does not read the last words does not hold us up with them.
                    self.loop.call_later(_LINGER, self.drop)

    async def _serve(self, address: str) -> None:
        """The whole dialogue; whatever ends it early is told where it can be."""
        try:
            dialogue = self._dialogue = Dialogue(self._listener, self, address)
            dialogue.welcome()
            await self.flush()
            while not dialogue.ended:
                await dialogue.burst(await self._next_burst())
                await self.flush()
        except (ClientGone, ConnectionError):
            pass
        except TLSSetupException as error:
            log.warning("tls_failed", peer=address, cause=type(error.__cause__).__name__)
        except TooManyConnections as error:
            self._last_words(replies.line(error))
        except TimeoutError:
            self._last_words(b"421 4.4.2 Timeout; closing the connection\r\n")
        except Exception:
            log.exception("session_failed")
            self._listener.site.metrics.faults.labels("internal").inc()
            self._last_words(b"421 4.3.0 Local error; try again later\r\n")

    def _last_words(self, line: bytes) -> None:
        self._out.append(line)
        if self.transport is not None and not self.transport.is_closing():
            self._writer.write(b"".join(self._out))
        self._out.clear()

    # -- what the listener asks when it drains ------------------------------------

    def retire_if_idle(self) -> None:
        """Tell a client that waits between two transactions to go."""
        dialogue = self._dialogue
        if self._waiting and dialogue is not None and not dialogue.in_transaction:
            self._last_words(replies.SHUTTING_DOWN)
            dialogue.ended = True
            if self.transport is not None:
                self.transport.close()

    def drop(self) -> None:
        """Time has run out: cut the connection."""
        if self.transport is not None:
            # uvloop's transports are instances of no class of asyncio's.
            cast(asyncio.WriteTransport, self.transport).abort()

    # -- the link of the dialogue -------------------------------------------------

    @property
    def secure(self) -> bool:
        """Whether TLS protects the connection."""
        return self._tls_protocol is not None or self._implicit_tls

    @property
    def offers_tls(self) -> bool:
        """Whether STARTTLS is possible now."""
        return self.tls_context is not None and not self.secure

    def say(self, line: bytes) -> None:
        """Add a reply to those that leave with the next flush."""
        self._out.append(line)

    async def flush(self) -> None:
        """Send what has been said; a client that never reads ends the connection."""
        if not self._out:
            return
        octets = b"".join(self._out)
        self._out.clear()
        if self.transport is None or self.transport.is_closing():
            raise ClientGone
        self._writer.write(octets)
        try:
            async with asyncio.timeout(self._timeout_duration):
                await self._writer.drain()
        except TimeoutError:
            # Closing would wait for the same buffer; only cutting frees it.
            self.drop()
            raise ClientGone from None

    async def read(self, within: float) -> bytes:
        """What arrives next; raises ClientGone at the end of the stream."""
        async with asyncio.timeout(within):
            data: bytes = await self._reader.read(READ)
        if not data:
            raise ClientGone
        return data

    async def start_tls(self) -> None:
        """The handshake (RFC 3207), aiosmtpd's; what came in clear before it is gone."""
        async with asyncio.timeout(self._timeout_duration):
            await self.smtp_STARTTLS("")

    async def _next_burst(self) -> bytes:
        self._waiting = True
        try:
            return await self.read(self._timeout_duration)
        finally:
            self._waiting = False


def _address(transport: asyncio.BaseTransport) -> str:
    peer = transport.get_extra_info("peername")
    return str(peer[0]) if isinstance(peer, tuple) else "local"


def _nothing() -> None:
    """Stand in for aiosmtpd's timer."""
