"""One blocking SMTP session, for what is timed message by message."""

from __future__ import annotations

import socket
import time
from typing import Self

from bench.traffic import SENDER


class Session:
    """A connection that has said EHLO; a command at a time, as ordinary clients do."""

    def __init__(self, port: int, timeout: float = 60) -> None:
        self._link = socket.create_connection(("127.0.0.1", port), timeout)
        self._link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._expect(b"220")
        self.command(b"EHLO bench.example", b"250")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._link.close()

    def command(self, line: bytes, expected: bytes) -> None:
        """Send a line and read its reply; raises OSError when another one comes."""
        self._link.sendall(line + b"\r\n")
        self._expect(expected)

    def message(self, recipient: str, body: bytes) -> float:
        """Send a message (in wire form, with its final dot); return the seconds it took."""
        began = time.perf_counter()
        self.command(b"MAIL FROM:<%b>" % SENDER.encode(), b"250")
        self.command(b"RCPT TO:<%b>" % recipient.encode(), b"250")
        self.command(b"DATA", b"354")
        self._link.sendall(body)
        self._expect(b"250")
        return time.perf_counter() - began

    def noop(self) -> float:
        """Return the seconds that a NOOP takes."""
        began = time.perf_counter()
        self.command(b"NOOP", b"250")
        return time.perf_counter() - began

    def _expect(self, code: bytes) -> None:
        received = b""
        while not received.endswith(b"\n") or received.split(b"\r\n")[-2][3:4] == b"-":
            more = self._link.recv(65536)
            if not more:
                raise ConnectionError("the connection was lost")
            received += more
        if not received.startswith(code):
            raise ConnectionError(f"the server said {received[:60]!r}")
