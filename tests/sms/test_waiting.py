"""Text messages that wait: for a person, or for the end of quiet hours."""

import asyncio
import dataclasses
import json
import sqlite3
from contextlib import aclosing

import aiohttp
import pytest

from gateway.clock import now_ms
from gateway.contacts.contact import Channel
from gateway.decision.facts import Kind
from gateway.entry.entry import Scope
from gateway.entry.event import EventKind
from gateway.failure import GatewayError, RegisterUnavailable
from gateway.held.message import State
from gateway.held.store import HeldStateError, HeldStore
from gateway.provider.submission import Told
from gateway.records.content import ContentStore
from gateway.sms.attempt import NotTaken
from gateway.sms.outlet import ProviderAway
from gateway.sms.release import ReleaseRefused, Turn, release, send_due
from gateway.sms.waiting import Waiting
from tests.peers.provider import hanging_up, says, silence
from tests.peers.standins import twilio

PATH = "/2010-04-01/Accounts/AC00000000000000000000000000000000/Messages.json"
MANY = "/sms/2/text/advanced"
A, B, C = "+358401111111", "+358402222222", "+46701234567"
SID = "AC00000000000000000000000000000000"
AUTH = {"Authorization": aiohttp.encode_basic_auth(SID, "its-own")}
TEXT = "Syysale! Lopeta: vastaa STOP"
MINUTE, HOUR = 60_000, 3_600_000
DAY = 24 * HOUR
STATES = list(State)


class Quiet:
    """Quiet hours as a test sets them: until when, for everybody or by number."""

    def __init__(self, until=None, **numbers):
        self.all = until
        self.numbers = numbers

    def until(self, number, now_ms):
        end = self.numbers.get(number, self.all)
        return end if end is not None and end > now_ms else None


class Clock:
    """A clock that a test sets."""

    def __init__(self, now):
        self.now = now

    def __call__(self):
        return self.now


def form(to, **more):
    return {"To": to, "From": "LamisNET", "Body": TEXT, **more}


def batch(*to):
    return {
        "messages": [
            {"from": "LamisNET", "text": TEXT, "destinations": [{"to": one} for one in to]}
        ]
    }


def rest(house, quiet):
    """Exchange the quiet hours of a house."""
    plane = house.parts.plane
    plane.site = house.door.site = dataclasses.replace(plane.site, quiet=quiet)
    return plane.site


async def rows(house, *states):
    return list(reversed(await house.parts.site.held.list(states or STATES)))


async def one_row(house, *states):
    (row,) = await rows(house, *states)
    return row


async def stored(house, held_id):
    async with aclosing(house.parts.site.held.open_content(held_id)) as pieces:
        return b"".join([piece async for piece in pieces])


async def outcomes(house, number):
    """Of each record of a number, oldest first, all that came of it."""
    return [
        [one.result.value for one in (await house.archive.show(found.record_id)).outcomes]
        for found in await house.found(number)
    ]


@pytest.fixture
async def night(sms):
    """A route that keeps, and an hour of quiet before it; all may get marketing."""
    async with sms("twilio", on_quiet="keep", answer_timeout=2) as house:
        await house.allow(A, B, C)
        house.end = now_ms() + HOUR
        rest(house, Quiet(house.end))
        yield house


async def keep(house, to=A, **more):
    status, answer = await house.post(PATH, data=form(to, **more), headers=AUTH)
    assert (status, answer["status"]) == (201, "queued")
    return await one_row(house, State.WAITING)


def turn(house, held_id, now=None):
    """The gateway's turn at a message, at its time or another."""
    return send_due(house.parts.plane.site, held_id, Clock(now or house.end))


# -- for a person ---------------------------------------------------------------------


async def hold(house, to=A, **more):
    status, _ = await house.post(
        PATH, data=form(to), headers={**AUTH, "X-Gateway-Kind": "nonsense"}
    )
    assert status == 201
    return await one_row(house, State.HELD)


@pytest.fixture
async def declared(sms):
    async with sms("twilio", kind="declared", answer_timeout=2) as house:
        yield house


