"""The SMTP dialogue with one client: what each command does.

RFC 5321; 2920 (PIPELINING), 1870 (SIZE), 6152 (8BITMIME), 6531 (SMTPUTF8), 3461
(DSN), 2034 (ENHANCEDSTATUSCODES); the greeting, STARTTLS and AUTH are
:mod:`gateway.smtp.greeting`'s.  The commands of one burst share a register round
trip, an upstream round trip and one write of replies.

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
from typing import ClassVar, NamedTuple, TypeAlias

import structlog

from gateway.failure import GatewayError
from gateway.smtp import replies
from gateway.smtp.delivery import Delivery
from gateway.smtp.draft import Peer
from gateway.smtp.extension import check_mail, check_rcpt
from gateway.smtp.greeting import Greeting
from gateway.smtp.intake import Intake
from gateway.smtp.limit import TooManyConnections
from gateway.smtp.link import ClientGone, Link
from gateway.smtp.listener import Listener
from gateway.smtp.policy import Policy
from gateway.smtp.site import Site
from gateway.smtp.spool import Spool
from gateway.smtp.transaction import Transaction
from gateway.wire.command import MailCommand
from gateway.wire.lines import LineFault
from gateway.wire.path import (
    MailArguments,
    RcptArguments,
    parse_mail,
    parse_rcpt,
    parse_rcpt_run,
)

log = structlog.get_logger(__name__)

_MAX_BAD_COMMANDS = 20
_AT_A_TIME = 500
"""Commands that one client may have carried out before others have their turn."""
_ONE_COMMAND = re.compile(rb"([^\r\n\0 ]{1,100}+)(?: ([^\r\n\0]{0,800}+))?\r\n").fullmatch
"""One whole command and nothing else, of a length that none may exceed."""
_RCPT = frozenset({b"RCPT ", b"rcpt "})
_ENDS_THE_SESSION = (ClientGone, ConnectionError, TimeoutError, TooManyConnections)
Step: TypeAlias = Callable[[], Awaitable[None]]
"""Something that must be waited for.

