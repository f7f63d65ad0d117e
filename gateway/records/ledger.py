"""How a batch of stream entries becomes rows and links, inside one transaction.

Blocking: :meth:`gateway.records.database.Database.bulk` runs it where nobody waits.
The entries go through in small pieces, each read, hashed, linked and inserted before
the next, so that a large batch is never in memory as rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import orjson
from sqlalchemy import Connection, and_, bindparam, func, literal_column, or_, select, update

from gateway.failure import RecordsUnavailable
from gateway.records import schema
from gateway.records.bulk import Bulk, Lookup, Values
from gateway.records.entry import MESSAGE, OUTCOMES
from gateway.records.journal import Batch, StreamEntry, Told, later, outcome_line, rows_of
from gateway.records.line import COLUMNS, KINDS, Line, Row, link
from gateway.records.record import OutcomeRecord, Result

TABLES: Final = {kind: schema.metadata.tables[kind] for kind in KINDS}

_PIECE: Final = 128 << 10
_RUN: Final = 256
"""Rows of a link at most."""
_REPEATED: Final = frozenset({"rule_set", "ground"})
_DERIVED: Final = ("result", "result_at")
_NOTHING: Final = (None, None)
_ADD: Final = {
    kind: Bulk(table.insert(), COLUMNS[kind] + (_DERIVED if kind == "record" else ()))
    for kind, table in TABLES.items()
}
_KNOWN: Final = {kind: Lookup(select(table.c.id), table.c.id) for kind, table in TABLES.items()}
_OUTCOME: Final = schema.outcome.c
_EARLY: Final = Lookup(select(_OUTCOME.result, _OUTCOME.at, _OUTCOME.record_id), _OUTCOME.record_id)
_LINK: Final = Bulk(schema.chain.insert(), ("seq", "kind", "ids", "digests", "hash"))
_UNKNOWN: Final = literal_column(f"'{Result.UNKNOWN}'", schema.record.c.result.type)
# The rule of :func:`gateway.records.journal.later`, for records that are there already.
_TELL: Final = Bulk(
    update(schema.record)
    .where(
        schema.record.c.id == bindparam("of"),
        or_(
            schema.record.c.result.is_(None),
            and_(
                bindparam("to", type_=schema.record.c.result.type) != _UNKNOWN,
                or_(
                    schema.record.c.result == _UNKNOWN,
                    schema.record.c.result_at <= bindparam("then"),
                ),
            ),
        ),
    )
    .values(result=bindparam("to"), result_at=bindparam("then")),
    ("to", "then", "of"),
)


class FenceLost(RecordsUnavailable):
    """Another archiver has taken over; nothing was written."""


@dataclass(frozen=True, slots=True)
class Stored:
    """What became of a batch."""

    rows: int
    """Journal rows that were new."""
    unreadable: tuple[Row, ...] = ()
    """Rows of ``unreadable``: entries that were set aside."""


def store(
    connection: Connection,
    entries: Sequence[StreamEntry],
    cursors: Mapping[bytes, bytes],
    fence: int,
    *,
    known: bool,
    aside: Sequence[Row] = (),
) -> Stored:
    """Add the entries' rows and what was set aside before, and move the cursors.

    ``known``: the archive may have rows of these entries already; they are left as
    they are.  Else such a row is an IntegrityError.  Raises FenceLost.
    """
    ledger = _Ledger(connection, fence, known=known)
    unreadable = [*aside, *ledger.add(entries)]
    _set_aside(connection, unreadable)
    _move(connection, cursors)
    return Stored(ledger.close(), tuple(unreadable))


def close_unknown(connection: Connection, before: int, at: int, fence: int, limit: int) -> int:
    """Add the outcome ``unknown`` to open records decided before then; to how many."""
    record = schema.record.c
    query = (
        select(record.id)
        .where(record.result.is_(None), record.decided < before)
        .order_by(record.decided)
        .limit(limit)
    )
    batch = Batch()
    for record_id in connection.scalars(query).all():
        outcome = OutcomeRecord(record_id=record_id, at=at, result=Result.UNKNOWN)
        batch.add("outcome", outcome_line(outcome))
    if batch.lines["outcome"]:
        ledger = _Ledger(connection, fence, known=False)
        ledger.add_outcomes(batch, ())
        ledger.close()
    return len(batch.lines["outcome"])


class _Ledger:
    """The journal and its chain within one transaction."""

    def __init__(self, connection: Connection, fence: int, *, known: bool) -> None:
        state = connection.execute(select(schema.archive).with_for_update()).one()
        if state.fence != fence:
            raise FenceLost("another archiver has taken over")
        self._connection = connection
        self._known = known
        self._head = bytes(state.head)
        self._seq = self._began = int(state.seq)

    def add(self, entries: Sequence[StreamEntry]) -> list[Row]:
        """Add the entries' rows; those of entries that cannot be read, set aside."""
        # The outcomes are read first, so that the records they tell of get their
        # result at once, and stored last.
        outcomes = rows_of([entry for entry in entries if _tells(entry)])
        told = _told(outcomes.lines["outcome"].values())
        unreadable = outcomes.unreadable
        records: list[str] = []
        for piece in _pieces([entry for entry in entries if not _tells(entry)]):
            batch = rows_of(piece)
            unreadable += batch.unreadable
            for kind in KINDS:
                lines = self._fresh(kind, batch.lines[kind])
                if kind == "record":
                    records += lines
                    rows = [line[0] + told.get(row_id, _NOTHING) for row_id, line in lines.items()]
                else:
                    rows = [line[0] for line in lines.values()]
                _ADD[kind].run(self._connection, rows)
                self._chain(kind, lines)
        self.add_outcomes(outcomes, records)
        return unreadable

    def add_outcomes(self, batch: Batch, records: Sequence[str]) -> None:
        """Add a batch's outcomes; ``records`` are new and have their results from it."""
        lines = self._fresh("outcome", batch.lines["outcome"])
        # An outcome may have been read before its record when there are several streams.
        tell = _EARLY.rows(self._connection, records)
        done = set(records)
        for (_, record_id, at, result, *_), _ in lines.values():
            if record_id not in done:
                tell.append((result, at, record_id))
        _TELL.run(self._connection, tell)
        _ADD["outcome"].run(self._connection, [line[0] for line in lines.values()])
        self._chain("outcome", lines)

    def close(self) -> int:
        """Note the end of the chain; how many rows were added."""
        if self._seq != self._began:
            self._connection.execute(update(schema.archive).values(seq=self._seq, head=self._head))
        return self._seq - self._began

    def _fresh(self, kind: str, lines: Mapping[str, Line]) -> Mapping[str, Line]:
        """The rows that the archive does not have."""
        # Every process tells its rule set when it starts, and facts come again and again.
        if not lines or not (self._known or kind in _REPEATED):
            return lines
        there = {row_id for (row_id,) in _KNOWN[kind].rows(self._connection, list(lines))}
        return {row_id: line for row_id, line in lines.items() if row_id not in there}

    def _chain(self, kind: str, lines: Mapping[str, Line]) -> None:
        """Add the links of rows, which follow each other."""
        ids = list(lines)
        digests = [digest for _, digest in lines.values()]
        links: list[Values] = []
        for at in range(0, len(ids), _RUN):
            run = ids[at : at + _RUN]
            joined = b"".join(digests[at : at + _RUN])
            self._head = link(self._head, joined)
            self._seq += len(run)
            links.append((self._seq, kind, orjson.dumps(run).decode(), joined, self._head))
        _LINK.run(self._connection, links)