async def test_a_held_message_is_accepted_and_sent_by_a_person_who_says_what_it_is(declared):
    await declared.customer(A)
    held = await hold(declared)
    assert declared.provider.sends == []
    assert (held.message.channel, held.message.due, held.message.sender) == (
        Channel.SMS,
        None,
        "LamisNET",
    )
    site = declared.parts.plane.site
    with pytest.raises(ReleaseRefused, match="--kind"):
        await release(site, held.id, by="anna", reason="x")
    done = await release(site, held.id, by="anna", reason="an order", kind=Kind.SERVICE)
    assert [one.address for one in done.sent] == [A]
    [sent] = declared.provider.sends
    assert b"Syysale" in sent.body
    assert not any(name.startswith("x-gateway") for name in sent.headers)
    assert await declared.fate(A) == [("hold", "R01", "released"), ("forward", "R08", "forwarded")]
    (first, _) = await declared.found(A)
    last = (await declared.archive.show(first.record_id)).outcomes[-1]
    assert (last.person, last.reason) == ("anna", "an order")
    row = await one_row(declared)
    assert (row.state, row.person, row.reason) == (State.RELEASED, "anna", "an order")
    with pytest.raises(HeldStateError):
        await release(site, held.id, by="anna", reason="again")


async def test_a_ban_that_came_meanwhile_stops_a_release(declared):
    await declared.allow(A)
    held = await hold(declared)
    await declared.ban(A)
    site = declared.parts.plane.site
    done = await release(site, held.id, by="anna", reason="x", kind=Kind.MARKETING)
    assert (done.sent, [v.decision.rule.id for _, v in done.suppressed]) == ([], ["R11"])
    assert declared.provider.sends == []
    assert (await one_row(declared)).state is State.HELD


async def test_a_person_cannot_send_into_quiet_hours(declared):
    await declared.customer(A)
    held = await hold(declared)
    plane = declared.parts.plane
    route = plane.site.routes.named("tool")
    routes = type(plane.site.routes)([dataclasses.replace(route, urgent=False)])
    site = dataclasses.replace(plane.site, routes=routes, quiet=Quiet(now_ms() + HOUR))
    with pytest.raises(ReleaseRefused, match="quiet"):
        await release(site, held.id, by="anna", reason="x", kind=Kind.SERVICE)
    assert (await one_row(declared)).state is State.HELD


@pytest.mark.parametrize("fault", [says(503, "{}"), says(400, '{"code": 21211}'), None])
async def test_a_release_that_the_provider_does_not_take_stays_held(declared, fault):
    await declared.customer(A)
    held = await hold(declared)
    if fault is None:
        await declared.provider.stop()
    else:
        declared.provider.answer = fault
    site = declared.parts.plane.site
    with pytest.raises((NotTaken, ProviderAway)):
        await release(site, held.id, by="anna", reason="x", kind=Kind.SERVICE)
    assert (await one_row(declared)).state is State.HELD
    declared.provider.answer = twilio.answer
    if fault is None:
        await declared.provider.start()
    await release(site, held.id, by="anna", reason="x", kind=Kind.SERVICE)
    assert (await one_row(declared)).state is State.RELEASED


@pytest.mark.parametrize("fault", [silence, hanging_up, says(504, "<html>", "text/html")])
async def test_a_release_that_may_have_left_is_never_repeated(declared, fault):
    await declared.customer(A)
    held = await hold(declared)
    declared.provider.answer = fault
    site = declared.parts.plane.site
    with pytest.raises(ProviderAway):
        await release(site, held.id, by="anna", reason="x", kind=Kind.SERVICE)
    row = await one_row(declared)
    assert (row.state, "may have been sent" in row.reason) == (State.UNCERTAIN, True)
    assert [fate[2] for fate in await declared.fate(A)] == ["held", "unknown"]
    with pytest.raises(HeldStateError, match="uncertain"):
        await release(site, held.id, by="anna", reason="x", kind=Kind.SERVICE)
    assert await rows(declared) == await declared.parts.site.held.list()


async def test_a_route_that_is_gone_or_another_provider_s_releases_nothing(declared):
    held = await hold(declared)
    plane = declared.parts.plane
    none = dataclasses.replace(plane.site, routes=type(plane.site.routes)([]))
    with pytest.raises(ReleaseRefused, match="not in the configuration"):
        await release(none, held.id, by="anna", reason="x", kind=Kind.SERVICE)
    assert (await one_row(declared)).state is State.HELD


