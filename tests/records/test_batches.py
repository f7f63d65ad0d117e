"""Large batches: nothing twice, nothing lost, one bad entry alone set aside."""

import asyncio
import sqlite3
from contextlib import closing

import orjson
import pytest
from sqlalchemy import bindparam, insert, select, update
from sqlalchemy.dialects.postgresql.asyncpg import PGDialect_asyncpg
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite

from gateway.failure import RecordsUnavailable
from gateway.records import schema
from gateway.records.archive import Archive
from gateway.records.archiver import Archiver
from gateway.records.bulk import Bulk
from gateway.records.database import BadRow, Database
from gateway.records.entry import MESSAGE, OUTCOMES, RECORDS, SEALED, outcomes_json, pack
from gateway.records.journal import StreamEntry
from gateway.records.record import OutcomeRecord, Result
from tests.peers.postgresql import sql, sql_of

ADDRESS = "matti.meikalainen@example.fi"


def entries_of(*messages, outcomes=()):
    entries = [
        StreamEntry(
            RECORDS,
            b"1-%d" % n,
            {
                MESSAGE: message.to_json(),
                SEALED: pack([b"h" * 2000] + [b"a"] * (len(message.recipients) + 1)),
            },
        )
        for n, message in enumerate(messages, 1)
    ]
    if outcomes:
        told = outcomes_json([outcome.to_json() for outcome in outcomes])
        entries.append(StreamEntry(RECORDS, b"2-1", {OUTCOMES: told}))
    return entries


def add(entry):
    return (
        b"XADD",
        entry.stream,
        b"*",
        *[part for pair in entry.fields.items() for part in pair],
    )


def scalar(database, query):
    return sql_of(database, query)[0][0]


async def test_more_than_a_batch_is_archived_without_pause_and_in_order(
    wire, archive: Archive, database, make_message, outcome_of, settle
):
    messages = [make_message() for _ in range(1500)]
    outcomes = [outcome_of(message, Result.FORWARDED) for message in messages]
    await wire.exchange([add(entry) for entry in entries_of(*messages, outcomes=outcomes)], 10)
    archiver = Archiver(wire, archive, poll=60)
    task = asyncio.create_task(archiver.run())
    await settle(lambda: archiver.status.rows == 4501, 10)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert await wire.exchange([(b"XLEN", RECORDS)], 5) == [0]
    chained = sql_of(database, "SELECT ids FROM chain WHERE kind='message' ORDER BY seq")
    linked = [row_id for row in chained for row_id in orjson.loads(row[0])]
    assert linked == [message.id for message in messages]
    assert sql_of(database, "SELECT DISTINCT result FROM record") == [("forwarded",)]
    assert (await archive.verify()).whole


async def test_a_row_that_is_known_is_left_and_the_rest_of_its_batch_added(
    archive: Archive, database, make_message, outcome_of
):
    first, second = make_message(3), make_message(3)
    told = [outcome_of(first, Result.DEFERRED, at=5), outcome_of(second, Result.HELD, at=5)]
    fence, _ = await archive.take_over()
    entries = entries_of(first, outcomes=told[:1])
    assert (await archive.store(entries, {RECORDS: b"2-1"}, fence)).rows == 7
    # An outcome whose acknowledgement was lost is written a second time, with others.
    entries = entries_of(first, second, outcomes=told)
    assert (await archive.store(entries, {RECORDS: b"2-2"}, fence)).rows == 5
    assert (await archive.store(entries, {RECORDS: b"2-2"}, fence)).rows == 0
    results = {each.record_id: each.result for each in await archive.search()}
    assert results[first.recipients[0].id] is Result.DEFERRED
    assert results[second.recipients[0].id] is Result.HELD
    assert scalar(database, "SELECT last FROM cursor") == "2-2"
    assert (await archive.verify()).whole


async def test_of_several_outcomes_in_one_batch_the_latest_told_counts(
    archive: Archive, make_message
):
    message, older = make_message(2), make_message(2)
    fence, _ = await archive.take_over()
    await archive.store(entries_of(older), {}, fence)
    told = [
        OutcomeRecord(record_id=record.id, at=at, result=result)
        for whose in (message, older)
        for record, results in zip(
            whose.recipients,
            [
                ((9, Result.RELEASED), (7, Result.HELD), (10, Result.UNKNOWN)),
                ((3, Result.UNKNOWN), (1, Result.DEFERRED), (1, Result.REFUSED)),
            ],
            strict=True,
        )
        for at, result in results
    ]
    await archive.store(entries_of(message, outcomes=told), {}, fence)
    results = {each.record_id: each.result for each in await archive.search()}
    for whose in (message, older):
        assert results[whose.recipients[0].id] is Result.RELEASED
        assert results[whose.recipients[1].id] is Result.REFUSED