def _tells(entry: StreamEntry) -> bool:
    """Whether the entry is one of outcomes."""
    return OUTCOMES in entry.fields and MESSAGE not in entry.fields and not entry.is_event


def _pieces(entries: Sequence[StreamEntry]) -> Iterator[list[StreamEntry]]:
    piece: list[StreamEntry] = []
    octets = 0
    for entry in entries:
        piece.append(entry)
        octets += sum(map(len, entry.fields.values()))
        if octets >= _PIECE:
            yield piece
            piece, octets = [], 0
    if piece:
        yield piece


def _told(outcomes: Iterable[Line]) -> dict[str, Told]:
    """The result of each record that the outcomes tell of."""
    told: dict[str, Told] = {}
    for (_, record_id, at, result, *_), _ in outcomes:
        told[record_id] = later((result, at), told.get(record_id))
    return told


def _set_aside(connection: Connection, rows: Sequence[Row]) -> None:
    table = schema.unreadable
    for row in rows:
        place = (table.c.stream == row["stream"]) & (table.c.entry == row["entry"])
        if connection.scalar(select(func.count()).select_from(table).where(place)) == 0:
            connection.execute(table.insert().values(**row))


def _move(connection: Connection, cursors: Mapping[bytes, bytes]) -> None:
    table = schema.cursor
    if cursors:
        names = [stream.decode() for stream in cursors]
        connection.execute(table.delete().where(table.c.stream.in_(names)))
        connection.execute(
            table.insert(),
            [{"stream": s.decode(), "last": last.decode()} for s, last in cursors.items()],
        )
