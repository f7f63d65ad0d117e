"""The content of messages, compressed, sealed and cut into rows.

Neither storing nor reading holds a message in memory: octets pass through one
Zstandard frame in pieces, and come out as rows of at most 256 KiB, each sealed to
its place.

Every content has a random key of its own.  That lies under the content key until it is
bound (:mod:`gateway.records.binding`); then it lies under the message key, which the records
of the recipients hold, so that it can be read as long as one of them was not erased.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterable, AsyncIterator, Iterator
from contextlib import suppress
from typing import Final, NamedTuple

from sqlalchemy import bindparam, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.clock import Clock, now_ms
from gateway.custody.cipher import KEY_OCTETS, MESSAGE, new_key, open_sealed, seal
from gateway.custody.custody import Custody
from gateway.failure import RecordsUnavailable
from gateway.records import schema
from gateway.records.database import Database
from gateway.records.messagekey import MessageKeys
from gateway.records.seal import Sealer, SealError

if sys.version_info >= (3, 14):
    from compression.zstd import ZstdCompressor, ZstdDecompressor, ZstdError
else:
    from backports.zstd import ZstdCompressor, ZstdDecompressor, ZstdError

CHUNK: Final = 256 * 1024
"""Octets of a row before it is sealed."""
WAITS: Final = ("prepared", "kept", "held", "waiting", "releasing", "uncertain")
"""States of a held message whose content is still needed."""
_PIECE: Final = 64 * 1024
_GROUP: Final = 4
_PARTIAL_AGE: Final = 3_600_000
_ORPHAN_AGE: Final = 86_400_000
_SWEPT: Final = 200


class ContentMissing(RecordsUnavailable):
    """There is no (whole) content of that id, or it cannot be opened."""


class Whole(NamedTuple):
    """A whole content's row."""

    size: int
    chunks: int
    sealed_key: bytes | None