# -- for a time -----------------------------------------------------------------------


async def test_what_would_be_sent_in_quiet_hours_is_kept_and_sent_when_they_are_over(night):
    held = await keep(night)
    assert night.provider.sends == []
    assert (held.message.due, held.next_try) == (night.end, night.end)
    assert await night.parts.site.held.list() == []
    assert (await night.fate(A)) == [("defer", "Q1", "held")]
    assert await turn(night, held.id) is Turn.ENDED
    assert [b"Syysale" in sent.body for sent in night.provider.sends] == [True]
    assert (await one_row(night)).state is State.RELEASED
    assert await night.fate(A) == [("defer", "Q1", "released"), ("forward", "R40", "forwarded")]
    assert await outcomes(night, A) == [["held", "released"], ["forwarded"]]
    assert await turn(night, held.id) is Turn.GONE
    assert len(night.provider.sends) == 1


async def test_it_is_not_sent_before_its_time(night):
    await keep(night)
    clock = Clock(night.end - 1)
    loop = Waiting(lambda: night.parts.plane.site, clock)
    assert await loop.send_due() == 0
    clock.now += 1
    assert await loop.send_due() == 1
    assert len(night.provider.sends) == 1
    assert await loop.send_due() == 0


async def test_a_ban_that_came_meanwhile_suppresses_it(night):
    held = await keep(night)
    await night.ban(A)
    assert await turn(night, held.id) is Turn.ENDED
    assert night.provider.sends == []
    row = await one_row(night)
    assert (row.state, row.person) == (State.DISCARDED, "gateway")
    assert await night.fate(A) == [("defer", "Q1", "suppressed"), ("suppress", "R11", "suppressed")]


async def test_a_restriction_that_came_meanwhile_shows_it_to_a_person(sms):
    async with sms("twilio", on_quiet="keep", kind="transactional", urgent=False) as house:
        await house.customer(A)
        house.end = now_ms() + HOUR
        rest(house, Quiet(house.end))
        held = await keep(house)
        await house.tell(A, EventKind.RESTRICT)
        assert await turn(house, held.id) is Turn.HELD
        row = await one_row(house, State.HELD)
        assert [one.rule for one in row.message.recipients] == ["R05"]
        assert house.provider.sends == []
        done = await release(
            house.parts.plane.site, held.id, by="anna", reason="y", clock=Clock(house.end)
        )
        assert [one.address for one in done.sent] == [A]
        assert [fate[2] for fate in await house.fate(A)] == ["released", "held", "forwarded"]


async def test_where_it_is_still_quiet_it_is_kept_on(night):
    held = await keep(night)
    later = night.end + DAY
    rest(night, Quiet(later))
    assert await turn(night, held.id) is Turn.LATER
    row = await one_row(night, State.WAITING)
    assert (row.next_try, row.message.due) == (later, later)
    assert night.provider.sends == []
    assert await night.fate(A) == [("defer", "Q1", "held")]
    assert await turn(night, held.id, later) is Turn.ENDED
    assert len(night.provider.sends) == 1


async def test_while_the_register_cannot_be_asked_it_is_tried_again(night, monkeypatch):
    held = await keep(night)

    async def away(*_):
        raise RegisterUnavailable("away")

    with monkeypatch.context() as patched:
        patched.setattr(night.parts.register, "look_up", away)
        assert await turn(night, held.id) is Turn.LATER
    row = await one_row(night, State.WAITING)
    assert row.next_try == night.end + MINUTE
    assert await turn(night, held.id, row.next_try) is Turn.ENDED


