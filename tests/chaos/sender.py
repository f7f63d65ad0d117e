"""A strict client that tries again until it is told something final.

It keeps what it was told, no more: 250, 5xx, 4xx, or nothing although its final dot
had left.
"""

from __future__ import annotations

import asyncio
import random
import re
import ssl
import time
from collections.abc import Sequence

from tests.chaos.letter import Letter

_REPLY = re.compile(rb"[2-5][0-9]{2}[ -][\x20-\x7e\x80-\xff]*\r\n")
_CODES = frozenset(
    {220, 221, 250, 334, 354, 421, 450, 451, 452, 454, 500, 501, 502, 503, 504, 530, 550}
    | {552, 553, 554, 555}
)
"""What the gateway, or the sink by its mouth, may say to this client."""


class Lost(Exception):
    """The connection ended, or nothing more was heard."""


class Sender:
    """``await Sender(port, letters).run()``: every letter, until each is settled."""

    def __init__(
        self,
        port: int,
        letters: Sequence[Letter],
        *,
        over: float = 5,
        sessions: int = 12,
        tls: ssl.SSLContext | None = None,
        sources: Sequence[str] = ("127.0.0.1",),
        only_tls: bool = False,
        garbled: bool = False,
        patience: float = 8,
        seed: int = 1,
    ) -> None:
        """``over``: seconds in which the letters are let go, evenly.

        ``tls``: half the sessions use STARTTLS, or with ``only_tls`` all.  ``sources``:
        addresses to connect from.  ``garbled``: what is no reply is the wire's fault,
        not the gateway's.  ``patience``: seconds to wait for a reply.
        """
        self.port = port
        self.letters = list(letters)
        self.breaches: list[str] = []
        """What the gateway said that no server may."""
        self.connects = 0
        self.failures = 0
        """Attempts that ended in nothing final."""
        self._over = over
        self._sessions = sessions
        self._tls = tls
        self._only_tls = only_tls
        self._garbled = garbled
        self._sources = sources
        self._patience = patience
        self._dice = random.Random(seed)
        self._queue: asyncio.Queue[Letter] = asyncio.Queue()
        self._open = len(self.letters)
        self._settled = asyncio.Event()

    @property
    def settled(self) -> bool:
        """Whether everything has been told something final."""
        return self._open == 0

    async def run(self, within: float = 60) -> None:
        """Send until all is settled; raises TimeoutError where it is not ``within`` seconds."""
        async with asyncio.timeout(within):
            tasks = [asyncio.create_task(self._session(n)) for n in range(self._sessions)]
            tasks.append(asyncio.create_task(self._feed()))
            try:
                watch = asyncio.create_task(self._settled.wait())
                done, _ = await asyncio.wait(
                    [watch, *tasks[:-1]], return_when=asyncio.FIRST_COMPLETED
                )
                for task in done:
                    task.result()
            finally:
                watch.cancel()
                for task in tasks:
                    task.cancel()
                await asyncio.gather(watch, *tasks, return_exceptions=True)

    async def _feed(self) -> None:
        start = time.monotonic()
        for number, letter in enumerate(self.letters):
            due = start + self._over * number / max(1, len(self.letters))
            if (pause := due - time.monotonic()) > 0:
                await asyncio.sleep(pause)
            self._queue.put_nowait(letter)

    async def _session(self, number: int) -> None:
        session = _Session(self, number)
        try:
            while True:
                letter = await self._queue.get()
                try:
                    await session.send(letter)
                except (Lost, OSError, TimeoutError, ssl.SSLError):
                    session.hang_up()
                if letter.pending:
                    self.failures += 1
                    asyncio.get_running_loop().call_later(
                        self._dice.uniform(0.05, 0.4), self._queue.put_nowait, letter
                    )
                else:
                    self._open -= 1
                    if self.settled:
                        self._settled.set()
        finally:
            session.hang_up()


