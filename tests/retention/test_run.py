"""Years pass under a clock of the tests', on a real register and archive."""

import asyncio
from datetime import date

import pytest
from sqlalchemy import insert, text

from gateway.contacts.contact import Channel
from gateway.contacts.parse import parse_contact
from gateway.entry.entry import Entry
from gateway.records import schema
from gateway.records.act import Act, Action
from gateway.records.purge import Purge
from gateway.subject.directory import PersonStateError
from gateway.subject.person import (
    Bond,
    Commitment,
    ContactPoint,
    Hold,
    Name,
    Person,
    Relationship,
    Restriction,
)
from tests.retention.conftest import Office, ms

GONE, STAYS = "gone.person@example.com", "stays.person@example.com"


async def test_a_contact_is_forgotten_five_years_after_the_relationship_and_not_a_day_before(
    office: Office,
):
    await office.customer(GONE, date(2018, 1, 1), date(2020, 2, 29))
    await office.consent(GONE, expires=ms(2020, 4, 1))
    await office.customer(STAYS, date(2018, 1, 1))
    office.now[0] = ms(2025, 3, 31, 23)
    assert (await office.plan()).nothing
    assert (await office.run()).nothing
    office.now[0] = ms(2025, 4, 1)
    found = await office.plan()
    assert found.contacts == 1
    done = await office.run()
    assert done.contacts == 1
    assert await office.register.show(parse_contact(GONE)) == Entry()
    assert (await office.register.show(parse_contact(STAYS))).relationship_start
    # What was known of the contact is no event any more either; that it was forgotten is.
    kinds = [event.kind for event in await _events(office, GONE)]
    assert kinds == ["forget"]
    assert (await office.run()).nothing
    assert (await office.archive.verify()).faults == ()


async def test_bans_and_withdrawals_are_never_forgotten(office: Office):
    await office.customer(GONE, date(2018, 1, 1), date(2019, 1, 1))
    await office.ban(GONE)
    await office.consent(STAYS, expires=ms(2020, 4, 1))
    await office.withdraw(STAYS)
    office.now[0] = ms(2040)
    assert (await office.run()).contacts == 2
    for address in (GONE, STAYS):
        (standing,) = await office.register.look_up([parse_contact(address)])
        facts = standing.facts(Channel.EMAIL, None, None, office.now[0])
        assert facts.ban_all or facts.ban_channel
        assert {event.kind for event in await _events(office, address)} >= {"forget"}
        assert {"ban", "withdraw"} & {event.kind for event in await _events(office, address)}


async def test_records_go_at_their_end_with_outcomes_and_messages_and_the_chain_stays_whole(
    office: Office,
):
    old = await office.message(GONE, STAYS, retain_until=ms(2025, 3, 1))
    office.now[0] = ms(2024)
    young = await office.message(GONE, retain_until=ms(2029))
    office.now[0] = ms(2025, 2, 28, 23)
    assert (await office.plan()).nothing
    office.now[0] = ms(2025, 3, 2)
    assert (await office.plan()).purged.rows == {"record": 2, "outcome": 2, "message": 1}
    done = await office.run()
    assert done.purged.rows == {"record": 2, "outcome": 2, "message": 1}
    assert [await office.count(one) for one in ("message", "record", "outcome")] == [1, 1, 1]
    assert (await office.archive.show(young.recipients[0].id)).message.id == young.id
    verification = await office.archive.verify()
    assert verification.faults == ()
    assert old.id != young.id


async def test_a_row_that_somebody_took_away_is_not_taken_for_a_purged_one(office: Office):
    await office.message(GONE, STAYS, retain_until=ms(2025, 3, 1))
    office.now[0] = ms(2024)
    young = await office.message(GONE, retain_until=ms(2029))
    office.now[0] = ms(2025, 3, 2)
    done = await office.run()
    await _sql(office, f"DELETE FROM record WHERE id = '{young.recipients[0].id}'")
    (fault,) = (await office.archive.verify()).faults
    assert f"record {young.recipients[0].id}" in fault
    assert "is missing" in fault
    # Nor can it be made one afterwards: the act tells which rows it was for.
    async with office.database.engine.begin() as connection:
        rows = await connection.execute(text("SELECT seq FROM chain WHERE kind = 'record'"))
        last = max(rows.scalars())
        await connection.execute(
            insert(schema.purged).values(seq=last, act=done.purged.acts[0], gone=b"\1")
        )
    faults = (await office.archive.verify()).faults
    assert any(
        f"purge {done.purged.acts[0]} removed other rows than it was recorded for" in fault
        for fault in faults
    )
    await _sql(office, f"UPDATE purged SET act = 'invented' WHERE seq = {last}")
    faults = (await office.archive.verify()).faults
    assert any("purge invented is not among the acts" in fault for fault in faults)