@pytest.mark.parametrize(
    ("fault", "result"),
    [
        (None, "failed"),
        (says(429, '{"code": 20429}'), "deferred"),
        (says(500, '{"code": 20500}'), "deferred"),
        (says(503, "<html>", "text/html"), "deferred"),
    ],
)
async def test_a_provider_that_is_away_is_tried_again_with_growing_pauses_for_a_day(
    night, fault, result
):
    held = await keep(night)
    if fault is None:
        await night.provider.stop()
    else:
        night.provider.answer = fault
    now, pauses = night.end, []
    while (done := await turn(night, held.id, now)) is Turn.AWAY:
        row = await one_row(night, State.WAITING)
        pauses.append(row.next_try - now)
        now = row.next_try
    assert done is Turn.HELD
    assert now == night.end + DAY
    assert pauses[:4] == [MINUTE, MINUTE, 2 * MINUTE, 4 * MINUTE]
    assert max(pauses) == HOUR
    row = await one_row(night, State.HELD)
    assert "within a day" in row.reason
    results = [fate[2] for fate in await night.fate(A)]
    assert results == ["held"] + [result] * len(pauses)
    if fault is None:
        await night.provider.start()
    night.provider.answer = twilio.answer
    site = night.parts.plane.site
    await release(site, held.id, by="anna", reason="late", clock=Clock(now))
    assert (await one_row(night)).state is State.RELEASED


async def test_what_the_provider_refuses_is_shown_to_a_person(night):
    held = await keep(night)
    night.provider.answer = says(400, '{"code": 21211}')
    assert await turn(night, held.id) is Turn.HELD
    row = await one_row(night, State.HELD)
    assert "400" in row.reason
    assert [fate[2] for fate in await night.fate(A)] == ["held", "refused"]


@pytest.mark.parametrize("fault", [silence, hanging_up, says(500, "<html>", "text/html")])
async def test_what_was_begun_and_not_answered_is_never_sent_twice(night, fault):
    held = await keep(night)
    night.provider.answer = fault
    assert await turn(night, held.id) is Turn.HELD
    night.provider.answer = twilio.answer
    assert (await one_row(night)).state is State.UNCERTAIN
    assert [fate[2] for fate in await night.fate(A)] == ["held", "unknown"]
    loop = Waiting(lambda: night.parts.plane.site, Clock(night.end + DAY))
    assert await loop.send_due() == 0
    with pytest.raises(HeldStateError):
        await release(night.parts.plane.site, held.id, by="anna", reason="x")
    assert len(night.provider.sends) == 1


async def test_of_many_who_turn_to_it_at_once_one_sends(night):
    held = await keep(night)
    turns = await asyncio.gather(*(turn(night, held.id) for _ in range(6)))
    assert sorted(one.value for one in turns) == ["ended"] + ["gone"] * 5
    assert len(night.provider.sends) == 1


async def test_a_ban_acknowledged_just_before_the_hand_over_stops_it(night, monkeypatch):
    """The look-up was old by then: it is repeated before the first octet of the body."""
    held = await keep(night)
    site = night.parts.plane.site
    evidence = site.evidence
    original = type(evidence).store

    async def slow(self, records):
        await original(self, records)
        await night.tell(A, EventKind.BAN, scope=Scope.ALL, settled=True)

    with monkeypatch.context() as patched:
        patched.setattr(type(evidence), "store", slow)
        assert await turn(night, held.id) is Turn.LATER
    assert night.provider.sends == []
    assert await turn(night, held.id, night.end + MINUTE) is Turn.ENDED
    assert night.provider.sends == []
    assert (await one_row(night)).state is State.DISCARDED


async def test_a_claim_that_a_dead_process_left_goes_to_a_person(night):
    held = await keep(night)
    store = night.parts.site.held
    await store.claim(held.id, of=State.WAITING, until=night.end)
    contents = ContentStore(night.database, night.parts.seal)
    sweeper = HeldStore(night.database, night.parts.seal, contents, lambda: night.end - 1)
    await sweeper.sweep()
    assert (await store.get(held.id)).state is State.RELEASING
    sweeper = HeldStore(night.database, night.parts.seal, contents, lambda: night.end)
    await sweeper.sweep()
    (shown,) = await store.list()
    assert (shown.state, "may have been sent" in shown.reason) == (State.UNCERTAIN, True)
    assert await turn(night, held.id) is Turn.GONE
    assert night.provider.sends == []


