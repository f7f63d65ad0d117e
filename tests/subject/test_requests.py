"""The one-month clock of requests (GDPR 12(3)) and their way from receipt to answer."""

from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.clock import now_ms
from gateway.contacts.parse import parse_contact
from gateway.records import schema
from gateway.subject.people import Who
from gateway.subject.request import ZONE, Kind, Request, RequestError, State, due
from gateway.subject.requests import Requests
from tests.subject.conftest import WHO

DAY = 86_400_000


def _at(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=ZONE).timestamp() * 1000)


def _day(moment: int) -> str:
    return datetime.fromtimestamp(moment / 1000, ZONE).isoformat(timespec="seconds")[:16]


@pytest.mark.parametrize(
    ("received", "ends"),
    [
        ("2026-01-31T12:00", "2026-02-28T23:59"),
        ("2028-01-31T12:00", "2028-02-29T23:59"),
        ("2026-03-31T00:00", "2026-04-30T23:59"),
        ("2026-02-28T23:59", "2026-03-28T23:59"),
        ("2026-12-05T09:00", "2027-01-05T23:59"),
        ("2026-11-25T09:00", "2026-12-25T23:59"),  # a holiday: the earlier, legal day
        ("2026-03-28T23:30", "2026-04-28T23:59"),  # the clock goes forward in between
    ],
)
def test_a_request_is_due_a_calendar_month_later(received, ends):
    assert _day(due(_at(received))) == ends


@given(st.integers(_at("2020-01-01"), _at("2050-01-01")))
def test_a_month_is_never_shorter_than_28_days_nor_longer_than_the_32nd_midnight(received):
    assert received + 28 * DAY - 3_600_000 <= due(received) < received + 32 * DAY + 3_600_000
    assert due(received) < due(received, 3)


def test_a_request_may_take_longer_once_and_only_with_a_reason_told_in_the_first_month():
    received = _at("2026-01-31T12:00")
    request = Request(id="R", kind=Kind.ACCESS, received=received, due=due(received))
    with pytest.raises(RequestError, match="reason"):
        request.prolonged("anna", received, " ")
    with pytest.raises(RequestError, match="within the first month"):
        request.prolonged("anna", _at("2026-03-01T00:00"), "many")
    longer = request.prolonged("anna", _at("2026-02-28T23:00"), "many messages")
    assert _day(longer.due) == "2026-04-30T23:59"
    with pytest.raises(RequestError, match="already"):
        longer.prolonged("anna", received, "more")


def test_an_ended_request_goes_nowhere_and_no_refusal_is_without_its_reason():
    request = Request(id="R", kind=Kind.ERASURE, received=0, due=due(0))
    with pytest.raises(RequestError, match="why it is refused"):
        request.moved(State.REFUSED, "anna", 1)
    refused = request.moved(State.REFUSED, "anna", 1, "a contract is open")
    assert not refused.alarms(10**15)
    with pytest.raises(RequestError, match="refused already"):
        refused.moved(State.ANSWERED, "anna", 2, "sent")


@given(st.text(st.characters(codec="utf-8"), max_size=40), st.booleans())
def test_the_sealed_part_comes_back_as_it_was(words, identified):
    request = Request(id="R", kind=Kind.ACCESS, received=0, due=due(0), words=words, how="letter")
    if identified:
        request = request.identified("bank", "anna", 5)
    request = request.moved(State.IN_PROGRESS, "anna", 6, words)
    bare = Request(
        id="R", kind=Kind.ACCESS, received=0, due=due(0), state=request.state, closed=None
    )
    assert bare.with_detail(request.detail()) == request


@pytest.fixture
def requests(site):
    return Requests(site.database, site.custody, site.store, site.recorder)


async def test_a_request_goes_its_way_and_every_step_is_an_act(site, requests):
    stored = await site.people.add(
        WHO, name="Maija", contacts=[parse_contact("maija@example.com")], source="form"
    )
    request = await requests.receive(
        Kind.ACCESS, WHO, contact=parse_contact("maija@example.com"), words="Mitä tiedätte minusta?"
    )
    assert request.person_id == stored.person.id
    await requests.ask_identity(request.id, WHO)
    await requests.identify(request.id, "online bank login", WHO)
    await requests.begin(request.id, WHO)
    done = await requests.answer(request.id, Who("anna", "report handed over"))
    assert [each.state for each in done.steps] == [
        "received",
        "identity_asked",
        "identified",
        "in_progress",
        "answered",
    ]
    assert await requests.every() == []
    assert await requests.every(open_only=False) == [done]
    assert done.words == "Mitä tiedätte minusta?"
    assert done.identity is not None
    await site.archiver.run_once()

    async def acts(connection):
        return list(
            await connection.scalars(schema.act.select().with_only_columns(schema.act.c.detail))
        )

    told = [each for each in await site.database.read(acts) if request.id in each]
    assert len(told) == 5
    with pytest.raises(RequestError, match="no request"):
        await requests.get("nothing")


async def test_what_is_due_raises_its_alarm(site, requests):
    contact = parse_contact("+358401234567")
    now = now_ms()
    late = await requests.receive(Kind.ERASURE, WHO, contact=contact, received=now - 40 * DAY)
    soon = await requests.receive(Kind.ERASURE, WHO, contact=contact, received=now - 26 * DAY)
    await requests.receive(Kind.ERASURE, WHO, contact=contact, received=now - 5 * DAY)
    assert [each.id for each in await requests.due()] == [late.id, soon.id]
    assert await requests.counts() == (3, 1)
    with pytest.raises(RequestError, match="future"):
        await requests.receive(Kind.ACCESS, WHO, contact=contact, received=now + DAY)
    with pytest.raises(RequestError, match="name the person"):
        await requests.receive(Kind.ACCESS, WHO)


async def test_a_request_of_somebody_unknown_is_given_to_the_person_later(site, requests):
    request = await requests.receive(
        Kind.ACCESS, WHO, contact=parse_contact("work@example.com"), words="Vem är jag?"
    )
    assert request.person_id is None
    stored = await site.people.add(WHO, name="Bo", source="form")
    assert (await requests.assign(request.id, stored.person.id, WHO)).person_id == stored.person.id
    assert (await requests.get(request.id)).words == "Vem är jag?"
    with pytest.raises(RequestError, match="already"):
        await requests.assign(request.id, stored.person.id, WHO)
