import asyncio
import dataclasses
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import LargeBinary

from gateway.contacts.contact import Channel
from gateway.decision.facts import Kind
from gateway.held.message import HeldMessage, HeldRecipient, State
from gateway.held.store import HeldStateError, HeldStore
from gateway.records import schema
from gateway.records.content import ContentMissing, ContentStore
from gateway.records.database import Database
from gateway.records.record import OutcomeRecord, Result
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
async def shelf(archive_place: Path | str) -> AsyncIterator[Shelf]:
    database = await Database.open(archive_place)
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


async def test_an_identity_code_in_the_reason_of_an_end_is_masked(shelf: Shelf):
    held_id = await shelf.held.prepare(message())
    await shelf.held.commit(held_id)
    await shelf.held.mark_discarded(held_id, "anna", "131052-308T asked", NOW)
    assert (await shelf.held.get(held_id)).reason == "*********** asked"
    outcome = OutcomeRecord(
        record_id="r", at=NOW, result=Result.DISCARDED, person="anna", reason="131052-308T asked"
    )
    assert b"*********** asked" in outcome.to_json()


async def test_a_day_after_its_end_the_envelope_is_forgotten(shelf: Shelf):
    ids = [await shelf.held.prepare(message()) for _ in range(3)]
    await shelf.held.commit(*ids)
    await shelf.held.mark_discarded(ids[0], "anna", "spam", NOW)
    await shelf.held.claim(ids[1])
    await shelf.held.mark_released(ids[1], "anna", "", NOW)
    shelf.now = NOW + 86_400_000
    await shelf.held.sweep()
    assert (await shelf.held.get(ids[0])).message.recipients
    shelf.now += 1
    await shelf.held.sweep()
    for held_id in ids[:2]:
        ended = await shelf.held.get(held_id)
        assert (ended.message.recipients, ended.message.sender) == ((), "")
        assert (ended.person, ended.message.client) == ("anna", message().client)
    assert (await shelf.held.get(ids[2])).message.recipients == message().recipients


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


@pytest.mark.parametrize("archive_place", ["sqlite"], indirect=True)
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


DUE = NOW + 3_600_000


def kept() -> HeldMessage:
    return dataclasses.replace(message(), channel=Channel.SMS, due=DUE)


async def waiting(shelf: Shelf) -> str:
    held_id = await shelf.held.prepare(kept())
    await shelf.held.commit(held_id)
    return held_id


async def test_a_message_that_waits_for_a_time_is_nobody_s_until_then(shelf: Shelf):
    held_id = await waiting(shelf)
    held = await shelf.held.get(held_id)
    assert (held.state, held.next_try, held.message) == (State.WAITING, DUE, kept())
    assert await shelf.held.list() == []
    with pytest.raises(HeldStateError, match="is waiting, not held"):
        await shelf.held.claim(held_id)
    assert await shelf.held.due(DUE - 1, 10) == []
    assert await shelf.held.due(DUE, 10) == [(held_id, "crm")]
    assert await shelf.held.due(DUE, 10, ["crm"]) == []
    await shelf.held.mark_discarded(held_id, "anna", "out of date", NOW)
    assert await shelf.held.due(DUE, 10) == []


async def test_what_is_due_comes_in_order_and_bounded(shelf: Shelf):
    ids = []
    for later in (2, 0, 1):
        held_id = await shelf.held.prepare(dataclasses.replace(kept(), due=DUE + later))
        await shelf.held.commit(held_id)
        ids.append(held_id)
    assert [one for one, _ in await shelf.held.due(DUE + 9, 2)] == [ids[1], ids[2]]


async def test_of_many_who_claim_at_its_time_one_gets_it(shelf: Shelf):
    held_id = await waiting(shelf)
    claims = await asyncio.gather(
        *(shelf.held.claim(held_id, of=State.WAITING, until=DUE) for _ in range(5)),
        return_exceptions=True,
    )
    assert sum(not isinstance(claim, Exception) for claim in claims) == 1
    await shelf.held.put_off(held_id, DUE + 5)
    held = await shelf.held.get(held_id)
    assert (held.state, held.next_try, held.message.due) == (State.WAITING, DUE + 5, DUE)