async def test_a_provider_that_is_away_rests_and_the_loop_goes_on(night, monkeypatch):
    for to in (A, B, C):
        await night.post(PATH, data=form(to), headers=AUTH)
    await night.provider.stop()
    monkeypatch.setattr("gateway.sms.waiting._AT_ONCE", 1)
    clock = Clock(night.end)
    loop = Waiting(lambda: night.parts.plane.site, clock)
    assert await loop.send_due() == 3
    tried = [row for row in await rows(night) if row.next_try != night.end]
    assert len(tried) == 1
    assert await loop.send_due() == 0
    await night.provider.start()
    clock.now += MINUTE
    assert await loop.send_due() == 3
    assert len(night.provider.sends) == 3


async def test_the_loop_lives_through_an_archive_that_fails_and_ends_when_told(night, monkeypatch):
    held = await keep(night)
    monkeypatch.setattr("gateway.sms.waiting._EVERY", 0.02)
    loop = Waiting(lambda: night.parts.plane.site, Clock(night.end))
    store = night.parts.site.held
    with monkeypatch.context() as patched:

        async def away(*_):
            raise GatewayError("away")

        patched.setattr(store, "due", away)
        task = asyncio.create_task(loop.run())
        await asyncio.sleep(0.1)
    async with asyncio.timeout(30):
        while (await store.get(held.id)).state is not State.RELEASED:
            await asyncio.sleep(0.01)
    loop.stop()
    assert await loop.ended(5)
    await task


# -- what is stored -------------------------------------------------------------------


@pytest.fixture
def secrets(tmp_path):
    (tmp_path / "token").write_text("the-tool-s-token\n")
    (tmp_path / "secret").write_text("the-provider-s-secret\n")
    for name in ("token", "secret"):
        (tmp_path / name).chmod(0o600)
    return {"token_file": str(tmp_path / "token"), "password_file": str(tmp_path / "secret")}


async def test_a_token_is_not_stored_and_the_secret_is_put_in_when_it_is_sent(
    sms, secrets, tmp_path
):
    async with sms("twilio", on_quiet="keep", **secrets) as house:
        await house.allow(A)
        house.end = now_ms() + HOUR
        rest(house, Quiet(house.end))
        auth = {"Authorization": aiohttp.encode_basic_auth(SID, "the-tool-s-token")}
        status, _ = await house.post(PATH, data=form(A), headers=auth)
        assert status == 201
        held = await one_row(house)
        content = json.loads(await stored(house, held.id))
        shown = dict(map(tuple, content["headers"]))["Authorization"]
        assert shown == aiohttp.encode_basic_auth(SID, "-")
        assert await turn(house, held.id) is Turn.ENDED
        [sent] = house.provider.sends
        secret = aiohttp.encode_basic_auth(SID, "the-provider-s-secret")
        assert sent.headers["authorization"] == secret
    kept = [path.read_bytes() for path in (tmp_path / "data").rglob("archive*")]
    assert kept
    assert not any(A.encode() in octets or b"Syysale" in octets for octets in kept)


async def test_the_tool_s_own_credentials_are_stored_with_it(night):
    await night.post(PATH, data=form(A), headers=AUTH)
    held = await one_row(night)
    assert await turn(night, held.id) is Turn.ENDED
    [sent] = night.provider.sends
    assert sent.headers["authorization"] == AUTH["Authorization"]


@pytest.fixture
async def bulk(sms):
    """A route whose requests have many recipients; A and B rest, C does not."""
    async with sms("infobip", on_quiet="keep", answer_timeout=2) as house:
        await house.allow(A, B, C)
        house.end = now_ms() + HOUR
        quiet = Quiet()
        quiet.numbers = {A: house.end, B: house.end}
        rest(house, quiet)
        yield house


def sent_to(house):
    return [
        [
            one["to"]
            for message in json.loads(asked.body)["messages"]
            for one in message["destinations"]
        ]
        for asked in house.provider.sends
    ]


HEADERS = {"Authorization": "App 0123456789abcdef"}


async def test_of_a_mixed_batch_some_are_sent_now_and_the_others_at_their_time(bulk):
    status, answer = await bulk.post(MANY, json=batch(A, C, B), headers=HEADERS)
    assert status == 200
    assert len(answer["messages"]) == 3
    assert sent_to(bulk) == [[C]]
    held = await one_row(bulk, State.WAITING)
    assert [one.address for one in held.message.recipients] == [A, B]
    assert C.encode() not in await stored(bulk, held.id)
    await bulk.ban(A)
    assert await turn(bulk, held.id) is Turn.ENDED
    assert sent_to(bulk) == [[C], [B]]
    assert await outcomes(bulk, A) == [["held", "suppressed"], ["suppressed"]]
    assert await outcomes(bulk, B) == [["held", "released"], ["forwarded"]]
    assert await outcomes(bulk, C) == [["forwarded"]]


