"""The body of a message on the wire, from after ``354`` to the final dot.

A body stays in its wire form (dot-stuffed, RFC 5321 § 4.5.2) on its way through:
what came is what leaves, and nothing is stuffed or un-stuffed in between.  Three
incremental readers, each bounded in what it keeps back:

* :class:`BodyParser` finds the end of the data, which is CRLF.CRLF and nothing
  else, and notes what a policy may want to know (size, bare CR, bare LF);
* :class:`Unstuffer` gives the message itself, for hashing and storing;
* :class:`Normaliser` turns bare CR and LF into CRLF, and leaves the end of the
  data where the client put it.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Iterator

_END = b"\r\n.\r\n"
_EMPTY_END = b".\r\n"
_ANY_END = re.compile(rb"\r\n|\r|\n")
# A class of one character makes the scanner look for it at the speed of memory.
_LINE_WITH_DOT = re.compile(rb"[\n]\.").search


def whole_body(data: bytes) -> bytes | None:
    """The body without its final dot, where ``data`` is nothing but a whole plain one.

    Plain: no line is dot-stuffed, there is no NUL and no bare CR or LF.  None: it is
    something else, for :class:`BodyParser` to read.  Most messages are whole and plain.
    """
    end = len(data) - 3
    if (
        not data.endswith(_END)
        or data[:1] == b"."
        or b"\0" in data
        or _LINE_WITH_DOT(data, 0, end) is not None
    ):
        return None
    # The interpreter's own scanner for kinds of line ends: one pass in C, where
    # counting CR, LF and CRLF would be three and a regular expression thirty.
    scanner = io.IncrementalNewlineDecoder(None, translate=False)
    scanner.decode(str(data, "latin-1"), True)
    return data[:end] if scanner.newlines == "\r\n" else None


class BodyParser:
    """Scans the body of one message; states are "inside" and "ended".

    ``feed`` returns ``(chunk, rest)``.  The chunks together are the body in wire
    form without the final ``.CRLF``; they are empty or end in CRLF as a whole, and
    no chunk ends between a CR and its LF.  ``rest`` is None while the body goes
    on; at its end it is what follows the final dot (perhaps ``b""``).  At most two
    bytes are kept back between calls.
    """

    __slots__ = ("_held", "_line_start", "_newlines", "dotted", "nul", "wire_size")

    def __init__(self) -> None:
        self._held = b""
        self._line_start = True
        self._newlines = io.IncrementalNewlineDecoder(None, translate=False)
        self.wire_size = 0
        """Octets of all chunks so far."""
        self.dotted = 0
        """Lines so far that begin with a dot, each one octet longer than it means."""
        self.nul = False
        """Whether any octet so far is a NUL, which no message has (RFC 5322 section 4)."""

    @property
    def size(self) -> int:
        """Octets of the message itself so far (un-stuffed)."""
        return self.wire_size - self.dotted

    @property
    def stuffed(self) -> bool:
        """Whether any line so far was dot-stuffed."""
        return self.dotted > 0

    @property
    def bare_cr(self) -> bool:
        """Whether the chunks so far hold a CR that no LF follows."""
        return "\r" in _kinds(self._newlines)

    @property
    def bare_lf(self) -> bool:
        """Whether the chunks so far hold an LF that no CR precedes."""
        return "\n" in _kinds(self._newlines)

    @property
    def bare(self) -> bool:
        """Whether either kind of bare line end was seen; the cheap question."""
        return self._newlines.newlines not in (None, "\r\n")

    def feed(self, data: bytes) -> tuple[bytes, bytes | None]:
        """Takes the next bytes; see the class.  Not to be called after the end."""
        buffer = self._held + data if self._held else data
        if self._line_start and buffer[:1] == b".":
            if buffer.startswith(_EMPTY_END):
                return b"", buffer[3:]
            if _EMPTY_END.startswith(buffer):
                self._held = buffer
                return b"", None
            self.dotted += 1
        rest: bytes | None = None
        dotted = 0
        # The tests stand in the order of what they cost: a body without any dot, such as
        # base64, is scanned for one at the speed of memory.
        if buffer.endswith(_END) and buffer.find(b".", 0, len(buffer) - 3) < 0:
            chunk, rest = buffer[:-3], b""
        elif b"." in buffer and (dotted := buffer.count(b"\r\n.")):
            only = dotted == 1 and buffer.endswith(_END)
            end = len(buffer) - len(_END) if only else buffer.find(_END)
            if end >= 0:
                chunk, rest = buffer[: end + 2], buffer[end + 5 :]
                dotted = 0 if only else buffer.count(b"\r\n.", 0, end + 2)
        if rest is None:
            chunk, dotted = self._keep_back(buffer, dotted)
        self._note(chunk, dotted)
        return chunk, rest

    def _keep_back(self, buffer: bytes, dotted: int) -> tuple[bytes, int]:
        """Cuts off what the next bytes decide: a CR, or a dot that may be the last."""
        cut = len(buffer)
        if buffer[-1:] == b"\r":
            cut -= 1
        if buffer.endswith(b"\r\n.", 0, cut):
            cut -= 1
            dotted -= 1
        self._held = buffer[cut:]
        return (buffer[:cut] if self._held else buffer), dotted

    def _note(self, chunk: bytes, dotted: int) -> None:
        if not chunk:
            return
        self._line_start = chunk.endswith(b"\r\n")
        self.wire_size += len(chunk)
        self.dotted += dotted
        self.nul = self.nul or b"\0" in chunk
        # Final, because a CR at the end of a chunk has no LF: that one would be kept back.
        self._newlines.decode(str(chunk, "latin-1"), True)


def _kinds(scanner: io.IncrementalNewlineDecoder) -> tuple[str, ...]:
    seen = scanner.newlines
    return seen if isinstance(seen, tuple) else (seen,) if isinstance(seen, str) else ()


class Unstuffer:
    """Takes the dots away that dot-stuffing added, chunk by chunk.

    A line begins after CRLF and at the very start; its first dot goes.
    """

    __slots__ = ("_tail",)

    def __init__(self) -> None:
        self._tail = b"\r\n"

    def feed(self, chunk: bytes) -> bytes:
        """The message octets of this chunk of the wire form."""
        if not chunk:
            return b""
        tail = self._tail
        # The last two octets seen, however small the chunks are.
        self._tail = chunk[-2:] if len(chunk) > 1 else tail[-1:] + chunk
        plain = chunk.replace(b"\r\n.", b"\r\n") if b"." in chunk else chunk
        if tail == b"\r\n" and chunk[:1] == b".":
            return plain[1:]
        if tail[-1:] == b"\r" and chunk[:2] == b"\n.":
            return plain[:1] + plain[2:]
        return plain


def unstuff(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The message octets of a body given in wire form; empty chunks are left out."""
    unstuffer = Unstuffer()
    for chunk in chunks:
        if plain := unstuffer.feed(chunk):
            yield plain


