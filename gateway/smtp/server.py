"""The SMTP server: one instance per client connection, on aiosmtpd.

Kept from aiosmtpd: the protocol object and its life cycle, Session and Envelope,
the STARTTLS handshake.  Replaced: its command loop (a task switch, a log call and a
write per line), its DATA loop (a line at a time) and its per-connection set-up
(``inspect`` over itself).  Here whatever has arrived is taken at once: the commands
of one burst share a register round trip, an upstream round trip and one write.

RFC 5321; 2920 (PIPELINING), 1870 (SIZE), 6152 (8BITMIME), 6531 (SMTPUTF8), 3461
(DSN), 3207 (STARTTLS), 4954 (AUTH), 2034 (ENHANCEDSTATUSCODES).
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import Any, ClassVar

import structlog
from aiosmtpd.smtp import SMTP

from gateway.failure import GatewayError
from gateway.settings.model import BareNewlines, SmtpClient
from gateway.smtp import replies
from gateway.smtp.auth import AuthAborted, read_login
from gateway.smtp.delivery import deliver
from gateway.smtp.evidence import Peer
from gateway.smtp.extension import check_mail, check_rcpt, offer
from gateway.smtp.limit import TooManyConnections
from gateway.smtp.listener import Listener
from gateway.smtp.spool import Spool, StorageFull
from gateway.smtp.transaction import Transaction
from gateway.wire.body import BodyParser, Normaliser
from gateway.wire.ehlo import Capabilities
from gateway.wire.lines import CommandParser, LineFault
from gateway.wire.path import RcptArguments, parse_mail, parse_rcpt

log = structlog.get_logger(__name__)

READ = 64 * 1024
_MAX_BAD_COMMANDS = 20
_MAX_LOGINS = 3
_HELO = re.compile(rb"[A-Za-z0-9\[][A-Za-z0-9._:\[\]-]{0,254}")

_OK = b"250 2.0.0 Ok\r\n"
_NEED_HELO = b"503 5.5.1 Send HELO or EHLO first\r\n"
_NEED_MAIL = b"503 5.5.1 Send MAIL first\r\n"
_NEED_RCPT = b"554 5.5.1 No valid recipients\r\n"
_NEED_AUTH = b"530 5.7.0 Authentication required\r\n"
_SYNTAX = b"501 5.5.4 Syntax error in parameters\r\n"
_UNKNOWN = b"500 5.5.2 Command not recognised\r\n"
_NOT_IMPLEMENTED = b"502 5.5.1 Command not implemented\r\n"
_TOO_BIG = b"552 5.3.4 Message too large\r\n"
_BARE = b"550 5.6.0 The message has a bare CR or LF; end its lines with CRLF\r\n"


class ClientGone(Exception):
    """The client's side of the connection has ended."""