@pytest.mark.parametrize("fault", [says(503, "{}"), None, silence])
async def test_where_the_provider_fails_for_the_others_the_stored_copies_are_taken_back(
    bulk, fault
):
    if fault is None:
        await bulk.provider.stop()
    else:
        bulk.provider.answer = fault
    status, _ = await bulk.post(MANY, json=batch(A, C, B), headers=HEADERS)
    assert status in (503, 504)
    assert await rows(bulk) == []
    assert [fate[2] for fate in await bulk.fate(A)] != ["held"]


async def test_those_whose_quiet_hours_end_at_other_times_wait_apart(bulk):
    quiet = Quiet()
    quiet.numbers = {A: bulk.end, B: bulk.end, C: bulk.end + HOUR}
    rest(bulk, quiet)
    status, _ = await bulk.post(MANY, json=batch(A, C, B), headers=HEADERS)
    assert status == 200
    first, second = sorted(await rows(bulk), key=lambda row: row.next_try)
    assert await turn(bulk, first.id) is Turn.ENDED
    assert sent_to(bulk) == [[A, B]]
    assert await turn(bulk, second.id, bulk.end + HOUR) is Turn.ENDED
    assert sent_to(bulk) == [[A, B], [C]]


async def test_those_for_whom_it_is_still_quiet_wait_on_and_the_others_get_it(bulk):
    await bulk.post(MANY, json=batch(A, B), headers=HEADERS)
    quiet = Quiet()
    quiet.numbers = {B: bulk.end + HOUR}
    rest(bulk, quiet)
    held = await one_row(bulk)
    assert await turn(bulk, held.id) is Turn.LATER
    assert sent_to(bulk) == [[A]]
    row = await one_row(bulk, State.WAITING)
    assert [one.address for one in row.message.recipients] == [B]
    assert A.encode() not in await stored(bulk, row.id)
    assert await turn(bulk, held.id, bulk.end + HOUR) is Turn.ENDED
    assert sent_to(bulk) == [[A], [B]]
    assert await outcomes(bulk, B) == [["held", "released"], ["held"], ["forwarded"]]


async def test_those_whom_the_provider_does_not_take_now_are_tried_again_alone(bulk, monkeypatch):
    await bulk.post(MANY, json=batch(A, B), headers=HEADERS)
    held = await one_row(bulk)
    adapter = bulk.parts.plane.site.routes.named("tool").adapter
    with monkeypatch.context() as patched:
        patched.setattr(type(adapter), "told", lambda *_: [Told.ACCEPTED, Told.LATER])
        assert await turn(bulk, held.id) is Turn.LATER
    row = await one_row(bulk, State.WAITING)
    assert [one.address for one in row.message.recipients] == [B]
    assert row.next_try == bulk.end + MINUTE
    assert await turn(bulk, held.id, row.next_try) is Turn.ENDED
    assert sent_to(bulk) == [[A, B], [B]]
    assert await outcomes(bulk, B) == [["held", "released"], ["deferred"], ["forwarded"]]


async def test_those_whom_the_provider_refuses_are_done(bulk, monkeypatch):
    await bulk.post(MANY, json=batch(A, B), headers=HEADERS)
    held = await one_row(bulk)
    adapter = bulk.parts.plane.site.routes.named("tool").adapter
    monkeypatch.setattr(type(adapter), "told", lambda *_: [Told.ACCEPTED, Told.REFUSED])
    assert await turn(bulk, held.id) is Turn.ENDED
    assert (await one_row(bulk)).state is State.RELEASED
    assert await outcomes(bulk, A) == [["held", "released"], ["forwarded"]]
    assert await outcomes(bulk, B) == [["held", "refused"], ["refused"]]


