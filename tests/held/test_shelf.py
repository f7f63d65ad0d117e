"""The archive that a worker opens when a message first needs it."""

import asyncio
from pathlib import Path

import pytest

from gateway.failure import RecordsUnavailable
from gateway.held.shelf import Shelf
from gateway.held.store import HeldStateError
from gateway.records.database import Database
from gateway.records.seal import Sealer

SEALER = Sealer({"1": bytes(32)}, "1")


async def content(*pieces: bytes):
    for piece in pieces:
        yield piece


async def read(shelf: Shelf, content_id: str) -> bytes:
    return b"".join([piece async for piece in shelf.contents.open(content_id)])


@pytest.fixture
async def archive(tmp_path: Path) -> Path:
    """An archive that is there and closed."""
    path = tmp_path / "archive.sqlite"
    await (await Database.open(path)).aclose()
    return path


@pytest.fixture
async def shelf(archive: Path):
    one = Shelf(archive, SEALER, timeout=10)
    yield one
    await one.aclose()


async def test_all_who_ask_at_once_get_the_same_stores(shelf):
    stores = await asyncio.gather(*(shelf.stores() for _ in range(5)))
    assert all(one is stores[0] for one in stores)
    await shelf.contents.put("c1", content(b"Hei", b"\r\n"))
    assert await read(shelf, "c1") == b"Hei\r\n"
    with pytest.raises(HeldStateError):
        await shelf.held.get("nobody")


async def test_a_caller_who_leaves_does_not_end_the_opening_for_the_others(shelf):
    first = asyncio.create_task(shelf.stores())
    second = asyncio.create_task(shelf.contents.put("c1", content(b"x")))
    await asyncio.sleep(0)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    assert await second == "c1"


async def test_an_archive_that_is_away_is_not_begun_anew_and_is_found_when_it_is_back(
    shelf, archive, tmp_path
):
    away = archive.rename(tmp_path / "away")
    for _ in range(2):
        with pytest.raises(RecordsUnavailable):
            await shelf.contents.put("c1", content(b"x"))
        assert not archive.exists()
    away.rename(archive)
    await shelf.contents.put("c1", content(b"x"))
    assert await read(shelf, "c1") == b"x"


async def test_a_file_that_is_no_archive_fails_the_message_and_is_not_its_clients_fault(
    shelf, archive
):
    archive.write_bytes(b"something else, and long enough to be taken for a header" * 100)
    with pytest.raises(RecordsUnavailable):
        await shelf.held.list()


async def test_an_archive_without_our_tables_fails_the_message_too(shelf, archive):
    archive.write_bytes(b"")
    with pytest.raises(RecordsUnavailable, match="no archive"):
        await shelf.held.list()


async def test_a_shelf_that_nobody_used_opens_nothing_and_closes(archive):
    shelf = Shelf(archive, SEALER, timeout=10)
    archive.unlink()
    await shelf.aclose()
    assert not archive.exists()
    with pytest.raises(RecordsUnavailable, match="closed"):
        await shelf.stores()


async def test_closing_waits_for_an_opening_and_closes_what_it_made(archive):
    shelf = Shelf(archive, SEALER, timeout=10)
    opening = asyncio.create_task(shelf.stores())
    await asyncio.sleep(0)
    await shelf.aclose()
    stores = await opening
    # The write-ahead log goes with the last connection.
    assert not archive.with_name("archive.sqlite-wal").exists()
    with pytest.raises(RecordsUnavailable, match="closed"):
        await shelf.stores()
    assert stores.database.path == archive
