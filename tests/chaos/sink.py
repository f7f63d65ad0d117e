"""A strict mail server that keeps everything, and misbehaves on command.

It shares no code with the gateway.  It reads commands and bodies as RFC 5321 has
them (only CRLF ends a line, only CRLF.CRLF a message), refuses what is out of order,
and notes as a *breach* what no client may send.
"""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
import struct
import time
from dataclasses import dataclass
from typing import Self

from tests.chaos.apart import Apart
from tests.chaos.fault import Fault, Manner, Stage
from tests.peers.certificates import Certificate

EXTENSIONS = ("PIPELINING", "SIZE 104857600", "8BITMIME", "SMTPUTF8", "DSN", "ENHANCEDSTATUSCODES")
_PATH = rb"""<((?:"(?:[^"\\\x00-\x1f]|\\[ -~])*"@)?[^<>"\x00-\x20]*)>"""
_PARAMETERS = rb"((?: [A-Z0-9-]+(?:=[!-<>-~]+)?)*)"
_MAIL = re.compile(rb"MAIL FROM:" + _PATH + _PARAMETERS, re.I)
_RCPT = re.compile(rb"RCPT TO:" + _PATH + _PARAMETERS, re.I)
_TRACE = re.compile(rb"\s+id ([0-9A-Z]{26})\b")
_CAMPAIGN = re.compile(rb"(?mi)^X-Campaign-Id: (\S+)\r$")


@dataclass
class Arrival:
    """A message that the sink has kept."""

    gateway_id: str
    """The gateway's id for it, out of its Received field."""
    letter: str
    """Out of X-Campaign-Id."""
    recipients: tuple[str, ...]
    content: bytes
    """Dots taken away."""
    answered: bool
    """Whether its 250 was sent."""
    at: float
    """``time.monotonic``."""

    @property
    def body(self) -> bytes:
        """What follows the empty line."""
        return self.content.partition(b"\r\n\r\n")[2]


class _Gone(Exception):
    """This connection is over."""


