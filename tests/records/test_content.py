import asyncio
import hashlib
import random
import tracemalloc

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.failure import RecordsUnavailable
from gateway.records import schema
from gateway.records.archiver import Archiver
from gateway.records.content import CHUNK, ContentMissing, ContentStore
from gateway.records.database import Database
from gateway.records.record import new_id
from gateway.records.recorder import Recorder
from gateway.records.seal import Sealer
from tests.peers.postgresql import sql_of


@pytest.fixture
def store(database: Database, sealer: Sealer) -> ContentStore:
    return ContentStore(database, sealer)


async def each(*pieces: bytes):
    for piece in pieces:
        yield piece


async def read(store: ContentStore, content_id: str) -> bytes:
    return b"".join([piece async for piece in store.open(content_id)])


@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.binary(max_size=100) | st.integers(0, 300_000), max_size=5))
async def test_any_octets_come_back(store: ContentStore, drawn: list[bytes | int]):
    pieces = [one if isinstance(one, bytes) else b"x" * one for one in drawn]
    content_id = new_id()
    assert await store.put(content_id, each(*pieces)) == content_id
    assert await read(store, content_id) == b"".join(pieces)
    assert await store.size(content_id) == len(b"".join(pieces))


@pytest.mark.parametrize("compressible", [False, True])
async def test_fifty_megabytes_pass_in_bounded_memory(store: ContentStore, compressible: bool):
    size = 50 << 20
    source = random.Random(1)
    given, got = hashlib.sha256(), hashlib.sha256()

    async def pieces():
        for _ in range(size >> 20):
            piece = bytes(1 << 20) if compressible else source.randbytes(1 << 20)
            given.update(piece)
            yield piece

    tracemalloc.start()
    try:
        await store.put("big", pieces())
        largest = 0
        async for piece in store.open("big"):
            largest = max(largest, len(piece))
            got.update(piece)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert got.digest() == given.digest()
    assert largest <= CHUNK
    assert peak < 12 << 20


async def test_rows_are_sealed_and_bounded(store: ContentStore, database: Database):
    await store.put("a", each(b"Hyva asiakas, " * 10, random.Random(2).randbytes(600_000)))
    rows = sql_of(database, "SELECT data FROM content_chunk ORDER BY n")
    assert len(rows) == 3
    assert max(len(data) for (data,) in rows) <= CHUNK + 64
    assert not any(b"asiakas" in data for (data,) in rows)
    other = ContentStore(database, Sealer({"c9": b"\7" * 32}, "c9"))
    with pytest.raises(ContentMissing, match="cannot be opened"):
        await read(other, "a")


async def test_missing_swapped_and_lost_rows_are_noticed(store: ContentStore, database: Database):
    with pytest.raises(ContentMissing):
        await read(store, "none")
    await store.put("a", each(random.Random(3).randbytes(600_000)))
    sql_of(database, "UPDATE content SET chunks = 2")
    with pytest.raises(ContentMissing, match="not whole"):
        await read(store, "a")
    sql_of(
        database,
        "UPDATE content SET chunks = 3",
        "UPDATE content_chunk SET n = n + 10",
        "UPDATE content_chunk SET n = 12 - n",
    )
    with pytest.raises(ContentMissing, match="cannot be opened"):
        await read(store, "a")


async def test_a_source_that_fails_or_is_cancelled_leaves_nothing(
    store: ContentStore, database: Database
):
    async def failing(error: BaseException):
        for _ in range(30):
            yield random.Random(4).randbytes(100_000)
        raise error

    for error in (ConnectionError("gone"), RecordsUnavailable("x")):
        with pytest.raises(type(error)):
            await store.put("a", failing(error))
        async with asyncio.timeout(30):
            while await stored(database):
                await asyncio.sleep(0.01)

    async def slow():
        yield random.Random(4).randbytes(3_000_000)
        await asyncio.sleep(60)

    task = asyncio.create_task(store.put("b", slow()))
    async with asyncio.timeout(30):
        while not await stored(database):
            await asyncio.sleep(0.01)
    # No lock is held while the source is awaited.
    await store.put("c", each(b"quick"))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with asyncio.timeout(30):
        while await stored(database) != ["c"]:
            await asyncio.sleep(0.01)


async def stored(database: Database) -> list[str]:
    async def work(connection):
        chunks = await connection.scalars(schema.content_chunk.select())
        return sorted(set(chunks))

    return await database.read(work)


async def test_an_id_is_used_once_and_deleted_for_good(store: ContentStore, database: Database):
    await store.put("a", each(b"one"))
    with pytest.raises(RecordsUnavailable):
        await store.put("a", each(b"two"))
    assert await read(store, "a") == b"one"
    await store.delete("a")
    await store.delete("a")
    assert await stored(database) == []


async def test_sweeping_removes_only_what_nobody_needs(
    database: Database, sealer: Sealer, make_message, wire, archive
):
    now = [10_000_000]
    store = ContentStore(database, sealer, clock=lambda: now[0])
    for name in ("recorded", "orphan"):
        await store.put(name, each(b"x"))
    now[0] += 2 * 86_400_000
    assert await store.sweep() == 0
    recorder = Recorder(wire, sealer)
    message = make_message(rule_set_hash="", content="recorded", decided=now[0])
    await recorder.append(message, None, ["a@b.fi"])
    await recorder.aclose()
    await Archiver(wire, archive, clock=lambda: now[0]).run_once()
    assert await store.sweep() == 1
    assert await stored(database) == ["recorded"]