async def test_a_person_who_is_kept_keeps_the_records(office: Office):
    await office.message(GONE, STAYS, retain_until=ms(2025, 3, 1))
    async with office.database.engine.begin() as connection:
        person = {
            "id": "p1",
            "created": 1,
            "changed": 1,
            "state": "active",
            "merged_into": None,
            "retain_until": None,
            "sealed_profile": b"",
        }
        await connection.execute(insert(schema.person).values(**person))
        contact = {"person_id": "p1", "since": 1, "until": None, "sealed_address": b""}
        await connection.execute(
            insert(schema.person_contact).values(digest=office.digest(STAYS), **contact)
        )
    office.now[0] = ms(2026)
    done = await office.run()
    assert done.purged.rows == {"record": 1, "outcome": 1}
    await _sql(office, f"UPDATE person SET retain_until = {ms(2027)}")
    office.now[0] = ms(2027, 1, 2)
    assert (await office.run()).purged.rows == {"record": 1, "outcome": 1, "message": 1}
    assert (await office.archive.verify()).faults == ()


async def test_acts_go_after_ten_years_but_those_of_purges_which_prove_what_is_gone(
    office: Office,
):
    await office.message(GONE, retain_until=ms(2025))
    office.now[0] = ms(2026)
    read = Act(action=Action.READ, actor="anna", at=office.now[0])
    await office.recorder.act(read)
    done = await office.run()
    assert await office.count("act") == 1 + len(done.purged.acts) == 3
    office.now[0] = ms(2036)
    assert (await office.run()).nothing
    office.now[0] = ms(2036, 1, 2)
    assert (await office.run()).purged.rows == {"act": 1}
    assert (await office.archive.verify()).faults == ()


async def test_a_run_that_is_cut_off_is_ended_by_the_next(office: Office, monkeypatch):
    for number in range(30):
        await office.message(f"p{number}@example.com", retain_until=ms(2025))
    office.now[0] = ms(2026)
    monkeypatch.setattr("gateway.records.purge._BATCH", 5)
    began = asyncio.Event()
    write = office.database.write

    async def slow(work, **how):
        result = await write(work, **how)
        began.set()
        return result

    monkeypatch.setattr(office.database, "write", slow)
    task = asyncio.create_task(
        Purge(office.database, 10, office.clock).run(office.recorder, "anna", "over")
    )
    await began.wait()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await office.archiver.run_once()
    assert (await office.archive.verify()).faults == ()
    await office.run()
    assert await office.count("record") == 0
    assert (await office.archive.verify()).faults == ()


async def _events(office: Office, address: str):
    from gateway.entry.event import Event
    from gateway.records.events import EventArchive

    await office.archiver.run_once()
    found = await EventArchive(office.database).of([office.digest(address)])
    return [Event.from_json(one) for one in found]


async def _sql(office: Office, statement: str) -> None:
    async with office.database.engine.begin() as connection:
        await connection.execute(text(statement))


async def test_a_person_is_forgotten_after_the_last_of_three_ends_and_the_bans_stay(
    office: Office,
):
    store = office.store()
    maija = Person(
        id="01MAIJA",
        names=(Name(text="Maija Virtanen", since=ms(2018)),),
        contacts=(
            ContactPoint(address=GONE, since=ms(2018), source="order"),
            ContactPoint(address=STAYS, since=ms(2018), source="order"),
        ),
        relationships=(Relationship(start=date(2018, 1, 1), end=date(2020, 1, 31)),),
        commitments=(
            Commitment(bond=Bond.CONTRACT, reference="c", end=date(2020, 6, 30)),
            Commitment(bond=Bond.WARRANTY, reference="w", end=date(2021, 2, 28)),
        ),
    )
    await store.add(maija)
    await office.customer(GONE, date(2018, 1, 1), date(2020, 1, 31))
    await office.ban(GONE)
    await office.customer(STAYS, date(2018, 1, 1), date(2020, 1, 31))
    # The contacts' own time would be over; the person's is not.
    office.now[0] = ms(2026, 2, 28, 23)
    assert (await office.run()).nothing
    assert (await store.get(maija.id)).person == maija
    office.now[0] = ms(2026, 3, 1)
    assert (await office.plan()).people == 1
    done = await office.run()
    assert done.people == 1
    with pytest.raises(PersonStateError):
        await store.get(maija.id)
    assert await office.custody.destroyed(["p:01MAIJA"])
    assert await office.register.show(parse_contact(STAYS)) == Entry()
    kept = await office.register.show(parse_contact(GONE))
    assert kept.bans
    assert kept.relationship_start is None
    assert (await office.run()).nothing
    assert (await office.archive.verify()).faults == ()


async def test_a_person_with_an_open_contract_or_a_legal_hold_is_kept(office: Office):
    store = office.store()
    contract = Commitment(bond=Bond.CONTRACT, reference="c", start=date(2019, 1, 1))
    await store.add(Person(id="01OPEN", commitments=(contract,)))
    await store.add(Person(id="01HELD", hold=Hold(since=ms(2020), reason="claim 7")))
    contested = Restriction(since=ms(2020), reason="accuracy contested")
    await store.add(Person(id="01KEPT", restriction=contested))
    await store.add(Person(id="01GONE"))
    office.now[0] = ms(2040)
    assert (await office.run()).people == 1
    assert (await store.get("01OPEN")).person.commitments == (contract,)
    assert (await store.get("01HELD")).person.hold
    assert (await store.get("01KEPT")).person.restriction == contested
