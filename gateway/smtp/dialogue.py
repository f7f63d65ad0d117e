"""The SMTP dialogue with one client: what each command does.

RFC 5321; 2920 (PIPELINING), 1870 (SIZE), 6152 (8BITMIME), 6531 (SMTPUTF8), 3461
(DSN), 3207 (STARTTLS), 4954 (AUTH), 2034 (ENHANCEDSTATUSCODES).  The commands of one
burst share a register round trip, an upstream round trip and one write of replies.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterator
from typing import ClassVar

import structlog

from gateway.failure import GatewayError
from gateway.settings.model import SmtpClient
from gateway.smtp import replies
from gateway.smtp.auth import AuthAborted, read_login
from gateway.smtp.delivery import deliver
from gateway.smtp.evidence import Peer
from gateway.smtp.extension import check_mail, check_rcpt, offer
from gateway.smtp.intake import Intake
from gateway.smtp.limit import TooManyConnections
from gateway.smtp.link import ClientGone, Link
from gateway.smtp.listener import Listener
from gateway.smtp.spool import Spool
from gateway.smtp.transaction import Transaction
from gateway.wire.ehlo import Capabilities
from gateway.wire.lines import CommandParser, LineFault
from gateway.wire.path import RcptArguments, parse_mail, parse_rcpt

log = structlog.get_logger(__name__)

_MAX_BAD_COMMANDS = 20
_MAX_LOGINS = 3
_HELO = re.compile(rb"[A-Za-z0-9\[][A-Za-z0-9._:\[\]-]{0,254}")
_ENDS_THE_SESSION = (ClientGone, ConnectionError, TimeoutError, TooManyConnections)


class Dialogue:
    """One client's session: who it is, what it was offered, its open transaction."""

    def __init__(self, listener: Listener, link: Link, address: str) -> None:
        self.ended = False
        """Whether nothing more is read once what was said has been sent."""
        self._listener = listener
        self._link = link
        self._address = address
        self._commands = CommandParser()
        self._offered = Capabilities()
        self._helo = ""
        self._extended = False
        self._client: SmtpClient | None = None
        self._known_to = listener.site
        self._login = ""
        self._transaction: Transaction | None = None
        self._bad_commands = 0
        self._failed_logins = 0

    @property
    def in_transaction(self) -> bool:
        """Whether MAIL has been accepted and its message not been answered."""
        return self._transaction is not None

    def welcome(self) -> None:
        """Say who we are, once the client is known by its network, or not yet.

        Raises:
            TooManyConnections: the client holds as many as it may.

        """
        self._become(self._listener.site.credentials.by_address(self._address))
        hostname = self._listener.site.settings.smtp.hostname
        self._link.say(f"220 {hostname} ESMTP suppression gateway\r\n".encode())

    def end(self) -> None:
        """The connection is over."""
        self._abandon()
        self._become(None)

    async def burst(self, data: bytes) -> None:
        """Carry out all commands that have arrived; consecutive RCPTs go as one.

        Raises what ends the session: ClientGone, ConnectionError, TimeoutError,
        TooManyConnections.
        """
        self._commands.feed(data)
        recipients: list[bytes] = []
        while not self.ended:
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
        if self._listener.draining and not self.in_transaction and not self.ended:
            self._link.say(replies.SHUTTING_DOWN)
            self.ended = True

    async def _command(self, line: bytes | LineFault) -> None:
        if isinstance(line, LineFault):
            self._bad(f"{line.value}\r\n".encode())
            return
        verb, _, argument = line.partition(b" ")
        command = self._COMMANDS.get(verb.upper())
        if command is None:
            self._bad(replies.UNKNOWN)
            return
        try:
            await command(self, argument.strip(b" \t"))
        except _ENDS_THE_SESSION:
            raise
        except GatewayError as error:
            if error.temporary:
                log.warning("command_deferred", cause=str(error))
            self._link.say(replies.line(error))
        except Exception:
            log.exception("command_failed", command=verb[:16].decode("ascii", "replace"))
            self._fail()
            self._link.say(replies.INTERNAL)

    def _bad(self, line: bytes) -> None:
        self._bad_commands += 1
        if self._bad_commands >= _MAX_BAD_COMMANDS:
            self._link.say(b"421 4.7.0 Too many errors\r\n")
            self.ended = True
        else:
            self._link.say(line)

    def _become(self, client: SmtpClient | None) -> None:
        known, self._client = self._client, None
        if known is not None:
            self._listener.limits.leave(known)
        if client is not None:
            self._listener.limits.enter(client)
        self._client = client

    def _recognise(self) -> None:
        """After a reload a connected client is what the new configuration says it is."""
        site = self._listener.site
        if site is self._known_to:
            return
        self._known_to = site
        if self._login:
            self._become(site.credentials.by_username(self._login))
        else:
            self._become(site.credentials.by_address(self._address))
        if self._client is None:
            self._login = ""

    def _abandon(self) -> None:
        """Forget the transaction; the upstream's is reset behind our back."""
        transaction, self._transaction = self._transaction, None
        if transaction is not None:
            transaction.abandon()

    def _fail(self) -> None:
        """A fault of ours that nobody foresaw: the transaction cannot be trusted."""
        self._listener.site.metrics.faults.labels("internal").inc()
        self._abandon()

    # -- greeting -----------------------------------------------------------------

    async def _helo_command(self, argument: bytes) -> None:
        if self._greet(argument):
            self._extended = False
            hostname = self._listener.site.settings.smtp.hostname
            self._link.say(f"250 {hostname}\r\n".encode())

    async def _ehlo_command(self, argument: bytes) -> None:
        if not self._greet(argument):
            return
        self._extended = True
        site = self._listener.site
        smtp = site.settings.smtp
        names = [upstream.name for upstream in smtp.upstreams]
        if self._client is not None:
            names = list(self._client.upstreams)
        self._offered = offer(site.upstreams.capabilities(names), smtp.max_message_size)
        lines = [smtp.hostname, *self._offered.keywords()]
        if self._link.offers_tls:
            lines.append("STARTTLS")
        if self._may_login:
            lines.append("AUTH PLAIN LOGIN")
        last = len(lines) - 1
        for place, text in enumerate(lines):
            self._link.say(f"250{' ' if place == last else '-'}{text}\r\n".encode())

    def _greet(self, argument: bytes) -> bool:
        if not _HELO.fullmatch(argument):
            self._link.say(b"501 5.5.4 Give your host name\r\n")
            return False
        self._abandon()
        self._helo = argument.decode("ascii")
        return True

    async def _starttls_command(self, argument: bytes) -> None:
        if argument:
            self._link.say(replies.SYNTAX)
            return
        if not self._link.offers_tls:
            self._link.say(b"454 4.7.0 TLS not available\r\n")
            return
        self._abandon()
        # RFC 3207 section 4.2: nothing said before the handshake counts after it,
        # commands that came in the same burst as STARTTLS least of all.
        self._commands.take_rest()
        self._helo = ""
        self._extended = False
        if self._login:
            self._login = ""
            self._become(self._listener.site.credentials.by_address(self._address))
        await self._link.start_tls()

    # -- login --------------------------------------------------------------------

    @property
    def _may_login(self) -> bool:
        local = self._address in ("::1", "local") or self._address.startswith("127.")
        return self._listener.site.credentials.has_logins and (self._link.secure or local)

    async def _auth_command(self, argument: bytes) -> None:
        site = self._listener.site
        if not self._helo or not self._extended:
            self._link.say(replies.NEED_HELO)
            return
        if not self._may_login:
            needs_tls = site.credentials.has_logins
            self._link.say(replies.NEED_TLS if needs_tls else replies.NOT_IMPLEMENTED)
            return
        if self._login or self.in_transaction:
            self._link.say(b"503 5.5.1 Already authenticated or in a transaction\r\n")
            return
        try:
            username, password = await read_login(argument, self._challenge)
        except AuthAborted as error:
            site.metrics.logins.labels("aborted").inc()
            self._link.say(replies.line(error))
            return
        client = await site.credentials.by_login(username, password)
        if client is None:
            self._refuse_login()
            return
        self._become(client)
        self._login = username
        site.metrics.logins.labels("accepted").inc()
        self._link.say(b"235 2.7.0 Authentication successful\r\n")

    def _refuse_login(self) -> None:
        self._listener.site.metrics.logins.labels("refused").inc()
        log.warning("login_refused", peer=self._address)
        self._failed_logins += 1
        self._link.say(b"535 5.7.8 Authentication credentials invalid\r\n")
        if self._failed_logins >= _MAX_LOGINS:
            self._link.say(b"421 4.7.0 Too many failed logins\r\n")
            self.ended = True

    async def _challenge(self, prompt: bytes) -> bytes:
        self._link.say(b"334 " + prompt + b"\r\n")
        await self._link.flush()
        within = self._listener.site.settings.smtp.idle_timeout
        self._commands.dialogue = True
        try:
            while (line := self._commands.next_line()) is None:
                self._commands.feed(await self._link.read(within))
        finally:
            self._commands.dialogue = False
        if isinstance(line, LineFault):
            raise AuthAborted(line.name)
        return line

    # -- the transaction ----------------------------------------------------------

    async def _mail_command(self, argument: bytes) -> None:
        if not self._helo:
            self._link.say(replies.NEED_HELO)
            return
        self._recognise()
        client = self._client
        if client is None:
            self._link.say(replies.NEED_AUTH)
            return
        # A second MAIL begins anew, even a bad one: tools that lose count after a refused
        # recipient would otherwise hear 503 for every further message, and what they
        # pipeline behind a refused MAIL would join the transaction before it.
        self._abandon()
        arguments = parse_mail(argument)
        check_mail(arguments, self._in_force)
        if arguments.international and "SMTPUTF8" not in arguments.params:
            self._link.say(replies.NEEDS_UTF8)
            return
        self._listener.limits.message(client, asyncio.get_running_loop().time())
        peer = Peer(
            address=self._address,
            helo=self._helo,
            extended=self._extended,
            secure=self._link.secure,
            login=bool(self._login),
        )
        self._transaction = Transaction(
            self._listener.site, self._listener.parking, client, peer, arguments
        )
        self._link.say(b"250 2.1.0 Ok\r\n")

    @property
    def _in_force(self) -> Capabilities:
        """The extensions that the client may use: none after HELO."""
        return self._offered if self._extended else Capabilities()

    async def _rcpt(self, arguments: list[bytes]) -> None:
        """Answer a run of RCPT commands, each in its turn."""
        transaction = self._transaction
        if transaction is None:
            for _ in arguments:
                self._link.say(replies.NEED_MAIL)
            return
        read = [self._read_rcpt(argument) for argument in arguments]
        batch = [one for one in read if isinstance(one, RcptArguments)]
        answers: Iterator[bytes]
        try:
            answers = iter(await transaction.add(batch) if batch else [])
        except _ENDS_THE_SESSION:
            raise
        except Exception:
            log.exception("recipients_failed")
            self._fail()
            answers = iter([replies.INTERNAL] * len(batch))
        for one in read:
            self._link.say(next(answers) if isinstance(one, RcptArguments) else one)

    def _read_rcpt(self, argument: bytes) -> RcptArguments | bytes:
        """The recipient, or the reply that refuses it."""
        try:
            rcpt = parse_rcpt(argument)
            check_rcpt(rcpt, self._in_force)
        except GatewayError as error:
            return replies.line(error)
        return rcpt

    async def _single_rcpt(self, argument: bytes) -> None:
        await self._rcpt([argument])

    async def _data_command(self, argument: bytes) -> None:
        transaction = self._transaction
        if argument:
            self._link.say(replies.SYNTAX)
            return
        if transaction is None:
            self._link.say(replies.NEED_MAIL)
            return
        if not transaction.recipients:
            self._link.say(replies.NEED_RCPT)
            return
        site = transaction.site
        smtp = site.settings.smtp
        spool = Spool(
            self._listener.budget,
            site.settings.data_dir / "spool",
            smtp.message_memory,
            smtp.max_header_size,
        )
        try:
            self._link.say(b"354 End data with <CR><LF>.<CR><LF>\r\n")
            await self._link.flush()
            reply = await Intake(site, self._link, self._commands).receive(spool)
        except BaseException:
            spool.close()
            raise
        site.metrics.octets.inc(spool.wire_size)
        if reply is None:
            self._transaction = None
            reply = await self._hand_over(transaction, spool)
        else:
            spool.close()
            self._abandon()
        site.metrics.messages.labels(transaction.client.name, f"{reply[:1].decode()}xx").inc()
        self._link.say(reply)

    async def _hand_over(self, transaction: Transaction, spool: Spool) -> bytes:
        """The reply to the final dot.

        Shielded: when the client goes away now, the hand-over is finished and recorded
        all the same, for the client cannot know whether it was (RFC 5321 4.5.3.2.6).
        """
        loop = asyncio.get_running_loop()
        began = loop.time()
        task = self._listener.hand_over(_finish(transaction, spool))
        try:
            return await asyncio.shield(task)
        finally:
            transaction.site.metrics.seconds.observe(loop.time() - began)

    # -- the small ones -----------------------------------------------------------

    async def _rset_command(self, argument: bytes) -> None:
        self._abandon()
        self._link.say(replies.OK)

    async def _noop_command(self, argument: bytes) -> None:
        self._link.say(replies.OK)

    async def _vrfy_command(self, argument: bytes) -> None:
        # Never an answer about an address: RFC 5321 section 3.5.3, and our own promise.
        self._link.say(b"252 2.5.0 Send some mail and see\r\n" if argument else replies.SYNTAX)

    async def _help_command(self, argument: bytes) -> None:
        self._link.say(b"214 2.0.0 This is a mail relay; see RFC 5321\r\n")

    async def _quit_command(self, argument: bytes) -> None:
        self._abandon()
        self._link.say(b"221 2.0.0 Bye\r\n")
        self.ended = True

    async def _not_implemented(self, argument: bytes) -> None:
        self._link.say(replies.NOT_IMPLEMENTED)

    _COMMANDS: ClassVar[dict[bytes, Callable[[Dialogue, bytes], Awaitable[None]]]] = {
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
    except Exception:
        log.exception("delivery_failed")
        transaction.site.metrics.faults.labels("internal").inc()
        return replies.INTERNAL
    finally:
        spool.close()
