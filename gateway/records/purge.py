"""The end of retention: rows whose time is over leave the archive, provably.

The chain keeps the digests of all rows.  Which rows a purge removes is settled first, as
a bit for each row of a link; the act that is recorded before anything is removed holds
the hash of these bits.  So a verification tells a row that was purged from one that
somebody took away, and nobody can pass off the one as the other.

Rows are looked at in the chain's order, a page of links at a time; at most ``_BATCH`` rows
go in one transaction.  Whatever is cut off is done by the next run.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Final

import orjson
from sqlalchemy import ColumnElement, Select, and_, delete, exists, func, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.clock import DAY_MS, Clock, now_ms, years_later
from gateway.entry.event import EventKind
from gateway.records import schema
from gateway.records.act import Act, Action
from gateway.records.database import Database
from gateway.records.recorder import Recorder

_PAGE: Final = 64
"""Links at once."""
_BATCH: Final = 20_000
"""Rows of one act and transaction."""
_PORTION: Final = 500
_FORGOTTEN: Final = (
    EventKind.CONSENT,
    EventKind.RELATIONSHIP,
    EventKind.CLASSIFY,
    EventKind.DESCRIBE,
)
"""Events that tell no objection: they go once their contact is forgotten or erased."""
_ENDS: Final = (EventKind.FORGET, EventKind.ERASE)
_PASSES: Final = (("record", "outcome", "event", "act"), ("outcome", "message"))
"""Kinds by pass: an outcome goes after its record, a message after its last record."""


@dataclass(slots=True)
class Gone:
    """Rows of one link that go."""

    seq: int
    kind: str
    bits: int = 0
    ids: list[str] = field(default_factory=list)

    def octets(self, rows: int) -> bytes:
        """The bits as they are kept."""
        return self.bits.to_bytes((rows + 7) // 8, "little")


@dataclass(slots=True)
class Purged:
    """What a purge removes, or removed."""

    rows: dict[str, int] = field(default_factory=dict)
    """By kind of row."""
    acts: list[str] = field(default_factory=list)

    @property
    def total(self) -> int:
        """Rows of all kinds."""
        return sum(self.rows.values())

    def count(self, kind: str, rows: int) -> None:
        """Add rows of a kind."""
        self.rows[kind] = self.rows.get(kind, 0) + rows


class Purge:
    """Removes what may not be kept any longer.

    Records go at their ``retain_until``, unless their recipient is a person who is kept
    longer; outcomes and messages with their records; acts but purges after
    ``acts_years``; events that tell no objection once their contact was forgotten or
    erased.  Every method raises RecordsUnavailable.
    """

    def __init__(self, database: Database, acts_years: int, clock: Clock = now_ms) -> None:
        self._database = database
        self._acts_years = acts_years
        self._clock = clock

    async def plan(self) -> Purged:
        """What a run would remove now, counted; nothing is changed.

        Outcomes and messages of records that would go are counted too.
        """
        found = Purged()
        now = self._clock()
        record, outcome, message = schema.record.c, schema.outcome.c, schema.message.c
        due = self._due("record", now)
        left = (
            select(schema.record.c.id)
            .where(schema.record.c.message_id == message.id)
            .where(~due)
            .exists()
        )
        gone = select(record.id).where(due)
        queries: dict[str, Select[Any]] = {
            "record": gone,
            "outcome": select(outcome.id).where(
                or_(outcome.record_id.in_(gone), self._due("outcome", now))
            ),
            "message": select(message.id).where(~left, self._old_message(now)),
            "event": select(schema.event.c.id).where(self._due("event", now)),
            "act": select(schema.act.c.id).where(self._due("act", now)),
        }
        for kind, query in queries.items():
            counted = await self._count(query)
            if counted:
                found.count(kind, counted)
        return found

    async def run(self, recorder: Recorder, actor: str, reason: str) -> Purged:
        """Remove it, each batch under an act of its own that is recorded first."""
        done = Purged()
        now = self._clock()
        for kinds in _PASSES:
            batch: list[tuple[Gone, int]] = []
            waiting = 0
            async for gone, rows in self._walk(kinds, now):
                batch.append((gone, rows))
                waiting += len(gone.ids)
                if waiting >= _BATCH:
                    await self._carry_out(batch, recorder, actor, reason, done)
                    batch, waiting = [], 0
            if batch:
                await self._carry_out(batch, recorder, actor, reason, done)
        await self._drop_held(now)
        return done

    # -- which rows -------------------------------------------------------------------

    def _due(self, kind: str, now: int) -> ColumnElement[bool]:
        """Whether a row's time is over."""
        if kind == "record":
            kept = (
                select(schema.person_contact.c.digest)
                .join(schema.person, schema.person.c.id == schema.person_contact.c.person_id)
                .where(
                    schema.person_contact.c.digest == schema.record.c.digest,
                    schema.person.c.state == "active",
                    or_(schema.person.c.retain_until.is_(None), schema.person.c.retain_until > now),
                )
            )
            return and_(schema.record.c.retain_until <= now, ~exists(kept))
        if kind == "outcome":
            has = select(schema.record.c.id).where(schema.record.c.id == schema.outcome.c.record_id)
            # A day: an outcome may be archived before its record.
            return and_(schema.outcome.c.at < now - DAY_MS, ~exists(has))
        if kind == "message":
            has = select(schema.record.c.id).where(
                schema.record.c.message_id == schema.message.c.id
            )
            return and_(self._old_message(now), ~exists(has))
        if kind == "act":
            # Purges stay: they prove what is not there.
            old = schema.act.c.at < years_later(now, -self._acts_years)
            return and_(old, schema.act.c.action != Action.PURGE.value)
        later = schema.event.alias("later")
        ended = select(later.c.id).where(
            later.c.subject == schema.event.c.subject,
            later.c.kind.in_(_ENDS),
            later.c.at >= schema.event.c.at,
            # Written behind it: a consent of last year that is told today still counts.
            later.c.stream == schema.event.c.stream,
            later.c.entry > schema.event.c.entry,
            # Another spelling's end bans this one, and leaves what is known of it.
            ~later.c.body.like('%"origin":%'),
        )
        return and_(schema.event.c.kind.in_(_FORGOTTEN), exists(ended))

    @staticmethod
    def _old_message(now: int) -> ColumnElement[bool]:
        """Whether a message is old enough for its records to have been archived."""
        return schema.message.c.received < now - DAY_MS

    async def _count(self, query: Select[Any]) -> int:
        async def work(connection: AsyncConnection) -> int:
            counted = select(func.count()).select_from(query.subquery())
            return int(await connection.scalar(counted) or 0)

        return await self._database.read(work)

    async def _walk(self, kinds: Sequence[str], now: int) -> AsyncIterator[tuple[Gone, int]]:
        """The links with rows that go, and how many rows each link has."""
        after = 0
        while True:
            page = await self._database.read(lambda c, a=after: _page(c, kinds, a))  # type: ignore[misc]
            if not page:
                return
            after = page[-1][0]
            for seq, kind, ids in page:
                going = await self._going(kind, ids, now)
                if going:
                    gone = Gone(seq, kind)
                    for number, row_id in enumerate(ids):
                        if row_id in going:
                            gone.bits |= 1 << number
                            gone.ids.append(row_id)
                    yield gone, len(ids)

    async def _going(self, kind: str, ids: Sequence[str], now: int) -> frozenset[str]:
        table = schema.metadata.tables[kind]
        query = select(table.c.id).where(table.c.id.in_(ids), self._due(kind, now))

        async def work(connection: AsyncConnection) -> frozenset[str]:
            return frozenset(await connection.scalars(query))

        return await self._database.read(work)

    # -- removing them ----------------------------------------------------------------

    async def _carry_out(
        self,
        batch: Sequence[tuple[Gone, int]],
        recorder: Recorder,
        actor: str,
        reason: str,
        done: Purged,
    ) -> None:
        bits = [(gone.seq, gone.octets(rows)) for gone, rows in batch]
        counts: dict[str, int] = {}
        for gone, _ in batch:
            counts[gone.kind] = counts.get(gone.kind, 0) + len(gone.ids)
        act = Act(
            action=Action.PURGE,
            actor=actor,
            reason=reason,
            detail={"links": len(bits), "sha256": hash_of(bits), **counts},
            at=self._clock(),
        )
        await recorder.act(act)

        async def work(connection: AsyncConnection) -> None:
            await connection.execute(
                schema.purged.insert(),
                [{"seq": seq, "act": act.id, "gone": octets} for seq, octets in bits],
            )
            for gone, _ in batch:
                table = schema.metadata.tables[gone.kind]
                for at in range(0, len(gone.ids), _PORTION):
                    part = gone.ids[at : at + _PORTION]
                    await connection.execute(delete(table).where(table.c.id.in_(part)))

        await self._database.write(work)
        done.acts.append(act.id)
        for kind, rows in counts.items():
            done.count(kind, rows)

    async def _drop_held(self, now: int) -> None:
        """Ended held copies whose message is gone; they are no part of the chain."""
        held, message = schema.held, schema.message.c
        has = select(message.id).where(message.id == held.c.message_id)
        old = and_(held.c.ended.is_not(None), held.c.ended < now - DAY_MS, ~exists(has))

        async def work(connection: AsyncConnection) -> None:
            await connection.execute(delete(held).where(old))

        await self._database.write(work)


