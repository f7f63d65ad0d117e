"""Splits a client's byte stream into command lines.

Only CRLF ends a command (RFC 5321 § 2.3.8).  A bare LF is refused, not tolerated:
were it a line end here and an ordinary byte for whoever wrote to the client, an LF
smuggled into an address would start a second command.  So the text up to an LF is
reported as a fault (the server answers 500), and what stands between that LF and
the next CRLF belongs to the refused line and is never read as a command.  A client
that ends every line with a bare LF hears a 500 for each of them and never hangs.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

MAX_LINE = 2048
"""Octets of a command line with its CRLF (RFC 5321 § 4.5.3.1.4 asks for 512, DSN
and SMTPUTF8 parameters add to it)."""
MAX_AUTH_LINE = 4096
"""The same for ``AUTH`` and the lines of its dialogue (RFC 4954 § 4)."""


# Lines that have nothing in them that next_line would refuse, and are shorter than
# MAX_LINE by far, so that no limit need be looked at.
_RCPT_RUN = re.compile(rb"(?:[Rr][Cc][Pp][Tt] [^\r\n\0]{1,1000}+\r\n){1,500}+").match


class LineFault(Enum):
    """Why a line is no command; the value is the reply that says so."""

    TOO_LONG = "500 5.5.6 Line too long"
    BARE_LF = "500 5.5.2 A line ends in CRLF, not in a bare LF"
    CONTROL = "500 5.5.2 A line has no CR and no NUL in it"


@dataclass(slots=True)
class CommandParser:
    """An incremental splitter with bounded lines.

    ``feed`` what arrived, then call ``next_line`` until it returns None; before
    handing the stream to something else (DATA, STARTTLS) ``take_rest``.
    """

    dialogue: bool = False
    """Whether the client answers an AUTH challenge: its lines may be longer then."""
    empty: bool = True
    """Whether nothing is left of what was fed, not even of a refused line."""
    _buffer: bytes = b""
    _at: int = 0
    _long: bool = False
    _refused: bool = False

    def feed(self, data: bytes) -> None:
        """Takes the next bytes.

        What is buffered is bounded by one line and this call's data once
        ``next_line`` has returned None.
        """
        self._buffer = self._buffer[self._at :] + data if self._at < len(self._buffer) else data
        self._at = 0
        self.empty = False

    def rcpt_run(self) -> bytes | None:
        """The RCPT lines that come next with their CRLFs, 500 at the most, if they are sound.

        None: take the next line by itself.  A client that pipelines sends dozens.
        """
        run = _RCPT_RUN(self._buffer, self._at)
        if run is None or self._refused or self._long or self.dialogue:
            return None
        self._at = run.end()
        return run[0]

    def next_line(self) -> bytes | LineFault | None:
        """The next line without its CRLF, the fault that it is, or None for no more."""
        while True:
            start = self._at
            end = self._buffer.find(b"\n", start)
            if end < 0:
                self._bound()
                self.empty = self._at >= len(self._buffer) and not (self._refused or self._long)
                return None
            self._at = end + 1
            if end == start or self._buffer[end - 1] != 0x0D:
                self._long, self._refused = False, True
                return LineFault.BARE_LF
            if self._refused:
                self._refused = self._long = False
                continue
            line = self._buffer[start : end - 1]
            if self._long or len(line) + 2 > self._limit(line):
                self._long = False
                return LineFault.TOO_LONG
            if b"\r" in line or b"\0" in line:
                return LineFault.CONTROL
            return line

    def take_rest(self) -> bytes:
        """Hands over every byte not yet read as a line, and forgets it."""
        rest = self._buffer[self._at :]
        self._buffer, self._at = b"", 0
        self._long = self._refused = False
        self.empty = True
        return rest

    def _limit(self, line: bytes) -> int:
        if self.dialogue or line[:5].upper() == b"AUTH ":
            return MAX_AUTH_LINE
        return MAX_LINE

    def _bound(self) -> None:
        """Keeps at most one line's worth of an unfinished line."""
        pending = len(self._buffer) - self._at
        if self._long or self._refused or pending > MAX_AUTH_LINE:
            self._long = self._long or not self._refused
            # The last byte may be the CR of the line's own end.
            self._at = max(self._at, len(self._buffer) - 1)
