import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.decision.facts import Kind
from gateway.held.message import HeldMessage, HeldRecipient, State
from gateway.held.store import HeldStateError, HeldStore
from gateway.records.content import ContentMissing, ContentStore
from gateway.records.database import Database
from gateway.records.seal import Sealer

NOW = 1_763_800_000_000
SEALER = Sealer({"c1": bytes(range(32))}, "c1")


class Shelf:
    """The stores over one archive, and their clock."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.now = NOW
        self.contents = ContentStore(database, SEALER, clock=lambda: self.now)
        self.held = HeldStore(database, SEALER, self.contents, clock=lambda: self.now)


@pytest.fixture
async def shelf(tmp_path: Path) -> AsyncIterator[Shelf]:
    database = await Database.open(tmp_path / "archive.sqlite")
    yield Shelf(database)
    await database.aclose()


def message(content_id: str = "c1") -> HeldMessage:
    return HeldMessage(
        message_id="01M",
        client="crm",
        upstream="main",
        kind=Kind.SERVICE,
        topic="orders",
        content_id=content_id,
        sender="bounce@example.com",
        params=("BODY=8BITMIME", "RET=HDRS"),
        recipients=(
            HeldRecipient(
                address="matti@example.fi",
                record_id="01R",
                digest="k1:00",
                rule="R07",
                reason="Service basis unclear",
                facts={"known": False, "kind": "service"},
                params=("NOTIFY=NEVER",),
            ),
        ),
    )


async def content(*pieces: bytes) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


async def test_a_message_is_held_claimed_and_released(shelf: Shelf):
    await shelf.contents.put("c1", content(b"Subject: x\r\n\r\n", b"Hei\r\n"))
    held_id = await shelf.held.prepare(message())
    assert await shelf.held.list() == []
    await shelf.held.commit(held_id)
    (held,) = await shelf.held.list()
    assert (held.id, held.state, held.created, held.message) == (
        held_id,
        State.HELD,
        NOW,
        message(),
    )
    octets = b"".join([piece async for piece in shelf.held.open_content(held_id)])
    assert octets == b"Subject: x\r\n\r\nHei\r\n"
    claims = await asyncio.gather(
        *[shelf.held.claim(held_id) for _ in range(4)], return_exceptions=True
    )
    assert sum(not isinstance(claim, Exception) for claim in claims) == 1
    await shelf.held.unclaim(held_id)
    await shelf.held.claim(held_id)
    with pytest.raises(HeldStateError, match="is releasing, not held"):
        await shelf.held.mark_discarded(held_id, "anna", "", NOW)
    await shelf.held.mark_released(held_id, "anna", "asked by phone", NOW + 5)
    held = await shelf.held.get(held_id)
    assert (held.state, held.person, held.reason, held.ended) == (
        State.RELEASED,
        "anna",
        "asked by phone",
        NOW + 5,
    )
    with pytest.raises(HeldStateError, match="is released"):
        await shelf.held.mark_released(held_id, "anna", "", NOW)
    assert await shelf.held.list() == []


async def test_a_message_is_discarded(shelf: Shelf):
    held_id = await shelf.held.prepare(message())
    await shelf.held.commit(held_id)
    await shelf.held.mark_discarded(held_id, "anna", "spam", NOW)
    assert [each.id for each in await shelf.held.list([State.DISCARDED])] == [held_id]


async def test_a_revoked_message_was_never_there(shelf: Shelf):
    held_id = await shelf.held.prepare(message())
    await shelf.held.revoke(held_id)
    await shelf.held.revoke(held_id)
    for act in (shelf.held.commit, shelf.held.get, shelf.held.claim):
        with pytest.raises(HeldStateError, match="no held message"):
            await act(held_id)
    kept = await shelf.held.prepare(message())
    await shelf.held.commit(kept)
    await shelf.held.claim(kept)
    await shelf.held.revoke(kept)
    assert (await shelf.held.get(kept)).state is State.RELEASING


async def test_what_was_only_prepared_is_swept(shelf: Shelf):
    old = await shelf.held.prepare(message())
    kept = await shelf.held.prepare(message())
    await shelf.held.commit(kept)
    shelf.now += 3_600_001
    new = await shelf.held.prepare(message())
    assert await shelf.held.sweep() == 1
    with pytest.raises(HeldStateError):
        await shelf.held.get(old)
    assert (await shelf.held.get(kept)).state is State.HELD
    assert (await shelf.held.get(new)).state is State.PREPARED


async def test_the_list_pages_newest_first(shelf: Shelf):
    ids = []
    for _ in range(5):
        ids.append(await shelf.held.prepare(message()))
        await shelf.held.commit(ids[-1])
        await asyncio.sleep(0.002)
    pages = await shelf.held.list(limit=3)
    pages += await shelf.held.list(limit=3, before=pages[-1].id)
    assert [held.id for held in pages] == ids[::-1]


async def test_the_envelope_is_sealed_and_its_content_may_be_gone(shelf: Shelf):
    held_id = await shelf.held.prepare(message())
    await shelf.held.commit(held_id)
    files = [path.read_bytes() for path in shelf.database.path.parent.iterdir()]
    assert any(held_id.encode() in octets for octets in files)
    assert not any(b"matti" in octets or b"bounce" in octets for octets in files)
    with pytest.raises(ContentMissing):
        [piece async for piece in shelf.held.open_content(held_id)]


@given(st.text(), st.lists(st.text(), max_size=3), st.text(max_size=50))
def test_an_envelope_reads_back_as_it_was_written(sender: str, params: list[str], address: str):
    before = HeldMessage(
        message_id="m",
        client="c",
        upstream="u",
        kind=Kind.NOTICE,
        content_id="x",
        sender=sender,
        params=tuple(params),
        recipients=(
            HeldRecipient(
                address=address, record_id="r", digest="d", rule="R", params=tuple(params)
            ),
        ),
    )
    after = HeldMessage.from_envelope(
        before.envelope(),
        message_id="m",
        client="c",
        upstream="u",
        kind=Kind.NOTICE,
        topic=None,
        content_id="x",
    )
    assert after == before