def hash_of(bits: Sequence[tuple[int, bytes]]) -> str:
    """The hash of the rows that a purge removed, in the order of their links."""
    digest = sha256()
    for seq, octets in sorted(bits):
        digest.update(b"%d:%b;" % (seq, octets.hex().encode()))
    return digest.hexdigest()


async def _page(
    connection: AsyncConnection, kinds: Sequence[str], after: int
) -> list[tuple[int, str, list[str]]]:
    chain = schema.chain.c
    query = (
        select(chain.seq, chain.kind, chain.ids)
        .where(chain.seq > after, chain.kind.in_(kinds))
        .order_by(chain.seq)
        .limit(_PAGE)
    )
    return [(row.seq, row.kind, orjson.loads(row.ids)) for row in await connection.execute(query)]


# -- what a verification asks -----------------------------------------------------------


async def purged_rows(connection: AsyncConnection, seqs: Sequence[int]) -> Mapping[int, int]:
    """The bits of the rows that purges removed, by link."""
    if not seqs:
        return {}
    table = schema.purged.c
    query = select(table.seq, table.gone).where(table.seq.in_(list(seqs)))
    found: dict[int, int] = {}
    for seq, gone in await connection.execute(query):
        found[seq] = found.get(seq, 0) | int.from_bytes(_octets(gone), "little")
    return found


