"""One mail transaction on a leased connection.

States: FRESH (nothing said), OPEN (MAIL accepted), GO (354 came, a body is due),
DONE (a final reply came, or MAIL or DATA was refused) and GONE (the connection is
back in the pool or cut).  A connection is marked for RSET from MAIL until a final
250, so that whatever happens in between, the next transaction on it starts clean;
the RSET travels with the next MAIL.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, Awaitable, Callable, Sequence
from enum import Enum, auto
from functools import partial

from gateway.upstream.connection import Connection
from gateway.upstream.failure import ConnectionFailed, HandOverFailed, Stage
from gateway.upstream.pool import Pool
from gateway.wire.command import MailCommand, RcptCommand
from gateway.wire.ehlo import Capabilities
from gateway.wire.reply import Reply

_WRITE_AT_ONCE = 64 * 1024
"""Octets of a body that are gathered for one write."""
_NOBODY = Reply.of(554, "5.5.1 No valid recipients")


class _State(Enum):
    FRESH = auto()
    OPEN = auto()
    GO = auto()
    DONE = auto()
    GONE = auto()


class _Stale(ConnectionFailed):
    """A connection from the pool turned out to be out of step (503, RSET refused)."""


class Transaction:
    """A transaction upstream.  End it with :meth:`release` or :meth:`abort`, always.

    A refusal by the upstream is a :class:`Reply`; a failure of the connection is an
    exception (:class:`ConnectionFailed`, in :meth:`data` :class:`HandOverFailed`).
    After an exception or a cancellation the connection is already cut.
    """

    def __init__(self, pool: Pool, connection: Connection) -> None:
        """Takes over a lease."""
        self._pool = pool
        self._connection = connection
        self._state = _State.FRESH
        self._accepted = 0
        self._refused: Reply | None = None
        """What every further question about this transaction is answered with."""
        self._stage = Stage.BEFORE_BODY
        self._last = _NOBODY
        self.mail_reply: Reply | None = None
        """The answer to the last MAIL, or None before it."""
        self.closing = False
        """Whether the upstream ended the last dialogue with a 421."""
        self.unsupported = False
        """Whether MAIL was answered here, because the upstream lacks an extension."""

    @property
    def upstream(self) -> str:
        """The target's name, for records and metrics."""
        return self._pool.target.name

    @property
    def capabilities(self) -> Capabilities:
        """What this connection's server offers."""
        return self._connection.capabilities

    async def begin(
        self, mail: MailCommand, recipients: Sequence[RcptCommand], *, data: bool = False
    ) -> list[Reply]:
        """MAIL and every RCPT in one write; one reply per recipient.

        If MAIL is refused, every recipient gets its reply.  A 421 anywhere is every
        recipient's reply, as nothing of the transaction is left then.  A connection
        that was used before and gives 421, 503 or end of stream is replaced, once,
        unseen by the caller.

        With ``data`` the DATA command travels in the same write; then only
        :meth:`data`, :meth:`restart` (on a new connection), or :meth:`abort` may
        follow.  If the upstream answers 354 although it took no recipient, it gets
        a lone dot (RFC 2920 § 3.1).
        """
        return await self._open(mail, recipients, data, reset=self._connection.needs_reset)

    async def restart(
        self, mail: MailCommand, recipients: Sequence[RcptCommand], *, data: bool = False
    ) -> list[Reply]:
        """Forgets the open transaction and begins another: RSET, MAIL, RCPTs in one write."""
        return await self._open(mail, recipients, data, reset=True)

    async def add(self, recipients: Sequence[RcptCommand]) -> list[Reply]:
        """More recipients; one reply each.

        A 421 is the reply of all of them and the end of the whole transaction, also
        for recipients accepted before: :meth:`data` will then fail BEFORE_BODY.
        """
        if self._refused is not None:
            return [self._refused] * len(recipients)
        self._must_be(_State.OPEN)
        refused, sent = self._split(recipients)
        replies: list[Reply] = []
        if sent:
            try:
                replies = await self._say([command.line() for command in sent])
            except BaseException:
                self.abort()
                raise
        return self._merge(recipients, refused, replies)

    async def data(self, source: AsyncIterable[bytes]) -> Reply:
        """Hands the body over and returns the upstream's final reply.

        ``source`` yields the body in wire form; as a whole it is empty or ends in
        CRLF.  It is asked for its first chunk only after 354, and no faster than
        the upstream takes them.  An exception of the source's own cuts the
        connection before the final dot and passes through.  Raises
        :class:`HandOverFailed`.
        """
        return await self._hand_over(partial(self._send, source))

    async def data_at_once(self, body: Callable[[], Awaitable[bytes]]) -> Reply:
        """:meth:`data` with a body that is small: it leaves in one write with its dot.

        ``body`` is awaited after 354.
        """
        return await self._hand_over(partial(self._send_at_once, body))

    async def _hand_over(self, send: Callable[[], Awaitable[Reply]]) -> Reply:
        if self._refused is not None:
            return self._refused
        self._must_be(_State.OPEN, _State.GO)
        self._stage = Stage.BEFORE_BODY
        try:
            refusal = await self._ask_to_send() if self._state is _State.OPEN else None
            return refusal or await send()
        except ConnectionFailed as failure:
            self.abort()
            raise HandOverFailed(self._stage, str(failure)) from failure
        except BaseException:
            self.abort()
            raise

    def release(self) -> None:
        """Gives the connection back; what is open is reset with its next use.

        Where a body is due (354 was given), the connection is cut: anything else
        would be taken for the body.
        """
        if self._state is _State.GO:
            self.abort()
        elif self._state is not _State.GONE:
            self._state = _State.GONE
            self._pool.give_back(self._connection)

    def abort(self) -> None:
        """Cuts the connection: without a final dot the upstream keeps nothing."""
        self._state = _State.GONE
        self._pool.discard(self._connection)

    # -- the envelope -------------------------------------------------------------

    async def _open(
        self, mail: MailCommand, recipients: Sequence[RcptCommand], data: bool, *, reset: bool
    ) -> list[Reply]:
        if self._state is _State.GONE:
            raise RuntimeError("the transaction is over")
        try:
            if self._state is _State.GO:
                # RSET would be taken for the body.
                await self._replace()
                reset = False
            used = not self._connection.fresh
            try:
                replies = await self._attempt(mail, recipients, data, reset)
                if not (used and self._out_of_step()):
                    return replies
            except ConnectionFailed as failure:
                if not used or failure.silent:
                    raise
            await self._replace()
            return await self._attempt(mail, recipients, data, reset=False)
        except BaseException:
            self.abort()
            raise

    def _out_of_step(self) -> bool:
        return self.closing or (self.mail_reply is not None and self.mail_reply.code == 503)

    async def _replace(self) -> None:
        self._connection = await self._pool.renew(self._connection)
        self._state = _State.FRESH

    async def _attempt(
        self, mail: MailCommand, recipients: Sequence[RcptCommand], data: bool, reset: bool
    ) -> list[Reply]:
        connection = self._connection
        capabilities = connection.capabilities
        self._refused, self._accepted, self.closing = None, 0, False
        lacking = mail.lacking(capabilities)
        self.unsupported = lacking is not None
        if lacking is not None:
            self._state = _State.DONE
            self.mail_reply = self._refused = _lacks(lacking)
            return [self._refused] * len(recipients)
        refused, sent = self._split(recipients)
        connection.transactions += 1
        connection.fresh = False
        connection.needs_reset = True
        head = [b"RSET\r\n"] if reset else []
        head.append(mail.line(capabilities))
        lines = [command.line() for command in sent]
        go_on = [b"DATA\r\n"] if data and sent else []
        if capabilities.pipelining:
            answers = await self._say(head + lines + go_on)
        else:
            answers = await self._say(head)
            if len(answers) == len(head) and answers[-1].positive:
                answers += await self._say(lines)
                if (
                    go_on
                    and not self.closing
                    and any(answer.positive for answer in answers[len(head) :])
                ):
                    answers += await self._say(go_on)
        if reset and not self.closing and not answers[0].positive:
            raise _Stale(f"RSET was answered with {answers[0].code}")
        return await self._read(answers[len(head) - 1 :], recipients, refused)

    async def _read(
        self,
        answers: list[Reply],
        recipients: Sequence[RcptCommand],
        refused: dict[int, Reply],
    ) -> list[Reply]:
        """Takes in the replies to MAIL, the RCPTs and, where asked, DATA."""
        if self.closing:
            self._state = _State.DONE
            self._refused = last = self._last
            self.mail_reply = answers[0] if answers else last
            return [last] * len(recipients)
        _no_go_ahead(answers[:1])
        self.mail_reply = answers[0]
        sent = len(recipients) - len(refused)
        data = answers[1 + sent] if len(answers) > 1 + sent else None
        if not answers[0].positive:
            self._state, self._refused = _State.DONE, answers[0]
            replies = [answers[0]] * len(recipients)
        else:
            self._state = _State.OPEN
            replies = self._merge(recipients, refused, answers[1 : 1 + sent])
        if data is not None:
            await self._take_go_ahead(data)
        return replies

    def _split(
        self, recipients: Sequence[RcptCommand]
    ) -> tuple[dict[int, Reply], Sequence[RcptCommand]]:
        """Sets aside the recipients that ask for what this upstream lacks."""
        capabilities = self._connection.capabilities
        if capabilities.dsn or not any(command.params for command in recipients):
            return {}, recipients
        refused: dict[int, Reply] = {}
        sent = []
        for index, command in enumerate(recipients):
            lacking = command.lacking(capabilities)
            if lacking is None:
                sent.append(command)
            else:
                refused[index] = _lacks(lacking)
        return refused, sent

    def _merge(
        self,
        recipients: Sequence[RcptCommand],
        refused: dict[int, Reply],
        answers: list[Reply],
    ) -> list[Reply]:
        """One reply per recipient, in the caller's order."""
        if self.closing:
            return [self._last] * len(recipients)
        _no_go_ahead(answers)
        self._accepted += sum(answer.positive for answer in answers)
        if not refused:
            return answers
        rest = iter(answers)
        return [refused.get(index) or next(rest) for index in range(len(recipients))]

    async def _say(self, commands: list[bytes]) -> list[Reply]:
        """One write if the upstream pipelines, else one command at a time."""
        connection = self._connection
        seconds = self._pool.target.timeouts.command
        if connection.capabilities.pipelining or len(commands) == 1:
            answers = await connection.exchange(b"".join(commands), len(commands), seconds)
        else:
            answers = await connection.converse(commands, seconds)
        if answers and answers[-1].code == 421:
            self.closing = True
            self._last = answers[-1]
        return answers

    # -- the body -----------------------------------------------------------------

    async def _ask_to_send(self) -> Reply | None:
        """DATA; returns the refusal, or None when a body is due."""
        seconds = self._pool.target.timeouts.data
        (reply,) = await self._connection.exchange(b"DATA\r\n", 1, seconds, "the go-ahead")
        return await self._take_go_ahead(reply)

    async def _take_go_ahead(self, reply: Reply) -> Reply | None:
        """The answer to DATA; returns the refusal, or None when a body is due."""
        if reply.code != 354:
            if not (reply.temporary or reply.permanent):
                raise ConnectionFailed(f"the upstream answered DATA with {reply.code}")
            self._state, self._refused = _State.DONE, self._refused or reply
        elif self._accepted:
            self._state = _State.GO
        else:
            reply = await self._end()
            self._refused = self._refused or (_NOBODY if reply.positive else reply)
        return self._refused

    async def _send(self, source: AsyncIterable[bytes]) -> Reply:
        """The body, the final dot and the final reply."""
        connection = self._connection
        seconds = self._pool.target.timeouts.data
        tail = b"\r\n"
        waiting: list[bytes] = []
        size = 0
        connection.begin_body()
        connection.require_open()
        async for chunk in source:
            self._stage = Stage.BEFORE_END
            waiting.append(chunk)
            size += len(chunk)
            tail = chunk[-2:] if len(chunk) > 1 else (tail + chunk)[-2:]
            if size >= _WRITE_AT_ONCE:
                if connection.early is not None:
                    return self._refused_early(connection.early)
                connection.require_open()
                if not connection.write(b"".join(waiting)):
                    await connection.drain(seconds)
                waiting.clear()
                size = 0
        if connection.early is not None:
            return self._refused_early(connection.early)
        connection.require_open()
        if tail != b"\r\n":
            raise ConnectionFailed("the body to send does not end in CRLF")
        self._stage = Stage.AFTER_END
        # The end of a body, and so the whole of a small one, shares a write with its dot.
        return await self._end(b"".join(waiting))

    async def _send_at_once(self, body: Callable[[], Awaitable[bytes]]) -> Reply:
        """The whole body, the final dot and the final reply."""
        connection = self._connection
        connection.begin_body()
        octets = await body()
        if connection.early is not None:
            return self._refused_early(connection.early)
        connection.require_open()
        if octets and octets[-2:] != b"\r\n":
            raise ConnectionFailed("the body to send does not end in CRLF")
        self._stage = Stage.AFTER_END
        return await self._end(octets)

    async def _end(self, body: bytes = b"") -> Reply:
        """The rest of the body, the final dot and the final reply."""
        seconds = self._pool.target.timeouts.final
        (reply,) = await self._connection.exchange(body + b".\r\n", 1, seconds, "the final reply")
        if 300 <= reply.code < 400:
            raise ConnectionFailed(f"the upstream answered the final dot with {reply.code}")
        self._state = _State.DONE
        if reply.positive:
            self._connection.needs_reset = False
        return reply

    def _refused_early(self, reply: Reply) -> Reply:
        """A refusal in the middle of the body: true, as the final dot was never sent."""
        if not (reply.temporary or reply.permanent):
            raise ConnectionFailed(f"the upstream said {reply.code} in the middle of the body")
        self.abort()
        return reply

    def _must_be(self, *states: _State) -> None:
        if self._state not in states:
            raise RuntimeError(f"not possible in a transaction that is {self._state.name}")


def _no_go_ahead(answers: Sequence[Reply]) -> None:
    """A 3xx asks for more, which MAIL and RCPT cannot: the dialogue is out of step."""
    if any(answer.code // 100 == 3 for answer in answers):
        raise ConnectionFailed("the upstream answered MAIL or RCPT with a 3xx")


def _lacks(extension: str) -> Reply:
    """Temporary: the extension was on offer when the client was told of it."""
    return Reply.of(451, f"4.3.5 The upstream does not offer {extension} now")
