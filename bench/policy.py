"""A policy server for Postfix that asks Redis (SMTPD_POLICY_README).

``python -m bench.policy SOCKET REGISTER_SOCKET``.  One process, call-backs only: each
request costs one SISMEMBER, and the questions of one loop tick go in one write.
"""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from pathlib import Path
from typing import cast

import hiredis
import uvloop

from bench.dataset import PLAIN

_KEY = PLAIN.encode()
_MARK = b"\nrecipient="


class Register(asyncio.Protocol):
    """The connection to Redis."""

    def __init__(self) -> None:
        self._reader = hiredis.Reader()
        self._out: list[bytes] = []
        self._waiting: deque[Asker] = deque()
        self._loop = asyncio.get_running_loop()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.Transport", transport)

    def ask(self, address: bytes, asker: Asker) -> None:
        """Have the asker told whether the address is suppressed."""
        if not self._out:
            self._loop.call_soon(self._flush)
        self._out.append(
            b"*3\r\n$9\r\nSISMEMBER\r\n$%d\r\n%b\r\n$%d\r\n%b\r\n"
            % (len(_KEY), _KEY, len(address), address)
        )
        self._waiting.append(asker)

    def data_received(self, data: bytes) -> None:
        """Tell the askers."""
        self._reader.feed(data)
        while (reply := self._reader.gets()) is not False:
            self._waiting.popleft().told(reply == 1)

    def _flush(self) -> None:
        out, self._out = self._out, []
        self._transport.write(b"".join(out))


class Asker(asyncio.Protocol):
    """One smtpd: a request of ``name=value`` lines, ended by an empty one, at a time."""

    def __init__(self, register: Register) -> None:
        self._register = register
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Ask once the request is whole."""
        self._buffer += data
        if self._buffer.endswith(b"\n\n"):
            start = self._buffer.index(_MARK) + len(_MARK)
            address = self._buffer[start : self._buffer.index(b"\n", start)]
            self._buffer = b""
            self._register.ask(address, self)

    def told(self, suppressed: bool) -> None:
        """Answer."""
        self._transport.write(b"action=REJECT\n\n" if suppressed else b"action=DUNNO\n\n")


async def _run(path: Path, register_path: Path) -> None:
    loop = asyncio.get_running_loop()
    register = Register()
    await loop.create_unix_connection(lambda: register, str(register_path))
    listening = await loop.create_unix_server(lambda: Asker(register), str(path), backlog=512)
    path.chmod(0o777)
    await listening.serve_forever()


if __name__ == "__main__":
    uvloop.run(_run(Path(sys.argv[1]), Path(sys.argv[2])))
