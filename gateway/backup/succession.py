"""What an archive holds beyond a backup that takes its place, taken along.

A backup is older than the archive it replaces.  Rows that were archived since are gone
from the streams: only the old archive has them, bans among them.  So they are added to
the backup's chain before it takes over:

- where the old chain goes on from the backup's end, link by link as it is, so that a
  hash or signature noted elsewhere still holds;
- else every row that is as it was written and that the backup does not have, in links
  of their own.

Whatever is no journal but a state (held messages, contents, cursors, people) is taken
from the old archive as a whole: it is the newer one.  A message released since the
backup would be sent again otherwise.  Rows that a purge removed since the backup are
removed from it as well.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

import orjson
from sqlalchemy import Connection, Insert, Table, Update, bindparam, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.backup.gap import note_lacking
from gateway.held.message import State
from gateway.records import schema
from gateway.records.database import Database, among
from gateway.records.line import DIGEST, KINDS, Row, digest_of, link
from gateway.records.purge import purged_rows
from gateway.records.verification import Link, is_whole, page_after, plainly

_TABLES: Final = {kind: schema.metadata.tables[kind] for kind in KINDS}
_STATES: Final = tuple(
    table
    for table in schema.metadata.sorted_tables
    if table.name not in {*KINDS, schema.archive.name, schema.chain.name}
)
"""The tables that are no journal: the newer archive has the truth."""
_OF_CHAIN: Final = (schema.checkpoint, schema.purged)
"""Tables that speak of links by their numbers."""
_ROWS: Final = 200
_RUN: Final = 256
_FENCES: Final = 1000
"""By how much the fence rises: whoever archived before is fenced off, whatever he had."""


@dataclass(slots=True)
class Carried:
    """What was taken along."""

    rows: dict[str, int] = field(default_factory=dict)
    """Journal rows by kind."""
    goes_on: bool = True
    """Whether the old chain went on from the backup's, and was taken as it is."""
    damaged: int = 0
    """Rows that were missing or not as they were written, and were left behind."""

    lacks: bool = False
    """Whether changes of the register are among them: bans may be."""

    reached: int = 0
    """The number of the last row that a link was read of."""

    def count(self, kind: str, rows: int) -> None:
        """Note that many rows more."""
        if rows:
            self.rows[kind] = self.rows.get(kind, 0) + rows


@dataclass(frozen=True, slots=True)
class End:
    """Where an archive's chain ends, and its fence."""

    fence: int
    seq: int
    head: bytes


async def end_of(database: Database) -> End:
    """The end of an archive's chain; raises RecordsUnavailable."""

    async def work(connection: AsyncConnection) -> End:
        row = (await connection.execute(select(schema.archive))).one()
        return End(int(row.fence), int(row.seq), bytes(row.head))

    return await database.read(work)


async def carry(old: Database, new: Database) -> Carried:
    """Take what ``old`` has beyond ``new`` into ``new``, which is a file of our own.

    Raises:
        RecordsUnavailable: the old archive cannot be read to its end; ``new`` is then
            to be thrown away.

    """
    begin, end = await end_of(new), await end_of(old)
    carried = Carried(goes_on=await _goes_on(old, begin, end))
    after = carried.reached = begin.seq if carried.goes_on else 0
    while page := await old.read(partial(plainly, partial(page_after, after=after))):
        after = page[-1][0].seq
        gone = await old.read(partial(purged_rows, seqs=[one.seq for one, _ in page]))
        await new.bulk(partial(_take, page=page, gone=gone, carried=carried))
    if "outcome" in carried.rows:
        await _results(old, new)
    for table in _STATES:
        if table in _OF_CHAIN and not carried.goes_on:
            continue  # signatures and purges of a chain that this one is not
        await _replace(old, new, table)
    if carried.goes_on:
        await _purge(new, upto=begin.seq)
    if carried.lacks or carried.reached != end.seq:
        # No register is made from it unasked.
        await note_lacking(new)
    await new.bulk(partial(_fence, above=end.fence))
    return carried


async def _goes_on(old: Database, begin: End, end: End) -> bool:
    """Whether the old archive's chain is the new one's and more, unbroken."""
    chain = schema.chain.c

    async def joint(connection: AsyncConnection) -> bytes | None:
        found = await connection.scalar(select(chain.hash).where(chain.seq == begin.seq))
        return None if found is None else bytes(found)

    if begin.seq and await old.read(joint) != begin.head:
        return False
    seq, head = begin.seq, begin.head
    query = select(chain.seq, chain.ids, chain.digests, chain.hash).order_by(chain.seq).limit(_ROWS)

    async def links(connection: AsyncConnection, after: int) -> Sequence[Any]:
        return (await connection.execute(query.where(chain.seq > after))).all()

    while page := await old.read(partial(plainly, partial(links, after=seq))):
        for row in page:
            try:
                ids = orjson.loads(row.ids)
            except ValueError:
                return False
            head = link(head, bytes(row.digests))
            if (row.seq - len(ids), len(row.digests)) != (seq, DIGEST * len(ids)):
                return False
            if head != bytes(row.hash):
                return False
            seq = row.seq
    return (seq, head) == (end.seq, end.head)


