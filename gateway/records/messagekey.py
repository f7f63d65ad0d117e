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
class Found:
    """The keys of the messages whose content it is, or why there are none."""

    keys: tuple[bytes, ...]
    """That of the message that it was stored for first; then those of its releases."""
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

    async def of(self, content_ids: Sequence[str]) -> dict[str, Found]:
        """The keys of those contents whose messages are in the archive.

        Raises RecordsUnavailable.
        """
        found: dict[str, Found] = {}
        for at in range(0, len(content_ids), _PORTION):
            found |= await self._some(content_ids[at : at + _PORTION])
        return found

    async def _some(self, content_ids: Sequence[str]) -> dict[str, Found]:
        message, record = schema.message.c, schema.record.c
        # By the time of the decision, which both have, for that has an index.
        query = (
            select(
                message.content, record.message_id, record.id, record.digest, record.sealed_address
            )
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
        found: dict[str, Found] = {}
        for row, one in zip(rows, opened, strict=True):
            content_id, sealed = row["content"], row["sealed_address"]
            before = found.get(content_id, _NOTHING)
            keys = before.keys
            if one.key is not None and one.key not in keys:
                own = row["message_id"] == content_id
                keys = (one.key, *keys) if own else (*keys, one.key)
            found[content_id] = Found(
                keys,
                before.erased and (not sealed or row["digest"] in gone),
                before.personal or not sealed or sealed[:1] == PERSON,
            )
        return found


_NOTHING = Found((), erased=True, personal=False)
