"""What retention must not forget, and what a verification must see behind a purge."""

from dataclasses import replace
from datetime import date

import pytest
from sqlalchemy import insert, text

from gateway.contacts.digest import KeyRing
from gateway.contacts.hashed import Scheme
from gateway.contacts.parse import parse_contact
from gateway.entry.event import Event, EventKind
from gateway.records import schema
from gateway.records.events import EventArchive
from gateway.subject.directory import PersonStateError, State
from gateway.subject.person import ContactPoint, Person, Relationship
from tests.retention.conftest import Office, ms

GONE, STAYS = "gone.person@example.com", "stays.person@example.com"


async def test_how_hashed_lists_were_made_is_never_forgotten(office: Office):
    scheme = await office.register.schemes.add(Scheme.named("sha256:trim-lower"))
    await office.register.hashed.announce(scheme, "anna", "list")
    await office.archiver.run_once()
    office.now[0] = ms(2040)
    found = await office.plan()
    assert found.contacts == 0
    await office.run()
    subjects = office.register.hashed.announced_as
    assert len(await EventArchive(office.database).of(subjects)) == 1


async def test_a_consent_in_force_outlives_its_person(office: Office):
    await office.store().add(
        Person(
            id="01MAIJA",
            contacts=(
                ContactPoint(address=GONE, since=1, source="order"),
                ContactPoint(address=STAYS, since=1, source="order"),
            ),
        )
    )
    await office.consent(GONE)
    await office.customer(STAYS, date(2018, 1, 1))
    await office.message(GONE, STAYS, retain_until=ms(2025))
    office.now[0] = ms(2030)
    done = await office.run()
    assert (await office.store().get("01MAIJA")).person.contacts
    assert not done.purged.rows
    assert (await office.register.show(parse_contact(GONE))).consents
    assert (await office.register.show(parse_contact(STAYS))).relationship_start


@pytest.mark.parametrize("after", ["begin_erasure", "destroy"])
async def test_a_person_half_forgotten_is_forgotten_by_the_next_run(
    office: Office, monkeypatch, after
):
    store = office.store()
    await store.add(
        Person(id="01MAIJA", contacts=(ContactPoint(address=GONE, since=1, source="order"),))
    )
    office.now[0] = ms(2030)

    class Killed(Exception):
        pass

    async def killed(*_):
        raise Killed

    with monkeypatch.context() as patch:
        if after == "begin_erasure":
            patch.setattr(office.custody, "destroy", killed)
        else:
            patch.setattr("gateway.subject.store.PersonStore.end_erasure", killed)
        with pytest.raises(Killed):
            await office.run()
    await office.archiver.run_once()
    await office.run()
    assert await office.custody.destroyed(["p:01MAIJA"])
    assert (await store.row("01MAIJA")).state is State.ERASED
    assert await store.contact_digests("01MAIJA") == []


async def test_a_record_found_by_an_earlier_digest_key_is_kept_with_its_person(office: Office):
    await office.message(GONE, retain_until=ms(2025))
    keys = {"k1": bytes(range(32)), "k2": bytes(range(1, 33))}
    office.ring = KeyRing(keys, "k2")
    await office.store().add(
        Person(
            id="01MAIJA",
            contacts=(ContactPoint(address=GONE, since=1, source="order"),),
            relationships=(Relationship(start=date(2018, 1, 1)),),
        )
    )
    office.now[0] = ms(2026)
    done = await office.run()
    assert done.purged.rows.get("record", 0) == 0


async def test_a_row_added_where_others_were_purged_is_told(office: Office):
    await office.message(GONE, STAYS, retain_until=ms(2025, 3, 1))
    office.now[0] = ms(2024)
    await office.message(GONE, retain_until=ms(2029))
    office.now[0] = ms(2025, 3, 2)
    await office.run()
    assert (await office.archive.verify()).faults == ()
    async with office.database.engine.begin() as connection:
        row = (await connection.execute(text("SELECT * FROM record"))).mappings().one()
        await connection.execute(insert(schema.record).values(**{**row, "id": "forged"}))
    faults = (await office.archive.verify()).faults
    assert any("record forged was added" in fault for fault in faults)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE act SET detail = '[]' WHERE action = 'purge'",
        "UPDATE act SET detail = CAST(x'ff' AS TEXT) WHERE action = 'purge'",
        "UPDATE purged SET gone = 'text'",
        "UPDATE purged SET gone = 99999999999999",
        "UPDATE purged SET act = CAST(x'ff' AS TEXT)",
    ],
)
async def test_a_purge_that_was_tampered_with_is_told_and_not_stumbled_over(
    office: Office, statement
):
    await office.message(GONE, STAYS, retain_until=ms(2025, 3, 1))
    office.now[0] = ms(2025, 3, 2)
    await office.run()
    async with office.database.engine.begin() as connection:
        await connection.execute(text(statement))
    assert (await office.archive.verify()).faults


async def test_an_event_that_counts_stays_though_its_day_is_before_the_forgetting(office: Office):
    await office.customer(GONE, date(2010, 1, 1), date(2014, 1, 1))
    office.now[0] = ms(2026)
    assert (await office.run()).contacts == 1
    # A consent of 2025 is entered afterwards: a paper form.
    office.now[0] = ms(2025, 12, 1)
    await office.consent(GONE)
    office.now[0] = ms(2026, 2, 1)
    assert (await office.register.show(parse_contact(GONE))).consents
    await office.run()
    kinds = [event.kind for event in await _events(office, GONE)]
    assert "consent" in kinds


async def _events(office: Office, address: str):
    found = await EventArchive(office.database).of([office.digest(address)])
    return [Event.from_json(one) for one in found]


async def test_the_erasure_of_another_spelling_leaves_what_is_known_of_this_one(office: Office):
    await office.customer("maija@example.com", date(2018, 1, 1))
    erased = Event(kind=EventKind.ERASE, at=office.clock(), actor="anna", source="erasure")
    await office.register.apply(erased, parse_contact("maija+news@example.com"))
    await office.archiver.run_once()
    await office.run()
    known = await office.register.show(parse_contact("maija@example.com"))
    assert known.relationship_start
    kinds = [event.kind for event in await _events(office, "maija@example.com")]
    assert "relationship" in kinds
    assert "erase" in kinds


async def test_what_is_told_while_a_run_looks_is_not_forgotten(office: Office):
    await office.customer(GONE, date(2010, 1, 1), date(2014, 1, 1))
    office.now[0] = ms(2026)
    _, contacts, _ = office.parts()
    (digest,) = [each async for each in contacts.due()]
    await office.consent(GONE)
    assert not await contacts.forget(digest, "anna")
    assert (await office.register.show(parse_contact(GONE))).consents


async def test_a_person_who_is_changed_while_a_run_looks_is_kept(office: Office):
    store = office.store()
    await store.add(Person(id="01MAIJA"))
    office.now[0] = ms(2030)
    people, _, _ = office.parts()
    assert [each async for each in people.due()] == ["01MAIJA"]
    stored = await store.open("01MAIJA")
    bound = (Relationship(start=date(2029, 12, 1)),)
    await store.save(replace(stored.person, relationships=bound), stored)
    with pytest.raises(PersonStateError):
        await people.forget("01MAIJA", "anna")
    assert (await store.get("01MAIJA")).person.relationships == bound
