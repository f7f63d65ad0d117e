"""An upstream mail server that does what a test tells it to.

It shares no code with the gateway: its reading of SMTP is a second opinion.

    async with ScriptedUpstream() as upstream:
        upstream.refuse_rcpt(r"nobody@", "550 5.1.1 No such user")
        upstream.on(Stage.END, close=True, times=1)      # hang up once after the dot
        ... target = upstream.target("main") ...
        assert upstream.messages[0].content == b"..."

Without a script it accepts everything.  ``on`` adds a behaviour for a stage; the
first that matches and has ``times`` left plays, in the order they were added.
"""

from __future__ import annotations

import asyncio
import base64
import re
import socket
import ssl
import struct
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any, Self

from gateway.upstream.target import Target, Timeouts
from tests.peers.port import free_port

EXTENSIONS = (
    "PIPELINING",
    "SIZE 52428800",
    "8BITMIME",
    "SMTPUTF8",
    "DSN",
    "ENHANCEDSTATUSCODES",
)


class Stage(Enum):
    CONNECT = "before the greeting"
    EHLO = "EHLO or HELO"
    STARTTLS = "STARTTLS"
    AUTH = "AUTH"
    MAIL = "MAIL"
    RCPT = "RCPT"
    DATA = "DATA"
    BODY = "in the body, once `after` octets of it have come"
    END = "after the final dot"
    RSET = "RSET"
    NOOP = "NOOP"
    QUIT = "QUIT"


@dataclass
class Behaviour:
    stage: Stage
    reply: str | bytes | None = None
    """Sent in place of the usual reply: "450 4.2.0 Later", or raw bytes as they are."""
    close: bool = False
    """Close (after the reply, if there is one)."""
    reset: bool = False
    """Close with RST."""
    silent: bool = False
    """No reply; the dialogue goes on reading."""
    delay: float = 0.0
    """Seconds before anything else."""
    gate: asyncio.Event | None = None
    """Waits for it before anything else."""
    after: int = 0
    match: str | None = None
    """A regular expression that must be found in the command line."""
    connection: int | None = None
    """Only on this connection (1 is the first)."""
    times: int | None = None
    skip: int = 0
    """How many matches to let pass first."""
    accept: bool = False
    """At END: take the message all the same (it is delivered, only the reply is not)."""
    played: int = 0


@dataclass
class Message:
    """One message as it was accepted (``accepted``) or refused after the dot."""

    sender: str
    """What stood between MAIL's brackets."""
    recipients: list[str]
    """What stood between the brackets of the accepted RCPTs."""
    mail_line: bytes
    rcpt_lines: list[bytes]
    wire: bytes
    """The body as it came: dot-stuffed, without the final ``.CRLF``."""
    connection: int
    tls: bool
    user: str | None
    accepted: bool = True
    body_at: float = 0.0
    """When the first octet of the body was read (``time.monotonic``)."""

    @property
    def content(self) -> bytes:
        """The body un-stuffed."""
        lines = self.wire.split(b"\r\n")
        return b"\r\n".join(line[1:] if line.startswith(b".") else line for line in lines)


@dataclass
class Dialogue:
    """What one connection said."""

    number: int
    commands: list[bytes] = field(default_factory=list)
    """Every command line without its CRLF (AUTH answers too, body excluded)."""
    reads: list[bytes] = field(default_factory=list)
    """What each read from the socket brought (the body too): shows pipelining."""
    tls: bool = False
    user: str | None = None
    closed: bool = False
    """Whether it has ended, by either side."""
    said_quit: bool = False
    partial_body: bytes | None = None
    """A body that ended without its final dot."""


class _HangupError(Exception):
    pass


