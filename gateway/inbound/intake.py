"""Reading one message that comes in, from the 354 to its final dot, into memory."""

from __future__ import annotations

from gateway.smtp import replies
from gateway.smtp.spool import Budget
from gateway.wire.body import BodyParser, Unstuffer

NO_ROOM = b"452 4.3.1 Insufficient memory; try again later\r\n"


class Intake:
    """Takes octets; a message that is refused already is read to its end and thrown away.

    Only CRLF.CRLF ends it.  Nothing of it is ever sent on, so that a bare CR or LF and a
    NUL harm nobody, and a bounce is read for all that the message in it has.
    """

    ended = False
    """Whether the final dot has come."""
    refusal: bytes | None = None
    """The reply to the final dot, once it is clear that it is a refusal."""

    def __init__(self, most: int, budget: Budget, began: float) -> None:
        """``most`` octets are taken, as far as the budget has room."""
        self.began = began
        self._most = most
        self._budget = budget
        self._parser = BodyParser()
        self._plain = Unstuffer()
        self._chunks: list[bytes] = []
        self._reserved = 0

    def feed(self, data: bytes) -> bytes:
        """Take what has arrived; returns what follows the final dot."""
        chunk, rest = self._parser.feed(data)
        if self.refusal is None and chunk:
            if self._parser.size > self._most:
                self._refuse(replies.TOO_BIG)
            elif not self._budget.take_body(len(chunk)):
                self._refuse(NO_ROOM)
            else:
                self._reserved += len(chunk)
                self._chunks.append(self._plain.feed(chunk))
        if rest is None:
            return b""
        self.ended = True
        return rest

    @property
    def message(self) -> bytes:
        """The whole message, un-stuffed."""
        return b"".join(self._chunks)

    def close(self) -> None:
        """Give the memory back; safe to call twice."""
        self._chunks.clear()
        self._budget.give(self._reserved)
        self._reserved = 0

    def _refuse(self, reply: bytes) -> None:
        self.refusal = reply
        self.close()
