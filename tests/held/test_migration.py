"""An archive of schema version 2, as the program of that version made it."""

import asyncio
import sqlite3

import pytest

from gateway.contacts.contact import Channel
from gateway.failure import InputError, RecordsUnavailable
from gateway.held.message import State
from gateway.held.store import HeldStore
from gateway.records import schema
from gateway.records.content import ContentStore
from gateway.records.database import Database
from tests.held.test_store import NOW, SEALER, content, message

_DROP = "".join(f"DROP TABLE {table.name};\n" for table in schema.ADDED_IN_4)
_COLUMNS = (
    "id, state, created, message_id, client, upstream, kind, topic, content_id, "
    "sealed_envelope, ended, person, reason"
)


@pytest.fixture
async def old(tmp_path):
    """The path of an archive of version 2 in which one message is held; and its id."""
    path = tmp_path / "archive.sqlite"
    database = await Database.open(path)
    contents = ContentStore(database, SEALER, clock=lambda: NOW)
    store = HeldStore(database, SEALER, contents, clock=lambda: NOW)
    await contents.put("c1", content(b"Subject: x\r\n\r\nHei\r\n"))
    held_id = await store.prepare(message())
    await store.commit(held_id)
    await database.aclose()
    connection = sqlite3.connect(path, isolation_level=None)
    connection.executescript(
        f"""
        {_DROP}
        DROP INDEX held_due;
        CREATE TABLE kept AS SELECT {_COLUMNS} FROM held;
        DROP TABLE held;
        CREATE TABLE held (
            id TEXT NOT NULL, state TEXT NOT NULL, created INTEGER NOT NULL,
            message_id TEXT NOT NULL, client TEXT NOT NULL, upstream TEXT NOT NULL,
            kind TEXT NOT NULL, topic TEXT, content_id TEXT NOT NULL,
            sealed_envelope BLOB NOT NULL, ended INTEGER, person TEXT NOT NULL,
            reason TEXT NOT NULL, PRIMARY KEY (id)
        );
        CREATE INDEX held_state ON held (state, id);
        CREATE INDEX held_content ON held (content_id);
        INSERT INTO held SELECT * FROM kept;
        DROP TABLE kept;
        UPDATE archive SET schema_version = 2;
        """
    )
    connection.close()
    return path, held_id


async def test_it_is_brought_to_this_version_and_its_held_mail_can_be_released(old):
    path, held_id = old
    opened = await asyncio.gather(*(Database.open(path) for _ in range(3)))
    for other in opened[1:]:
        await other.aclose()
    contents = ContentStore(opened[0], SEALER)
    store = HeldStore(opened[0], SEALER, contents)
    (held,) = await store.list()
    assert (held.id, held.state, held.message) == (held_id, State.HELD, message())
    assert (held.message.channel, held.next_try) == (Channel.EMAIL, None)
    await store.claim(held_id)
    pieces = [piece async for piece in store.open_content(held_id)]
    assert b"".join(pieces).endswith(b"Hei\r\n")
    await store.mark_released(held_id, "anna", "checked", NOW)
    await opened[0].aclose()
    connection = sqlite3.connect(path)
    assert connection.execute("SELECT schema_version FROM archive").fetchall() == [(4,)]
    acts = connection.execute("SELECT count(*) FROM act, person, request, checkpoint")
    assert acts.fetchall() == [(0,)]
    migrated = connection.execute("SELECT name, sql FROM sqlite_master WHERE name LIKE 'held%'")
    assert "held_due" in dict(migrated.fetchall())
    connection.close()


async def test_a_process_of_the_old_version_goes_on_writing(old):
    path, _ = old
    await (await Database.open(path)).aclose()
    connection = sqlite3.connect(path)
    with connection:
        connection.execute(
            f"INSERT INTO held ({_COLUMNS}) SELECT 'another', {_COLUMNS[4:]} FROM held"
        )
    assert connection.execute("SELECT channel, due FROM held").fetchall() == [("email", None)] * 2
    connection.close()


async def test_who_must_not_make_an_archive_does_not_change_one(old):
    path, _ = old
    with pytest.raises((InputError, RecordsUnavailable), match="schema version 2"):
        await Database.open(path, create=False)
