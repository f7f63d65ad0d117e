"""Where a message waits between the client's final dot and the hand-over.

The body is kept in wire form (dot-stuffed, as it came); the header section apart from
it and un-stuffed, since that is what its reader will see.  Memory is bounded twice: a
body keeps at most ``message_memory`` bytes, all messages of a worker at most
``total_memory`` (:class:`Budget`); what is more goes to an unlinked file, written in a
thread.
"""

from __future__ import annotations

import asyncio
import hashlib
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import IO

from gateway.failure import Overloaded
from gateway.wire.body import Unstuffer

_FILE_CHUNK = 256 * 1024


class StorageFull(Overloaded):
    """The disk took no more of a message."""

    code = 452
    status = "4.3.1"
    line = "Insufficient system storage; try again later"


class Budget:
    """Bytes of messages that all connections of a worker may keep in memory.

    Bodies may lie on the disk, header sections not: an eighth is kept for them.
    """

    __slots__ = ("_bodies", "_total", "used")

    def __init__(self, total: int) -> None:
        self.used = 0
        self.limit(total)

    def limit(self, total: int) -> None:
        """Allow so many bytes from now on."""
        self._total = total
        self._bodies = total - total // 8

    def take_header(self, octets: int) -> bool:
        """Reserve for a header section, or say that there is no room at all."""
        if self.used + octets > self._total:
            return False
        self.used += octets
        return True

    def take_body(self, octets: int) -> bool:
        """Reserve for a body, or say that there is no room: it then goes to the disk."""
        if self.used + octets > self._bodies:
            return False
        self.used += octets
        return True

    def give(self, octets: int) -> None:
        """Hand back what was reserved."""
        self.used -= octets


class _Plain:
    """Digests a body's octets as its reader will see them, chunk by chunk."""

    __slots__ = ("_unstuff", "hash")

    def __init__(self) -> None:
        self.hash = hashlib.sha256()
        self._unstuff = Unstuffer()

    def feed(self, chunk: bytes) -> int:
        """Take the next chunk in wire form; returns how many octets it stands for."""
        plain = self._unstuff.feed(chunk)
        self.hash.update(plain)
        return len(plain)


