"""Mail servers that read line ends each in a way of its own.

What one of them takes for the end of a message, another takes for text: that is what
SMTP smuggling lives on.  All of these are, or were, in use.
"""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from enum import Enum
from typing import Self


class Reading(Enum):
    """Which octets a server takes for the end of a line."""

    STRICT = re.compile(rb"\r\n")
    LF = re.compile(rb"\r?\n")
    CR = re.compile(rb"\r\n|\r")
    ANY = re.compile(rb"\r\n|\r|\n")
    CRS = re.compile(rb"\r*\n")
    """Any number of CR before the LF."""
    NUL = re.compile(rb"\r\n", re.ASCII)
    """CRLF, once every NUL is taken out."""


@dataclass(frozen=True)
class Read:
    """One message as it was read: its envelope, and its lines without dots and ends."""

    sender: bytes
    recipients: tuple[bytes, ...]
    lines: tuple[bytes, ...]


class ReadingSink:
    """``async with`` it: a server on ``port`` that accepts everything, as it reads it."""

    def __init__(self, reading: Reading) -> None:
        self.reading = reading
        self.port = 0
        self.messages: list[Read] = []
        self.commands: list[bytes] = []

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._protocols: set[_Protocol] = set()
        self._server = await loop.create_server(lambda: _Protocol(self), "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for protocol in self._protocols:
            protocol.transport.abort()
        await asyncio.sleep(0)

    def target(self) -> Self:
        """As the peers' upstreams give it: something with a ``port``."""
        return self


class _Protocol(asyncio.Protocol):
    def __init__(self, sink: ReadingSink) -> None:
        self.sink = sink
        self.transport: asyncio.Transport
        self.buffer = b""
        self.lines: list[bytes] | None = None
        self.sender = b""
        self.recipients: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport) or hasattr(transport, "write")
        self.transport = transport  # type: ignore[assignment]
        self.sink._protocols.add(self)
        self.transport.write(b"220 reading.test ESMTP\r\n")

    def data_received(self, data: bytes) -> None:
        if self.sink.reading is Reading.NUL:
            data = data.replace(b"\0", b"")
        self.buffer += data
        while (match := self.sink.reading.value.search(self.buffer)) is not None:
            if match.end() == len(self.buffer) and match[0].endswith(b"\r"):
                return  # The LF may be still to come.
            line = self.buffer[: match.start()]
            self.buffer = self.buffer[match.end() :]
            if self.lines is None:
                self.obey(line)
            else:
                self.read(line)

    def read(self, line: bytes) -> None:
        assert self.lines is not None
        if line != b".":
            self.lines.append(line.removeprefix(b"."))
            return
        self.sink.messages.append(Read(self.sender, tuple(self.recipients), tuple(self.lines)))
        self.lines, self.recipients = None, []
        self.say(b"250 2.0.0 Read")

    def obey(self, line: bytes) -> None:
        self.sink.commands.append(line)
        verb = line[:4].upper()
        if verb == b"EHLO":
            self.say(b"250-reading.test\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 SIZE 10000000")
            return
        if verb == b"MAIL":
            self.sender, self.recipients = line[10:], []
        elif verb == b"RCPT":
            self.recipients.append(line[8:])
        elif verb == b"DATA":
            self.lines = []
            self.say(b"354 Read on")
            return
        elif verb not in (b"RSET", b"NOOP", b"QUIT"):
            self.say(b"500 5.5.2 What?")
            return
        self.say(b"250 2.0.0 Ok")

    def say(self, line: bytes) -> None:
        self.transport.write(line + b"\r\n")