class Sink:
    """``async with Sink(apart) as sink``: serves on ``sink.port`` in the other thread."""

    def __init__(self, apart: Apart, *, tls: Certificate | None = None, silence: float = 2) -> None:
        self.port = 0
        self.arrivals: list[Arrival] = []
        self.breaches: list[str] = []
        """What a client said that no client may."""
        self.commands: list[bytes] = []
        """Every command line, without its CRLF."""
        self.fault: Fault | None = None
        """What it does wrong at present."""
        self.connections = 0
        self.keep_content = True
        """Off: contents are read and thrown away."""
        self.delay = 0.0
        """Seconds before each answer to a final dot."""
        self._silence = silence
        self._apart = apart
        self._tls = tls.server_context() if tls is not None else None
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        await self._apart.do(self.start())
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._apart.do(self.stop())

    def target(self) -> Self:
        """As the peers' upstreams give it: something with a ``port``."""
        return self

    def of(self, letter: str) -> list[Arrival]:
        """What has arrived of one letter."""
        return [arrival for arrival in self.arrivals if arrival.letter == letter]

    async def start(self) -> None:
        """Serve, in the loop of the caller."""
        self._server = await asyncio.start_server(
            self._serve, "127.0.0.1", self.port, limit=8 * 1024 * 1024, backlog=512
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """End every connection."""
        if self._server is not None:
            self._server.close()
        for task in list(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=5)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        try:
            await _Session(self, reader, writer).run()
        except (_Gone, OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        except asyncio.LimitOverrunError:
            self.breaches.append("a line without end")
        finally:
            self._tasks.discard(task)
            writer.transport.abort()


class _Session:
    def __init__(
        self, sink: Sink, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.sink = sink
        self.reader = reader
        self.writer = writer
        self.greeted = False
        self.secure = False
        self.sender: bytes | None = None
        self.recipients: list[bytes] = []

    async def run(self) -> None:
        await self.play(Stage.GREETING)
        await self.say(b"220 sink.test ESMTP")
        while True:
            line = await self.reader.readuntil(b"\r\n")
            await self.obey(line[:-2])

    async def say(self, *lines: bytes) -> None:
        self.writer.write(b"".join(line + b"\r\n" for line in lines))
        await self.writer.drain()

    async def play(self, stage: Stage) -> None:
        """Go wrong here, if that is the order of the day."""
        fault = self.sink.fault
        if fault is None or not fault.due(stage):
            return
        match fault.manner:
            case Manner.HANG_UP:
                if fault.played % 2:
                    self._reset()
            case Manner.STALL:
                await asyncio.sleep(self.sink._silence)
            case Manner.BUSY:
                await self.say(b"421 4.3.2 Too busy")
            case Manner.GARBAGE:
                self.writer.write(fault.garbage())
                await self.writer.drain()
                async with asyncio.timeout(self.sink._silence):
                    while await self.reader.read(65536):
                        pass
        raise _Gone

    def _reset(self) -> None:
        """Close with RST."""
        sock = self.writer.get_extra_info("socket")
        if sock is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def breach(self, what: str) -> None:
        self.sink.breaches.append(what)

    async def obey(self, line: bytes) -> None:
        self.sink.commands.append(line)
        if b"\r" in line or b"\n" in line or b"\0" in line:
            self.breach(f"a command with CR, LF or NUL: {line[:80]!r}")
        verb = line.split(b" ")[0].upper()
        match verb:
            case b"EHLO" | b"HELO":
                await self.hello()
            case b"STARTTLS" if self.sink._tls is not None and not self.secure:
                await self.start_tls()
            case b"MAIL":
                await self.mail(line)
            case b"RCPT":
                await self.rcpt(line)
            case b"DATA":
                await self.data(line)
            case b"RSET":
                self.sender, self.recipients = None, []
                await self.say(b"250 2.0.0 Ok")
            case b"NOOP":
                await self.say(b"250 2.0.0 Ok")
            case b"QUIT":
                await self.say(b"221 2.0.0 Bye")
                raise _Gone
            case _:
                self.breach(f"an unknown command: {line[:80]!r}")
                await self.say(b"500 5.5.2 What?")

    async def hello(self) -> None:
        await self.play(Stage.EHLO)
        self.greeted = True
        self.sender, self.recipients = None, []
        words = [b"sink.test", *(word.encode() for word in EXTENSIONS)]
        if self.sink._tls is not None and not self.secure:
            words.append(b"STARTTLS")
        await self.say(*(b"250-" + word for word in words[:-1]), b"250 " + words[-1])

    async def start_tls(self) -> None:
        assert self.sink._tls is not None
        await self.say(b"220 2.0.0 Ready")
        await self.play(Stage.TLS)
        try:
            await self.writer.start_tls(self.sink._tls)
        except ssl.SSLError:
            raise _Gone from None
        self.secure, self.greeted = True, False

    async def mail(self, line: bytes) -> None:
        await self.play(Stage.MAIL)
        match = _MAIL.fullmatch(line)
        if match is None or not self.greeted or self.sender is not None:
            self.breach(f"MAIL malformed or out of order: {line[:80]!r}")
            await self.say(b"503 5.5.1 Not now")
            return
        if self.sink._tls is not None and not self.secure:
            self.breach("MAIL without TLS")
        self.sender = match[1]
        await self.say(b"250 2.1.0 Ok")

    async def rcpt(self, line: bytes) -> None:
        await self.play(Stage.RCPT)
        match = _RCPT.fullmatch(line)
        if match is None or self.sender is None:
            self.breach(f"RCPT malformed or out of order: {line[:80]!r}")
            await self.say(b"503 5.5.1 Not now")
            return
        self.recipients.append(match[1])
        await self.say(b"250 2.1.5 Ok")

    async def data(self, line: bytes) -> None:
        if line.upper() != b"DATA" or not self.recipients:
            self.breach(f"DATA malformed or out of order: {line[:80]!r}")
            await self.say(b"503 5.5.1 Not now")
            return
        await self.play(Stage.DATA)
        await self.say(b"354 Go ahead")
        content = await self.body()
        recipients = tuple(one.decode(errors="replace") for one in self.recipients)
        self.sender, self.recipients = None, []
        await self.play(Stage.DOT)
        if self.sink.delay:
            await asyncio.sleep(self.sink.delay)
        kept = self.keep(content, recipients)
        await self.play(Stage.STORED)
        await self.say(b"250 2.0.0 Kept")
        kept.answered = True

    async def body(self) -> bytes:
        lines: list[bytes] = []
        octets = 0
        begun = False
        while True:
            line = await self.reader.readuntil(b"\r\n")
            if line == b".\r\n":
                return b"".join(lines)
            if b"\n" in line[:-2] or b"\r" in line[:-2]:
                self.breach(f"a bare CR or LF in a body: {line[:80]!r}")
            octets += len(line)
            if octets > 400 and not begun:
                begun = True
                await self.play(Stage.BODY)
            if self.sink.keep_content or len(lines) < 40:
                lines.append(line[1:] if line.startswith(b".") else line)

    def keep(self, content: bytes, recipients: tuple[str, ...]) -> Arrival:
        head = content.partition(b"\r\n\r\n")[0] + b"\r\n"
        trace, letter = _TRACE.search(head), _CAMPAIGN.search(head)
        arrival = Arrival(
            gateway_id=trace[1].decode() if trace else "",
            letter=letter[1].decode() if letter else "",
            recipients=recipients,
            content=content if self.sink.keep_content else b"",
            answered=False,
            at=time.monotonic(),
        )
        self.sink.arrivals.append(arrival)
        return arrival