class ContentStore:
    """Message content in the archive database."""

    def __init__(
        self,
        database: Database,
        sealer: Sealer,
        clock: Clock = now_ms,
        custody: Custody | None = None,
    ) -> None:
        """Without ``custody`` a content that is bound to people's keys stays closed."""
        self._database = database
        self._sealer = sealer
        self._clock = clock
        self.message_keys = MessageKeys(database, sealer, custody)

    async def put(self, content_id: str, pieces: AsyncIterable[bytes]) -> str:
        """Store the octets under a new id, which is returned; durable when this returns.

        Some MiB are in memory at most, and no transaction is open while ``pieces``
        is awaited.  What a failure or cancellation leaves is removed.  Raises
        RecordsUnavailable.
        """
        compressor = ZstdCompressor()
        key = new_key()
        sealed_key = self._sealer.seal(key, key_context(content_id))
        ready = bytearray()
        rows: list[bytes] = []
        size = stored = 0
        try:
            async for piece in pieces:
                for part in _parts(piece):
                    size += len(part)
                    ready += compressor.compress(part)
                    while len(ready) >= CHUNK:
                        rows.append(sealed_chunk(key, content_id, stored + len(rows), ready))
                    if len(rows) >= _GROUP:
                        await self._add(content_id, sealed_key, stored, rows)
                        stored += len(rows)
                        rows = []
            ready += compressor.flush()
            while ready:
                rows.append(sealed_chunk(key, content_id, stored + len(rows), ready))
            await self._add(content_id, sealed_key, stored, rows, size)
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

    async def _add(
        self,
        content_id: str,
        sealed_key: bytes,
        first: int,
        rows: list[bytes],
        size: int | None = None,
    ) -> None:
        """Store some rows, and with the last ones the size, which makes it whole."""
        table, chunk = schema.content, schema.content_chunk
        whole = {"size": size or 0, "chunks": first + len(rows), "complete": int(size is not None)}

        async def work(connection: AsyncConnection) -> None:
            if first == 0:
                await connection.execute(
                    table.insert().values(
                        id=content_id,
                        created=self._clock(),
                        sealed_key=sealed_key,
                        loose=1,
                        **whole,
                    )
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
        return (await self.whole(content_id)).size

    async def open(self, content_id: str) -> AsyncIterator[bytes]:
        """The octets again, in pieces of at most 256 KiB.

        Raises ContentMissing when there is none, it is not whole or not ours to open;
        RecordsUnavailable.
        """
        whole = await self.whole(content_id)
        key = await self.key(content_id, whole.sealed_key)
        decompressor = ZstdDecompressor()
        given = 0
        for n in range(whole.chunks):
            data = await self._chunk(content_id, n)
            try:
                if key is None:
                    chunk = self._sealer.open(data, _context(content_id, n))
                else:
                    chunk = open_sealed(MESSAGE, key, data, _context(content_id, n))
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
        if not decompressor.eof or given != whole.size:
            raise ContentMissing("the content is not whole")

    async def key(self, content_id: str, sealed: bytes | None) -> bytes | None:
        """The content's key; None: it was stored before contents had any.

        Raises ContentMissing when it is not ours to open, RecordsUnavailable.
        """
        if sealed is None:
            return None
        if not sealed:
            raise ContentMissing("its people were erased")
        try:
            if sealed[:1] != MESSAGE:
                return self._sealer.open(sealed, key_context(content_id))
        except SealError as error:
            raise ContentMissing(f"the content cannot be opened: {error}") from None
        found = (await self.message_keys.of([content_id])).get(content_id)
        for message_key in () if found is None else found.keys:
            with suppress(SealError):
                return open_sealed(MESSAGE, message_key, sealed, key_context(content_id))[
                    :KEY_OCTETS
                ]
        cause = "were erased" if found is not None and found.erased else "have no key here"
        raise ContentMissing(f"the content cannot be opened: its people {cause}")

    async def delete(self, content_id: str) -> None:
        """Remove a content, if it is there; raises RecordsUnavailable."""

        async def work(connection: AsyncConnection) -> None:
            await _remove(connection, [content_id])

        await self._database.write(work)

    async def rewrap(self) -> int:
        """Seal keys that lie under an older content key under the current one; how many.

        Raises RecordsUnavailable, SealError.
        """
        table = schema.content.c
        query = select(table.id, table.sealed_key).where(table.loose == 1)

        async def find(connection: AsyncConnection) -> list[tuple[str, bytes]]:
            return [(row.id, row.sealed_key) for row in await connection.execute(query)]

        changes = [
            {
                "of": content_id,
                "was": sealed,
                "to": self._sealer.seal(
                    self._sealer.open(sealed, key_context(content_id)), key_context(content_id)
                ),
            }
            for content_id, sealed in await self._database.read(find)
            if self._sealer.is_stale(sealed)
        ]
        statement = (
            update(schema.content)
            .where(table.id == bindparam("of"), table.sealed_key == bindparam("was"))
            .values(sealed_key=bindparam("to"))
        )

        async def work(connection: AsyncConnection) -> None:
            await connection.execute(statement, changes)

        if changes:
            await self._database.write(work)
        return len(changes)

    async def sweep(self) -> int:
        """Remove what was left behind; how many contents.

        Parts older than an hour, and contents older than a day that no record and no
        waiting held message names although the archive has later messages.  Raises
        RecordsUnavailable.
        """
        content, message, held = schema.content.c, schema.message.c, schema.held.c
        now = self._clock()
        recorded = select(message.id).where(message.content == content.id).exists()
        waits = select(held.id).where(held.content_id == content.id, held.state.in_(WAITS))
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

    async def whole(self, content_id: str) -> Whole:
        """A whole content's row; raises ContentMissing, RecordsUnavailable."""
        table = schema.content

        async def work(connection: AsyncConnection) -> Whole | None:
            query = select(table.c.size, table.c.chunks, table.c.sealed_key)
            found = await connection.execute(
                query.where(table.c.id == content_id, table.c.complete == 1)
            )
            row = found.first()
            return None if row is None else Whole(row.size, row.chunks, row.sealed_key)

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


def sealed_chunk(key: bytes, content_id: str, n: int, ready: bytearray) -> bytes:
    """The next row of a content, taken from what is ready, sealed to its place."""
    chunk = bytes(ready[:CHUNK])
    del ready[:CHUNK]
    return seal(MESSAGE, key, chunk, _context(content_id, n))


def key_context(content_id: str) -> bytes:
    """What a content's key is sealed to."""
    return f"content-key:{content_id}".encode()


def _context(content_id: str, n: int) -> bytes:
    return f"content:{content_id}:{n}".encode()
