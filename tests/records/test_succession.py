"""What the archive has beyond a backup is taken along when the backup takes its place."""

import re
from contextlib import closing

import orjson
import pytest
from sqlalchemy import select

from gateway.backup.succession import append, carry, doubt, end_of
from gateway.backup.transfer import copy_to_file
from gateway.failure import RecordsUnavailable
from gateway.held.message import State
from gateway.held.store import HeldStore
from gateway.records import schema
from gateway.records.act import Act, Action
from gateway.records.archive import Archive
from gateway.records.content import ContentStore
from gateway.records.database import Database
from gateway.records.entry import (
    ACT,
    MESSAGE,
    OUTCOMES,
    RECORDS,
    RULES,
    SEALED,
    outcomes_json,
    pack,
)
from gateway.records.events import EventArchive
from gateway.records.journal import StreamEntry
from gateway.records.purge import hash_of
from gateway.records.record import OutcomeRecord, Result
from tests.held.test_store import message as held_message
from tests.peers.postgresql import sql, sql_of

EVENT = b'{"id":"%s","kind":"ban","at":5,"actor":"hook","subject":"k1:00"}'


@pytest.fixture
def steps(make_message, rules):
    """Batches of entries of every kind; outcomes tell of records of the batch before."""
    first, second = make_message(300), make_message(2)

    def of(message):
        sealed = pack([b"h"] * (len(message.recipients) + 2))
        return StreamEntry(RECORDS, b"1-1", {MESSAGE: message.to_json(), SEALED: sealed})

    def told(message, result):
        one = OutcomeRecord(record_id=message.recipients[0].id, at=9, result=result)
        return StreamEntry(RECORDS, b"1-1", {OUTCOMES: outcomes_json([one.to_json()])})

    act = Act(action=Action.READ, actor="anna")
    return [
        [StreamEntry(RECORDS, b"1-1", {RULES: rules.to_json()}), of(first)],
        [StreamEntry(b"sg:{s00}:ev", b"1-1", {b"e": EVENT % b"01A"}, True)],
        [told(first, Result.HELD), of(second), StreamEntry(RECORDS, b"1-1", {ACT: act.to_json()})],
        [told(first, Result.RELEASED), told(second, Result.FORWARDED)],
        [StreamEntry(b"sg:{s00}:ev", b"1-2", {b"e": EVENT % b"01B"}, True)],
    ]


async def archived(database, sealer, batches, number=1):
    archive = Archive(database, sealer)
    fence, _ = await archive.take_over()
    for batch in batches:
        number += 1
        await archive.store(batch, {RECORDS: b"1-%d" % number}, fence)


async def copy_of(database, path):
    await copy_to_file(database, path)
    return await Database.open(path)


async def everything(database):
    async def work(connection):
        return {
            table.name: sorted(tuple(row) for row in await connection.execute(select(table)))
            for table in schema.metadata.sorted_tables
            if table is not schema.archive
        }

    return await database.read(work)


@pytest.mark.parametrize("split", range(6))
async def test_a_backup_of_any_moment_becomes_the_archive_that_it_replaces(
    database, sealer, steps, split, tmp_path
):
    await archived(database, sealer, steps[:split])
    new = await copy_of(database, tmp_path / "backup.sqlite")
    before = await end_of(new)
    await archived(database, sealer, steps[split:], split + 1)
    old = await end_of(database)
    carried = await carry(database, new)
    assert carried.goes_on
    assert sum(carried.rows.values()) == old.seq - before.seq
    assert await everything(new) == await everything(database)
    end = await end_of(new)
    assert (end.seq, end.head) == (old.seq, old.head)
    assert end.fence > old.fence
    assert (await Archive(new, sealer).verify()).whole
    await new.aclose()


async def test_a_damaged_row_of_the_replaced_archive_is_named_and_the_rest_is_there(
    database, sealer, steps, tmp_path
):
    await archived(database, sealer, steps[:2])
    new = await copy_of(database, tmp_path / "backup.sqlite")
    await archived(database, sealer, steps[2:])
    # One that the backup has as it was, and one that only the damaged archive has.
    sql_of(
        database,
        "UPDATE event SET kind='lift' WHERE id LIKE '01A%'",
        "UPDATE event SET kind='lift' WHERE id LIKE '01B%'",
    )
    carried = await carry(database, new)
    assert (carried.goes_on, carried.damaged) == (True, 1)
    (fault,) = (await Archive(new, sealer).verify()).faults
    assert re.fullmatch(r"event 01B/k1:00 \(link \d+\) is missing", fault)
    await new.aclose()


@pytest.mark.parametrize("archive_place", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE chain SET hash=x'00' WHERE seq=304",
        "UPDATE chain SET hash=x'00' WHERE kind='act'",
        "DELETE FROM chain WHERE kind='event'",
        "UPDATE chain SET ids='[' WHERE kind='event'",
        "UPDATE archive SET head=x'00'",
    ],
)
async def test_a_chain_that_was_broken_is_not_taken_over_and_its_whole_rows_are(
    database, sealer, steps, statement, tmp_path
):
    await archived(database, sealer, steps[:1])
    new = await copy_of(database, tmp_path / "backup.sqlite")
    await archived(database, sealer, steps[1:])
    sql_of(
        database,
        "INSERT INTO checkpoint VALUES (2, 5, x'00', 'k', x'00')",
        statement,
        "UPDATE act SET actor='nobody'",
    )
    carried = await carry(database, new)
    assert not carried.goes_on
    assert carried.damaged >= 1
    assert (await Archive(new, sealer).verify()).whole
    there = await everything(new)
    lost = "event" in statement
    # A register made from it would lack bans: it is made by somebody's word alone.
    assert bool(await EventArchive(new).lacking()) >= lost
    assert len(there["event"]) == (0 if lost else 2)
    assert (len(there["record"]), len(there["outcome"]), len(there["act"])) == (302, 3, 0)
    assert there["checkpoint"] == []
    results = {row[-2] for row in there["record"]}
    assert results == {None, "released", "forwarded"}
    await new.aclose()


