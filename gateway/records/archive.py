"""The archive: what was recorded, for years, and whether anybody changed it since."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from sqlalchemy import Select, bindparam, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.decision.facts import Outcome
from gateway.failure import InputError, RecordsUnavailable
from gateway.records import schema
from gateway.records.database import Database, among, missing
from gateway.records.entry import address_context, headers_context, sender_context
from gateway.records.finding import Found, Shown, found_of, message_of
from gateway.records.journal import KINDS, Batch, Row, digest_of, link, outcome_row, supersedes
from gateway.records.record import (
    OutcomeRecord,
    Result,
    RuleText,
)
from gateway.records.seal import Sealer, SealError
from gateway.records.verification import Verification, verify

TABLES = {kind: schema.metadata.tables[kind] for kind in KINDS}


class FenceLost(RecordsUnavailable):
    """Another archiver has taken over; nothing was written."""


class Archive:
    """The journal in the archive database; one archiver writes, anybody reads."""

    def __init__(self, database: Database, sealer: Sealer) -> None:
        self._database = database
        self._sealer = sealer

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

    async def store(self, batch: Batch, cursors: Mapping[bytes, bytes], fence: int) -> int:
        """Add the batch's rows and move the cursors, all or nothing; how many rows were new.

        Rows whose id is known are left as they are.  Raises FenceLost when another
        archiver took over, BadRow, RecordsUnavailable.
        """

        async def work(connection: AsyncConnection) -> int:
            added = await _append(connection, batch, fence)
            if batch.unreadable:
                await _set_aside(connection, batch.unreadable)
            await _move(connection, cursors)
            return added

        return await self._database.write(work)

    async def close_unknown(self, before: int, at: int, fence: int, limit: int = 500) -> int:
        """Give records decided before then and without an outcome the result ``unknown``.

        Times in ms since the epoch; at most ``limit`` records; how many.
        """

        async def work(connection: AsyncConnection) -> int:
            record = schema.record.c
            ids = (
                await connection.scalars(
                    select(record.id)
                    .where(record.result.is_(None), record.decided < before)
                    .order_by(record.decided)
                    .limit(limit)
                )
            ).all()
            batch = Batch()
            for record_id in ids:
                outcome = OutcomeRecord(record_id=record_id, at=at, result=Result.UNKNOWN)
                batch.add("outcome", outcome_row(outcome))
            if ids:
                await _append(connection, batch, fence)
            return len(ids)

        return await self._database.write(work)

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
        query: Select[Any] = select(*schema.record.c, message.kind, message.channel).join_from(
            schema.record, schema.message, record.message_id == message.id
        )
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
        return self._shown(*found)

    def _shown(self, record: Row, message: Row, rules: Row | None, outcomes: list[Row]) -> Shown:
        address = self._opened(record["sealed_address"], address_context(record["digest"]))
        sender = self._opened(message["sealed_sender"], sender_context(message["id"]))
        rule = None
        if rules is not None:
            for each in orjson.loads(rules["rules"]):
                if each["id"] == record["rule"]:
                    rule = RuleText(**each)
        return Shown(
            message=message_of(message, record),
            rule=rule,
            outcomes=tuple(
                OutcomeRecord(**{**row, "result": Result(row["result"])}) for row in outcomes
            ),
            address=None if address is None else address.decode(),
            sender=None if sender is None else sender.decode(),
            headers=self._opened(message["sealed_headers"], headers_context(message["id"])),
        )

    def _opened(self, sealed: bytes, context: bytes) -> bytes | None:
        if not sealed:
            return None
        try:
            return self._sealer.open(sealed, context)
        except SealError:
            return None

    async def verify(self) -> Verification:
        """Walk the whole chain (see :func:`verify`); raises RecordsUnavailable."""
        return await verify(self._database)


async def _append(connection: AsyncConnection, batch: Batch, fence: int) -> int:
    """Add and chain the rows that are new."""
    state = (await connection.execute(select(schema.archive).with_for_update())).one()
    if state.fence != fence:
        raise FenceLost("another archiver has taken over")
    head, seq = bytes(state.head), state.seq
    fresh: dict[str, list[Row]] = {}
    links: list[Row] = []
    for kind in KINDS:
        rows = batch.rows[kind]
        if not rows:
            continue
        wanted = await missing(connection, TABLES[kind], list(rows))
        fresh[kind] = [row for row in rows.values() if row["id"] in wanted]
        for row in fresh[kind]:
            digest = digest_of(kind, row)
            head = link(head, digest)
            seq += 1
            links.append(
                {"seq": seq, "kind": kind, "id": row["id"], "digest": digest, "hash": head}
            )
    if not links:
        return 0
    await _tell(connection, fresh)
    for kind, added in fresh.items():
        if added:
            await connection.execute(TABLES[kind].insert(), added)
    await connection.execute(schema.chain.insert(), links)
    await connection.execute(update(schema.archive).values(seq=seq, head=head))
    return len(links)


async def _tell(connection: AsyncConnection, fresh: Mapping[str, list[Row]]) -> None:
    """Set the results of the records that new outcomes, or earlier ones, speak of."""
    records = {row["id"]: row for row in fresh.get("record", ())}
    told: dict[str, list[Row]] = {}
    for row in fresh.get("outcome", ()):
        told.setdefault(row["record_id"], []).append(row)
    outcome, record = schema.outcome.c, schema.record.c
    # An outcome may have been read before its record when there are several streams.
    for row in await among(connection, select(schema.outcome), outcome.record_id, records):
        told.setdefault(row["record_id"], []).append(row)
    older = [record_id for record_id in told if record_id not in records]
    known = {
        row["id"]: row
        for row in await among(
            connection, select(record.id, record.result, record.result_at), record.id, older
        )
    }
    for record_id, rows in told.items():
        target = records.get(record_id) or known.get(record_id)
        if target is None:
            continue
        for row in rows:
            if supersedes(row, target["result"], target["result_at"]):
                target["result"], target["result_at"] = row["result"], row["at"]
    if known:
        await connection.execute(
            update(schema.record)
            .where(record.id == bindparam("of"))
            .values(result=bindparam("to"), result_at=bindparam("then")),
            [
                {"of": row["id"], "to": row["result"], "then": row["result_at"]}
                for row in known.values()
            ],
        )


async def _set_aside(connection: AsyncConnection, rows: Sequence[Row]) -> None:
    table = schema.unreadable
    for row in rows:
        place = (table.c.stream == row["stream"]) & (table.c.entry == row["entry"])
        if await connection.scalar(select(func.count()).select_from(table).where(place)) == 0:
            await connection.execute(table.insert().values(**row))


async def _move(connection: AsyncConnection, cursors: Mapping[bytes, bytes]) -> None:
    table = schema.cursor
    if cursors:
        names = [stream.decode() for stream in cursors]
        await connection.execute(table.delete().where(table.c.stream.in_(names)))
        await connection.execute(
            table.insert(),
            [{"stream": s.decode(), "last": last.decode()} for s, last in cursors.items()],
        )


async def _one(connection: AsyncConnection, kind: str, row_id: str) -> Row | None:
    table = TABLES[kind]
    row = (await connection.execute(select(table).where(table.c.id == row_id))).mappings().first()
    return None if row is None else dict(row)
