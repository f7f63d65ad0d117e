"""The end of waiting, and who may tell of it."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.failure import RecordsUnavailable
from gateway.held.expiry import Expiry
from gateway.held.message import Held, State
from gateway.held.notice import DAY, LISTED, Digest, write
from gateway.held.reminded import Reminded, ReminderNote
from gateway.held.store import HeldStateError, HeldStore
from gateway.records.content import ContentStore
from gateway.records.database import Database
from gateway.records.record import Result
from tests.held.test_store import NOW, SEALER, message


class Journal:
    """Keeps what it is told; fails or waits when asked to."""

    def __init__(self) -> None:
        self.told: list = []
        self.fails = False

    async def tell(self, act, outcomes) -> None:
        if self.fails:
            raise RecordsUnavailable("away")
        self.told.append((act, outcomes))


class House:
    def __init__(self, database: Database) -> None:
        self.now = NOW
        self.database = database
        contents = ContentStore(database, SEALER, clock=lambda: self.now)
        self.held = HeldStore(database, SEALER, contents, clock=lambda: self.now)
        self.journal = Journal()
        self.expiry = Expiry(self.held, self.journal, clock=lambda: self.now)
        self.note = ReminderNote(database)

    async def hold(self) -> str:
        held_id = await self.held.prepare(message())
        await self.held.commit(held_id)
        return held_id

    async def state(self, held_id: str) -> State:
        return (await self.held.get(held_id)).state


@pytest.fixture
async def house(archive_place: Path | str) -> AsyncIterator[House]:
    database = await Database.open(archive_place)
    yield House(database)
    await database.aclose()


async def test_what_nobody_decided_about_in_time_expires_and_nothing_else(house):
    old, doubtful, released, claimed = [await house.hold() for _ in range(4)]
    await house.held.claim(doubtful)
    await house.held.doubt(doubtful, "lost")
    await house.held.mark_released(released, "anna", "ok", NOW)
    await house.held.claim(claimed)
    house.now += 1
    young = await house.hold()
    house.now = NOW + 30 * DAY + 1
    assert await house.expiry.run(30) == 2
    assert [await house.state(one) for one in (old, doubtful, released, claimed, young)] == [
        State.EXPIRED, State.EXPIRED, State.RELEASED, State.RELEASING, State.HELD
    ]  # fmt: skip
    gone = await house.held.get(old)
    assert (gone.ended, gone.reason, gone.next_try) == (
        house.now,
        "nobody decided in 30 days",
        None,
    )
    (act, (outcome,)), _ = house.journal.told
    assert (act.action, act.actor, act.subject) == ("expire", "gateway", old)
    assert (outcome.record_id, outcome.result) == ("01R", Result.EXPIRED)
    for state in (State.HELD, State.UNCERTAIN):
        with pytest.raises(HeldStateError, match="expired"):
            await house.held.claim(old, of=state)
    assert await house.expiry.run(30) == 0
    assert [one.id for one in await house.held.expired_since(NOW, 10)] == [old, doubtful]


async def test_what_could_not_be_recorded_waits_on_and_is_tried_again_the_same(house):
    held_id = await house.hold()
    house.now += 31 * DAY
    house.journal.fails = True
    with pytest.raises(RecordsUnavailable):
        await house.expiry.run(30)
    assert await house.state(held_id) is State.HELD
    house.journal.fails = False
    assert await house.expiry.run(30) == 1
    ((act, (outcome,)),) = house.journal.told

    # As after a crash between the record and the archive: the claim runs out, and the
    # same ids come again, which the archive knows.
    other = await house.hold()
    house.now += 31 * DAY
    mark = house.held.mark_expired
    house.held.mark_expired = lambda *_: asyncio.sleep(0)
    await house.expiry.run(30)
    assert await house.state(other) is State.RELEASING
    house.held.mark_expired = mark
    house.now += 600_000
    await house.held.sweep()
    assert await house.expiry.run(30) == 1
    assert await house.state(other) is State.EXPIRED
    first, second = house.journal.told[1:]
    assert first[0].id == second[0].id != act.id
    assert first[1][0].id == second[1][0].id != outcome.id
    assert len(first[0].id) == len(first[1][0].id) == 26


async def test_of_two_gateways_one_expires_each_message(house):
    ids = [await house.hold() for _ in range(20)]
    house.now += 31 * DAY
    other = Expiry(house.held, house.journal, clock=lambda: house.now)
    done = await asyncio.gather(house.expiry.run(30), other.run(30))
    assert sum(done) == 20
    assert len(house.journal.told) == 20
    assert {await house.state(one) for one in ids} == {State.EXPIRED}


async def test_of_two_who_want_to_tell_one_may(house):
    never = await house.note.read()
    assert never == Reminded(0, None)
    for old, new in ((never, Reminded(0, 5)), (Reminded(0, 5), Reminded(7, None))):
        won = await asyncio.gather(*(house.note.change(old, new) for _ in range(4)))
        assert sorted(won) == [False, False, False, True]
        assert await house.note.read() == new
    assert not await house.note.change(never, Reminded(0, 9))


TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=3, max_size=30)


@given(st.lists(st.sampled_from([State.HELD, State.UNCERTAIN]), max_size=3), TEXT)
def test_a_notice_names_ids_rules_and_ages_and_never_a_person(states, name):
    """Whatever is held: nothing of the envelope is in the notice but its rules."""
    known = message()
    held = [
        Held(f"01H{number}", state, NOW - 9 * DAY, known, None, "", "")
        for number, state in enumerate(states)
    ]
    gone = Held("01GONE", State.EXPIRED, NOW - 40 * DAY, known, NOW - DAY, "", "late")
    digest = Digest(NOW, 5, held, [gone], 30)
    controller = name.replace("\n", " ").replace("\r", " ")
    octets = write(
        digest, controller=controller, sender="gw@lamisnet.fi", recipient="dpo@lamisnet.fi"
    )
    for secret in (b"matti", b"bounce", b"example", b"Service basis", b"k1:00", b"01R"):
        assert secret not in octets
    assert b"\n" not in octets.replace(b"\r\n", b"")
    assert b"Message-ID: <held.5@lamisnet.fi>\r\n" in octets
    assert b"Auto-Submitted: auto-generated\r\n" in octets
    text = octets.replace(b"=\r\n", b"")
    if b"base64" not in octets:
        assert all(one.id.encode() in text for one in (*held, gone))


def test_a_notice_is_bounded_and_says_so():
    held = [
        Held(f"01H{number:03}", State.HELD, NOW - 9 * DAY, message(), None, "", "")
        for number in range(LISTED + 1)
    ]
    octets = write(
        Digest(NOW, 0, held, [], 30), controller="L", sender="gw@l.fi", recipient="dpo@l.fi"
    )
    assert b"Subject: Held messages: more than 200 waiting, 0 expired" in octets
    assert octets.count(b"9 days, expires 2025-12-13") == LISTED