async def test_an_event_that_was_damaged_leaves_an_archive_that_says_it_lacks_changes(
    database, sealer, steps, tmp_path
):
    """It was told, and the next loss of the register made one without the ban, unasked."""
    await archived(database, sealer, steps[:1])
    new = await copy_of(database, tmp_path / "backup.sqlite")
    await archived(database, sealer, steps[1:])
    assert not await EventArchive(new).lacking()
    sql_of(database, "UPDATE event SET kind='lift' WHERE id LIKE '01B%'")
    carried = await carry(database, new)
    assert (carried.goes_on, carried.damaged, carried.lacks) == (True, 1, True)
    assert len(await EventArchive(new).lacking()) == 64
    await new.aclose()


async def test_what_was_purged_since_the_backup_does_not_come_back(
    database, sealer, steps, tmp_path
):
    await archived(database, sealer, steps[:2])
    new = await copy_of(database, tmp_path / "backup.sqlite")
    await archived(database, sealer, steps[2:])
    # The first three records of the backup, and an outcome that only the archive had.
    links = sql_of(database, "SELECT seq, ids FROM chain WHERE kind='record' ORDER BY seq")
    told = sql_of(database, "SELECT seq, ids FROM chain WHERE kind='outcome' ORDER BY seq")
    going = [*orjson.loads(links[0][1])[:3], orjson.loads(told[0][1])[0]]
    bits = [(links[0][0], b"\x07" + bytes(31)), (told[0][0], b"\x01")]
    purge = Act(action=Action.PURGE, actor="gateway", detail={"sha256": hash_of(bits)})
    await archived(database, sealer, [[StreamEntry(RECORDS, b"1-1", {ACT: purge.to_json()})]], 6)
    names = ", ".join(f"'{one}'" for one in going)
    sql_of(
        database,
        f"DELETE FROM record WHERE id IN ({names})",
        f"DELETE FROM outcome WHERE id IN ({names})",
        *(
            f"INSERT INTO purged VALUES ({seq}, '{purge.id}', x'{octets.hex()}')"
            for seq, octets in bits
        ),
    )
    assert (await Archive(database, sealer).verify()).whole
    carried = await carry(database, new)
    assert (carried.goes_on, carried.damaged) == (True, 0)
    assert (await Archive(new, sealer).verify()).whole
    assert await everything(new) == await everything(database)
    await new.aclose()


async def test_an_archive_that_cannot_be_read_to_its_end_is_not_half_taken(
    database, sealer, steps, tmp_path
):
    await archived(database, sealer, steps[:1])
    new = await copy_of(database, tmp_path / "backup.sqlite")
    await archived(database, sealer, steps[1:])
    sql_of(database, "DROP TABLE held")
    with pytest.raises(RecordsUnavailable):
        await carry(database, new)
    await new.aclose()


async def test_what_waits_in_a_backup_that_nothing_is_known_beyond_is_sent_by_nobody(
    database, sealer, tmp_path
):
    store = HeldStore(database, sealer, ContentStore(database, sealer))
    ids = [await store.prepare(held_message()) for _ in range(5)]
    await store.commit(*ids[:4])
    await store.claim(ids[1])
    await store.mark_discarded(ids[2], "anna", "spam", 5)
    new = await copy_of(database, tmp_path / "backup.sqlite")
    assert await doubt(new, "who knows") == 3
    copied = HeldStore(new, sealer, ContentStore(new, sealer))
    states = [(await copied.get(one)).state for one in ids]
    doubted = State.UNCERTAIN
    assert states == [doubted, doubted, State.DISCARDED, doubted, State.PREPARED]
    assert (await copied.get(ids[0])).reason == "who knows"
    await new.aclose()


async def test_rows_of_our_own_are_chained(database, sealer, steps):
    await archived(database, sealer, steps[:1])
    row = {
        "id": "01X", "at": 5, "action": "restore", "actor": "anna",
        "subject": "", "reason": "", "detail": "{}",
    }  # fmt: skip
    rows = [{**row, "id": f"01X{number}"} for number in range(300)]
    await database.bulk(lambda connection: append(connection, "act", rows))
    verification = await Archive(database, sealer).verify()
    assert (verification.links, verification.faults) == (302 + 300 + 2, ())


async def test_a_copy_holds_nothing_of_what_is_written_meanwhile(database, sealer, steps, tmp_path):
    """And is a single file, with no log beside that could be forgotten."""
    import asyncio

    await archived(database, sealer, steps[:1])
    copying = asyncio.create_task(copy_to_file(database, tmp_path / "copy.sqlite"))
    await archived(database, sealer, steps[1:])
    await copying
    assert [path.name for path in tmp_path.glob("copy*")] == ["copy.sqlite"]
    import sqlite3

    with closing(sqlite3.connect(tmp_path / "copy.sqlite")) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("delete",)
    copy = await Database.open(tmp_path / "copy.sqlite")
    assert (await Archive(copy, sealer).verify()).whole
    await copy.aclose()
    assert sql(tmp_path / "copy.sqlite", "SELECT count(*) FROM archive") == [(1,)]
