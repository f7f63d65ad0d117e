import asyncio
import resource
import sqlite3
import stat
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from sqlalchemy import func, select, text

from gateway.failure import InputError, RecordsUnavailable
from gateway.records import schema
from gateway.records.content import ContentStore
from gateway.records.database import BadRow, Database
from tests.peers.postgresql import sql_of


def insert(stream: str):
    async def work(connection):
        await connection.execute(schema.cursor.insert().values(stream=stream, last="0-0"))

    return work


async def rows(database: Database) -> int:
    async def work(connection):
        return await connection.scalar(select(func.count()).select_from(schema.cursor))

    return await database.read(work)


async def pieces(size: int, each: int = 65536):
    with Path("/dev/urandom").open("rb") as file:
        while size > 0:
            yield file.read(min(each, size))
            size -= each


async def test_the_file_is_private_synced_and_in_write_ahead_mode(tmp_path: Path):
    database = await Database.open(tmp_path / "new" / "archive.sqlite")
    assert stat.S_IMODE(database.path.stat().st_mode) == 0o600

    async def modes(connection):
        return [
            await connection.scalar(text(f"PRAGMA {name}"))
            for name in ("journal_mode", "synchronous", "busy_timeout")
        ]

    assert await database.read(modes) == ["wal", 2, 8000]
    await database.aclose()


async def test_many_may_open_a_new_archive_at_once(tmp_path: Path):
    opened = await asyncio.gather(*[Database.open(tmp_path / "a.sqlite") for _ in range(6)])
    for database in opened:
        await database.aclose()


async def test_other_files_and_versions_are_refused(tmp_path: Path):
    path = tmp_path / "a.sqlite"
    database = await Database.open(path)
    await database.aclose()
    connection = sqlite3.connect(path)
    connection.execute("UPDATE archive SET schema_version = 99")
    connection.commit()
    connection.execute("DROP TABLE chain")
    connection.close()
    with pytest.raises(InputError, match="schema version 99, this program 5"):
        await Database.open(path)
    other = tmp_path / "other.sqlite"
    connection = sqlite3.connect(other)
    connection.execute("CREATE TABLE notes (x)")
    connection.close()
    with pytest.raises(InputError, match="no archive"):
        await Database.open(other)
    letter = tmp_path / "letter.txt"
    letter.write_text("Dear Sir or Madam, " * 100)
    with pytest.raises(InputError, match="not an archive"):
        await Database.open(letter)
    with pytest.raises(RecordsUnavailable):
        await Database.open(tmp_path / "none.sqlite", create=False)
    assert not (tmp_path / "none.sqlite").exists()


async def test_a_cancelled_caller_leaves_no_transaction(tmp_path: Path):
    database = await Database.open(tmp_path / "a.sqlite", timeout=1)
    inside = asyncio.Event()

    async def stuck(connection):
        await insert("half")(connection)
        inside.set()
        await asyncio.sleep(60)

    task = asyncio.create_task(database.write(stuck))
    await inside.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.sleep(1.2)
    database.timeout = 30
    await database.write(insert("whole"))
    assert await rows(database) == 1
    other = sqlite3.connect(database.path, timeout=0)
    other.execute("BEGIN IMMEDIATE")
    other.close()
    await database.aclose()


async def test_callers_cancelled_anywhere_leave_a_working_database(database: Database):
    for n in range(40):
        task = asyncio.create_task(database.write(insert(str(n))))
        await asyncio.sleep(n * 0.0002)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        if n % 4 == 0:
            await database.aclose()
    await database.write(insert("last"))
    if database.path is not None:
        other = sqlite3.connect(database.path, timeout=0)
        other.execute("BEGIN IMMEDIATE")
        other.close()
    else:
        held = "SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in transaction%'"
        assert sql_of(database, held) == [(0,)]


