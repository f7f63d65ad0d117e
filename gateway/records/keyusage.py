"""What still lies under a content key: in the archive, and in the streams.

A key may be dropped when nothing does.  Reads every sealed part there is, a page at a
time: for a command that is run once a year, not for the hot path.
"""

from __future__ import annotations

from base64 import b64encode
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Final

from sqlalchemy import Column, ColumnElement, LargeBinary, Table, func, literal, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.failure import RecordsUnavailable
from gateway.records import schema
from gateway.records.database import Database
from gateway.records.entry import SEALED, unpack
from gateway.records.record import RecordError
from gateway.records.recorder import Exchange
from gateway.records.seal import VERSION

_PAGE: Final = 5000
_STREAM_PAGE: Final = b"500"
_WORDS: Final = {
    ("message", "sealed_headers"): "header sections",
    ("message", "sealed_sender"): "envelope senders",
    ("record", "sealed_address"): "addresses of records",
    ("held", "sealed_envelope"): "held messages",
    ("content", "sealed_key"): "contents",
    ("sync_tool", "sealed_pulled"): "cursors of tools",
    ("sync_tool", "sealed_listing"): "listings under way",
    ("content_chunk", "data"): "pieces of contents",
}


class KeyUsage:
    """Looks for one content key, by its fingerprint (see :func:`seal.fingerprint`)."""

    def __init__(self, database: Database, print_: bytes) -> None:
        self._database = database
        self._start = VERSION + print_
        # What base64 makes of the beginning, but for the last digit, which more follows.
        self._digits = b64encode(self._start)[:6].decode()

    async def archive(self) -> dict[str, int]:
        """How many sealed parts of the archive lie under it, by what they are.

        Raises RecordsUnavailable.
        """
        found: Counter[str] = Counter()
        for table in schema.metadata.tables.values():
            for column in table.columns:
                if column.name.startswith("sealed_") or column is schema.content_chunk.c.data:
                    word = _WORDS.get((table.name, column.name), f"rows of {table.name}")
                    found[word] += await self._octets(table, column)
        found["register events"] = await self._texts(schema.event, schema.event.c.body)
        return {word: number for word, number in found.items() if number}

    async def streams(self, wire: Exchange, streams: Sequence[bytes], within: float) -> int:
        """How many entries of the streams have a part under it; raises GatewayError."""
        count = 0
        for stream in streams:
            after = b"-"
            while True:
                command = (b"XRANGE", stream, after, b"+", b"COUNT", _STREAM_PAGE)
                (page,) = await wire.exchange([command], within)
                if not isinstance(page, list):
                    raise RecordsUnavailable("the record store does not give its stream")
                count += sum(self._in_entry(members) for _, members in page)
                if len(page) < int(_STREAM_PAGE):
                    break
                after = b"(" + page[-1][0]
        return count

    def _in_entry(self, members: Mapping[bytes, bytes] | Sequence[bytes]) -> bool:
        fields = (
            members
            if isinstance(members, Mapping)
            else dict(zip(members[::2], members[1::2], strict=True))
        )
        if SEALED in fields:
            try:
                return any(part.startswith(self._start) for part in unpack(fields[SEALED]))
            except RecordError:
                return self._start in fields[SEALED]
        return any(self._digits.encode() in text for text in fields.values())

    async def _octets(self, table: Table, column: Column[Any]) -> int:
        begin = func.substr(column, 1, len(self._start), type_=LargeBinary)
        return sum(
            [bytes(value or b"") == self._start async for value in self._values(table, begin)]
        )

    async def _texts(self, table: Table, column: Column[Any]) -> int:
        return sum([self._digits in value async for value in self._values(table, column)])

    async def _values(self, table: Table, value: ColumnElement[Any]) -> AsyncIterator[Any]:
        """The value of every row, in pages by the primary key."""
        keys = list(table.primary_key.columns)
        after: tuple[Any, ...] | None = None
        while True:
            query = select(value, *keys).order_by(*keys).limit(_PAGE)
            if after is not None:
                query = query.where(tuple_(*keys) > tuple_(*map(literal, after)))

            async def work(connection: AsyncConnection) -> list[tuple[Any, ...]]:
                return [tuple(row) for row in await connection.execute(query)]  # noqa: B023

            page = await self._database.read(work)
            for row in page:
                yield row[0]
            if len(page) < _PAGE:
                return
            after = page[-1][1:]
