"""SMTP replies: their form (RFC 5321 § 4.2) and an incremental parser of them."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import NamedTuple

from gateway.failure import UpstreamUnavailable

MAX_REPLY_LINE = 2048
"""Octets of one reply line with its end; RFC 5321 asks for 512, servers exceed it."""
MAX_REPLY_LINES = 256
"""Lines of one reply."""

# Code, "-" for "more follows", text.  A server may leave out text and separator.
_LINE = re.compile(rb"([2-5][0-9]{2})(?:([ -])(.*))?", re.DOTALL).fullmatch
_WHOLE = re.compile(rb"([2-5][0-9]{2}) ([ -~\x80-\xff]{0,500})\r\n").fullmatch
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
        return 200 <= self.code < 300

    @property
    def temporary(self) -> bool:
        """4xx: try again later."""
        return 400 <= self.code < 500

    @property
    def permanent(self) -> bool:
        """5xx: do not try again."""
        return 500 <= self.code < 600

    def wire(self) -> bytes:
        """The reply as it goes to a client, with its CRLFs."""
        if len(self.lines) == 1:
            return b"%d %b\r\n" % (self.code, self.lines[0])
        *head, last = self.lines
        parts = [b"%d-%b\r\n" % (self.code, line) for line in head]
        parts.append(b"%d %b\r\n" % (self.code, last))
        return b"".join(parts)


class ProtocolError(UpstreamUnavailable):
    """The upstream said something that is no SMTP reply."""

    def __init__(self, cause: str, replies: tuple[Reply, ...] = ()) -> None:
        """``replies`` are the whole replies that came before the bad bytes."""
        super().__init__(cause)
        self.replies = replies


@dataclass(slots=True)
class ReplyParser:
    """Splits an upstream's byte stream into replies.

    A line ends in CRLF or a lone LF; control characters in its text become spaces,
    so that a reply handed on stays one reply.  Memory is bounded by
    :data:`MAX_REPLY_LINE` and :data:`MAX_REPLY_LINES`.  Fed whole or byte by byte,
    the same bytes give the same replies.
    """

    _rest: bytes = b""
    _code: int = 0
    _lines: list[bytes] = field(default_factory=list)
    _failed: bool = False

    def feed(self, data: bytes) -> list[Reply]:
        """Takes the next bytes and returns the replies that are now whole.

        Raises :class:`ProtocolError`, which carries the replies that came before;
        from then on every call raises.
        """
        if self._failed:
            raise ProtocolError("the reply stream has already failed")
        if not (self._rest or self._lines) and (match := _WHOLE(data)) is not None:
            # The usual answer: one reply of one line, in one piece.
            return [Reply(int(match[1]), (match[2],))]
        replies: list[Reply] = []
        *lines, rest = (self._rest + data).split(b"\n")
        self._rest = rest
        before = b""
        for line in lines:
            if replies and line == before and not self._lines and len(replies[-1].lines) == 1:
                # A burst of recipients is answered with the same words over and over.
                replies.append(replies[-1])
                continue
            cause = self._take(line, replies)
            before = line
            if cause is not None:
                break
        else:
            if len(rest) < MAX_REPLY_LINE:
                return replies
            cause = "a reply line is too long"
        self._failed = True
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
