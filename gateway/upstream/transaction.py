"""One mail transaction on a leased connection.

States: FRESH (nothing said), OPEN (MAIL accepted), ASKED (DATA was said ahead of time,
a body may be due), GO (354 came, a body is due), DONE (a final reply came, or MAIL or
DATA was refused) and GONE (the connection is back in the pool or cut).  A connection
is marked for RSET from MAIL until a final 250, so that whatever happens in between, the
next transaction on it starts clean; the RSET travels with the next MAIL.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, Awaitable, Callable, Coroutine, Mapping, Sequence
from enum import Enum, auto
from functools import partial
from typing import Any

from gateway.upstream.connection import Connection
from gateway.upstream.envelope import accepted, lacks, merge, split
from gateway.upstream.failure import ConnectionFailed, HandOverFailed, Stage
from gateway.upstream.pool import Pool
from gateway.wire.command import MailCommand, RcptCommand, rcpt_lines
from gateway.wire.ehlo import Capabilities
from gateway.wire.reply import Reply, code_of

_WRITE_AT_ONCE = 64 * 1024
"""Octets of a body that are gathered for one write."""
_CLOSING = 421
_GO_AHEAD = 354
_NOBODY = Reply.of(554, "5.5.1 No valid recipients")


class _State(Enum):
    FRESH = auto()
    OPEN = auto()
    ASKED = auto()
    GO = auto()
    DONE = auto()
    GONE = auto()


_BODY_DUE = (_State.ASKED, _State.GO)
"""Whatever is written next may be taken for the body."""


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

    _state = _State.FRESH
    _accepted = 0
    _refused: Reply | None = None
    """What every further question about this transaction is answered with."""
    _asked: asyncio.Future[list[Reply]] | None = None
    """The answer to the DATA of :meth:`call_for_data`."""
    _stage = Stage.BEFORE_BODY
    _tail = b"\r\n"
    """The last two octets of the body that have been written, or what stands before it."""
    mail_reply: Reply | None = None
    """The answer to the last MAIL, or None before it."""
    closing = False
    """Whether the upstream ended the last dialogue with a 421."""
    unsupported = False
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
        self._must_be_held()
        try:
            if self._state in _BODY_DUE:
                # RSET would be taken for the body.
                await self._replace()
            while True:
                connection = self._connection
                used, reset = not connection.fresh, connection.needs_reset
                self._refused = None
                self._accepted = 0
                self.closing = False
                capabilities = connection.capabilities
                if mail.params and (extension := mail.lacking(capabilities)) is not None:
                    self.unsupported = True
                    self._state = _State.DONE
                    self.mail_reply = self._refused = lacks(extension)
                    return [self._refused] * len(recipients)
                self.unsupported = False
                sent, refused = split(recipients, capabilities)
                try:
                    answers = await self._speak(mail, sent, data)
                    replies = self._hear(answers, recipients, refused, reset)
                    if data and not self.closing and len(answers) > reset + 1 + len(sent):
                        await self._take_go_ahead(answers[-1])
                    if self._state is _State.OPEN or not used or not self._out_of_step():
                        return replies
                except ConnectionFailed as failure:
                    if not used or failure.silent:
                        raise
                # A connection that has just greeted is not replaced again.
                await self._replace()
        except BaseException:
            self.abort()
            raise

    async def restart(
        self, mail: MailCommand, recipients: Sequence[RcptCommand], *, data: bool = False
    ) -> list[Reply]:
        """Forgets the open transaction and begins another: RSET, MAIL, RCPTs in one write."""
        self._must_be_held()
        self._connection.needs_reset = True
        return await self.begin(mail, recipients, data=data)

    async def add(self, recipients: Sequence[RcptCommand]) -> list[Reply]:
        """More recipients; one reply each.

        A 421 is the reply of all of them and the end of the whole transaction, also
        for recipients accepted before: :meth:`data` will then fail BEFORE_BODY.
        """
        if self._refused is not None:
            return [self._refused] * len(recipients)
        if self._state is not _State.OPEN:
            self._must_be(_State.OPEN)
        connection = self._connection
        sent, refused = split(recipients, connection.capabilities)
        if not sent:
            return merge(len(recipients), refused, [])
        seconds = self._pool.target.timeouts.command
        count = len(sent)
        try:
            if connection.capabilities.pipelining or count == 1:
                answers = await connection.ask(rcpt_lines(sent), count, seconds)
            else:
                answers = await connection.converse([one.line() for one in sent], seconds)
            if answers[-1].code == _CLOSING:
                self.closing = True
                return [answers[-1]] * len(recipients)
            self._accepted += accepted(answers)
            return merge(len(recipients), refused, answers)
        except BaseException:
            self.abort()
            raise

    def call_for_data(self) -> None:
        """Says DATA now; :meth:`data` or :meth:`data_at_once` will wait for its answer.

        For an open transaction in which nothing is under way.  Their result and their
        failures are the same as if they had said it, and so is the time that the
        upstream has to answer, counted from now.  In between nothing else may be asked
        of the transaction but to end, or to :meth:`restart`, which takes a new
        connection.  Does nothing where there is nothing to call for (nobody was
        accepted, or all is refused), the second time, and if the connection is gone:
        then they will say so.
        """
        if self._refused is not None or self._state in _BODY_DUE:
            return
        self._must_be(_State.OPEN)
        if self._accepted and self._connection.usable:
            self._asked = self._ask_to_send()
            self._state = _State.ASKED

    def data(self, source: AsyncIterable[bytes]) -> Coroutine[Any, Any, Reply]:
        """Hands the body over and returns the upstream's final reply.

        ``source`` yields the body in wire form; as a whole it is empty or ends in
        CRLF.  It is asked for its first chunk only after 354, and no faster than
        the upstream takes them; that chunk leaves before the next is asked for.  An
        exception of the source's own cuts the connection before the final dot and
        passes through.  Raises :class:`HandOverFailed`.
        """
        return self._hand_over(partial(self._stream, source))

    def data_at_once(self, body: Callable[[], Awaitable[bytes]]) -> Coroutine[Any, Any, Reply]:
        """:meth:`data` with a body that is small: it leaves in one write with its dot.

        ``body`` is awaited after 354.
        """
        return self._hand_over(body)

    def release(self) -> None:
        """Gives the connection back; what is open is reset with its next use.

        Where a body is due or may be (DATA was said), the connection is cut: anything else
        would be taken for the body.
        """
        if self._state in _BODY_DUE:
            self.abort()
        elif self._state is not _State.GONE:
            self._state = _State.GONE
            self._pool.give_back(self._connection)

    def abort(self) -> None:
        """Cuts the connection: without a final dot the upstream keeps nothing."""
        self._state = _State.GONE
        self._pool.discard(self._connection)

    # -- the envelope -------------------------------------------------------------

    def _out_of_step(self) -> bool:
        return self.closing or (self.mail_reply is not None and self.mail_reply.code == 503)

    async def _replace(self) -> None:
        self._connection = await self._pool.renew(self._connection)
        self._state = _State.FRESH
        self._asked = None

    def _speak(
        self, mail: MailCommand, sent: Sequence[RcptCommand], data: bool
    ) -> Awaitable[list[Reply]]:
        """MAIL and the RCPTs leave, behind RSET where that is due; their answers."""
        connection = self._connection
        capabilities = connection.capabilities
        reset = connection.needs_reset
        connection.transactions += 1
        connection.fresh = False
        connection.needs_reset = True
        line = mail.line(capabilities)
        if not capabilities.pipelining:
            return self._converse([b"RSET\r\n", line] if reset else [line], sent, data)
        lines, count = line + rcpt_lines(sent), 1 + len(sent)
        if reset:
            lines, count = b"RSET\r\n" + lines, count + 1
        if data and sent:
            lines, count = lines + b"DATA\r\n", count + 1
        return connection.ask(lines, count, self._pool.target.timeouts.command)

    async def _converse(
        self, head: list[bytes], sent: Sequence[RcptCommand], data: bool
    ) -> list[Reply]:
        """The same, one command at a time, as far as there is a point in going on."""
        connection = self._connection
        seconds = self._pool.target.timeouts.command
        answers = await connection.converse(head, seconds)
        if len(answers) == len(head) and answers[-1].positive:
            answers += await connection.converse([command.line() for command in sent], seconds)
            taken = any(answer.positive for answer in answers[len(head) :])
            if data and taken and answers[-1].code != _CLOSING:
                answers += await connection.exchange(b"DATA\r\n", 1, seconds)
        return answers

    def _hear(
        self,
        answers: list[Reply],
        recipients: Sequence[RcptCommand],
        refused: Mapping[int, Reply],
        reset: bool,
    ) -> list[Reply]:
        """Takes in the replies to MAIL and the RCPTs."""
        first = reset + 1
        if (
            not refused
            and len(answers) == first + len(recipients)
            and max(map(code_of, answers)) < 300
        ):
            # The usual answers: all that was asked for, all positive.
            self._state = _State.OPEN
            self.mail_reply = answers[reset]
            self._accepted = len(recipients)
            return answers[first:]
        last = answers[-1]
        if last.code == _CLOSING:
            self.closing = True
            self._state, self._refused = _State.DONE, last
            self.mail_reply = answers[reset] if len(answers) > reset else last
            return [last] * len(recipients)
        if reset and not answers[0].positive:
            raise _Stale(f"RSET was answered with {answers[0].code}")
        self.mail_reply = mail = answers[reset]
        if not mail.positive:
            accepted([mail])
            self._state, self._refused = _State.DONE, mail
            return [mail] * len(recipients)
        self._state = _State.OPEN
        answers = answers[first : first + len(recipients) - len(refused)]
        self._accepted = accepted(answers)
        return merge(len(recipients), refused, answers)

    # -- the body -----------------------------------------------------------------

    async def _hand_over(self, body: Callable[[], Awaitable[bytes]]) -> Reply:
        """DATA, unless it was said, the body and the final dot.

        ``body`` is called after 354; what it returns leaves with the dot.
        """
        if self._refused is not None:
            return self._refused
        if self._state is not _State.OPEN:
            self._must_be(_State.OPEN, *_BODY_DUE)
        self._stage, self._tail = Stage.BEFORE_BODY, b"\r\n"
        connection = self._connection
        try:
            if self._state is not _State.GO:
                asked, self._asked = self._asked, None
                (reply,) = await (asked or self._ask_to_send())
                if reply.code != _GO_AHEAD or not self._accepted:
                    return await self._take_go_ahead(reply) or reply
            self._state = _State.GO
            connection.begin_body()
            end = await body()
            if connection.early is not None:
                return self._refused_early(connection.early)
            (reply,) = await self._end(end)
            return self._conclude(reply)
        except ConnectionFailed as failure:
            self.abort()
            raise HandOverFailed(self._stage, str(failure)) from failure
        except BaseException:
            self.abort()
            raise

    def _ask_to_send(self) -> asyncio.Future[list[Reply]]:
        seconds = self._pool.target.timeouts.data
        return self._connection.ask(b"DATA\r\n", 1, seconds, "the go-ahead")

    async def _take_go_ahead(self, reply: Reply) -> Reply | None:
        """The answer to DATA; returns the refusal, or None when a body is due."""
        if reply.code != _GO_AHEAD:
            if not (reply.temporary or reply.permanent):
                raise ConnectionFailed(f"the upstream answered DATA with {reply.code}")
            self._state, self._refused = _State.DONE, self._refused or reply
        elif self._accepted:
            self._state = _State.GO
        else:
            seconds = self._pool.target.timeouts.final
            dot = await self._connection.exchange(b".\r\n", 1, seconds, "the final reply")
            reply = self._conclude(*dot)
            self._refused = self._refused or (_NOBODY if reply.positive else reply)
        return self._refused

    async def _stream(self, source: AsyncIterable[bytes]) -> bytes:
        """Writes the body, but for its end, which it returns."""
        connection = self._connection
        seconds = self._pool.target.timeouts.data
        waiting: list[bytes] = []
        size = 0
        # The first chunk waits for no other: whoever made it may have made sure of
        # something that holds for a short time only, and the next may come from a slow disk.
        enough = 1
        async for chunk in source:
            self._stage = Stage.BEFORE_END
            waiting.append(chunk)
            size += len(chunk)
            if size >= enough:
                enough = _WRITE_AT_ONCE
                if connection.early is not None:
                    return b""
                connection.require_open()
                block = b"".join(waiting)
                if not connection.write(block):
                    await connection.drain(seconds)
                self._tail = block[-2:]
                waiting.clear()
                size = 0
        connection.require_open()
        return b"".join(waiting)

    def _end(self, rest: bytes) -> asyncio.Future[list[Reply]]:
        """What is left of the body leaves with the final dot."""
        last = rest[-2:]
        if last != b"\r\n" and (self._tail + last)[-2:] != b"\r\n":
            raise ConnectionFailed("the body to send does not end in CRLF")
        seconds = self._pool.target.timeouts.final
        answer = self._connection.ask(rest + b".\r\n", 1, seconds, "the final reply")
        self._stage = Stage.AFTER_END
        return answer

    def _conclude(self, reply: Reply) -> Reply:
        """The reply to the final dot."""
        code = reply.code
        if code < 300:
            self._connection.needs_reset = False
        elif code < 400:
            raise ConnectionFailed(f"the upstream answered the final dot with {code}")
        self._state = _State.DONE
        return reply

    def _refused_early(self, reply: Reply) -> Reply:
        """A refusal in the middle of the body: true, as the final dot was never sent."""
        if not (reply.temporary or reply.permanent):
            raise ConnectionFailed(f"the upstream said {reply.code} in the middle of the body")
        self.abort()
        return reply

    def _must_be_held(self) -> None:
        if self._state is _State.GONE:
            raise RuntimeError("the transaction is over")

    def _must_be(self, *states: _State) -> None:
        if self._state not in states:
            raise RuntimeError(f"not possible in a transaction that is {self._state.name}")
