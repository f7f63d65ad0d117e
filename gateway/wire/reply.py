"""SMTP replies: their form (RFC 5321 § 4.2) and an incremental parser of them."""

from __future__ import annotations

import re
from functools import lru_cache
from operator import attrgetter
from typing import NamedTuple

from gateway.failure import UpstreamUnavailable

MAX_REPLY_LINE = 2048
"""Octets of one reply line with its end; RFC 5321 asks for 512, servers exceed it."""
MAX_REPLY_LINES = 256
"""Lines of one reply."""

# Code, "-" for "more follows", text.  A server may leave out text and separator.
_LINE = re.compile(rb"([2-5][0-9]{2})(?:([ -])(.*))?", re.DOTALL).fullmatch
# A whole reply of one line.  The first way is short and has neither a digit nor an "@"
# behind the status code, so nothing that could name a person or a message.
_WHOLE = re.compile(
    rb"([2-5][0-9]{2}) (?:((?:[245](?:\.[0-9]{1,3}){2} )?+[ -/:-?A-~]{0,80}+)\r\n"
    rb"|([ -~\x80-\xff]{0,500}+)\r\n)"
).fullmatch
_REMEMBERED = 64
_CONTROLS = bytes(0x20 if byte < 0x20 or byte == 0x7F else byte for byte in range(256))


class Reply(NamedTuple):
    """One reply: a code and the text of each line, without code, separator, CRLF."""

    code: int
    lines: tuple[bytes, ...] = (b"",)

    @classmethod
    def of(cls, code: int, *lines: str) -> Reply:
        """A reply of our own wording."""
        return cls(code, tuple(line.encode().translate(_CONTROLS) for line in lines) or (b"",))

    @property
    def text(self) -> str:
        """The lines, joined by a space."""
        return b" ".join(self.lines).decode(errors="replace")

    @property
    def positive(self) -> bool:
        """2xx: done."""
        return self.code // 100 == 2

    @property
    def temporary(self) -> bool:
        """4xx: try again later."""
        return self.code // 100 == 4

    @property
    def permanent(self) -> bool:
        """5xx: do not try again."""
        return self.code // 100 == 5

    def wire(self) -> bytes:
        """The reply as it goes to a client, with its CRLFs."""
        return _wire(self)


@lru_cache(_REMEMBERED)
def _wire(reply: Reply) -> bytes:
    """Kept for a few: a burst of recipients is answered with the same words over and over."""
    code, (*head, last) = reply
    parts = [b"%d-%b\r\n" % (code, line) for line in head]
    return b"%b%d %b\r\n" % (b"".join(parts), code, last)


code_of = attrgetter("code")
"""The code of a reply; ``max(map(code_of, replies)) < 300`` means that all are positive."""


class ProtocolError(UpstreamUnavailable):
    """The upstream said something that is no SMTP reply."""

    def __init__(self, cause: str, replies: tuple[Reply, ...] = ()) -> None:
        """``replies`` are the whole replies that came before the bad bytes."""
        super().__init__(cause)
        self.replies = replies


class _Remembered(dict[bytes, Reply]):
    """One-line replies by their line, at most :data:`_REMEMBERED` of them.

    An upstream says the same few lines over and over.  A line that may hold an
    address or an identifier is read and not kept.
    """

    def __missing__(self, line: bytes) -> Reply:
        match = _WHOLE(line)
        if match is None:
            raise LookupError("not a whole reply of one line")
        code, common, text = match.groups()
        if common is None:
            return Reply(int(code), (text,))
        if len(self) >= _REMEMBERED:
            self.clear()
        self[line] = reply = Reply(int(code), (common,))
        return reply


_read_line = _Remembered().__getitem__


class ReplyParser:
    """Splits an upstream's byte stream into replies.

    A line ends in CRLF or a lone LF; control characters in its text become spaces,
    so that a reply handed on stays one reply.  Memory is bounded by
    :data:`MAX_REPLY_LINE` and :data:`MAX_REPLY_LINES`.  Fed whole or byte by byte,
    the same bytes give the same replies.
    """

    __slots__ = ("_code", "_failed", "_lines", "_midway", "_rest")

    def __init__(self) -> None:
        self._rest = b""
        self._code = 0
        self._lines: list[bytes] = []
        self._failed = False
        self._midway = False
        """Whether what comes next does not begin a reply."""

    def feed(self, data: bytes) -> list[Reply]:
        """Takes the next bytes and returns the replies that are now whole.

        Equal replies may be one object.  Raises :class:`ProtocolError`, which carries
        the replies that came before; from then on every call raises.
        """
        if not self._midway:
            # The usual answer, be it to one command or to a burst: lines of one reply each.
            try:
                return list(map(_read_line, data.splitlines(keepends=True)))
            except LookupError:
                pass
        elif self._failed:
            raise ProtocolError("the reply stream has already failed")
        replies: list[Reply] = []
        *lines, rest = (self._rest + data).split(b"\n")
        self._rest = rest
        for line in lines:
            cause = self._take(line, replies)
            if cause is not None:
                break
        else:
            if len(rest) < MAX_REPLY_LINE:
                self._midway = bool(rest or self._lines)
                return replies
            cause = "a reply line is too long"
        self._failed = self._midway = True
        raise ProtocolError(cause, tuple(replies))

    def _take(self, line: bytes, replies: list[Reply]) -> str | None:
        """Reads one line; returns the cause if it cannot be one."""
        if len(line) >= MAX_REPLY_LINE:
            return "a reply line is too long"
        match = _LINE(line.removesuffix(b"\r"))
        if match is None:
            return "a line is no SMTP reply"
        digits, separator, text = match.groups()
        code = int(digits)
        text = text.translate(_CONTROLS) if text else b""
        if not self._lines:
            if separator != b"-":
                replies.append(Reply(code, (text,)))
                return None
            self._code = code
        elif code != self._code:
            return "the codes of one reply differ"
        self._lines.append(text)
        if separator == b"-":
            return "a reply has too many lines" if len(self._lines) >= MAX_REPLY_LINES else None
        replies.append(Reply(code, tuple(self._lines)))
        self._lines.clear()
        return None
