"""Contents bound to the people whose messages they are: each key under its message's key.

As long as a message waits, or its record is not in the archive, the key of its content
lies under the content key.  When the record is there it is bound: erasing all of the
message's people makes the content unreadable, in every backup too.  A held message had to
be kept as it came; identity codes in it are masked before it is bound.
"""

from __future__ import annotations

import sys
from hashlib import sha256
from typing import Final

from sqlalchemy import bindparam, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.custody.cipher import MESSAGE, OVERHEAD, seal
from gateway.message.masking import Masking
from gateway.records import schema
from gateway.records.content import WAITS, ContentMissing, ContentStore, key_context, sealed_chunk
from gateway.records.database import Database
from gateway.records.seal import Sealer, SealError

if sys.version_info >= (3, 14):
    from compression.zstd import ZstdCompressor
else:
    from backports.zstd import ZstdCompressor

_BOUND: Final = 200


class Binding:
    """Binds contents of the archive."""

    def __init__(self, database: Database, sealer: Sealer, contents: ContentStore) -> None:
        self._database = database
        self._sealer = sealer
        self._contents = contents

    async def bind(self) -> int:
        """Put some keys of contents under their messages' keys; how many were bound.

        Those whose message is in the archive, and that no held message needs any more.
        A held message had to be kept as it came; now identity codes in it are masked.
        Of one whose people were all erased meanwhile the key is destroyed.  Raises
        RecordsUnavailable.
        """
        loose = await self._loose()
        for content_id in await self._were_held(list(loose)):
            await self._mask(content_id)
        found = await self._contents.message_keys.of(list(loose))
        changes = []
        for content_id, sealed in loose.items():
            message = found.get(content_id)
            bound: bytes | None = sealed  # of a message of before people had keys
            if message is not None and message.keys:
                bound = self._bound(content_id, sealed, message.keys[0])
            elif message is not None and message.erased:
                bound = b""
            elif message is not None and message.personal:
                bound = None  # its keys are not here
            if bound is not None:
                changes.append({"of": content_id, "was": sealed, "to": bound})
        if changes:
            table = schema.content.c
            statement = (
                update(schema.content)
                .where(table.id == bindparam("of"), table.sealed_key == bindparam("was"))
                .values(sealed_key=bindparam("to"), loose=0)
            )

            async def work(connection: AsyncConnection) -> None:
                await connection.execute(statement, changes)

            await self._database.write(work)
        return len(changes)

    async def _were_held(self, ids: list[str]) -> list[str]:
        held = schema.held.c
        query = select(held.content_id).where(held.content_id.in_(ids)).distinct()

        async def work(connection: AsyncConnection) -> list[str]:
            return list(await connection.scalars(query))

        return await self._database.read(work) if ids else []

    async def _mask(self, content_id: str) -> None:
        """Mask identity codes in a content, in one step; one without any stays as it is.

        The whole of it, compressed, is in memory meanwhile.
        """
        whole = await self._contents.whole(content_id)
        try:
            key = await self._contents.key(content_id, whole.sealed_key)
        except ContentMissing:
            return
        if key is None:
            return
        masking, compressor, ready = Masking(), ZstdCompressor(), bytearray()
        before, after, size = sha256(), sha256(), 0
        async for piece in self._contents.open(content_id):
            before.update(piece)
            masked = masking.feed(piece)
            after.update(masked)
            size += len(masked)
            ready += compressor.compress(masked)
        masked = masking.end()
        after.update(masked)
        if after.digest() == before.digest():
            return
        ready += compressor.compress(masked) + compressor.flush()
        rows: list[bytes] = []
        while ready:
            rows.append(sealed_chunk(key, content_id, len(rows), ready))
        table, chunk = schema.content, schema.content_chunk
        statement = (
            update(table)
            .where(table.c.id == content_id, table.c.sealed_key == whole.sealed_key)
            .values(size=size + len(masked), chunks=len(rows))
        )

        async def work(connection: AsyncConnection) -> None:
            if (await connection.execute(statement)).rowcount != 1:
                return
            await connection.execute(chunk.delete().where(chunk.c.content_id == content_id))
            values = [{"content_id": content_id, "n": n, "data": row} for n, row in enumerate(rows)]
            await connection.execute(chunk.insert(), values)

        await self._database.write(work)

    async def _loose(self) -> dict[str, bytes]:
        """Contents that can be bound, and their keys as they lie."""
        content, message, held = schema.content.c, schema.message.c, schema.held.c
        recorded = select(message.id).where(message.content == content.id).exists()
        waits = select(held.id).where(held.content_id == content.id, held.state.in_(WAITS))
        query = (
            select(content.id, content.sealed_key)
            .where(
                content.loose == 1,
                content.complete == 1,
                content.sealed_key.is_not(None),
                recorded,
                ~waits.exists(),
            )
            .order_by(content.created)
            .limit(_BOUND)
        )

        async def work(connection: AsyncConnection) -> dict[str, bytes]:
            return {row.id: row.sealed_key for row in await connection.execute(query)}

        return await self._database.read(work)

    def _bound(self, content_id: str, sealed: bytes, message_key: bytes) -> bytes | None:
        context = key_context(content_id)
        try:
            key = self._sealer.open(sealed, context)
        except SealError:
            return None
        # As long as it was, so that the database writes it over what it replaces.
        padded = key.ljust(len(sealed) - OVERHEAD, b"\0")
        return seal(MESSAGE, message_key, padded, context)
