"""The commands that mail goes by: MAIL, RCPT, DATA, the message, RSET (RFC 5321 section 3.3).

What must be waited for is given back as a step; see :mod:`gateway.smtp.dialogue`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import NamedTuple, TypeAlias

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
from gateway.wire.path import MailArguments, RcptArguments, parse_mail, parse_rcpt

log = structlog.get_logger(__name__)

ENDS_THE_SESSION = (ClientGone, ConnectionError, TimeoutError, TooManyConnections)
"""What a command may raise that no reply can answer."""
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


class Mailing(Greeting):
    """One client's open transaction, and the message that is being read for it."""

    def __init__(self, listener: Listener, link: Link, address: str) -> None:
        super().__init__(listener, link, address)
        self._transaction: Transaction | None = None
        self._intake: Intake | None = None
        """The message being read, between the 354 and its final dot."""
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

    def end(self) -> None:
        """The connection is over."""
        if self._intake is not None:
            self._intake.spool.close()
        self._abandon()
        self._identity.become(None)

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

    def _mail_command(self, argument: bytes) -> None:
        # A second MAIL begins anew, even a bad one: tools that lose count after a refused
        # recipient would otherwise hear 503 for every further message, and what they
        # pipeline behind a refused MAIL would join the transaction before it.
        self._abandon()
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
        except ENDS_THE_SESSION:
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

    def _rset_command(self, argument: bytes) -> None:
        self._abandon()
        self._link.say(replies.OK)