async def test_waiting_is_bounded_and_a_lock_only_delays(tmp_path: Path):
    database = await Database.open(tmp_path / "a.sqlite", timeout=1)
    other = sqlite3.connect(database.path)
    other.execute("BEGIN IMMEDIATE")
    began = asyncio.get_running_loop().time()
    with pytest.raises(RecordsUnavailable):
        await database.write(insert("a"))
    assert asyncio.get_running_loop().time() - began < 4  # SQLite's own patience is five
    other.rollback()
    database.timeout = 30
    assert await rows(database) == 0
    await database.write(insert("a"))

    async def endless(connection):
        await asyncio.sleep(60)

    database.timeout = 0.5
    with pytest.raises(RecordsUnavailable, match=r"in 0\.5 s"):
        await database.write(endless)
    database.timeout = 30
    await database.write(insert("b"))
    with pytest.raises(BadRow):
        await database.write(insert("b"))
    other.close()
    await database.aclose()


@pytest.mark.parametrize("archive_place", ["sqlite"], indirect=True)
async def test_a_replaced_file_is_noticed(database: Database, tmp_path: Path):
    await database.write(insert("a"))
    database.path.rename(tmp_path / "old")
    with pytest.raises(RecordsUnavailable):
        await database.write(insert("b"))
    (tmp_path / "old").rename(database.path)
    await database.write(insert("c"))
    assert await rows(database) == 2


async def test_a_full_disk_is_unavailable_until_it_has_room(tmp_path: Path, sealer):
    mount = tmp_path / "disk"
    mount.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(mount)],
        capture_output=True,
        check=False,
    )
    if done.returncode:
        pytest.skip("mounting a tmpfs is not allowed here")
    try:
        database = await Database.open(mount / "archive.sqlite")
        ballast = mount / "ballast"
        ballast.write_bytes(b"x" * (1 << 20))
        store = ContentStore(database, sealer)
        with pytest.raises(RecordsUnavailable, match=r"full|disk I/O"):
            await store.put("big", pieces(8 << 20))
        ballast.unlink()
        await store.put("small", pieces(1000))
        assert await store.size("small") == 1000
        with pytest.raises(RecordsUnavailable):
            await store.size("big")
        await database.aclose()
    finally:
        subprocess.run(["umount", str(mount)], check=True)


LIMITED = """
    import asyncio, resource, signal, sys
    from pathlib import Path
    from gateway.failure import RecordsUnavailable
    from gateway.records.content import ContentStore
    from gateway.records.database import Database
    from gateway.records.seal import Sealer

    async def pieces(size):
        with open("/dev/urandom", "rb") as file:
            for _ in range(size // 65536):
                yield file.read(65536)

    async def main():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        database = await Database.open(Path(sys.argv[1]))
        store = ContentStore(database, Sealer({"c1": bytes(32)}, "c1"))
        resource.setrlimit(resource.RLIMIT_FSIZE, (600_000, resource.RLIM_INFINITY))
        try:
            await store.put("big", pieces(4 << 20))
        except RecordsUnavailable as error:
            print("unavailable", type(error).__name__)
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
        await store.put("again", pieces(1 << 20))
        print(await store.size("again"))
        await database.aclose()

    asyncio.run(main())
"""


def test_a_file_size_limit_is_unavailable_until_it_is_lifted(tmp_path: Path):
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(LIMITED), str(tmp_path / "a.sqlite")],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.stdout.split() == ["unavailable", "RecordsUnavailable", "1048576"], done.stderr


WRITER = """
    import asyncio, sys
    from pathlib import Path
    from gateway.records.content import ContentStore
    from gateway.records.database import Database
    from gateway.records.seal import Sealer

    async def pieces():
        yield b"x" * 5000

    async def main():
        database = await Database.open(Path(sys.argv[1]))
        store = ContentStore(database, Sealer({"c1": bytes(32)}, "c1"))
        for n in range(60):
            await store.put(f"{sys.argv[2]}-{n}", pieces())
        await database.aclose()

    asyncio.run(main())
"""


def test_several_processes_write_at_once(tmp_path: Path):
    path = tmp_path / "a.sqlite"
    writers = [
        subprocess.Popen([sys.executable, "-c", textwrap.dedent(WRITER), str(path), str(n)])
        for n in range(3)
    ]
    assert [writer.wait(60) for writer in writers] == [0, 0, 0]
    connection = sqlite3.connect(path)
    assert connection.execute("SELECT count(*) FROM content WHERE complete").fetchone() == (180,)
    connection.close()