class _Session:
    """Some sessions pipeline, some do not; some keep their connection, some never do."""

    def __init__(self, sender: Sender, number: int) -> None:
        self.sender = sender
        self.pipelining = number % 2 == 0
        self.keeps = number % 3 != 0
        self.in_pieces = number % 5 == 0
        self.tls = sender._tls if number % 2 or sender._only_tls else None
        self.source = sender._sources[number % len(sender._sources)]
        self.reader: asyncio.StreamReader | None = None
        self.writer: asyncio.StreamWriter | None = None

    async def connect(self) -> None:
        sender = self.sender
        sender.connects += 1
        async with asyncio.timeout(sender._patience):
            self.reader, self.writer = await asyncio.open_connection(
                "127.0.0.1", sender.port, local_addr=(self.source, 0)
            )
        self.expect(await self.reply(), "220")
        self.expect(await self.say(b"EHLO tool.example"), "250")
        if self.tls is not None:
            self.expect(await self.say(b"STARTTLS"), "220")
            async with asyncio.timeout(sender._patience):
                await self.writer.start_tls(self.tls, server_hostname="localhost")
            self.expect(await self.say(b"EHLO tool.example"), "250")

    def hang_up(self) -> None:
        if self.writer is not None:
            self.writer.transport.abort()
        self.reader = self.writer = None

    def expect(self, reply: str, code: str) -> None:
        if not reply.startswith(code):
            raise Lost(reply)

    async def reply(self) -> str:
        """One reply; a 421 is the end of the connection, whatever it answers."""
        assert self.reader is not None
        lines: list[bytes] = []
        async with asyncio.timeout(self.sender._patience):
            while True:
                line = await self.reader.readline()
                if not line.endswith(b"\n"):
                    raise Lost("end of stream")
                if not _REPLY.fullmatch(line) or int(line[:3]) not in _CODES:
                    if not self.sender._garbled:
                        self.sender.breaches.append(f"no reply: {line[:100]!r}")
                    raise Lost("no reply")
                lines.append(line)
                if line[3:4] == b" ":
                    break
        text = b"".join(lines).decode(errors="replace").rstrip("\r\n")
        if text.startswith("421"):
            raise Lost(text)
        return text

    async def say(self, line: bytes) -> str:
        assert self.writer is not None
        self.writer.write(line + b"\r\n")
        return await self.reply()

    async def send(self, letter: Letter) -> None:
        """One attempt at what is still pending of a letter."""
        letter.attempts += 1
        if self.writer is None:
            await self.connect()
        accepted = await self._envelope(letter)
        if accepted:
            await self._content(letter, accepted)
        if not self.keeps or self.sender._dice.random() < 0.05:
            if self.writer is not None:
                self.writer.write(b"QUIT\r\n")
            self.hang_up()

    async def _envelope(self, letter: Letter) -> list[str]:
        """MAIL, RCPTs and DATA; whom a 354 promises to take, if it came."""
        pending = letter.pending
        lines = [f"MAIL FROM:<{letter.sender}>", *(f"RCPT TO:<{one}>" for one in pending), "DATA"]
        assert self.writer is not None
        replies: list[str] = []
        if self.pipelining:
            self.writer.write("".join(line + "\r\n" for line in lines).encode())
            replies = [await self.reply() for _ in lines]
        else:
            for line in lines[:-1]:
                replies.append(await self.say(line.encode()))
            if replies[0][0] == "2" and any(reply[0] == "2" for reply in replies[1:]):
                replies.append(await self.say(b"DATA"))
        for recipient, reply in zip(pending, replies[1:], strict=False):
            if replies[0][0] == "2" and reply[0] == "5":
                letter.refused[recipient] = reply
        if len(replies) == len(lines) and replies[-1].startswith("354"):
            return [
                recipient
                for recipient, reply in zip(pending, replies[1:-1], strict=True)
                if reply[0] == "2"
            ]
        if self.keeps and self.writer is not None:
            self.expect(await self.say(b"RSET"), "250")
        return []

    async def _content(self, letter: Letter, accepted: list[str]) -> None:
        assert self.writer is not None
        wire = letter.message.replace(b"\r\n.", b"\r\n..")
        if self.in_pieces:
            middle = len(wire) // 2
            self.writer.write(wire[:middle])
            await self.writer.drain()
            await asyncio.sleep(0.01)
            wire = wire[middle:]
        try:
            self.writer.write(wire + b".\r\n")
            reply = await self.reply()
        except BaseException:
            letter.unclear += 1
            raise
        letter.note(accepted, reply)
