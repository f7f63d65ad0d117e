"""The archive: what was recorded, for years, and whether anybody changed it since."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Final

import orjson
from sqlalchemy import Select, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.custody.custody import Custody
from gateway.decision.facts import Outcome
from gateway.failure import InputError
from gateway.records import schema
from gateway.records.act import Act, Action
from gateway.records.checkpoint import Checkpoint, faults_of
from gateway.records.counting import count
from gateway.records.database import BadRow, Database
from gateway.records.deed import acts
from gateway.records.entry import headers_context, sender_context
from gateway.records.finding import Found, Shown, Sums, Wanted, found_of, message_of
from gateway.records.ground import is_name
from gateway.records.journal import StreamEntry
from gateway.records.ledger import Stored, close_unknown, store
from gateway.records.line import Row
from gateway.records.record import (
    OutcomeRecord,
    Result,
    RuleText,
)
from gateway.records.seal import Sealer
from gateway.records.signing import Signer, Verifier
from gateway.records.unsealing import Unsealer
from gateway.records.verification import Verification, verify

_FAULTS: Final = 20
_PORTION: Final = 500
LACKING: Final = "lacking "
"""What a row of ``cursor`` begins with that tells up to where events are not here."""


class Archive:
    """The journal in the archive database; one archiver writes, anybody reads."""

    def __init__(self, database: Database, sealer: Sealer, custody: Custody | None = None) -> None:
        """Take the database and what opens what lies sealed in it.

        Without ``custody`` what lies under people's keys stays closed.
        """
        self._database = database
        self._unsealer = Unsealer(sealer, custody)

    # -- the archiver's side --------------------------------------------------------

    async def take_over(self) -> tuple[int, dict[bytes, bytes]]:
        """Fence off every earlier archiver; the new fence and the streams' cursors.

        Raises RecordsUnavailable.
        """

        async def work(connection: AsyncConnection) -> tuple[int, dict[bytes, bytes]]:
            await connection.execute(
                update(schema.archive).values(fence=schema.archive.c.fence + 1)
            )
            fence = await connection.scalar(select(schema.archive.c.fence))
            rows = await connection.execute(select(schema.cursor.c.stream, schema.cursor.c.last))
            return int(fence or 0), {row.stream.encode(): row.last.encode() for row in rows}

        return await self._database.write(work)

    async def lack(self, streams: Mapping[bytes, bytes]) -> None:
        """Note that events up to these ids were archived elsewhere, and are not here.

        Raises RecordsUnavailable.
        """
        table = schema.cursor

        async def work(connection: AsyncConnection) -> None:
            rows = [
                {"stream": LACKING + stream.decode(), "last": last.decode()}
                for stream, last in streams.items()
            ]
            names = [row["stream"] for row in rows]
            await connection.execute(table.delete().where(table.c.stream.in_(names)))
            await connection.execute(table.insert(), rows)

        await self._database.write(work)

    async def store(
        self,
        entries: Sequence[StreamEntry],
        cursors: Mapping[bytes, bytes],
        fence: int,
        aside: Sequence[Row] = (),
    ) -> Stored:
        """Add the entries' rows and move the cursors, all or nothing.

        Entries that cannot be read are set aside, as are the rows ``aside``; rows
        whose id is known are left as they are.  Raises FenceLost when another archiver
        took over, BadRow, RecordsUnavailable.
        """
        work = partial(store, entries=entries, cursors=cursors, fence=fence, aside=aside)
        try:
            # Hardly ever does the archive know a row already: it was read twice, or an
            # outcome was written twice since its acknowledgement was lost.  The
            # primary keys notice, and only then is it looked which rows these are.
            return await self._database.bulk(partial(work, known=False))
        except BadRow:
            return await self._database.bulk(partial(work, known=True))

    async def close_unknown(self, before: int, at: int, fence: int, limit: int = 500) -> int:
        """Give records decided before then and without an outcome the result ``unknown``.

        Times in ms since the epoch; at most ``limit`` records; how many.
        """
        return await self._database.bulk(
            partial(close_unknown, before=before, at=at, fence=fence, limit=limit)
        )

    async def checkpoint(self, signer: Signer, at: int) -> Checkpoint | None:
        """Sign the end of the chain; the last checkpoint, None of an empty chain.

        ``at`` in ms.  What is signed already is not signed again.  Raises
        RecordsUnavailable.
        """
        table = schema.checkpoint

        async def work(connection: AsyncConnection) -> Checkpoint | None:
            state = (await connection.execute(select(schema.archive).with_for_update())).one()
            previous = await connection.scalar(select(func.max(table.c.seq))) or 0
            if state.seq == previous:
                there = await _checkpoints(connection, after=previous - 1)
                return there[0] if there else None
            unsigned = Checkpoint(state.seq, at, bytes(state.head), previous, signer.id)
            made = unsigned.signed(signer)
            await connection.execute(
                table.insert().values(
                    seq=made.seq, at=at, head=made.head, key=made.key, signature=made.signature
                )
            )
            return made

        return await self._database.write(work)

    async def checkpoints(self, after: int = 0) -> list[Checkpoint]:
        """The checkpoints behind a row, the oldest first; raises RecordsUnavailable."""
        return await self._database.read(partial(_checkpoints, after=after))

    # -- the readers' side ----------------------------------------------------------

    async def search(
        self,
        *,
        digests: Sequence[str] = (),
        since: int | None = None,
        until: int | None = None,
        client: str | None = None,
        rule: str | None = None,
        outcome: Outcome | None = None,
        result: Result | None = None,
        limit: int = 100,
        before: str | None = None,
    ) -> list[Found]:
        """Records that match everything given, the newest first.

        ``since`` and ``until`` bound the decision's time (ms; the end excluded);
        ``before`` is the id of the last record of the previous page.
        """
        record, message = schema.record.c, schema.message.c
        query: Select[Any] = select(
            *schema.record.c, message.kind, message.channel, message.direction
        ).join_from(schema.record, schema.message, record.message_id == message.id)
        if digests:
            query = query.where(record.digest.in_(list(digests)))
        if since is not None:
            query = query.where(record.decided >= since)
        if until is not None:
            query = query.where(record.decided < until)
        for column, value in ((record.client, client), (record.rule, rule)):
            if value is not None:
                query = query.where(column == value)
        if outcome is not None:
            query = query.where(record.outcome == outcome.value)
        if result is not None:
            query = query.where(record.result == result.value)
        if before is not None:
            moment = select(record.decided).where(record.id == before).scalar_subquery()
            query = query.where(
                (record.decided < moment) | ((record.decided == moment) & (record.id < before))
            )
        query = query.order_by(record.decided.desc(), record.id.desc()).limit(limit)

        async def work(connection: AsyncConnection) -> list[Found]:
            return [found_of(row) for row in (await connection.execute(query)).mappings()]

        return await self._database.read(work)

    async def count(self, wanted: Wanted) -> Sums:
        """How many went, how many did not, and by which rule.  Raises RecordsUnavailable."""
        return await count(self._database, wanted)

    async def show(self, record_id: str) -> Shown:
        """Everything about one recipient's record, with its sealed parts opened.

        Raises InputError when there is no such record (yet), RecordsUnavailable.
        """

        async def work(
            connection: AsyncConnection,
        ) -> tuple[Row, Row, Row | None, list[Row]] | None:
            record = await _one(connection, "record", record_id)
            if record is None:
                return None
            if is_name(record["facts"]):
                ground = await _one(connection, "ground", record["facts"])
                # Taken away: that is said, and `verify` names the row.
                record["facts"] = '{"missing":true}' if ground is None else ground["facts"]
            message = await _one(connection, "message", record["message_id"])
            if message is None:
                return None
            rules = await _one(connection, "rule_set", message["rule_set_hash"])
            outcomes = await connection.execute(
                select(schema.outcome)
                .where(schema.outcome.c.record_id == record_id)
                .order_by(schema.outcome.c.at, schema.outcome.c.id)
            )
            return record, message, rules, [dict(row) for row in outcomes.mappings()]

        found = await self._database.read(work)
        if found is None:
            raise InputError("the archive has no record of this id (a new one takes some seconds)")
        return await self._shown(*found)

    async def _shown(
        self, record: Row, message: Row, rules: Row | None, outcomes: list[Row]
    ) -> Shown:
        (opened,) = await self._unsealer.records([record])
        part, message_id = self._unsealer.part, message["id"]
        sender = part(message["sealed_sender"], sender_context(message_id), opened.key)
        headers = part(message["sealed_headers"], headers_context(message_id), opened.key)
        rule = None
        if rules is not None:
            for each in orjson.loads(rules["rules"]):
                if each["id"] == record["rule"]:
                    rule = RuleText(**each)
        return Shown(
            message=message_of(message, record, record["facts"]),
            rule=rule,
            outcomes=tuple(
                OutcomeRecord(**{**row, "result": Result(row["result"])}) for row in outcomes
            ),
            address=opened.address,
            sender=None if sender is None else sender.decode(),
            headers=headers,
        )

    async def acts(
        self,
        *,
        subjects: Sequence[str] = (),
        actor: str | None = None,
        action: Action | None = None,
        since: int | None = None,
        until: int | None = None,
        limit: int = 100,
    ) -> list[Act]:
        """What people did with personal data, the newest first.

        ``subjects``: about one of these; times in ms, the end excluded.  Raises
        RecordsUnavailable.
        """
        return await acts(
            self._database,
            subjects=subjects,
            actor=actor,
            action=action,
            since=since,
            until=until,
            limit=limit,
        )

    async def verify(
        self, verifier: Verifier | None = None, noted: Sequence[Checkpoint] | None = None
    ) -> Verification:
        """Walk the whole chain (see :func:`verify`); raises RecordsUnavailable.

        With ``verifier`` the checkpoints are checked too, and that the chain still is
        what was signed; with ``noted`` also against those that were noted elsewhere.
        """
        found = await verify(self._database)
        if verifier is None:
            return found
        stored = await self.checkpoints()
        wanted = {one.seq for one in (*stored, *(noted or ()))}
        hashes = await self._database.read(partial(_hashes, wanted=sorted(wanted)))
        faults, signed = faults_of(stored, noted, hashes, verifier, found.links)
        return replace(found, faults=found.faults + tuple(faults[:_FAULTS]), signed=signed)


async def _checkpoints(connection: AsyncConnection, after: int) -> list[Checkpoint]:
    """Each names the one before it in the table, as it did when it was signed."""
    table = schema.checkpoint.c
    # From one before, whose number the next names.
    start = select(func.max(table.seq)).where(table.seq <= after).scalar_subquery()
    query = select(schema.checkpoint).where(table.seq >= func.coalesce(start, 0))
    found: list[Checkpoint] = []
    previous = 0
    for row in await connection.execute(query.order_by(table.seq)):
        # A column that somebody changed may hold anything.
        head, signature = _octets(row.head), _octets(row.signature)
        found.append(Checkpoint(row.seq, row.at, head, previous, str(row.key), signature))
        previous = row.seq
    return [one for one in found if one.seq > after]


def _octets(value: object) -> bytes:
    return bytes(value) if isinstance(value, bytes | memoryview) else b""


async def _hashes(connection: AsyncConnection, wanted: Sequence[int]) -> dict[int, bytes]:
    """The chain's hashes at these rows."""
    chain = schema.chain.c
    found: dict[int, bytes] = {}
    for at in range(0, len(wanted), _PORTION):
        query = select(chain.seq, chain.hash).where(chain.seq.in_(wanted[at : at + _PORTION]))
        found |= {row.seq: _octets(row.hash) for row in await connection.execute(query)}
    return found


async def _one(connection: AsyncConnection, kind: str, row_id: str) -> Row | None:
    table = schema.metadata.tables[kind]
    row = (await connection.execute(select(table).where(table.c.id == row_id))).mappings().first()
    return None if row is None else dict(row)
