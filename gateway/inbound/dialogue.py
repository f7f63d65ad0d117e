"""The SMTP dialogue with whoever brings mail for the gateway (RFC 5321).

Extensions: PIPELINING (RFC 2920), SIZE (1870), 8BITMIME (6152), SMTPUTF8 (6531), STARTTLS
(3207), ENHANCEDSTATUSCODES (2034).  No AUTH: nothing here is for those who send.

Recipients are the gateway's own addresses and none else, so nothing is relayed; an address
that is not taken from this client is answered as one that does not exist.  One message is
for one purpose: a recipient of another role is asked to come in a message of its own.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from functools import partial
from typing import ClassVar, Final, TypeAlias

import structlog

from gateway.failure import GatewayError
from gateway.inbound.addressee import Role, tags_of
from gateway.inbound.intake import Intake
from gateway.inbound.listener import Listener
from gateway.network import peer_address, place_of, within
from gateway.smtp import replies
from gateway.smtp.extension import check_mail, check_rcpt
from gateway.smtp.limit import TooManyConnections
from gateway.smtp.link import Link
from gateway.wire.ehlo import Capabilities
from gateway.wire.lines import CommandParser, LineFault
from gateway.wire.path import parse_mail, parse_rcpt

log = structlog.get_logger(__name__)

Step: TypeAlias = Callable[[], Awaitable[None]]

_MAX_BAD: Final = 20
"""Commands that are refused before the client is: whoever guesses addresses gets no further."""
_AT_A_TIME: Final = 500
"""Commands that one client may have carried out before others have their turn."""
_MAX_RECIPIENTS: Final = 8
_ROUNDS: Final = 10
"""A message, and a stranger's session, may take as many times the timeout."""
_HELO = re.compile(rb"[A-Za-z0-9\[][A-Za-z0-9._:\[\]-]{0,254}").fullmatch
_NO_MAILBOX = b"550 5.1.1 No such mailbox here\r\n"
_ONE_PURPOSE = b"452 4.5.3 Send this in a message of its own\r\n"