async def test_a_claim_is_given_back_to_a_person_with_what_is_left(shelf: Shelf):
    held_id = await waiting(shelf)
    await shelf.held.claim(held_id, of=State.WAITING, until=DUE)
    rest = dataclasses.replace(kept(), content_id="c2", due=None)
    await shelf.held.hand_over(held_id, "refused", rest)
    held = await shelf.held.get(held_id)
    assert (held.state, held.next_try, held.reason) == (State.HELD, None, "refused")
    assert held.message == rest


async def test_a_claim_that_runs_out_is_shown_and_never_sent_again(shelf: Shelf):
    timed, by_person = await waiting(shelf), await shelf.held.prepare(message())
    await shelf.held.commit(by_person)
    await shelf.held.claim(timed, of=State.WAITING, until=NOW + 10)
    await shelf.held.claim(by_person)
    shelf.now = NOW + 10
    await shelf.held.sweep()
    assert (await shelf.held.get(timed)).state is State.UNCERTAIN
    assert (await shelf.held.get(by_person)).state is State.RELEASING
    with pytest.raises(HeldStateError, match="is uncertain"):
        await shelf.held.claim(timed)
    with pytest.raises(HeldStateError, match="is uncertain"):
        await shelf.held.put_off(timed, DUE)
    # Who comes back late still says what came of it.
    await shelf.held.mark_released(timed, "gateway", "", NOW)


async def test_several_are_committed_together_or_not_at_all(shelf: Shelf):
    ids = [await shelf.held.prepare(message()), await shelf.held.prepare(kept())]
    with pytest.raises(HeldStateError, match="no held message"):
        await shelf.held.commit(*ids, "nobody")
    assert [(await shelf.held.get(one)).state for one in ids] == [State.PREPARED] * 2
    await shelf.held.commit(*ids)
    assert [(await shelf.held.get(one)).state for one in ids] == [State.HELD, State.WAITING]
    assert await shelf.held.revoke(*ids) == 0


async def test_what_an_earlier_request_stored_is_adopted_whole_or_not(shelf: Shelf):
    ids = [await shelf.held.prepare(kept()), await waiting(shelf)]
    assert not await shelf.held.adopt(*ids, "nobody")
    assert (await shelf.held.get(ids[0])).state is State.PREPARED
    assert await shelf.held.adopt(*ids)
    assert (await shelf.held.get(ids[0])).state is State.WAITING
    await shelf.held.mark_discarded(ids[1], "anna", "x", NOW)
    assert await shelf.held.adopt(*ids)
    assert (await shelf.held.get(ids[1])).state is State.DISCARDED


async def test_what_was_kept_for_a_time_and_never_told_goes_to_a_person(shelf: Shelf):
    held_id = await shelf.held.prepare(kept())
    await shelf.held.keep(held_id)
    shelf.now += 3_600_001
    await shelf.held.sweep()
    held = await shelf.held.get(held_id)
    assert (held.state, held.next_try) == (State.HELD, None)


async def test_the_content_of_what_waits_is_not_swept(shelf: Shelf):
    ids = {}
    for name in ("kept", "waiting", "uncertain", "released"):
        await shelf.contents.put(name, content(b"x"))
        ids[name] = await shelf.held.prepare(dataclasses.replace(kept(), content_id=name))
    await shelf.held.keep(ids["kept"])
    for name in ("waiting", "uncertain", "released"):
        await shelf.held.commit(ids[name])
    for name in ("uncertain", "released"):
        await shelf.held.claim(ids[name], of=State.WAITING, until=DUE)
    await shelf.held.doubt(ids["uncertain"], "x")
    await shelf.held.mark_released(ids["released"], "a", "b", NOW)
    shelf.now += 3 * 86_400_000

    async def a_later_message(connection):
        columns = schema.message.c
        values = {c.name: b"" if isinstance(c.type, LargeBinary) else "" for c in columns}
        values |= {"received": shelf.now, "decided": shelf.now, "size": 0, "content": None}
        await connection.execute(schema.message.insert().values(**values))

    await shelf.database.write(a_later_message)
    assert await shelf.contents.sweep() == 1
    for name in ("kept", "waiting", "uncertain"):
        assert await shelf.contents.size(name) == 1