async def test_an_entry_that_the_database_refuses_is_alone_set_aside(
    wire, archive: Archive, database, make_message, outcome_of
):
    if database.path is not None:
        refuse = (
            "CREATE TRIGGER refuse BEFORE INSERT ON record WHEN new.client = 'bad' "
            "BEGIN SELECT RAISE(ABORT, 'no'); END"
        )
    else:
        refuse = "ALTER TABLE record ADD CHECK (client <> 'bad')"
    sql_of(database, refuse)
    messages = [make_message(client="bad" if n in (0, 33) else "crm") for n in range(100)]
    outcomes = [outcome_of(message, Result.FORWARDED) for message in messages]
    await wire.exchange([add(entry) for entry in entries_of(*messages, outcomes=outcomes)], 5)
    archiver = Archiver(wire, archive)
    assert await archiver.run_once() == 101
    assert archiver.status.unreadable == 2
    assert await wire.exchange([(b"XLEN", RECORDS)], 5) == [0]
    assert scalar(database, "SELECT count(*) FROM unreadable") == 2
    found = await archive.search(limit=200)
    assert len(found) == 98
    assert {each.result for each in found} == {Result.FORWARDED}
    assert (await archive.verify()).links == 98 * 2 + 100 + 1


async def test_entries_with_both_kinds_of_field_lose_neither_of_their_rows(
    archive: Archive, make_message, outcome_of
):
    message = make_message()
    (entry, told) = entries_of(message, outcomes=[outcome_of(message, Result.HELD)])
    both = StreamEntry(RECORDS, b"1-1", {**told.fields, **entry.fields})
    fence, _ = await archive.take_over()
    assert (await archive.store([both], {}, fence)).rows == 3


async def test_facts_that_were_taken_away_are_told_as_missing_and_not_as_none(
    database, archive, make_message
):
    message = make_message()
    fence, _ = await archive.take_over()
    await archive.store(entries_of(message), {}, fence)
    shown = await archive.show(message.recipients[0].id)
    assert shown.recipient.facts == message.recipients[0].facts
    sql_of(database, "DELETE FROM ground")
    shown = await archive.show(message.recipients[0].id)
    assert shown.recipient.facts == {"missing": True}
    (fault,) = (await archive.verify()).faults
    assert fault.startswith("ground #")
    assert fault.endswith("is missing")


async def test_bulk_work_is_all_or_nothing_and_bounded(tmp_path):
    database = await Database.open(tmp_path / "a.sqlite", timeout=1)
    database.timeout = 30  # SQLite's own stays, and is what ends the wait below
    table = schema.cursor

    def twice(connection):
        connection.execute(table.insert(), [{"stream": "a", "last": "0-0"}] * 2)

    with pytest.raises(BadRow):
        await database.bulk(twice)

    def breaks(connection):
        connection.execute(table.insert().values(stream="a", last="0-0"))
        raise RecordsUnavailable("so it is")

    with pytest.raises(RecordsUnavailable, match="so it is"):
        await database.bulk(breaks)
    assert await database.bulk(lambda c: c.execute(select(table)).all()) == []
    with closing(sqlite3.connect(database.path)) as other:
        other.execute("BEGIN IMMEDIATE")
        began = asyncio.get_running_loop().time()
        with pytest.raises(RecordsUnavailable):
            await database.bulk(breaks)
        assert asyncio.get_running_loop().time() - began < 4
    await database.bulk(lambda c: c.execute(table.insert().values(stream="b", last="0-0")))
    assert sql(tmp_path / "a.sqlite", "SELECT count(*) FROM cursor") == [(1,)]
    await database.aclose()
    # As after a fault: what was closed opens anew.
    assert len(await database.bulk(lambda c: c.execute(select(table)).all())) == 1
    await database.aclose()


@pytest.mark.parametrize(
    ("dialect", "arranged"),
    [
        (SQLiteDialect_pysqlite(), [("x", 1, 1)]),
        (PGDialect_psycopg(), [{"to": "x", "of": 1}]),
        (PGDialect_asyncpg(), [("x", 1)]),
    ],
)
def test_a_statement_is_arranged_for_each_driver(dialect, arranged):
    table = schema.content
    one, other = bindparam("of", type_=table.c.size.type), bindparam("to", type_=table.c.id.type)
    bulk = Bulk(
        update(table).where(table.c.size == one, table.c.created > one).values(id=other),
        ("to", "of"),
    )
    text, rows = bulk.arranged(dialect, [("x", 1)])
    assert rows == arranged
    assert text.startswith("UPDATE content SET id=")
    plain = Bulk(insert(table), table.columns.keys()[:5])
    text, rows = plain.arranged(dialect, [(1, 2, 3, 4, 5)])
    assert text.startswith("INSERT INTO content (id, created, size, chunks, complete) VALUES (")
    assert len(rows[0]) == 5
