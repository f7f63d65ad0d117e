"""A bare relay: what Python can do at most, to hold the gateway against.

``python -m bench.bare PORT SINK_PORT REGISTER_SOCKET KEYS_FILE``.  One process on
uvloop and ``asyncio.Protocol``, everything by call-backs, no task, no time limit.  It
drops suppressed recipients, passes on the upstream's verdict on each other one, and
hands the message on while it comes in.  What a client sends in one burst costs one
round trip to the register and one upstream.  It has no rules, no records, no
canonical forms, no limits and no checks of what it is sent: it is no relay to use.
"""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path
from typing import cast

import hiredis
import uvloop

from gateway.contacts.digest import DIGEST_OCTETS
from gateway.keyfile import read_keys
from gateway.register.layout import DEFAULT_BITS

_OK = b"250 2.0.0 Ok\r\n"
_GO = b"354 End data with <CR><LF>.<CR><LF>\r\n"
_EHLO = b"250-bare.example\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 SIZE 52428800\r\n"
_TROUBLE = b"451 4.4.1 Upstream lost\r\n"
_END = b"\r\n.\r\n"
_HIGH = 1 << 20


class Register(asyncio.Protocol):
    """The register's connection; the questions of one loop tick go in one write."""

    def __init__(self, key_id: str, key: bytes) -> None:
        self._keyed = blake2b(key=key, digest_size=DIGEST_OCTETS)
        self._key_id = key_id.encode()
        self._reader = hiredis.Reader()
        self._out: list[bytes] = []
        self._waiting: deque[tuple[int, Callable[[list[object]], None]]] = deque()
        self._found: list[object] = []
        self._loop = asyncio.get_running_loop()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.Transport", transport)

    def ask(self, addresses: list[bytes], then: Callable[[list[object]], None]) -> None:
        """Call ``then`` with what is kept of each address, None where nothing is."""
        if not self._out:
            self._loop.call_soon(self._flush)
        for address in addresses:
            hasher = self._keyed.copy()
            hasher.update(b"e:" + address.lower())
            value = hasher.digest()
            lead = int.from_bytes(value[:4], "big")
            bucket = b"sg:{s%02x}:%b:%x" % (lead >> 26, self._key_id, lead >> 32 - DEFAULT_BITS)
            field = value[DEFAULT_BITS // 8 :]
            self._out.append(
                b"*3\r\n$4\r\nHGET\r\n$%d\r\n%b\r\n$%d\r\n%b\r\n"
                % (len(bucket), bucket, len(field), field)
            )
        self._waiting.append((len(addresses), then))

    def data_received(self, data: bytes) -> None:
        """Give every asker its answers."""
        reader = self._reader
        reader.feed(data)
        found = self._found
        while self._waiting:
            wanted, then = self._waiting[0]
            while len(found) < wanted:
                reply = reader.gets()
                if reply is False:
                    return
                found.append(reply)
            self._waiting.popleft()
            found, self._found = self._found, []
            then(found)
            found = self._found

    def _flush(self) -> None:
        out, self._out = self._out, []
        self._transport.write(b"".join(out))


class Upstream(asyncio.Protocol):
    """A connection to the sink; ``user`` is the client whose transaction it carries."""

    def __init__(self, pool: Pool, user: Client) -> None:
        self._pool = pool
        self.user: Client | None = user
        self._then: Callable[[list[bytes]], None] = self._greeted
        self._wanted = 1
        self._replies: list[bytes] = []
        self._rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.Transport", transport)
        self._transport.set_write_buffer_limits(_HIGH)
        self.write = self._transport.write
        self.abort = self._transport.abort

    def ask(self, octets: bytes, replies: int, then: Callable[[list[bytes]], None]) -> None:
        """Send commands; call ``then`` with the last line of each reply."""
        self._wanted, self._then = replies, then
        self.write(octets)

    def data_received(self, data: bytes) -> None:
        """Collect replies."""
        if self._rest:
            data = self._rest + data
        lines = data.split(b"\r\n")
        self._rest = lines.pop()
        replies = self._replies
        replies += [line for line in lines if line[3:4] != b"-"]
        if len(replies) >= self._wanted:
            self._replies = []
            self._then(replies)

    def pause_writing(self) -> None:
        """Let the client wait."""
        if self.user is not None:
            self.user.transport.pause_reading()

    def resume_writing(self) -> None:
        """Let the client go on."""
        if self.user is not None:
            self.user.transport.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the client whose transaction is lost with it."""
        self._pool.forget(self)
        if self.user is not None:
            self.user.lost()

    def _greeted(self, replies: list[bytes]) -> None:
        self.ask(b"EHLO bare.example\r\n", 1, self._introduced)

    def _introduced(self, replies: list[bytes]) -> None:
        if self.user is None:
            self._pool.give(self)
        else:
            self.user.given(self)


class Pool:
    """Upstream connections, kept for the next transaction."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._idle: list[Upstream] = []
        self._opening: set[asyncio.Task[object]] = set()
        self._loop = asyncio.get_running_loop()

    def take(self, user: Client) -> None:
        """Call the client's ``given`` with a connection, now or once one is open."""
        if self._idle:
            one = self._idle.pop()
            one.user = user
            user.given(one)
            return
        opening: asyncio.Task[object] = self._loop.create_task(
            self._loop.create_connection(lambda: Upstream(self, user), "127.0.0.1", self._port)
        )
        self._opening.add(opening)
        opening.add_done_callback(self._opening.discard)

    def give(self, one: Upstream) -> None:
        """Take back a connection whose transaction has ended."""
        one.user = None
        self._idle.append(one)

    def forget(self, one: Upstream) -> None:
        """Leave out a connection that was lost."""
        if one in self._idle:
            self._idle.remove(one)


class Client(asyncio.Protocol):
    """One sending connection: a burst of commands is read, asked and answered as one."""

    def __init__(self, register: Register, pool: Pool) -> None:
        self._register = register
        self._pool = pool
        self._upstream: Upstream | None = None
        self._buffer = b""
        self._busy = False
        self._body = False
        self._tail = b""
        self._begin(b"")

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Greet."""
        self.transport = cast("asyncio.Transport", transport)
        self._write = self.transport.write
        self._write(b"220 bare.example ESMTP\r\n")

    def connection_lost(self, exc: Exception | None) -> None:
        """Give up the transaction that is open."""
        self._busy = True
        if self._upstream is not None:
            self._upstream.user = None
            self._upstream.abort()

    def lost(self) -> None:
        """Hear that the upstream connection of the transaction was lost."""
        self._upstream = None
        self._write(_TROUBLE)
        self.transport.close()

    def data_received(self, data: bytes) -> None:
        """Take commands or a piece of the message."""
        if self._body:
            self._content(data)
        elif self._busy:
            self._buffer += data
        else:
            self._commands(self._buffer + data if self._buffer else data)

    def _begin(self, mail: bytes) -> None:
        self._mail = mail
        self._sent = False
        self._accepted = 0
        self._dropped = 0

    def _commands(self, data: bytes) -> None:
        lines = data.split(b"\r\n")
        replies: list[bytes | None] = []
        asked: list[bytes] = []
        self._data = False
        position = 0
        last = len(lines) - 1
        while position < last:
            line = lines[position]
            position += 1
            verb = line[:4].upper()
            if verb == b"RCPT":
                asked.append(line)
                replies.append(None)
            elif verb == b"MAIL":
                self._abandon()
                self._begin(line)
                replies.append(_OK)
            elif verb == b"DATA":
                self._data = True
                break
            elif verb == b"EHLO":
                replies.append(_EHLO)
            elif verb == b"QUIT":
                replies.append(b"221 2.0.0 Bye\r\n")
                self._write(b"".join(reply for reply in replies if reply))
                self.transport.close()
                return
            else:
                if verb == b"RSET":
                    self._abandon()
                replies.append(_OK)
        self._buffer = b"\r\n".join(lines[position:])
        if asked:
            self._busy = True
            self._replies, self._asked = replies, asked
            self._register.ask(
                [line[line.index(b"<") + 1 : line.index(b">")] for line in asked], self._known
            )
        elif self._data:
            self._busy = True
            self._replies, self._asked = replies, asked
            self._known([])
        elif replies:
            self._write(b"".join(cast("list[bytes]", replies)))

    def _known(self, found: list[object]) -> None:
        """Go on with what the register knows of each recipient of the burst."""
        out: list[bytes] = []
        place = 0
        replies = self._replies
        for line, entry in zip(self._asked, found, strict=True):
            place = replies.index(None, place)
            if entry is None:
                out.append(line)
                place += 1
            else:
                replies[place] = _OK
                self._dropped += 1
        if out and not self._sent:
            self._sent = True
            out.insert(0, self._mail)
            self._first = 1
        else:
            self._first = 0
        if self._data and (out or self._accepted):
            out.append(b"DATA")
        if not out:
            self._answered([])
            return
        self._out = out
        if self._upstream is None:
            self._pool.take(self)
        else:
            self._upstream.ask(b"\r\n".join(out) + b"\r\n", len(out), self._answered)

    def given(self, upstream: Upstream) -> None:
        """Send the burst over the connection."""
        if self.transport.is_closing():
            upstream.abort()
            return
        self._upstream = upstream
        upstream.ask(b"\r\n".join(self._out) + b"\r\n", len(self._out), self._answered)

    def _answered(self, verdicts: list[bytes]) -> None:
        """Write the replies to the burst, with the upstream's among them."""
        place = self._first if verdicts else 0
        out: list[bytes] = []
        for known in self._replies:
            if known is not None:
                out.append(known)
                continue
            verdict = verdicts[place]
            place += 1
            self._accepted += verdict[:1] == b"2"
            out.append(verdict + b"\r\n")
        self._busy = False
        if self._data:
            verdict = verdicts[-1][:3] if place < len(verdicts) else b""
            if verdict == b"354" and not self._accepted:
                self._abandon()
                verdict = b""
            if verdict == b"354" or (not verdict and self._dropped):
                self._body = True
                self._tail = b"\r\n"
                out.append(_GO)
            else:
                out.append(verdicts[-1] + b"\r\n" if verdict else b"554 5.5.1 No recipients\r\n")
        self._write(b"".join(out))
        if self._buffer:
            rest, self._buffer = self._buffer, b""
            self.data_received(rest)

    def _content(self, data: bytes) -> None:
        """Pass a piece of the message on; the final dot may lie across two pieces."""
        tail = self._tail
        edge = (tail + data[:5]).find(_END)
        at = edge + 5 - len(tail) if edge >= 0 else data.find(_END) + 5
        if edge < 0 and at == 4:
            self._tail = data[-4:] if len(data) >= 4 else (tail + data)[-4:]
            if self._upstream is not None:
                self._upstream.write(data)
            return
        self._body = False
        if at < len(data):
            self._buffer = data[at:]
            data = data[:at]
        if self._upstream is None:
            self._finished([_OK[:-2]])
        else:
            self._busy = True
            self._upstream.ask(data, 1, self._finished)

    def _finished(self, replies: list[bytes]) -> None:
        self._busy = False
        self._write(replies[0] + b"\r\n")
        if self._upstream is not None:
            self._pool.give(self._upstream)
            self._upstream = None
        self._begin(b"")
        if self._buffer:
            rest, self._buffer = self._buffer, b""
            self.data_received(rest)

    def _abandon(self) -> None:
        """Drop a transaction that has not ended; its connection goes with it."""
        if self._upstream is not None:
            self._upstream.user = None
            self._upstream.abort()
            self._upstream = None
        self._begin(b"")


async def _run(port: int, sink: int, path: str, keys: Path) -> None:
    loop = asyncio.get_running_loop()
    ring = read_keys(keys)
    register = Register(ring.current, ring.by_id[ring.current])
    await loop.create_unix_connection(lambda: register, path)
    pool = Pool(sink)
    listening = await loop.create_server(
        lambda: Client(register, pool), "127.0.0.1", port, backlog=512
    )
    await listening.serve_forever()


if __name__ == "__main__":
    uvloop.run(_run(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], Path(sys.argv[4])))