def _take(
    connection: Connection,
    page: Sequence[tuple[Link, Mapping[str, Row]]],
    gone: Mapping[int, int],
    carried: Carried,
) -> None:
    for one, rows in page:
        # Of a link that is gone or cannot be read nobody knows what it spoke of.
        carried.lacks |= one.kind not in _TABLES or one.seq - len(one.ids) != carried.reached
        carried.reached = one.seq
        if one.kind not in _TABLES:
            continue
        bits = gone.get(one.seq, 0)
        ids = tuple(row_id for number, row_id in enumerate(one.ids) if not bits >> number & 1)
        if not carried.goes_on:
            table = _TABLES[one.kind]
            there = {row["id"] for row in among(connection, select(table.c.id), table.c.id, ids)}
            ids = tuple(row_id for row_id in ids if row_id not in there)
        digests = {row_id: one.digest(number) for number, row_id in enumerate(one.ids)}
        whole = [
            dict(rows[row_id])
            for row_id in ids
            if row_id in rows and is_whole(one.kind, rows[row_id], digests[row_id])
        ]
        carried.damaged += len(ids) - len(whole)
        carried.lacks |= one.kind == "event" and len(whole) < len(ids)
        carried.count(one.kind, len(whole))
        if carried.goes_on:
            if whole:
                connection.execute(insert(_TABLES[one.kind]), whole)
            # As it is: what it speaks of and is not there will be named by name.
            text = orjson.dumps(list(one.ids)).decode()
            values = {"seq": one.seq, "kind": one.kind, "ids": text}
            connection.execute(
                insert(schema.chain).values(**values, digests=one.digests, hash=one.hash)
            )
            connection.execute(update(schema.archive).values(seq=one.seq, head=one.hash))
        else:
            append(connection, one.kind, whole)


def append(connection: Connection, kind: str, rows: Sequence[Row]) -> None:
    """Add rows to the journal, with links of their own at the chain's end."""
    if not rows:
        return
    connection.execute(insert(_TABLES[kind]), list(rows))
    state = connection.execute(select(schema.archive)).one()
    seq, head = int(state.seq), bytes(state.head)
    for at in range(0, len(rows), _RUN):
        run = rows[at : at + _RUN]
        joined = b"".join(digest_of(kind, row) for row in run)
        head, seq = link(head, joined), seq + len(run)
        ids = orjson.dumps([row["id"] for row in run]).decode()
        connection.execute(
            insert(schema.chain).values(seq=seq, kind=kind, ids=ids, digests=joined, hash=head)
        )
    connection.execute(update(schema.archive).values(seq=seq, head=head))


async def _purge(new: Database, upto: int) -> None:
    """Remove from the backup what was purged since; ``purged`` says what that is."""
    chain, purged = schema.chain.c, schema.purged.c
    query = select(chain.kind, chain.ids, chain.seq).where(
        chain.seq <= upto, chain.seq.in_(select(purged.seq))
    )

    async def links(connection: AsyncConnection) -> list[tuple[int, str, list[str]]]:
        found = await connection.execute(query.order_by(chain.seq))
        return [(row.seq, row.kind, orjson.loads(row.ids)) for row in found]

    for seq, kind, ids in await new.read(links):
        bits = (await new.read(partial(purged_rows, seqs=[seq])))[seq]
        table = _TABLES[kind]
        going = [row_id for number, row_id in enumerate(ids) if bits >> number & 1]
        await new.bulk(partial(_delete, table=table, ids=going))


def _delete(connection: Connection, table: Table, ids: Sequence[str]) -> None:
    connection.execute(table.delete().where(table.c.id.in_(ids)))


async def _results(old: Database, new: Database) -> None:
    """Give records that the backup had the results that came since."""
    record = schema.record.c
    query = select(record.id, record.result, record.result_at).where(record.result.is_not(None))
    tell = (
        update(schema.record)
        .where(record.id == bindparam("of"))
        .values(result=bindparam("to"), result_at=bindparam("then"))
    )
    after = ""

    async def work(connection: AsyncConnection, after: str) -> list[tuple[Any, ...]]:
        found = await connection.execute(
            query.where(record.id > after).order_by(record.id).limit(_RUN * 8)
        )
        return [tuple(row) for row in found]

    while rows := await old.read(partial(work, after=after)):
        after = rows[-1][0]
        values = [{"of": one, "to": to, "then": then} for one, to, then in rows]
        await new.bulk(partial(_run, statement=tell, values=values))


def _run(
    connection: Connection, statement: Insert | Update, values: Sequence[Mapping[str, Any]]
) -> None:
    connection.execute(statement, values)


async def _replace(old: Database, new: Database, table: Table) -> None:
    """Give the new archive the old one's rows of a table instead of its own."""
    await new.bulk(lambda connection: connection.execute(table.delete()))
    rows = 16 if table is schema.content_chunk else _ROWS

    async def work(connection: AsyncConnection) -> None:
        found = await connection.stream(select(table))
        async for part in found.partitions(rows):
            values = [dict(row._mapping) for row in part]
            await new.bulk(partial(_run, statement=insert(table), values=values))

    await old.read(work)


def _fence(connection: Connection, above: int) -> None:
    found = connection.scalar(select(schema.archive.c.fence)) or 0
    connection.execute(update(schema.archive).values(fence=max(found, above) + _FENCES))


async def doubt(new: Database, why: str) -> int:
    """Let nobody send what waits in a backup that nothing is known beyond; how many.

    Whatever waited then may have been sent since.
    """
    held = schema.held.c
    waits = [state.value for state in (State.KEPT, State.HELD, State.WAITING, State.RELEASING)]

    def work(connection: Connection) -> int:
        _fence(connection, 0)
        return connection.execute(
            update(schema.held)
            .where(held.state.in_(waits))
            .values(state=State.UNCERTAIN.value, due=None, reason=why)
        ).rowcount

    return await new.bulk(work)
