"""The SMTP dialogue with one client: what each command does.

RFC 5321; 2920 (PIPELINING), 1870 (SIZE), 6152 (8BITMIME), 6531 (SMTPUTF8), 3461
(DSN), 2034 (ENHANCEDSTATUSCODES); the greeting, STARTTLS and AUTH are
:mod:`gateway.smtp.greeting`'s.  The commands of one burst share a register round
trip, an upstream round trip and one write of replies.

Two ways in.  :meth:`Dialogue.advance` takes octets and carries out, without waiting,
whatever can be: most commands, and a body.  Where it stops at something that must be
waited for, it says so, and :meth:`Dialogue.proceed` carries on from there.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from typing import ClassVar, TypeAlias

import structlog

from gateway.failure import GatewayError
from gateway.smtp import replies
from gateway.smtp.delivery import deliver
from gateway.smtp.evidence import Peer
from gateway.smtp.extension import check_mail, check_rcpt
from gateway.smtp.greeting import Greeting
from gateway.smtp.intake import Intake
from gateway.smtp.limit import TooManyConnections
from gateway.smtp.link import ClientGone, Link
from gateway.smtp.listener import Listener
from gateway.smtp.spool import Spool
from gateway.smtp.transaction import Transaction
from gateway.wire.lines import LineFault
from gateway.wire.path import RcptArguments, parse_mail, parse_rcpt

log = structlog.get_logger(__name__)

_MAX_BAD_COMMANDS = 20
_AT_A_TIME = 500
"""Commands that one client may have carried out before others have their turn."""
_ONE_COMMAND = re.compile(rb"[^\r\n\0]{1,1000}\r\n").fullmatch
"""One whole command and nothing else, of a length that none may exceed."""
_ENDS_THE_SESSION = (ClientGone, ConnectionError, TimeoutError, TooManyConnections)
_Step: TypeAlias = Callable[[], Awaitable[None]]
"""Something that must be waited for."""


class Dialogue(Greeting):
    """One client's session: who it is, what it was offered, its open transaction."""

    def __init__(self, listener: Listener, link: Link, address: str) -> None:
        super().__init__(listener, link, address)
        self._held: bytes | LineFault | None = None
        """A line that was read and waits for the commands before it."""
        self._step: _Step | None = None
        """What :meth:`proceed` is to begin with."""
        self._transaction: Transaction | None = None
        self._intake: Intake | None = None
        """The message being read, between the 354 and its final dot."""
        self._bad_commands = 0
        self._idle_timeout = listener.site.settings.smtp.idle_timeout
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

        True: :meth:`proceed` must be awaited before this is called again.
        """
        if self._intake is None and self._commands.empty and _ONE_COMMAND(data):
            # The usual burst of a client that waits for each answer.
            line = data[:-2]
            if line[:5].upper() != b"RCPT ":
                self._step = self._command(line)
                if self._step is None and self._listener.draining:
                    self._step = self._next_step()
            else:
                self._step = partial(self._rcpt, [line[5:].strip(b" \t")])
            return self._step is not None
        self._commands.feed(data)
        self._step = self._next_step()
        return self._step is not None

    async def proceed(self) -> None:
        """Wait for what must be waited for, and carry out what has arrived behind it.

        Raises what ends the session: ClientGone, ConnectionError, TimeoutError,
        TooManyConnections.
        """
        step, self._step = self._step, None
        while step is not None:
            await step()
            step = self._next_step()

    def _next_step(self) -> _Step | None:
        """Carry out commands up to one that must wait; None: all that came is done.

        Consecutive RCPTs are one step.
        """
        recipients: list[bytes] = []
        for _ in range(_AT_A_TIME):
            if self.ended:
                break
            if self._intake is not None:
                return self._take_body(self._intake)
            line, self._held = self._held, None
            if line is None:
                line = self._commands.next_line()
            if line is None:
                break
            if type(line) is bytes and line[:5].upper() == b"RCPT ":
                recipients.append(line[5:].strip(b" \t"))
            elif recipients:
                self._held = line
                break
            elif (step := self._command(line)) is not None:
                return step
        else:
            if not recipients:
                return self._let_others
        if recipients:
            return partial(self._rcpt, recipients)
        if self._listener.draining and not self.in_transaction and not self.ended:
            self._link.say(replies.SHUTTING_DOWN)
            self.ended = True
        return None

    async def _let_others(self) -> None:
        await self._link.flush()
        await asyncio.sleep(0)

    def _command(self, line: bytes | LineFault) -> _Step | None:
        if isinstance(line, LineFault):
            self._bad(f"{line.value}\r\n".encode())
            return None
        verb, _, argument = line.partition(b" ")
        verb = verb.upper()
        argument = argument.strip(b" \t")
        waiting = self._WAITING.get(verb)
        if waiting is not None:
            return partial(self._guarded, verb, waiting, argument)
        command = self._AT_ONCE.get(verb)
        if command is None:
            self._bad(replies.UNKNOWN)
            return None
        try:
            command(self, argument)
        except _ENDS_THE_SESSION:
            raise
        except Exception as error:
            self._failed(verb, error)
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
        self._held = None

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
        if not self._helo:
            self._link.say(replies.NEED_HELO)
            return
        if self._identity.recognise():
            self._peer = None
        client = self._identity.client
        if client is None:
            self._link.say(replies.NEED_AUTH)
            return
        # A second MAIL begins anew, even a bad one: tools that lose count after a refused
        # recipient would otherwise hear 503 for every further message, and what they
        # pipeline behind a refused MAIL would join the transaction before it.
        self._abandon()
        arguments = parse_mail(argument)
        if arguments.params:
            check_mail(arguments, self._in_force)
        if arguments.international and "SMTPUTF8" not in arguments.params:
            self._link.say(replies.NEEDS_UTF8)
            return
        listener = self._listener
        if client.messages_per_minute is not None:
            listener.limits.message(client, asyncio.get_running_loop().time())
        peer = self._peer
        if peer is None:
            peer = self._peer = Peer(
                address=self._identity.address,
                helo=self._helo,
                extended=self._extended,
                secure=self._link.secure,
                login=bool(self._identity.login),
            )
        self._transaction = Transaction(listener.site, listener.parking, client, peer, arguments)
        self._link.say(b"250 2.1.0 Ok\r\n")

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
            if rcpt.params:
                check_rcpt(rcpt, self._in_force)
        except GatewayError as error:
            return replies.line(error)
        return rcpt

    async def _single_rcpt(self, argument: bytes) -> None:
        await self._rcpt([argument])

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
        site = transaction.site
        smtp = site.settings.smtp
        spool = Spool(
            self._listener.budget,
            self._listener.spool_folder,
            smtp.message_memory,
            smtp.max_header_size,
        )
        self._intake = Intake(site, spool, asyncio.get_running_loop().time())
        self.patience = self._intake.patience
        self._link.say(b"354 End data with <CR><LF>.<CR><LF>\r\n")

    def _take_body(self, intake: Intake) -> _Step | None:
        """Take what has arrived of the message; None and still reading: no more came."""
        if not intake.ended and (data := self._commands.take_rest()):
            self._commands.feed(intake.feed(data))
        if intake.must_flush:
            return intake.flush
        if intake.ended:
            self._intake = None
            self.patience = self._idle_timeout
            return partial(self._hand_over, intake)
        self.patience = intake.patience_at(asyncio.get_running_loop().time())
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
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            reply = await deliver(transaction, spool)
        except Exception:
            log.exception("delivery_failed")
            transaction.site.metrics.fault("internal")
            reply = replies.INTERNAL
        finally:
            spool.close()
            transaction.site.metrics.handed_over(loop.time() - began)
        self._answer(transaction, spool, reply)

    def _answer(self, transaction: Transaction, spool: Spool, reply: bytes) -> None:
        transaction.site.metrics.message(transaction.client.name, reply, spool.wire_size)
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
        b"RCPT": _single_rcpt,
    }