class Normaliser:
    """Turns every bare CR and bare LF into CRLF, chunk by chunk, wire form to wire form.

    The dots are taken away first and put back last: only then does a dot next to a
    bare line end (``CRLF . LF``, ``LF . CRLF``) keep its meaning and never become
    the end of the data.  ``finish`` gives what was kept back (a CR at the very end).
    """

    __slots__ = ("_held", "_line_start", "_unstuffer")

    def __init__(self) -> None:
        self._unstuffer = Unstuffer()
        self._held = b""
        self._line_start = True

    def feed(self, chunk: bytes) -> bytes:
        """The same message with every line end a CRLF."""
        plain = self._held + self._unstuffer.feed(chunk)
        self._held = b"\r" if plain.endswith(b"\r") else b""
        return self._stuffed(plain.removesuffix(b"\r"))

    def finish(self) -> bytes:
        """The end of the body."""
        held, self._held = self._held, b""
        return self._stuffed(held)

    def _stuffed(self, plain: bytes) -> bytes:
        if not plain:
            return b""
        clean = _ANY_END.sub(b"\r\n", plain)
        first = b"." if self._line_start and clean[:1] == b"." else b""
        self._line_start = clean.endswith(b"\n")
        return first + clean.replace(b"\r\n.", b"\r\n..")


def normalise(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """A body in wire form with every bare CR and LF made a CRLF."""
    normaliser = Normaliser()
    for chunk in chunks:
        if out := normaliser.feed(chunk):
            yield out
    if out := normaliser.finish():
        yield out


class Stuffer:
    """Puts the dots in that the wire needs, chunk by chunk: the inverse of Unstuffer.

    ``finish`` gives the CRLF that a message without a final one needs to be sent.
    """

    __slots__ = ("_tail",)

    def __init__(self) -> None:
        self._tail = b"\r\n"

    def feed(self, chunk: bytes) -> bytes:
        """The wire form of this chunk of a message."""
        if not chunk:
            return b""
        tail = self._tail
        self._tail = chunk[-2:] if len(chunk) > 1 else tail[-1:] + chunk
        stuffed = chunk.replace(b"\r\n.", b"\r\n..") if b"." in chunk else chunk
        if tail == b"\r\n" and chunk[:1] == b".":
            return b"." + stuffed
        if tail[-1:] == b"\r" and chunk[:2] == b"\n.":
            return stuffed[:1] + b"." + stuffed[1:]
        return stuffed

    def finish(self) -> bytes:
        """What ends the last line, where it is open."""
        return b"" if self._tail == b"\r\n" else b"\r\n"