async def test_some_may_wait_for_a_person_and_others_for_a_time(bulk):
    await bulk.know(A)
    await bulk.tell(A, EventKind.CONSENT, channel=Channel.SMS)
    unproven = "+358403333333"
    await bulk.know(unproven)
    await bulk.tell(unproven, EventKind.CONSENT, channel=Channel.SMS)
    status, _ = await bulk.post(MANY, json=batch(B, unproven), headers=HEADERS)
    assert status == 200
    by_state = {row.state: row for row in await rows(bulk)}
    assert [one.address for one in by_state[State.WAITING].message.recipients] == [B]
    assert [one.address for one in by_state[State.HELD].message.recipients] == [unproven]
    assert sent_to(bulk) == []


async def test_an_access_token_that_would_grow_old_is_not_kept(bulk):
    """The tool hears when to come again, with a token that is good then."""
    old = {**HEADERS, "Authorization": "Bearer of-an-hour"}
    assert (await bulk.post(MANY, json=batch(A), headers=old))[0] == 503
    assert await rows(bulk) == []
    assert await bulk.fate(A) == [("defer", "Q1", "deferred")]


# -- said again -----------------------------------------------------------------------

KEY = {**AUTH, "Idempotency-Key": "one", "I-Twilio-Idempotency-Token": "one"}


async def test_a_request_said_again_is_stored_once(night):
    for _ in range(3):
        status, _ = await night.post(PATH, data=form(A), headers=KEY)
        assert status == 201
    held = await one_row(night)
    assert await night.fate(A) == [("defer", "Q1", "held")]
    assert await turn(night, held.id) is Turn.ENDED
    [sent] = night.provider.sends
    # What the provider has heard under the tool's name was another request, perhaps.
    assert sent.headers["idempotency-key"] not in ("one", "")


async def test_said_again_when_the_quiet_hours_are_over_it_is_not_sent_twice(night):
    await night.post(PATH, data=form(A), headers=KEY)
    held = await one_row(night)
    rest(night, None)
    assert (await night.post(PATH, data=form(A), headers=KEY))[0] == 201
    assert night.provider.sends == []
    assert await turn(night, held.id) is Turn.ENDED
    assert (await night.post(PATH, data=form(A), headers=KEY))[0] == 201
    assert len(night.provider.sends) == 1
    assert await outcomes(night, A) == [["held", "released"], ["forwarded"]]


async def test_what_a_killed_worker_prepared_is_the_repeated_request_s(night, monkeypatch):
    """It had remembered the request and died before it could say that it keeps it."""
    store = night.parts.site.held
    with monkeypatch.context() as patched:

        async def killed(*_):
            raise asyncio.CancelledError

        patched.setattr(store, "commit", killed)
        patched.setattr(store, "revoke", killed)
        with pytest.raises(Exception):  # noqa: B017 - whatever a cut connection is
            await night.post(PATH, data=form(A), headers=KEY)
    assert (await one_row(night)).state is State.PREPARED
    assert (await night.post(PATH, data=form(A), headers=KEY))[0] == 201
    assert (await one_row(night)).state is State.WAITING


async def test_what_was_taken_back_is_stored_anew_when_it_is_said_again(bulk):
    bulk.provider.answer = says(503, "{}")
    headers = {**HEADERS, "Idempotency-Key": "two"}
    assert (await bulk.post(MANY, json=batch(A, C), headers=headers))[0] == 503
    assert await rows(bulk) == []
    from tests.peers.standins import infobip

    bulk.provider.answer = infobip.answer
    assert (await bulk.post(MANY, json=batch(A, C), headers=headers))[0] == 200
    assert [one.address for one in (await one_row(bulk)).message.recipients] == [A]


async def test_a_copy_that_cannot_be_kept_is_never_said_to_be_accepted(night):
    other = sqlite3.connect(night.settings.records.archive, isolation_level=None)
    site = night.parts.plane.site
    original = site.held.commit

    async def locked(*ids):
        other.execute("BEGIN IMMEDIATE")
        try:
            await asyncio.wait_for(original(*ids), 0.2)
        except TimeoutError:
            raise GatewayError("locked") from None
        finally:
            other.execute("ROLLBACK")

    site.held.commit = locked
    status, _ = await night.post(PATH, data=form(A), headers=AUTH)
    assert status == 503
    other.close()