class ScriptedUpstream:
    def __init__(
        self,
        *,
        path: Path | None = None,
        host: str = "127.0.0.1",
        extensions: Sequence[str] = EXTENSIONS,
        tls: ssl.SSLContext | None = None,
        implicit_tls: bool = False,
        users: dict[str, str] | None = None,
        mechanisms: Sequence[str] = ("PLAIN", "LOGIN"),
        ehlo: bool = True,
    ) -> None:
        self.path = path
        self.host = host
        self.port = 0
        self.extensions = list(extensions)
        """What EHLO offers; may be changed at any time."""
        self.users = users
        self.mechanisms = mechanisms
        self.ehlo = ehlo
        self.dialogues: list[Dialogue] = []
        self.messages: list[Message] = []
        """Accepted ones, in the order of their final dots."""
        self.refused_messages: list[Message] = []
        self._tls = tls
        self._implicit = implicit_tls
        self._behaviours: list[Behaviour] = []
        self._server: asyncio.Server | None = None
        self._writers: dict[int, asyncio.StreamWriter] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._changed = asyncio.Condition()

    # -- life ---------------------------------------------------------------

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def start(self) -> None:
        context = self._tls if self._implicit else None
        if self.path is not None:
            self._server = await asyncio.start_unix_server(self._serve, self.path, ssl=context)
        else:
            # A port once given is kept, so that `aclose` and `start` play an outage.
            self.port = self.port or free_port()
            self._server = await asyncio.start_server(
                self._serve, self.host, self.port, ssl=context
            )

    async def aclose(self) -> None:
        if self._server is not None:
            self._server.close()
            self._server = None
        for task in list(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=5)

    def target(self, name: str = "main", **settings: Any) -> Target:
        """A Target for it; ``timeouts`` are short unless given."""
        settings.setdefault("timeouts", Timeouts(connect=2, greeting=2, command=2, data=2, final=2))
        if self.path is not None:
            return Target(name, path=str(self.path), **settings)
        return Target(name, host=self.host, port=self.port, **settings)

    # -- the script ------------------------------------------------------------

    def on(self, stage: Stage, **how: Any) -> Behaviour:
        """Adds a behaviour; see :class:`Behaviour` for what ``how`` may say."""
        behaviour = Behaviour(stage, **how)
        self._behaviours.append(behaviour)
        return behaviour

    def refuse_rcpt(self, pattern: str, reply: str = "550 5.1.1 No such user") -> Behaviour:
        return self.on(Stage.RCPT, match=pattern, reply=reply)

    def refuse_mail(self, pattern: str, reply: str = "550 5.7.1 Not you") -> Behaviour:
        return self.on(Stage.MAIL, match=pattern, reply=reply)

    def forget_script(self) -> None:
        self._behaviours.clear()

    async def say(self, line: str, *, close: bool = False) -> None:
        """Says something unasked on every open connection (an idle 421)."""
        for writer in list(self._writers.values()):
            writer.write(line.encode() + b"\r\n")
            if close:
                writer.close()

    async def hang_up(self) -> None:
        """Closes every open connection."""
        for writer in list(self._writers.values()):
            writer.close()

    # -- what happened ---------------------------------------------------------

    @property
    def connections(self) -> int:
        """Connections since the start."""
        return len(self.dialogues)

    @property
    def open(self) -> int:
        """Connections open now."""
        return sum(not dialogue.closed for dialogue in self.dialogues)

    @property
    def commands(self) -> list[bytes]:
        """Every command of every connection, by connection."""
        return [command for dialogue in self.dialogues for command in dialogue.commands]

    async def until(self, condition: Any, seconds: float = 30.0) -> None:
        """Waits until ``condition()`` holds (a connection ended, a message came)."""
        async with asyncio.timeout(seconds), self._changed:
            await self._changed.wait_for(condition)

    async def _notify(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    # -- the dialogue ------------------------------------------------------------

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        dialogue = Dialogue(len(self.dialogues) + 1, tls=self._implicit)
        self.dialogues.append(dialogue)
        self._writers[dialogue.number] = writer
        try:
            await _Session(self, dialogue, reader, writer).run()
        except (_HangupError, OSError, asyncio.CancelledError):
            pass
        finally:
            dialogue.closed = True
            self._writers.pop(dialogue.number, None)
            writer.close()
            self._tasks.discard(task)
            await self._notify()

    def _choose(self, stage: Stage, connection: int, line: bytes, octets: int) -> Behaviour | None:
        for behaviour in self._behaviours:
            if behaviour.stage is not stage or octets < behaviour.after:
                continue
            if behaviour.connection not in (None, connection):
                continue
            if behaviour.match and not re.search(behaviour.match.encode(), line):
                continue
            if behaviour.skip > 0:
                behaviour.skip -= 1
                continue
            if behaviour.times is not None and behaviour.played >= behaviour.times:
                continue
            behaviour.played += 1
            return behaviour
        return None


class _Session:
    def __init__(
        self,
        upstream: ScriptedUpstream,
        dialogue: Dialogue,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self.upstream = upstream
        self.dialogue = dialogue
        self.reader = reader
        self.writer = writer
        self.buffer = b""
        self.behaviour: Behaviour | None = None
        """The one that played last."""
        self.mail: bytes | None = None
        self.rcpts: list[bytes] = []
        self.body_at = 0.0

    async def run(self) -> None:
        if await self.play(Stage.CONNECT, b""):
            self.say("220 scripted ESMTP")
        while True:
            line = await self.line()
            self.dialogue.commands.append(line)
            await self.obey(line)
            await self.upstream._notify()

    async def read(self) -> bytes:
        await self.writer.drain()
        data = await self.reader.read(65536)
        if not data:
            raise _HangupError
        self.dialogue.reads.append(data)
        return data

    async def line(self) -> bytes:
        while b"\r\n" not in self.buffer:
            self.buffer += await self.read()
        line, self.buffer = self.buffer.split(b"\r\n", 1)
        return line

    def say(self, line: str) -> None:
        self.writer.write(line.encode() + b"\r\n")

    async def play(
        self, stage: Stage, line: bytes, octets: int = 0, message: Message | None = None
    ) -> bool:
        """Plays the script for a stage; True means: go on as usual."""
        behaviour = self.upstream._choose(stage, self.dialogue.number, line, octets)
        self.behaviour = behaviour
        if behaviour is not None and behaviour.accept and message is not None:
            self.accept(message)
        if behaviour is None:
            return True
        if behaviour.gate is not None:
            await behaviour.gate.wait()
        if behaviour.delay:
            await self.writer.drain()
            await asyncio.sleep(behaviour.delay)
        if isinstance(behaviour.reply, str):
            self.say(behaviour.reply)
        elif behaviour.reply is not None:
            self.writer.write(behaviour.reply)
        if behaviour.reset:
            await self.writer.drain()
            sock = self.writer.get_extra_info("socket")
            if sock is not None:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.writer.transport.abort()
            raise _HangupError
        if behaviour.close:
            raise _HangupError
        return behaviour.reply is None and not behaviour.silent

    def said(self, code: str) -> bool:
        """Whether the behaviour that just played answered with this code."""
        reply = self.behaviour.reply if self.behaviour is not None else None
        text = reply.decode(errors="replace") if isinstance(reply, bytes) else reply or ""
        return text.startswith(code)

    async def obey(self, line: bytes) -> None:
        verb = line.split(b" ")[0].upper()
        match verb:
            case b"EHLO" | b"HELO":
                await self.hello(line, verb)
            case b"STARTTLS" if self.upstream._tls and not self.dialogue.tls:
                await self.start_tls(line)
            case b"AUTH" if self.upstream.users is not None:
                await self.authenticate(line)
            case b"MAIL":
                await self.on_mail(line)
            case b"RCPT":
                await self.on_rcpt(line)
            case b"DATA":
                await self.on_data(line)
            case b"RSET":
                if await self.play(Stage.RSET, line):
                    self.mail, self.rcpts = None, []
                    self.say("250 2.0.0 Ok")
            case b"NOOP":
                if await self.play(Stage.NOOP, line):
                    self.say("250 2.0.0 Ok")
            case b"QUIT":
                self.dialogue.said_quit = True
                if await self.play(Stage.QUIT, line):
                    self.say("221 2.0.0 Bye")
                    await self.writer.drain()
                    raise _HangupError
            case _:
                self.say("500 5.5.2 What?")

    async def hello(self, line: bytes, verb: bytes) -> None:
        if not await self.play(Stage.EHLO, line):
            return
        if verb == b"HELO":
            self.say("250 scripted")
            return
        if not self.upstream.ehlo:
            self.say("502 5.5.1 What is EHLO?")
            return
        lines = ["scripted", *self.upstream.extensions]
        if self.upstream._tls and not self.dialogue.tls:
            lines.append("STARTTLS")
        if self.upstream.users is not None:
            lines.append("AUTH " + " ".join(self.upstream.mechanisms))
        for text in lines[:-1]:
            self.say(f"250-{text}")
        self.say(f"250 {lines[-1]}")

    async def start_tls(self, line: bytes) -> None:
        if await self.play(Stage.STARTTLS, line):
            self.say("220 2.0.0 Go on")
        elif not self.said("220"):
            return
        await self.writer.drain()
        assert self.upstream._tls is not None
        await self.writer.start_tls(self.upstream._tls)
        self.dialogue.tls = True
        self.buffer = b""

    async def authenticate(self, line: bytes) -> None:
        if not await self.play(Stage.AUTH, line):
            return
        _, mechanism, *initial = line.split(b" ")
        if mechanism == b"PLAIN" and initial:
            _, user, password = base64.b64decode(initial[0]).decode().split("\0")
        else:
            self.say("334 VXNlcm5hbWU6")
            user = base64.b64decode(await self.answer()).decode()
            self.say("334 UGFzc3dvcmQ6")
            password = base64.b64decode(await self.answer()).decode()
        assert self.upstream.users is not None
        if self.upstream.users.get(user) == password:
            self.dialogue.user = user
            self.say("235 2.7.0 Welcome")
        else:
            self.say("535 5.7.8 Bad credentials")

    async def answer(self) -> bytes:
        line = await self.line()
        self.dialogue.commands.append(line)
        return line

    async def on_mail(self, line: bytes) -> None:
        if self.mail is not None:
            self.say("503 5.5.1 Sender already given")
        elif await self.play(Stage.MAIL, line):
            self.mail, self.rcpts = line, []
            self.say("250 2.1.0 Ok")

    async def on_rcpt(self, line: bytes) -> None:
        if self.mail is None:
            self.say("503 5.5.1 MAIL first")
        elif await self.play(Stage.RCPT, line):
            self.rcpts.append(line)
            self.say("250 2.1.5 Ok")

    async def on_data(self, line: bytes) -> None:
        go_on = await self.play(Stage.DATA, line)
        if go_on and not self.rcpts:
            self.say("554 5.5.1 No valid recipients")
            return
        if not go_on and not self.said("354"):
            return
        if go_on:
            self.say("354 Go ahead")
        wire = await self.body()
        message = Message(
            _bracketed(self.mail or b""),
            [_bracketed(rcpt) for rcpt in self.rcpts],
            self.mail or b"",
            self.rcpts,
            wire,
            self.dialogue.number,
            self.dialogue.tls,
            self.dialogue.user,
            body_at=self.body_at,
        )
        self.mail, self.rcpts = None, []
        message.accepted = False
        self.upstream.refused_messages.append(message)
        go_on = await self.play(Stage.END, line, message=message)
        if go_on:
            self.accept(message)
            self.say("250 2.0.0 Queued")

    def accept(self, message: Message) -> None:
        if not message.accepted:
            message.accepted = True
            self.upstream.refused_messages.remove(message)
            self.upstream.messages.append(message)

    async def body(self) -> bytes:
        """Everything up to CRLF.CRLF, read the plain way."""
        data = bytearray(b"\r\n" + self.buffer)
        self.buffer = b""
        self.body_at = time.monotonic()
        seen = 0
        try:
            while True:
                end = data.find(b"\r\n.\r\n", max(0, seen - 4))
                if end >= 0:
                    break
                seen = len(data)
                await self.play(Stage.BODY, b"", octets=seen - 2)
                data += await self.read()
                if seen == 2:
                    self.body_at = time.monotonic()
        except (_HangupError, OSError):
            self.dialogue.partial_body = bytes(data[2:])
            raise
        self.buffer = bytes(data[end + 5 :])
        return bytes(data[2 : end + 2]) if end else b""


def _bracketed(line: bytes) -> str:
    match = re.search(rb"<(.*?)>(?= |$)", line)
    return match[1].decode() if match else ""
