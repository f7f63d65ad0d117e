"""A small SMTP server that keeps every message in a folder and sends nothing on."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Self

from gateway.failure import GatewayError
from gateway.sandbox.store import Envelope, create, store
from gateway.wire.body import BodyParser, unstuff
from gateway.wire.ehlo import Capabilities
from gateway.wire.lines import CommandParser, LineFault
from gateway.wire.path import MailArguments, RcptArguments, parse_mail, parse_rcpt

_READ = 65536
_MAX_RECIPIENTS = 10_000


class SandboxServer:
    """Accepts what is well-formed, on loopback or a Unix socket; ``async with`` it.

    Connections are read one command at a time; replies are written when the
    client's input is used up, so that pipelining costs one write.  A connection
    silent for ``idle`` seconds is closed.
    """

    def __init__(
        self,
        folder: Path,
        *,
        path: Path | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        max_size: int = 64 * 1024 * 1024,
        max_connections: int = 500,
        idle: float = 300.0,
    ) -> None:
        """A Unix socket at ``path``, else ``host`` and ``port`` (0: any free one).

        ``max_size`` is in octets of one message, which is held in memory.
        """
        self.folder = folder
        self.path = path
        self.host = host
        self.port = port
        self._max_connections = max_connections
        self._idle = idle
        self._max_size = max_size
        self._offer = Capabilities(
            size=max_size, pipelining=True, eight_bit=True, smtputf8=True, dsn=True, enhanced=True
        ).reply("sandbox")
        self._server: asyncio.Server | None = None
        self._sessions: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Makes the folder and listens; afterwards ``port`` is the real one."""
        await asyncio.to_thread(create, self.folder)
        if self.path is not None:
            self._server = await asyncio.start_unix_server(self._serve, self.path)
        else:
            self._server = await asyncio.start_server(self._serve, self.host, self.port)
            self.port = self._server.sockets[0].getsockname()[1]

    async def aclose(self) -> None:
        """Stops listening and ends every connection."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for session in self._sessions:
            session.cancel()
        if self._sessions:
            await asyncio.wait(self._sessions, timeout=5.0)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            self._sessions.add(task)
            task.add_done_callback(self._sessions.discard)
        try:
            if len(self._sessions) > self._max_connections:
                writer.write(b"421 4.3.2 Too many connections\r\n")
                return
            await _Session(self, reader, writer).run()
        except (OSError, TimeoutError, asyncio.CancelledError):
            # A client that has gone, or our own end: there is nobody to tell.
            pass
        finally:
            writer.close()

    async def keep(self, mail: MailArguments, recipients: list[RcptArguments], body: bytes) -> None:
        """Stores one message, away from the loop."""
        envelope = Envelope(
            mail.address,
            tuple(one.address for one in recipients),
            mail.params,
            tuple(one.params for one in recipients),
        )
        await asyncio.to_thread(store, self.folder, envelope, body)


class _Session:
    """One client's dialogue."""

    def __init__(
        self, server: SandboxServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._server = server
        self._reader = reader
        self._writer = writer
        self._commands = CommandParser()
        self._mail: MailArguments | None = None
        self._recipients: list[RcptArguments] = []
        self._over = False

    async def run(self) -> None:
        self._say("220 sandbox ESMTP")
        while not self._over:
            line = self._commands.next_line()
            if line is None:
                await self._drain()
                data = await self._read()
                if not data:
                    return
                self._commands.feed(data)
            elif isinstance(line, LineFault):
                self._say(line.value)
            else:
                await self._obey(line)
        await self._drain()

    async def _read(self) -> bytes:
        async with asyncio.timeout(self._server._idle):
            return await self._reader.read(_READ)

    async def _drain(self) -> None:
        async with asyncio.timeout(self._server._idle):
            await self._writer.drain()

    def _say(self, line: str) -> None:
        self._writer.write(line.encode() + b"\r\n")

    async def _obey(self, line: bytes) -> None:
        verb, _, argument = line.partition(b" ")
        match verb.upper():
            case b"EHLO":
                self._reset()
                self._writer.write(self._server._offer.wire())
            case b"HELO":
                self._reset()
                self._say("250 sandbox")
            case b"MAIL" | b"RCPT" as word:
                try:
                    self._envelope(word, argument)
                except GatewayError as error:
                    self._say(error.reply)
            case b"DATA":
                await self._data()
            case b"RSET":
                self._reset()
                self._say("250 2.0.0 Ok")
            case b"NOOP":
                self._say("250 2.0.0 Ok")
            case b"VRFY":
                self._say("252 2.5.2 Send some mail")
            case b"QUIT":
                self._say("221 2.0.0 Bye")
                self._over = True
            case _:
                self._say("500 5.5.2 Unknown command")

    def _reset(self) -> None:
        self._mail, self._recipients = None, []

    def _envelope(self, word: bytes, argument: bytes) -> None:
        if word == b"MAIL":
            mail = parse_mail(argument)
            self._reset()
            if int(mail.params.get("SIZE") or 0) > self._server._max_size:
                self._say("552 5.3.4 Too large")
            else:
                self._mail = mail
                self._say("250 2.1.0 Ok")
        elif self._mail is None:
            self._say("503 5.5.1 MAIL first")
        elif len(self._recipients) >= _MAX_RECIPIENTS:
            self._say("452 4.5.3 Too many recipients")
        else:
            self._recipients.append(parse_rcpt(argument))
            self._say("250 2.1.5 Ok")

    async def _data(self) -> None:
        mail, recipients = self._mail, self._recipients
        if mail is None or not recipients:
            self._say("503 5.5.1 MAIL and RCPT first")
            return
        self._reset()
        self._say("354 End with <CRLF>.<CRLF>")
        await self._drain()
        parser, chunks = BodyParser(), []
        data = self._commands.take_rest()
        while True:
            chunk, rest = parser.feed(data)
            if parser.size <= self._server._max_size:
                chunks.append(chunk)
            if rest is not None:
                break
            data = await self._read()
            if not data:
                self._over = True
                return
        self._commands.feed(rest)
        if parser.size > self._server._max_size:
            self._say("552 5.3.4 Too large")
            return
        try:
            await self._server.keep(mail, recipients, b"".join(unstuff(chunks)))
        except OSError:
            self._say("452 4.3.1 Cannot store the message")
        else:
            self._say("250 2.0.0 Stored")
