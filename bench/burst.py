"""A client that pipelines: MAIL, every RCPT and DATA in one write (RFC 2920).

``python -m bench.burst PORT FILE MESSAGES RECIPIENTS SESSIONS``.  Ends with status 1
when a message is not taken.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import cast

import uvloop

_MAIL = b"MAIL FROM:<bench@bench.example>\r\n"


class Load:
    """What is still to be sent, shared by the sessions."""

    def __init__(self, body: bytes, messages: int, recipients: int, sessions: int) -> None:
        self.body = body
        self.recipients = recipients
        self.left = messages
        self.open = sessions
        self.number = 0
        self.failure = ""
        self.done = asyncio.get_running_loop().create_future()

    def envelope(self) -> bytes | None:
        """Return the next message's burst, or None when all are sent."""
        if not self.left:
            return None
        self.left -= 1
        first = self.number + 1
        self.number += self.recipients
        names = b"".join(
            [b"RCPT TO:<%dr@bench.example>\r\n" % n for n in range(first, self.number + 1)]
        )
        return _MAIL + names + b"DATA\r\n"

    def ended(self) -> None:
        """Count a session that has ended; the last ends the run."""
        self.open -= 1
        if not self.open and not self.done.done():
            self.done.set_result(None)


class Session(asyncio.Protocol):
    """One connection: waits for ``awaited`` replies, then sends what comes next."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._awaited = 1
        self._next = self._greet
        self._rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        # uvloop's transports are asyncio's in all but their base class.
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Count final reply lines (``250 text``, not ``250-text``)."""
        data = self._rest + data
        lines = data.split(b"\n")
        self._rest = lines.pop()
        replies = [line for line in lines if line[3:4] != b"-"]
        if not replies:
            return
        self._awaited -= len(replies)
        if not self._awaited:
            self._next(replies[-1])

    def connection_lost(self, exc: Exception | None) -> None:
        """Count the session as ended; too early is a failure."""
        if self._next != self._bye:
            self._load.failure = "a connection was lost"
        self._load.ended()

    def _greet(self, reply: bytes) -> None:
        self._awaited = 1
        self._next = self._begin
        self._transport.write(b"EHLO bench.example\r\n")

    def _begin(self, reply: bytes) -> None:
        if reply[:1] != b"2":
            self._fail(reply)
            return
        burst = self._load.envelope()
        if burst is None:
            self._awaited = 1
            self._next = self._bye
            self._transport.write(b"QUIT\r\n")
            return
        self._awaited = self._load.recipients + 2
        self._next = self._content
        self._transport.write(burst)

    def _content(self, reply: bytes) -> None:
        if reply[:3] != b"354":
            self._fail(reply)
            return
        self._awaited = 1
        self._next = self._begin
        self._transport.write(self._load.body)

    def _bye(self, reply: bytes) -> None:
        self._transport.close()

    def _fail(self, reply: bytes) -> None:
        self._load.failure = f"the server said {reply[:60]!r}"
        self._transport.abort()


async def _run(port: int, file: Path, messages: int, recipients: int, sessions: int) -> str:
    body = file.read_bytes().replace(b"\n", b"\r\n").replace(b"\r\n.", b"\r\n..") + b".\r\n"
    load = Load(body, messages, recipients, sessions)
    loop = asyncio.get_running_loop()
    for _ in range(sessions):
        await loop.create_connection(lambda: Session(load), "127.0.0.1", port)
    await load.done
    return load.failure


def main() -> None:
    """Send, and say what failed."""
    port, file, messages, recipients, sessions = sys.argv[1:]
    failure = uvloop.run(_run(int(port), Path(file), int(messages), int(recipients), int(sessions)))
    if failure:
        sys.exit(failure)


if __name__ == "__main__":
    main()