class Dialogue:
    """One client's session; what a :class:`~gateway.smtp.link.Conversation` promises."""

    def __init__(self, listener: Listener, link: Link, address: str) -> None:
        self.ended = False
        self.step: Step | None = None
        self._listener = listener
        self._link = link
        peer = peer_address(address)
        self._believed = within(listener.networks, peer)
        self._place = place_of(peer)
        self._counted = False
        self._commands = CommandParser()
        self._helo = False
        self._extended = False
        self._bad_commands = 0
        self._sender: str | None = None
        self._found: list[tuple[Role, str]] = []
        self._intake: Intake | None = None
        self._now = asyncio.get_running_loop().time
        self._began = self._now()

    # -- what the connection asks -------------------------------------------------

    @property
    def in_transaction(self) -> bool:
        """Whether MAIL has been accepted and its message not been answered."""
        return self._sender is not None

    @property
    def patience(self) -> float:
        """Seconds to wait for what the client says next."""
        timeout = self._listener.settings.timeout
        left = timeout
        if self._intake is not None:
            left = self._intake.began + _ROUNDS * timeout - self._now()
        elif not self._believed:
            left = self._began + _ROUNDS * timeout - self._now()
        return max(0.0, min(timeout, left))

    def welcome(self) -> None:
        """Say who we are.

        Raises:
            TooManyConnections: strangers hold as many as they may.

        """
        listener = self._listener
        if not self._believed:
            if not listener.admits(self._place):
                raise TooManyConnections("strangers hold as many connections as they may")
            listener.come(self._place)
            self._counted = True
        self._link.say(f"220 {listener.hostname} ESMTP\r\n".encode())

    def advance(self, data: bytes) -> bool:
        """Take what has arrived; True: there is a step to be awaited, or it has ended."""
        intake = self._intake
        if intake is not None and self._commands.empty and not intake.ended:
            rest = intake.feed(data)
            if rest:
                self._commands.feed(rest)
        else:
            self._commands.feed(data)
        self.step = step = self.next_step()
        return step is not None or self.ended

    def next_step(self) -> Step | None:
        """Carry out commands up to one that must wait; None: all that came is done."""
        for _ in range(_AT_A_TIME):
            if self.ended:
                return None
            intake = self._intake
            if intake is not None:
                if not intake.ended:
                    more = self._commands.take_rest()
                    rest = intake.feed(more) if more else b""
                    if rest:
                        self._commands.feed(rest)
                if not intake.ended:
                    return None
                self._intake = None
                return partial(self._finish, intake)
            line = self._commands.next_line()
            if line is None:
                if self._listener.draining and not self.in_transaction:
                    self._link.say(replies.SHUTTING_DOWN)
                    self.ended = True
                return None
            if isinstance(line, LineFault):
                self._bad(f"{line.value}\r\n".encode())
                continue
            verb, _, argument = line.partition(b" ")
            if verb.upper() == b"STARTTLS":
                return partial(self._start_tls, argument)
            self._command(verb.upper(), argument.strip(b" \t"))
        return self._let_others

    def end(self) -> None:
        """The connection is over."""
        self._forget()
        if self._counted:
            self._counted = False
            self._listener.gone(self._place)

    # -- commands -----------------------------------------------------------------

    def _command(self, verb: bytes, argument: bytes) -> None:
        command = self._COMMANDS.get(verb)
        if command is None:
            self._bad(replies.UNKNOWN)
            return
        try:
            command(self, argument)
        except GatewayError as error:
            self._bad(replies.line(error))
        except Exception:
            log.exception("inbound_command_failed")
            self._listener.desk.metrics.fault("internal")
            self._forget()
            self._link.say(replies.INTERNAL)

    def _bad(self, line: bytes) -> None:
        self._bad_commands += 1
        if self._bad_commands >= _MAX_BAD:
            self._link.say(b"421 4.7.0 Too many errors\r\n")
            self.ended = True
        else:
            self._link.say(line)

    def _forget(self) -> None:
        self._sender = None
        self._found.clear()
        if self._intake is not None:
            self._intake.close()
            self._intake = None

    @property
    def _offered(self) -> Capabilities:
        """The extensions that may be used: none after HELO."""
        if not self._extended:
            return Capabilities()
        size = self._listener.settings.max_message_size
        return Capabilities(
            size=size, pipelining=True, eight_bit=True, smtputf8=True, enhanced=True
        )

    def _helo_command(self, argument: bytes) -> None:
        if self._greet(argument):
            self._extended = False
            self._link.say(f"250 {self._listener.hostname}\r\n".encode())

    def _ehlo_command(self, argument: bytes) -> None:
        if not self._greet(argument):
            return
        self._extended = True
        lines = [self._listener.hostname, *self._offered.keywords()]
        if self._link.offers_tls:
            lines.append("STARTTLS")
        last = len(lines) - 1
        for place, text in enumerate(lines):
            self._link.say(f"250{' ' if place == last else '-'}{text}\r\n".encode())

    def _greet(self, argument: bytes) -> bool:
        if not _HELO(argument):
            self._bad(b"501 5.5.4 Give your host name\r\n")
            return False
        self._forget()
        self._helo = True
        return True

    def _mail_command(self, argument: bytes) -> None:
        # As the main server does: a second MAIL begins anew.
        self._forget()
        if not self._helo:
            self._bad(replies.NEED_HELO)
            return
        mail = parse_mail(argument)
        check_mail(mail, self._offered)
        if mail.international and "SMTPUTF8" not in mail.params:
            self._bad(replies.NEEDS_UTF8)
            return
        self._sender = mail.address
        self._link.say(b"250 2.1.0 Ok\r\n")

    def _rcpt_command(self, argument: bytes) -> None:
        if self._sender is None:
            self._bad(replies.NEED_MAIL)
            return
        rcpt = parse_rcpt(argument)
        check_rcpt(rcpt, self._offered)
        found = self._listener.addressees.find(rcpt.address, believed=self._believed)
        if found is None:
            self._bad(_NO_MAILBOX)
        elif self._found and self._found[0][0] is not found[0]:
            self._link.say(_ONE_PURPOSE)
        elif len(self._found) >= _MAX_RECIPIENTS:
            self._link.say(replies.TOO_MANY)
        else:
            self._found.append(found)
            self._link.say(replies.ACCEPTED)

    def _data_command(self, argument: bytes) -> None:
        if argument:
            self._bad(replies.SYNTAX)
        elif self._sender is None:
            self._bad(replies.NEED_MAIL)
        elif not self._found:
            self._bad(replies.NEED_RCPT)
        else:
            listener = self._listener
            most = listener.settings.max_message_size
            self._intake = Intake(most, listener.budget, self._now())
            self._link.say(b"354 End data with <CR><LF>.<CR><LF>\r\n")

    def _rset_command(self, argument: bytes) -> None:
        self._forget()
        self._link.say(replies.OK)

    def _noop_command(self, argument: bytes) -> None:
        self._link.say(replies.OK)

    def _vrfy_command(self, argument: bytes) -> None:
        self._link.say(b"252 2.5.0 Send some mail and see\r\n")

    def _quit_command(self, argument: bytes) -> None:
        self._forget()
        self._link.say(b"221 2.0.0 Bye\r\n")
        self.ended = True

    def _not_implemented(self, argument: bytes) -> None:
        self._bad(replies.NOT_IMPLEMENTED)

    # -- what must be waited for --------------------------------------------------

    async def _let_others(self) -> None:
        await self._link.flush()
        await asyncio.sleep(0)

    async def _start_tls(self, argument: bytes) -> None:
        if argument.strip() or not self._link.offers_tls:
            self._bad(replies.SYNTAX if argument.strip() else b"454 4.7.0 TLS not available\r\n")
            return
        self._forget()
        # RFC 3207 section 4.2: nothing said before the handshake counts after it.
        self._commands.take_rest()
        self._helo = self._extended = False
        await self._link.start_tls()

    async def _finish(self, intake: Intake) -> None:
        """Answer the final dot; begun, it is finished even if the client goes away."""
        found, metrics = list(self._found), self._listener.desk.metrics
        try:
            reply = intake.refusal
            if reply is None:
                reply = await self._listener.desk.take(found[0][0], tags_of(found), intake.message)
        except GatewayError as error:
            log.warning("inbound_deferred", cause=str(error))
            metrics.fault(type(error).__name__)
            reply = replies.line(error) if error.temporary else replies.INTERNAL
        except Exception:
            log.exception("inbound_failed")
            metrics.fault("internal")
            reply = replies.INTERNAL
        finally:
            intake.close()
            self._forget()
        metrics.message("inbound", reply, 0)
        self._link.say(reply)

    _COMMANDS: ClassVar[dict[bytes, Callable[[Dialogue, bytes], None]]] = {
        b"HELO": _helo_command,
        b"EHLO": _ehlo_command,
        b"MAIL": _mail_command,
        b"RCPT": _rcpt_command,
        b"DATA": _data_command,
        b"RSET": _rset_command,
        b"NOOP": _noop_command,
        b"VRFY": _vrfy_command,
        b"QUIT": _quit_command,
        b"AUTH": _not_implemented,
        b"EXPN": _not_implemented,
        b"HELP": _not_implemented,
        b"BDAT": _not_implemented,
    }
