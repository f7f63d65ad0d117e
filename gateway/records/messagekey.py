"""The key of a message whose content is kept, from the records of its recipients."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.custody.cipher import PERSON
from gateway.custody.custody import Custody
from gateway.records import schema
from gateway.records.database import Database
from gateway.records.seal import Sealer
from gateway.records.unsealing import Unsealer

_PORTION = 50
"""Contents asked of at once: a message may have a thousand recipients."""


@dataclass(frozen=True, slots=True)
class MessageKey:
    """A message's key, or why there is none."""

    key: bytes | None
    erased: bool
    """Whether the keys of all its recipients were destroyed."""
    personal: bool
    """Whether its records lie under people's keys at all."""


class MessageKeys:
    """Finds the keys of messages by the contents that are kept of them."""

    def __init__(self, database: Database, sealer: Sealer, custody: Custody | None) -> None:
        self._database = database
        self._custody = custody
        self._unsealer = Unsealer(sealer, custody)

    async def of(self, content_ids: Sequence[str]) -> dict[str, MessageKey]:
        """The keys of those contents whose messages are in the archive.

        Raises RecordsUnavailable.
        """
        found: dict[str, MessageKey] = {}
        for at in range(0, len(content_ids), _PORTION):
            found |= await self._some(content_ids[at : at + _PORTION])
        return found

    async def _some(self, content_ids: Sequence[str]) -> dict[str, MessageKey]:
        message, record = schema.message.c, schema.record.c
        # By the time of the decision, which both have, for that has an index.
        query = (
            select(message.content, record.id, record.digest, record.sealed_address)
            .join_from(
                schema.message,
                schema.record,
                (record.decided == message.decided) & (record.message_id == message.id),
            )
            .where(message.content.in_(content_ids))
        )

        async def work(connection: AsyncConnection) -> list[dict[str, Any]]:
            return [dict(row) for row in (await connection.execute(query)).mappings()]

        rows = await self._database.read(work)
        opened = await self._unsealer.records(rows)
        owners = {row["digest"] for row in rows}
        gone = {} if self._custody is None else await self._custody.destroyed(owners)
        found: dict[str, MessageKey] = {}
        for row, one in zip(rows, opened, strict=True):
            sealed, before = row["sealed_address"], found.get(row["content"])
            erased = not sealed or (sealed[:1] == PERSON and row["digest"] in gone)
            personal = not sealed or sealed[:1] == PERSON
            key = one.key
            if before is not None:
                key = key or before.key
                erased = erased and before.erased
                personal = personal or before.personal
            found[row["content"]] = MessageKey(key, erased, personal)
        return found
