"""The SMTP dialogue with one client: what each command does.

RFC 5321; 2920 (PIPELINING), 1870 (SIZE), 6152 (8BITMIME), 6531 (SMTPUTF8), 3461
(DSN), 2034 (ENHANCEDSTATUSCODES); the greeting, STARTTLS and AUTH are
:mod:`gateway.smtp.greeting`'s, what mail goes by is :mod:`gateway.smtp.mailing`'s.
The commands of one burst share a register round trip, an upstream round trip and one
write of replies.

Octets come in through :meth:`Dialogue.advance`, which carries out, without waiting,
whatever can be: most commands, and a body.  Where it stops at something that must be
waited for, that is :attr:`Dialogue.step`; once it has been awaited,
:meth:`Dialogue.next_step` carries on from there.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from functools import partial
from typing import ClassVar

import structlog

from gateway.failure import GatewayError
from gateway.smtp import replies
from gateway.smtp.greeting import Greeting
from gateway.smtp.link import Link
from gateway.smtp.listener import Listener
from gateway.smtp.mailing import ENDS_THE_SESSION, Mailing, Step
from gateway.wire.lines import LineFault
from gateway.wire.path import parse_rcpt_run

log = structlog.get_logger(__name__)

_MAX_BAD_COMMANDS = 20
_AT_A_TIME = 500
"""Commands that one client may have carried out before others have their turn."""
_ONE_COMMAND = re.compile(rb"([^\r\n\0 ]{1,100}+)(?: ([^\r\n\0]{0,800}+))?\r\n").fullmatch
"""One whole command and nothing else, of a length that none may exceed."""
_RCPT = frozenset({b"RCPT ", b"rcpt "})


class Dialogue(Mailing):
    """One client's session."""

    def __init__(self, listener: Listener, link: Link, address: str) -> None:
        super().__init__(listener, link, address)
        self.step: Step | None = None
        """What must be awaited, once, before :meth:`advance` is called again."""
        self._bad_commands = 0

    def welcome(self) -> None:
        """Say who we are, once the client is known by its network, or not yet.

        Raises:
            TooManyConnections: the client holds as many as it may.

        """
        self._identity.by_address()
        hostname = self._listener.site.settings.smtp.hostname
        self._link.say(f"220 {hostname} ESMTP suppression gateway\r\n".encode())

    # -- octets in, steps out -----------------------------------------------------

    def advance(self, data: bytes) -> bool:
        """Take what has arrived and carry it out as far as it needs no waiting.

        True: there is a :attr:`step` to be awaited, or the session has ended.
        """
        if self._commands.empty:
            intake = self._intake
            if intake is not None:
                self.step = step = self._take_body(intake, data)
                return step is not None
            # The usual bursts of a client that waits for each answer.
            if data[:5] in _RCPT and (batch := parse_rcpt_run(data)) is not None:
                self.step = partial(self._rcpt, batch)
                return True
            command = _ONE_COMMAND(data)
            if command is not None:
                verb, argument = command.groups()
                self.step = step = self._command(verb, argument or b"")
                if step is None and self._listener.draining:
                    self._retire()
                return step is not None or self.ended
        self._commands.feed(data)
        self.step = step = self.next_step()
        return step is not None or self.ended

    def next_step(self) -> Step | None:
        """Carry out commands up to one that must wait; None: all that came is done.

        Consecutive RCPTs are one step.
        """
        commands = self._commands
        if commands.empty and self._intake is None:
            if self._listener.draining:
                self._retire()
            return None
        for _ in range(_AT_A_TIME):
            if self.ended:
                return None
            if self._intake is not None:
                more = b"" if self._intake.ended else commands.take_rest()
                return self._take_body(self._intake, more)
            run = commands.rcpt_run()
            if run is not None:
                batch = parse_rcpt_run(run)
                if batch is not None:
                    return partial(self._rcpt, batch)
                lines = run[:-2].split(b"\r\n")
                return partial(self._rcpt_lines, [line[5:].strip(b" \t") for line in lines])
            line = commands.next_line()
            if line is None:
                break
            if isinstance(line, LineFault):
                self._bad(f"{line.value}\r\n".encode())
                continue
            verb, _, argument = line.partition(b" ")
            step = self._command(verb, argument)
            if step is not None:
                return step
        else:
            return self._let_others
        if self._listener.draining:
            self._retire()
        return None

    def _retire(self) -> None:
        """The listener drains: end the session, but between two transactions only."""
        if self._transaction is None and not self.ended:
            self._link.say(replies.SHUTTING_DOWN)
            self.ended = True

    async def _let_others(self) -> None:
        await self._link.flush()
        await asyncio.sleep(0)

    def _command(self, verb: bytes, argument: bytes) -> Step | None:
        verb = verb.upper()
        argument = argument.strip(b" \t")
        command = self._AT_ONCE.get(verb)
        if command is not None:
            try:
                command(self, argument)
            except ENDS_THE_SESSION:
                raise
            except Exception as error:
                self._failed(verb, error)
            return None
        if verb == b"RCPT":
            return partial(self._rcpt_lines, [argument])
        waiting = self._WAITING.get(verb)
        if waiting is not None:
            return partial(self._guarded, verb, waiting, argument)
        self._bad(replies.UNKNOWN)
        return None

    async def _guarded(
        self, verb: bytes, command: Callable[[Dialogue, bytes], Awaitable[None]], argument: bytes
    ) -> None:
        try:
            await command(self, argument)
        except ENDS_THE_SESSION:
            raise
        except Exception as error:
            self._failed(verb, error)

    def _failed(self, verb: bytes, error: Exception) -> None:
        """Answer a command that raised."""
        if isinstance(error, GatewayError):
            if error.temporary:
                log.warning("command_deferred", cause=str(error))
            self._link.say(replies.line(error))
            return
        log.error("command_failed", command=verb[:16].decode("ascii", "replace"), exc_info=error)
        self._fail()
        self._link.say(replies.INTERNAL)

    def _bad(self, line: bytes) -> None:
        self._bad_commands += 1
        if self._bad_commands >= _MAX_BAD_COMMANDS:
            self._link.say(b"421 4.7.0 Too many errors\r\n")
            self.ended = True
        else:
            self._link.say(line)

    # -- the small ones -----------------------------------------------------------

    def _noop_command(self, argument: bytes) -> None:
        self._link.say(replies.OK)

    def _vrfy_command(self, argument: bytes) -> None:
        # Never an answer about an address: RFC 5321 section 3.5.3, and our own promise.
        self._link.say(b"252 2.5.0 Send some mail and see\r\n" if argument else replies.SYNTAX)

    def _help_command(self, argument: bytes) -> None:
        self._link.say(b"214 2.0.0 This is a mail relay; see RFC 5321\r\n")

    def _quit_command(self, argument: bytes) -> None:
        self._abandon()
        self._link.say(b"221 2.0.0 Bye\r\n")
        self.ended = True

    def _not_implemented(self, argument: bytes) -> None:
        self._link.say(replies.NOT_IMPLEMENTED)

    _AT_ONCE: ClassVar[dict[bytes, Callable[[Dialogue, bytes], None]]] = {
        b"HELO": Greeting._helo_command,
        b"EHLO": Greeting._ehlo_command,
        b"MAIL": Mailing._mail_command,
        b"DATA": Mailing._data_command,
        b"RSET": Mailing._rset_command,
        b"NOOP": _noop_command,
        b"VRFY": _vrfy_command,
        b"EXPN": _not_implemented,
        b"BDAT": _not_implemented,
        b"TURN": _not_implemented,
        b"HELP": _help_command,
        b"QUIT": _quit_command,
    }
    _WAITING: ClassVar[dict[bytes, Callable[[Dialogue, bytes], Awaitable[None]]]] = {
        b"STARTTLS": Greeting._starttls_command,
        b"AUTH": Greeting._auth_command,
    }