class Server(SMTP):
    """One client connection.

    Memory: what has been read and not yet taken is at most ``2 * READ`` plus one
    ``READ``; the message itself is the :class:`Spool`'s.
    """

    line_length_limit = READ

    def __init__(self, listener: Listener, *, implicit_tls: bool = False) -> None:
        # Not SMTP.__init__: it inspects itself and its handler for every connection,
        # which costs more than a whole small message.  What its kept methods use is
        # set here instead; tests hold this list against aiosmtpd's own.
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
        self._address = ""
        self._commands = CommandParser()
        self._out: list[bytes] = []
        self._offered = Capabilities()
        self._helo = ""
        self._extended = False
        self._client: SmtpClient | None = None
        self._login = ""
        self._transaction: Transaction | None = None
        self._bad_commands = 0
        self._failed_logins = 0
        self._ended = False
        self._idle = False

    # -- the connection -----------------------------------------------------------

    def _reset_timeout(self, duration: float | None = None) -> None:
        # Every wait has its own bound below; aiosmtpd's timer closes without a 421.
        if self._timeout_handle is None:
            self._timeout_handle = self.loop.call_later(0, _nothing)

    def eof_received(self) -> bool | None:
        """Half-closed: answer what has been asked, then end (aiosmtpd would cancel)."""
        asyncio.StreamReaderProtocol.eof_received(self)
        return self.session is not None and self.session.ssl is None and not self._implicit_tls

    async def _handle_client(self) -> None:
        listener = self._listener
        transport = self.transport
        if transport is None:
            return
        peer = transport.get_extra_info("peername")
        self._address = peer[0] if isinstance(peer, tuple) else "local"
        if not listener.limits.connect():
            self._writer.write(replies.line(TooManyConnections("all connections taken")))
            listener.site.metrics.faults.labels("connections").inc()
            transport.close()
            return
        listener.sessions.add(self)
        listener.site.metrics.connections.inc()
        try:
            self._become(listener.site.credentials.by_address(self._address))
            self._say(f"220 {self.hostname} ESMTP suppression gateway\r\n".encode())
            await self._flush()
            while not self._ended:
                await self._burst(await self._read_commands())
                await self._flush()
        except (ClientGone, ConnectionError):
            pass
        except TooManyConnections as error:
            self._last_words(replies.line(error))
        except TimeoutError:
            self._last_words(b"421 4.4.2 Timeout; closing the connection\r\n")
        except Exception:
            log.exception("session_failed")
            listener.site.metrics.faults.labels("internal").inc()
            self._last_words(b"421 4.3.0 Local error; try again later\r\n")
        finally:
            listener.sessions.discard(self)
            listener.limits.disconnect()
            listener.site.metrics.connections.dec()
            if self._client is not None:
                listener.limits.leave(self._client)
                self._client = None
            self._abandon()
            if self.transport is not None:
                self.transport.close()

    def _last_words(self, line: bytes) -> None:
        self._out.append(line)
        if self.transport is not None and not self.transport.is_closing():
            self._writer.write(b"".join(self._out))
        self._out.clear()

    def retire_if_idle(self) -> None:
        """Draining: tell a client that waits between two commands to go."""
        if self._idle and self._transaction is None:
            self._last_words(b"421 4.3.2 Shutting down\r\n")
            self._ended = True
            if self.transport is not None:
                self.transport.close()

    def drop(self) -> None:
        """Draining ran out of time: cut the connection."""
        if isinstance(self.transport, asyncio.WriteTransport):
            self.transport.abort()

    def _say(self, line: bytes) -> None:
        self._out.append(line)

    async def push(self, status: str | bytes) -> None:
        """Send a reply of one of aiosmtpd's own commands."""
        self._say((status.encode() if isinstance(status, str) else status) + b"\r\n")
        await self._flush()

    async def _flush(self) -> None:
        if not self._out:
            return
        octets = b"".join(self._out)
        self._out.clear()
        self._writer.write(octets)
        async with asyncio.timeout(self._timeout_duration):
            await self._writer.drain()

    async def _read(self, timeout: float) -> bytes:
        async with asyncio.timeout(timeout):
            data: bytes = await self._reader.read(READ)
        if not data:
            raise ClientGone
        return data

    async def _read_commands(self) -> bytes:
        self._idle = True
        try:
            return await self._read(self._timeout_duration)
        finally:
            self._idle = False

    # -- commands -----------------------------------------------------------------

    async def _burst(self, data: bytes) -> None:
        """Carry out all commands that have arrived; consecutive RCPTs go as one."""
        self._commands.feed(data)
        recipients: list[bytes] = []
        while not self._ended:
            line = self._commands.next_line()
            if line is None:
                break
            if isinstance(line, bytes) and line[:5].upper() == b"RCPT ":
                recipients.append(line[5:].strip(b" \t"))
                continue
            if recipients:
                await self._rcpt(recipients)
                recipients = []
            await self._command(line)
        if recipients:
            await self._rcpt(recipients)
        if self._listener.draining and self._transaction is None and not self._ended:
            self._say(b"421 4.3.2 Shutting down\r\n")
            self._ended = True

    async def _command(self, line: bytes | LineFault) -> None:
        if isinstance(line, LineFault):
            self._bad(f"{line.value}\r\n".encode())
            return
        verb, _, argument = line.partition(b" ")
        command = self._COMMANDS.get(verb.upper())
        if command is None:
            self._bad(_UNKNOWN)
            return
        try:
            await command(self, argument.strip(b" \t"))
        except TooManyConnections:
            raise
        except GatewayError as error:
            if error.temporary:
                log.warning("command_deferred", cause=str(error))
            self._say(replies.line(error))
        except (ClientGone, ConnectionError, TimeoutError):
            raise
        except Exception:
            log.exception("command_failed", command=verb[:16].decode("ascii", "replace"))
            self._listener.site.metrics.faults.labels("internal").inc()
            self._abandon()
            self._say(replies.INTERNAL)

    def _bad(self, line: bytes) -> None:
        self._bad_commands += 1
        if self._bad_commands >= _MAX_BAD_COMMANDS:
            self._say(b"421 4.7.0 Too many errors\r\n")
            self._ended = True
        else:
            self._say(line)

    def _become(self, client: SmtpClient | None) -> None:
        if client is not None:
            self._listener.limits.enter(client)
        if self._client is not None:
            self._listener.limits.leave(self._client)
        self._client = client

    def _abandon(self) -> None:
        """Forget the transaction; the upstream's is reset behind our back."""
        transaction, self._transaction = self._transaction, None
        if transaction is not None:
            transaction.abandon()

    @property
    def _secure(self) -> bool:
        return self._tls_protocol is not None or self._implicit_tls

    @property
    def _may_login(self) -> bool:
        local = self._address in ("127.0.0.1", "::1", "local") or self._address.startswith("127.")
        return self._listener.site.credentials.has_logins and (self._secure or local)

    async def _helo_command(self, argument: bytes) -> None:
        if self._greet(argument):
            self._extended = False
            self._say(f"250 {self.hostname}\r\n".encode())

    async def _ehlo_command(self, argument: bytes) -> None:
        if not self._greet(argument):
            return
        self._extended = True
        site = self._listener.site
        names = (
            self._client.upstreams
            if self._client is not None
            else [upstream.name for upstream in site.settings.smtp.upstreams]
        )
        self._offered = offer(
            site.upstreams.capabilities(names), site.settings.smtp.max_message_size
        )
        lines = [self.hostname, *self._offered.keywords()]
        if self.tls_context is not None and not self._secure:
            lines.append("STARTTLS")
        if self._may_login:
            lines.append("AUTH PLAIN LOGIN")
        last = len(lines) - 1
        for place, text in enumerate(lines):
            self._say(f"250{' ' if place == last else '-'}{text}\r\n".encode())

    def _greet(self, argument: bytes) -> bool:
        if not _HELO.fullmatch(argument):
            self._say(b"501 5.5.4 Give your host name\r\n")
            return False
        self._abandon()
        self._helo = argument.decode("ascii")
        return True

    async def _starttls_command(self, argument: bytes) -> None:
        if argument:
            self._say(_SYNTAX)
            return
        if self.tls_context is None or self._secure:
            self._say(b"454 4.7.0 TLS not available\r\n")
            return
        self._abandon()
        # RFC 3207 section 4.2: nothing said before the handshake counts after it,
        # commands that came in the same burst as STARTTLS least of all.
        self._commands.take_rest()
        self._helo = ""
        self._login = ""
        async with asyncio.timeout(self._timeout_duration):
            await self.smtp_STARTTLS("")

    async def _auth_command(self, argument: bytes) -> None:
        if not self._helo or not self._extended:
            self._say(_NEED_HELO)
            return
        if not self._may_login:
            code = b"538 5.7.11 Encryption required\r\n"
            self._say(code if self._listener.site.credentials.has_logins else _NOT_IMPLEMENTED)
            return
        if self._login or self._transaction is not None:
            self._say(b"503 5.5.1 Already authenticated or in a transaction\r\n")
            return
        metrics = self._listener.site.metrics
        try:
            username, password = await read_login(argument, self._challenge)
        except AuthAborted as error:
            metrics.logins.labels("aborted").inc()
            self._say(replies.line(error))
            return
        client = await self._listener.site.credentials.by_login(username, password)
        if client is None:
            metrics.logins.labels("refused").inc()
            log.warning("login_refused", peer=self._address)
            self._failed_logins += 1
            self._say(b"535 5.7.8 Authentication credentials invalid\r\n")
            if self._failed_logins >= _MAX_LOGINS:
                self._say(b"421 4.7.0 Too many failed logins\r\n")
                self._ended = True
            return
        self._become(client)
        self._login = username
        metrics.logins.labels("accepted").inc()
        self._say(b"235 2.7.0 Authentication successful\r\n")

    async def _challenge(self, prompt: bytes) -> bytes:
        self._say(b"334 " + prompt + b"\r\n")
        await self._flush()
        self._commands.dialogue = True
        try:
            while (line := self._commands.next_line()) is None:
                self._commands.feed(await self._read(self._timeout_duration))
        finally:
            self._commands.dialogue = False
        if isinstance(line, LineFault):
            raise AuthAborted(line.name)
        return line

    async def _mail_command(self, argument: bytes) -> None:
        if not self._helo:
            self._say(_NEED_HELO)
            return
        client = self._client
        if client is None:
            self._say(_NEED_AUTH)
            return
        arguments = parse_mail(argument)
        site = self._listener.site
        offered = self._offered if self._extended else Capabilities()
        check_mail(arguments, offered)
        # A second MAIL begins anew: tools that lose count after a refused recipient
        # would otherwise hear 503 for every further message.
        self._abandon()
        self._listener.limits.message(client, self.loop.time())
        peer = Peer(
            address=self._address,
            helo=self._helo,
            extended=self._extended,
            secure=self._secure,
            login=bool(self._login),
        )
        self._transaction = Transaction(site, client, peer, arguments)
        self._say(b"250 2.1.0 Ok\r\n")

    async def _rcpt(self, arguments: list[bytes]) -> None:
        transaction = self._transaction
        if transaction is None:
            for _ in arguments:
                self._say(_NEED_MAIL)
            return
        verdicts: list[bytes | None] = []
        batch: list[RcptArguments] = []
        offered = self._offered if self._extended else Capabilities()
        for argument in arguments:
            try:
                rcpt = parse_rcpt(argument)
                check_rcpt(rcpt, offered)
            except GatewayError as error:
                verdicts.append(replies.line(error))
            else:
                verdicts.append(None)
                batch.append(rcpt)
        try:
            answers = iter(await transaction.add(batch) if batch else [])
        except (ClientGone, ConnectionError, TimeoutError):
            raise
        except Exception:
            log.exception("recipients_failed")
            self._listener.site.metrics.faults.labels("internal").inc()
            self._abandon()
            answers = iter([replies.INTERNAL] * len(batch))
        for verdict in verdicts:
            self._say(next(answers) if verdict is None else verdict)

    async def _single_rcpt(self, argument: bytes) -> None:
        await self._rcpt([argument])

    async def _rset_command(self, argument: bytes) -> None:
        self._abandon()
        self._say(_OK)

    async def _noop_command(self, argument: bytes) -> None:
        self._say(_OK)

    async def _vrfy_command(self, argument: bytes) -> None:
        # Never an answer about an address: RFC 5321 section 3.5.3, and our own promise.
        self._say(b"252 2.5.0 Send some mail and see\r\n" if argument else _SYNTAX)

    async def _help_command(self, argument: bytes) -> None:
        self._say(b"214 2.0.0 This is a mail relay; see RFC 5321\r\n")

    async def _quit_command(self, argument: bytes) -> None:
        self._abandon()
        self._say(b"221 2.0.0 Bye\r\n")
        self._ended = True

    async def _not_implemented(self, argument: bytes) -> None:
        self._say(_NOT_IMPLEMENTED)

    # -- the message --------------------------------------------------------------

    async def _data_command(self, argument: bytes) -> None:
        transaction = self._transaction
        if argument:
            self._say(_SYNTAX)
            return
        if transaction is None:
            self._say(_NEED_MAIL)
            return
        if not transaction.recipients:
            self._say(_NEED_RCPT)
            return
        settings = self._listener.site.settings.smtp
        spool = Spool(
            self._listener.budget,
            self._listener.site.settings.data_dir / "spool",
            settings.message_memory,
            settings.max_header_size,
        )
        try:
            self._say(b"354 End data with <CR><LF>.<CR><LF>\r\n")
            await self._flush()
            refusal = await self._receive(spool)
        except BaseException:
            spool.close()
            raise
        self._listener.site.metrics.octets.inc(spool.wire_size)
        self._transaction = None
        if refusal is not None:
            spool.close()
            transaction.abandon()
            reply = refusal
        else:
            began = self.loop.time()
            # Shielded: when the client goes away now, the hand-over is finished and
            # recorded all the same (RFC 5321 section 4.5.3.2.6 on why it may).
            reply = await asyncio.shield(self._listener.hand_over(_finish(transaction, spool)))
            self._listener.site.metrics.seconds.observe(self.loop.time() - began)
        client = self._client.name if self._client else ""
        self._listener.site.metrics.messages.labels(client, f"{reply[:1].decode()}xx").inc()
        self._say(reply)

    async def _receive(self, spool: Spool) -> bytes | None:
        """Read the message to its final dot; the reply if it is refused already.

        The rest of a refused message is read and thrown away, since the client hears
        the answer only after its final dot.
        """
        settings = self._listener.site.settings.smtp
        normaliser = Normaliser() if settings.bare_newlines is BareNewlines.NORMALISE else None
        parser = BodyParser()
        refusal: bytes | None = None
        rest: bytes | None = None
        data = self._commands.take_rest()
        try:
            async with asyncio.timeout(settings.message_timeout):
                while rest is None:
                    chunk, rest = parser.feed(data or await self._read(settings.data_timeout))
                    data = b""
                    if refusal is not None:
                        continue
                    if parser.size > settings.max_message_size:
                        refusal = _TOO_BIG
                        spool.close()
                    elif chunk:
                        try:
                            await spool.write(normaliser.feed(chunk) if normaliser else chunk)
                        except StorageFull as error:
                            refusal = self._disk_failed(error)
                            spool.close()
        finally:
            self._commands.feed(rest or b"")
        if refusal is not None:
            return refusal
        if parser.bare and normaliser is None:
            return _BARE
        try:
            if normaliser is not None:
                await spool.write(normaliser.finish())
            await spool.finish()
        except StorageFull as error:
            return self._disk_failed(error)
        return None

    def _disk_failed(self, error: StorageFull) -> bytes:
        log.error("spool_failed", cause=str(error))
        self._listener.site.metrics.faults.labels("disk").inc()
        return replies.line(error)

    _COMMANDS: ClassVar[dict[bytes, Callable[[Server, bytes], Awaitable[None]]]] = {
        b"HELO": _helo_command,
        b"EHLO": _ehlo_command,
        b"STARTTLS": _starttls_command,
        b"AUTH": _auth_command,
        b"MAIL": _mail_command,
        b"RCPT": _single_rcpt,
        b"DATA": _data_command,
        b"RSET": _rset_command,
        b"NOOP": _noop_command,
        b"VRFY": _vrfy_command,
        b"EXPN": _not_implemented,
        b"BDAT": _not_implemented,
        b"TURN": _not_implemented,
        b"HELP": _help_command,
        b"QUIT": _quit_command,
    }


async def _finish(transaction: Transaction, spool: Spool) -> bytes:
    try:
        return await deliver(transaction, spool)
    except asyncio.CancelledError:
        raise
    except Exception:
        log.exception("delivery_failed")
        return replies.INTERNAL
    finally:
        spool.close()


def _nothing() -> None:
    """Stand in for aiosmtpd's timer."""