async def purged_by_kind(connection: AsyncConnection) -> Mapping[str, int]:
    """How many rows of each kind purges removed."""
    chain, table = schema.chain.c, schema.purged.c
    query = select(chain.kind, table.seq, table.gone).where(chain.seq == table.seq)
    counted: dict[str, int] = {}
    last, bits = 0, 0
    async with connection.stream(query.order_by(table.seq)) as rows:
        async for kind, seq, gone in rows:
            if seq != last:
                last, bits = seq, 0
            both = bits | int.from_bytes(_octets(gone), "little")
            counted[kind] = counted.get(kind, 0) + both.bit_count() - bits.bit_count()
            bits = both
    return counted


async def unproven(connection: AsyncConnection) -> list[str]:
    """Faults of purges: rows said to be purged that no act names, or others than it says."""
    table, act = schema.purged.c, schema.act.c
    faults: list[str] = []
    acts = list(await connection.scalars(select(table.act).distinct().order_by(table.act)))
    for act_id in acts:
        if not act_id.isprintable():  # no text that could be asked for
            faults.append(f"purge {act_id} is not among the acts")
            continue
        rows = await connection.execute(
            select(table.seq, table.gone).where(table.act == act_id).order_by(table.seq)
        )
        said = (
            await connection.execute(select(act.action, act.detail).where(act.id == act_id))
        ).first()
        if said is None or said.action != Action.PURGE:
            faults.append(f"purge {act_id} is not among the acts")
            continue
        bits = [(seq, _octets(gone)) for seq, gone in rows]
        try:
            detail = orjson.loads(said.detail)
        except ValueError:
            detail = None
        hashed = detail.get("sha256") if isinstance(detail, dict) else None
        if hashed != hash_of(bits):
            faults.append(f"purge {act_id} removed other rows than it was recorded for")
    return faults


def _octets(value: object) -> bytes:
    """The octets of a column; none where somebody put anything else there."""
    return bytes(value) if isinstance(value, bytes | memoryview) else b""
