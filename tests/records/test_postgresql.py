"""What is PostgreSQL's own: a server that is shared, ends, and comes back."""

import asyncio
import signal

import asyncpg
import pytest

from gateway.failure import InputError, RecordsUnavailable
from gateway.records import schema
from gateway.records.archive import Archive
from gateway.records.archiver import Archiver
from gateway.records.database import BadRow, Database
from gateway.records.lease import Lease
from gateway.records.ledger import FenceLost
from gateway.records.recorder import Recorder
from tests.peers.postgresql import Cluster, sql


@pytest.fixture
def url(postgresql: Cluster) -> str:
    return postgresql.database()


async def recorded(wire, sealer, rules, *messages):
    recorder = Recorder(wire, sealer)
    await recorder.announce(rules)
    for message in messages:
        await recorder.append(message, b"Subject: Hei\r\n", ["a@b.fi"], "bounce@example.com")
    await recorder.aclose()


async def test_machines_that_open_a_new_archive_at_once_share_one(url):
    opened = await asyncio.gather(*[Database.open(url) for _ in range(6)])
    for database in opened:
        await database.aclose()
    version = sql(url, "SELECT schema_version FROM archive")
    assert version == [(schema.SCHEMA_VERSION,)]


async def test_an_archiver_overtaken_by_another_machine_writes_nothing_and_loses_nothing(
    wire, sealer, rules, make_message, url
):
    """Each has its own connections; only register and archive know of both."""
    one, other = await Database.open(url), await Database.open(url)
    first = Archiver(wire, Archive(one, sealer), trim=False, lease=Lease(wire, lasts=50))
    second = Archiver(wire, Archive(other, sealer))
    messages = [make_message() for _ in range(3)]
    await recorded(wire, sealer, rules, messages[0])
    assert await first._step() == 2
    stale = first._fence
    # It pauses; its lease runs out, and the other machine goes on where it stood.
    await asyncio.sleep(0.1)
    await recorded(wire, sealer, rules, messages[1])
    assert await second.run_once() == 2
    with pytest.raises(FenceLost):
        await Archive(one, sealer).store((), {b"sg:{rec}:records": b"9-9"}, stale)
    await recorded(wire, sealer, rules, messages[2])
    assert await first.run_once() == 2
    found = await Archive(one, sealer).search()
    assert {each.message_id for each in found} == {message.id for message in messages}
    assert (await Archive(other, sealer).verify()).whole
    await one.aclose()
    await other.aclose()


async def test_the_fence_is_read_behind_the_lock_of_who_takes_over_meanwhile(
    url, sealer, make_message
):
    """A batch that waits for the row sees the new fence, not the one it came with."""
    one, other = await Database.open(url), await Database.open(url)
    fence, _ = await Archive(one, sealer).take_over()
    locked, go = asyncio.Event(), asyncio.Event()

    async def slow_take_over(connection):
        await connection.exec_driver_sql("UPDATE archive SET fence = fence + 1")
        locked.set()
        await go.wait()

    taking = asyncio.create_task(other.write(slow_take_over))
    await locked.wait()
    storing = asyncio.create_task(Archive(one, sealer).store((), {b"s": b"1-1"}, fence))
    await asyncio.sleep(0.1)
    go.set()
    await taking
    with pytest.raises(FenceLost):
        await storing
    assert sql(url, "SELECT count(*) FROM cursor") == [(0,)]
    await one.aclose()
    await other.aclose()


async def test_a_machine_that_falls_silent_keeps_no_lock(url, sealer):
    silent = await asyncpg.connect(
        url, server_settings={"idle_in_transaction_session_timeout": "300"}
    )
    database = await Database.open(url, timeout=5)
    own = await database.read(
        lambda c: c.exec_driver_sql("SHOW idle_in_transaction_session_timeout")
    )
    assert own.scalar() == "5s"
    await silent.execute("BEGIN")
    await silent.execute("UPDATE archive SET fence = 7")
    fence, _ = await Archive(database, sealer).take_over()
    assert fence == 1
    await database.aclose()
    silent.terminate()


async def test_a_server_that_crashes_is_followed_again(wire, sealer, rules, make_message, settle):
    cluster = Cluster()
    try:
        database = await Database.open(cluster.database())
        archive = Archive(database, sealer)
        archiver = Archiver(wire, archive, poll=0.02)
        task = asyncio.create_task(archiver.run())
        await recorded(wire, sealer, rules, make_message())
        await settle(lambda: archiver.status.rows == 4)
        await asyncio.to_thread(cluster.stop, signal.SIGQUIT)
        await recorded(wire, sealer, rules, make_message())
        await settle(lambda: archiver.status.failing)
        with pytest.raises(RecordsUnavailable):
            await archive.search()
        await asyncio.to_thread(cluster.start)
        await settle(lambda: archiver.status.rows == 6, 20)
        assert len(await archive.search()) == 2
        assert (await archive.verify()).whole
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await database.aclose()
    finally:
        await asyncio.to_thread(cluster.remove)


async def test_an_idle_connection_that_the_server_cut_costs_nobody_his_message(url):
    database = await Database.open(url)
    others = "FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname = current_database()"
    sql(url, f"SELECT pg_terminate_backend(pid) {others}")
    await database.write(lambda c: c.execute(schema.cursor.insert().values(stream="a", last="b")))
    await database.aclose()


@pytest.mark.parametrize(
    ("values", "refused"),
    [
        ({"stream": "a\0b", "last": "0-0"}, "UTF8"),
        ({"stream": "a", "last": 5}, "str"),
        ({"stream": "there", "last": "0-0"}, "unique"),
        ({"stream": None, "last": "0-0"}, "null"),
    ],
)
async def test_a_row_that_is_refused_is_told_from_a_server_that_fails(url, values, refused):
    database = await Database.open(url)
    there = schema.cursor.insert().values(stream="there", last="0-0")
    await database.write(lambda c: c.execute(there))
    with pytest.raises(BadRow, match=refused):
        await database.write(lambda c: c.execute(schema.cursor.insert(), values))
    with pytest.raises(RecordsUnavailable) as failed:
        await database.read(lambda c: c.exec_driver_sql("SELECT 1 FROM nowhere"))
    assert not isinstance(failed.value, BadRow)
    await database.aclose()


async def test_what_cannot_be_opened_says_why_and_never_the_password(postgresql, url):
    nowhere = url.replace("/archive", "/nothing").replace("gateway@", "gateway:sesame@")
    with pytest.raises(RecordsUnavailable, match="does not exist") as failed:
        await Database.open(nowhere)
    assert "sesame" not in str(failed.value)
    with pytest.raises(RecordsUnavailable):
        await Database.open("postgresql://gateway:sesame@127.0.0.1:9/none", timeout=2)
    with pytest.raises(InputError, match=r"records\.url"):
        await Database.open("postgresql://gateway:sesame@host:port/none")
    name = url.partition("@/")[2].partition("?")[0]
    sql(url, f"ALTER DATABASE {name} SET synchronous_commit = off")
    with pytest.raises(InputError, match="synchronous_commit is off"):
        await Database.open(url)
    postgresql.sql("CREATE DATABASE ascii ENCODING 'SQL_ASCII' LOCALE 'C' TEMPLATE template0")
    with pytest.raises(InputError, match="UTF8"):
        await Database.open(postgresql.url("ascii"))


async def test_another_program_s_database_is_left_alone(url):
    sql(url, "CREATE TABLE notes (x text)")
    with pytest.raises(InputError, match="no archive"):
        await Database.open(url)
    assert sql(url, "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'") == [(1,)]