class Spool:
    """One message: its header section in memory, its body in memory or on disk.

    ``take`` in wire form and ``finish``, or ``take_whole``; ``close`` always.  Then there
    are ``header`` (un-stuffed, without the empty line), ``separated`` (whether an empty
    line followed it), ``body()``, ``body_hash`` (SHA-256 of the un-stuffed body) and
    ``body_size``.
    """

    # What most messages leave as it is, here for all of them: a spool is made for each.
    header = b""
    separated = False
    header_too_large = False
    body_size = 0
    wire_size = 0
    _reserved = 0
    _in_header = True
    _held = 0
    _pending_size = 0
    _file: IO[bytes] | None = None
    _plain: _Plain | None = None
    """The un-stuffed body's digest so far; None where nothing of it needs un-stuffing."""

    def __init__(self, budget: Budget, folder: Path, memory: int, max_header: int) -> None:
        self._budget = budget
        self._folder = folder
        self._memory = memory
        self._max_header = max_header
        self._head = bytearray()
        self._chunks: list[bytes] = []
        self._pending: list[bytes] = []

    def take_whole(self, body: bytes) -> bool:
        """Take all of a message that has no dot-stuffed line, and finish.

        True: :meth:`flush`, as :meth:`take`, whose errors it raises as well.
        """
        end = body.find(b"\r\n\r\n") + 2
        size = len(body)
        if (
            end < 3
            or size > self._memory
            or body[:2] == b"\r\n"
            or not self._budget.take_body(size)
        ):
            self.take(body)
            return self.finish()
        self._reserved = self.wire_size = size
        self._in_header = False
        self.separated = True
        self.header = body[:end]
        self.header_too_large = end > self._max_header
        self._held = self.body_size = size - end - 2
        if self.body_size:
            self._chunks.append(body[end + 2 :])
        return False

    def take(self, chunk: bytes) -> bool:
        """Take the next piece of the message, in wire form.

        True: :meth:`flush` before the next, for it waits in memory to go to the disk.

        Raises:
            StorageFull: memory is spoken for.

        """
        self.wire_size += len(chunk)
        if self._in_header:
            chunk = self._take_header(chunk)
        if chunk:
            self._take_body(chunk)
        return self._pending_size >= _FILE_CHUNK

    def _reserve(self, octets: int) -> None:
        if not self._budget.take_header(octets):
            raise StorageFull("no memory left for header sections")
        self._reserved += octets

    def _take_header(self, chunk: bytes) -> bytes:
        head = self._head
        self._reserve(len(chunk))
        if not head and chunk[:2] != b"\r\n" and (found := chunk.find(b"\r\n\r\n")) > 0:
            # The usual message: its header section lies in one piece.
            return self._split(chunk, found + 2, found + 4)
        seen = max(0, len(head) - 3)
        head += chunk
        if head[:2] == b"\r\n":
            end, body = 0, 2
        else:
            found = head.find(b"\r\n\r\n", seen)
            if found < 0:
                if len(head) > self._max_header:
                    self.header_too_large = True
                    self._in_header = False
                    head.clear()
                return b""
            end, body = found + 2, found + 4
        section = bytes(head)
        head.clear()
        return self._split(section, end, body)

    def _split(self, octets: bytes, end: int, body: int) -> bytes:
        """Keep the header section, which ends at ``end``; returns what follows it."""
        header = octets[:end]
        if b"\n." in header or header[:1] == b".":
            header = Unstuffer().feed(header)
        self.header = header
        self.header_too_large = len(header) > self._max_header
        self.separated = True
        self._in_header = False
        self._give(self._reserved - len(header))
        return octets[body:]

    def _give(self, octets: int) -> None:
        self._budget.give(octets)
        self._reserved -= octets

    def _take_body(self, chunk: bytes) -> None:
        if self._plain is None:
            self._plain = _Plain()
        self.body_size += self._plain.feed(chunk)
        if (
            self._file is None
            and not self._pending
            and self._held + len(chunk) <= self._memory
            and self._budget.take_body(len(chunk))
        ):
            self._reserved += len(chunk)
            self._held += len(chunk)
            self._chunks.append(chunk)
            return
        self._pending.append(chunk)
        self._pending_size += len(chunk)

    async def flush(self) -> None:
        """Write what waits for the disk.

        Raises:
            StorageFull: the disk refuses.

        """
        octets = b"".join(self._pending)
        self._pending.clear()
        self._pending_size = 0
        try:
            await asyncio.to_thread(self._append, octets)
        except OSError as error:
            raise StorageFull(f"spool folder: {error.strerror}") from error

    def _append(self, octets: bytes) -> None:
        if self._file is None:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._file = tempfile.TemporaryFile(dir=self._folder, buffering=0)  # noqa: SIM115
        view = memoryview(octets)
        while view:
            view = view[self._file.write(view) :]

    def finish(self) -> bool:
        """The message is complete; a message without an empty line is all header.

        True: the last of it waits for :meth:`flush`.
        """
        if self._in_header:
            self._in_header = False
            self.header = Unstuffer().feed(bytes(self._head))
            self._head.clear()
        return bool(self._pending)

    @property
    def body_hash(self) -> str:
        """SHA-256 of the un-stuffed body, in hex."""
        if self._plain is None:
            return hashlib.sha256(self._chunks[0] if self._chunks else b"").hexdigest()
        return self._plain.hash.hexdigest()

    async def body(self) -> AsyncIterator[bytes]:
        """The body in wire form, in pieces of at most 256 KiB from disk."""
        for chunk in self._chunks:
            yield chunk
        file = self._file
        if file is None:
            return
        await asyncio.to_thread(file.seek, 0)
        while chunk := await asyncio.to_thread(file.read, _FILE_CHUNK):
            yield chunk

    def small_body(self, most: int) -> bytes | None:
        """The whole body in wire form if it lies in memory and is no longer than that."""
        if self._file is not None or self._held > most:
            return None
        return self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)

    async def plain(self, limit: int | None = None) -> AsyncIterator[bytes]:
        """The un-stuffed message, header section and all, up to ``limit`` bytes."""
        unstuff = Unstuffer()
        head = self.header + (b"\r\n" if self.separated else b"")
        left = limit - len(head) if limit is not None else -1
        yield head
        async for chunk in self.body():
            if limit is not None and left <= 0:
                return
            yield unstuff.feed(chunk)
            left -= len(chunk)

    def close(self) -> None:
        """Give back memory and disk; safe to call twice."""
        self._give(self._reserved)
        self._chunks.clear()
        self._pending.clear()
        if self._file is not None:
            self._file.close()
            self._file = None
