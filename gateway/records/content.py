"""The content of messages, compressed, sealed and cut into rows.

Neither storing nor reading holds a message in memory: octets pass through one
Zstandard frame in pieces, and come out as rows of at most 256 KiB, each sealed to
its place.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterable, AsyncIterator, Iterator
from contextlib import suppress
from typing import Final

from sqlalchemy import func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.clock import Clock, now_ms
from gateway.failure import RecordsUnavailable
from gateway.records import schema
from gateway.records.database import Database
from gateway.records.seal import Sealer, SealError

if sys.version_info >= (3, 14):
    from compression.zstd import ZstdCompressor, ZstdDecompressor, ZstdError
else:
    from backports.zstd import ZstdCompressor, ZstdDecompressor, ZstdError

CHUNK: Final = 256 * 1024
"""Octets of a row before it is sealed."""
_WAITS: Final = ("prepared", "kept", "held", "waiting", "releasing", "uncertain")
"""States of a held message whose content is still needed."""
_PIECE: Final = 64 * 1024
_GROUP: Final = 4
_PARTIAL_AGE: Final = 3_600_000
_ORPHAN_AGE: Final = 86_400_000
_SWEPT: Final = 200


class ContentMissing(RecordsUnavailable):
    """There is no (whole) content of that id, or it cannot be opened."""


class ContentStore:
    """Message content in the archive database."""

    def __init__(self, database: Database, sealer: Sealer, clock: Clock = now_ms) -> None:
        self._database = database
        self._sealer = sealer
        self._clock = clock

    async def put(self, content_id: str, pieces: AsyncIterable[bytes]) -> str:
        """Store the octets under a new id, which is returned; durable when this returns.

        Some MiB are in memory at most, and no transaction is open while ``pieces``
        is awaited.  What a failure or cancellation leaves is removed.  Raises
        RecordsUnavailable.
        """
        compressor = ZstdCompressor()
        ready = bytearray()
        rows: list[bytes] = []
        size = stored = 0
        try:
            async for piece in pieces:
                for part in _parts(piece):
                    size += len(part)
                    ready += compressor.compress(part)
                    while len(ready) >= CHUNK:
                        rows.append(self._sealed(content_id, stored + len(rows), ready))
                    if len(rows) >= _GROUP:
                        await self._add(content_id, stored, rows)
                        stored += len(rows)
                        rows = []
            ready += compressor.flush()
            while ready:
                rows.append(self._sealed(content_id, stored + len(rows), ready))
            await self._add(content_id, stored, rows, size)
        except RecordsUnavailable:
            if stored:
                with suppress(RecordsUnavailable):
                    await self.delete(content_id)
            raise
        except BaseException:
            if stored:
                self._database.behind(self.delete(content_id))
            raise
        return content_id

    def _sealed(self, content_id: str, n: int, ready: bytearray) -> bytes:
        chunk = bytes(ready[:CHUNK])
        del ready[:CHUNK]
        return self._sealer.seal(chunk, _context(content_id, n))

    async def _add(
        self, content_id: str, first: int, rows: list[bytes], size: int | None = None
    ) -> None:
        """Store some rows, and with the last ones the size, which makes it whole."""
        table, chunk = schema.content, schema.content_chunk
        whole = {"size": size or 0, "chunks": first + len(rows), "complete": int(size is not None)}

        async def work(connection: AsyncConnection) -> None:
            if first == 0:
                await connection.execute(
                    table.insert().values(id=content_id, created=self._clock(), **whole)
                )
            else:
                changed = await connection.execute(
                    update(table)
                    .where(table.c.id == content_id, table.c.complete == 0)
                    .values(**whole)
                )
                if changed.rowcount != 1:
                    raise RecordsUnavailable("the content was swept while it was stored")
            if rows:
                await connection.execute(
                    chunk.insert(),
                    [
                        {"content_id": content_id, "n": n, "data": data}
                        for n, data in enumerate(rows, first)
                    ],
                )

        await self._database.write(work)

    async def size(self, content_id: str) -> int:
        """The octets of a whole content; raises ContentMissing, RecordsUnavailable."""
        return (await self._whole(content_id))[0]

    async def open(self, content_id: str) -> AsyncIterator[bytes]:
        """The octets again, in pieces of at most 256 KiB.

        Raises ContentMissing when there is none, it is not whole or not ours to open;
        RecordsUnavailable.
        """
        size, chunks = await self._whole(content_id)
        decompressor = ZstdDecompressor()
        given = 0
        for n in range(chunks):
            data = await self._chunk(content_id, n)
            try:
                chunk = self._sealer.open(data, _context(content_id, n))
            except SealError as error:
                raise ContentMissing(f"the content cannot be opened: {error}") from None
            while not decompressor.eof:
                try:
                    piece = decompressor.decompress(chunk, max_length=CHUNK)
                except ZstdError as error:
                    raise ContentMissing("the content is damaged") from error
                chunk = b""
                given += len(piece)
                if piece:
                    yield piece
                if decompressor.needs_input:
                    break
        if not decompressor.eof or given != size:
            raise ContentMissing("the content is not whole")

    async def delete(self, content_id: str) -> None:
        """Remove a content, if it is there; raises RecordsUnavailable."""

        async def work(connection: AsyncConnection) -> None:
            await _remove(connection, [content_id])

        await self._database.write(work)

    async def sweep(self) -> int:
        """Remove what was left behind; how many contents.

        Parts older than an hour, and contents older than a day that no record and no
        waiting held message names although the archive has later messages.  Raises
        RecordsUnavailable.
        """
        content, message, held = schema.content.c, schema.message.c, schema.held.c
        now = self._clock()
        recorded = select(message.id).where(message.content == content.id).exists()
        waits = select(held.id).where(held.content_id == content.id, held.state.in_(_WAITS))
        archived_to = select(func.max(message.received)).scalar_subquery()
        query = (
            select(content.id)
            .where(
                or_(
                    (content.complete == 0) & (content.created < now - _PARTIAL_AGE),
                    (content.complete == 1)
                    & (content.created < now - _ORPHAN_AGE)
                    & (content.created < archived_to - _PARTIAL_AGE)
                    & ~recorded
                    & ~waits.exists(),
                )
            )
            .limit(_SWEPT)
        )

        async def work(connection: AsyncConnection) -> int:
            ids = list(await connection.scalars(query))
            if ids:
                await _remove(connection, ids)
            return len(ids)

        return await self._database.write(work)

    async def _whole(self, content_id: str) -> tuple[int, int]:
        table = schema.content

        async def work(connection: AsyncConnection) -> tuple[int, int] | None:
            query = select(table.c.size, table.c.chunks)
            found = await connection.execute(
                query.where(table.c.id == content_id, table.c.complete == 1)
            )
            row = found.first()
            return None if row is None else (row.size, row.chunks)

        whole = await self._database.read(work)
        if whole is None:
            raise ContentMissing("there is no content of this id")
        return whole

    async def _chunk(self, content_id: str, n: int) -> bytes:
        table = schema.content_chunk

        async def work(connection: AsyncConnection) -> bytes | None:
            place = (table.c.content_id == content_id) & (table.c.n == n)
            return await connection.scalar(select(table.c.data).where(place))

        data = await self._database.read(work)
        if data is None:
            raise ContentMissing("the content was removed")
        return data


async def _remove(connection: AsyncConnection, ids: list[str]) -> None:
    chunk, table = schema.content_chunk, schema.content
    await connection.execute(chunk.delete().where(chunk.c.content_id.in_(ids)))
    await connection.execute(table.delete().where(table.c.id.in_(ids)))


def _parts(piece: bytes) -> Iterator[bytes | memoryview]:
    """The piece in parts small enough to compress between two turns of the loop."""
    if len(piece) <= _PIECE:
        yield piece
        return
    view = memoryview(piece)
    for at in range(0, len(view), _PIECE):
        yield view[at : at + _PIECE]


def _context(content_id: str, n: int) -> bytes:
    return f"content:{content_id}:{n}".encode()