Raises what ends the session: ClientGone, ConnectionError, TimeoutError,
TooManyConnections.
"""


class _Said(NamedTuple):
    """What a MAIL command meant: a tool says the same message after message."""

    argument: bytes
    site: Site
    policy: Policy
    peer: Peer
    mail: MailArguments
    command: MailCommand


class Dialogue(Greeting):
    """One client's session: who it is, what it was offered, its open transaction."""

    def __init__(self, listener: Listener, link: Link, address: str) -> None:
        super().__init__(listener, link, address)
        self.step: Step | None = None
        """What must be awaited, once, before :meth:`advance` is called again."""
        self._transaction: Transaction | None = None
        self._intake: Intake | None = None
        """The message being read, between the 354 and its final dot."""
        self._bad_commands = 0
        self._idle_timeout = listener.site.settings.smtp.idle_timeout
        self._now = asyncio.get_running_loop().time
        self._said: _Said | None = None
        """The last MAIL command that was accepted."""
        self.patience = self._idle_timeout
        """Seconds to wait for what the client says next."""

    @property
    def in_transaction(self) -> bool:
        """Whether MAIL has been accepted and its message not been answered."""
        return self._transaction is not None

    def welcome(self) -> None:
        """Say who we are, once the client is known by its network, or not yet.

        Raises:
            TooManyConnections: the client holds as many as it may.

        """
        self._identity.by_address()
        hostname = self._listener.site.settings.smtp.hostname
        self._link.say(f"220 {hostname} ESMTP suppression gateway\r\n".encode())

    def end(self) -> None:
        """The connection is over."""
        if self._intake is not None:
            self._intake.spool.close()
        self._abandon()
        self._identity.become(None)

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
            except _ENDS_THE_SESSION:
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
        except _ENDS_THE_SESSION:
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

    def _forget(self) -> None:
        self._abandon()

    def _abandon(self) -> None:
        """Forget the transaction; the upstream's is reset behind our back."""
        transaction, self._transaction = self._transaction, None
        if transaction is not None:
            transaction.abandon()

    def _fail(self) -> None:
        """A fault of ours that nobody foresaw: the transaction cannot be trusted."""
        self._listener.site.metrics.fault("internal")
        self._abandon()

    # -- the transaction ----------------------------------------------------------

    def _mail_command(self, argument: bytes) -> None:
        listener = self._listener
        said = self._said
        if (
            said is None
            or said.argument != argument
            or said.site is not listener.site
            or said.peer is not self._peer
        ):
            said = self._said = self._read_mail(argument)
            if said is None:
                return
        # A second MAIL begins anew, even a bad one: tools that lose count after a refused
        # recipient would otherwise hear 503 for every further message, and what they
        # pipeline behind a refused MAIL would join the transaction before it.
        self._abandon()
        _, site, policy, peer, mail, command = said
        if policy.messages_per_minute is not None:
            listener.limits.message(policy.client, self._now())
        self._transaction = Transaction(site, listener.parking, policy, peer, mail, command)
        self._link.say(b"250 2.1.0 Ok\r\n")

    def _read_mail(self, argument: bytes) -> _Said | None:
        """What the command means; None: it has been refused."""
        if not self._helo:
            self._link.say(replies.NEED_HELO)
            return None
        if self._identity.recognise():
            self._peer = None
        client = self._identity.client
        if client is None:
            self._link.say(replies.NEED_AUTH)
            return None
        self._abandon()
        mail = parse_mail(argument)
        if mail.params:
            check_mail(mail, self._in_force)
        if mail.international and "SMTPUTF8" not in mail.params:
            self._link.say(replies.NEEDS_UTF8)
            return None
        if self._peer is None:
            self._peer = Peer(
                address=self._identity.address,
                helo=self._helo,
                extended=self._extended,
                secure=self._link.secure,
                login=bool(self._identity.login),
            )
        site = self._listener.site
        policy = site.policy(client)
        return _Said(argument, site, policy, self._peer, mail, MailCommand.of(mail))

    async def _rcpt(self, batch: list[RcptArguments]) -> None:
        """Answer RCPT commands that were all sound."""
        self._link.say(b"".join(await self._add(batch)))

    async def _rcpt_lines(self, arguments: list[bytes]) -> None:
        """Answer RCPT commands, each in its turn."""
        say = self._link.say
        if self._transaction is None:
            for _ in arguments:
                say(replies.NEED_MAIL)
            return
        read = [self._read_rcpt(argument) for argument in arguments]
        batch = [one for one in read if isinstance(one, RcptArguments)]
        answers = iter(await self._add(batch) if batch else ())
        for one in read:
            say(next(answers) if isinstance(one, RcptArguments) else one)

    async def _add(self, batch: list[RcptArguments]) -> list[bytes]:
        """The answers to these recipients."""
        transaction = self._transaction
        if transaction is None:
            return [replies.NEED_MAIL] * len(batch)
        try:
            return await transaction.add(batch)
        except _ENDS_THE_SESSION:
            raise
        except Exception:
            log.exception("recipients_failed")
            self._fail()
            return [replies.INTERNAL] * len(batch)

    def _read_rcpt(self, argument: bytes) -> RcptArguments | bytes:
        """The recipient, or the reply that refuses it."""
        try:
            rcpt = parse_rcpt(argument)
            if rcpt.params:
                check_rcpt(rcpt, self._in_force)
        except GatewayError as error:
            return replies.line(error)
        return rcpt

    def _data_command(self, argument: bytes) -> None:
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
        policy = transaction.policy
        metrics = transaction.site.metrics
        self._intake = Intake(policy, self._listener, metrics, self._now())
        self.patience = policy.data_timeout
        self._link.say(b"354 End data with <CR><LF>.<CR><LF>\r\n")

    def _take_body(self, intake: Intake, data: bytes) -> Step | None:
        """Take what has arrived of the message; None: it goes on, and no more has come."""
        if data and not intake.ended:
            rest = intake.feed(data)
            if rest:
                self._commands.feed(rest)
        if intake.must_flush:
            return intake.flush
        if intake.ended:
            self._intake = None
            self.patience = self._idle_timeout
            return partial(self._hand_over, intake)
        self.patience = intake.patience_at(self._now())
        return None

    async def _hand_over(self, intake: Intake) -> None:
        """Answer the final dot.

        When the client goes away now, the hand-over is finished and recorded all the
        same, for the client cannot know whether it was (RFC 5321 4.5.3.2.6).
        """
        transaction, self._transaction = self._transaction, None
        if transaction is None:
            raise RuntimeError("a message without its transaction")
        spool = intake.spool
        if intake.refusal is not None:
            transaction.abandon()
            self._answer(transaction, spool, intake.refusal)
            return
        began = self._now()
        site = transaction.site
        try:
            reply = await Delivery(transaction, spool).run()
        except GatewayError as error:
            log.warning("message_deferred", client=transaction.policy.name, cause=str(error))
            site.metrics.fault(type(error).__name__)
            reply = replies.line(error)
        except Exception:
            log.exception("delivery_failed")
            site.metrics.fault("internal")
            reply = replies.INTERNAL
        finally:
            transaction.abandon()
            spool.close()
            site.metrics.handed_over(self._now() - began)
        self._answer(transaction, spool, reply)

    def _answer(self, transaction: Transaction, spool: Spool, reply: bytes) -> None:
        transaction.site.metrics.message(transaction.policy.name, reply, spool.wire_size)
        self._link.say(reply)

    # -- the small ones -----------------------------------------------------------

    def _rset_command(self, argument: bytes) -> None:
        self._abandon()
        self._link.say(replies.OK)

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
        b"MAIL": _mail_command,
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
    _WAITING: ClassVar[dict[bytes, Callable[[Dialogue, bytes], Awaitable[None]]]] = {
        b"STARTTLS": Greeting._starttls_command,
        b"AUTH": Greeting._auth_command,
    }
