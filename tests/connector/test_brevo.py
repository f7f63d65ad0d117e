"""Brevo's contacts, read, written and heard."""

from __future__ import annotations

import asyncio
import base64

import brevo
import httpx
import orjson
import pytest
from brevo.core.api_error import ApiError
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.clock import DAY_MS, now_ms
from gateway.connector.brevo import Brevo
from gateway.connector.connector import HookRefused, Place, ToolRefused
from gateway.connector.registry import connector_of
from gateway.connector.suppression import Reason, Suppression
from gateway.contacts.contact import Channel
from gateway.contacts.parse import parse_contact
from gateway.entry.entry import Scope
from gateway.failure import InputError
from gateway.provider.request import Answer, Request
from tests.connector.entry import expect_told, expect_unreadable, listed_in_pieces, names
from tests.peers.tools.brevo import KEY
from tests.peers.tools.brevo import Brevo as Tool
from tests.peers.tools.driver import Driver, held, odd

SECRET = "correct horse battery"
SECOND = 1000
MINUTE = 60 * SECOND
START = 1_600_000_000_000


def connector(url="http://127.0.0.1:1/v3", **changes):
    settings = {
        "name": "blue",
        "secret": KEY,
        "topics": (("News", "42"), ("Offers", "Offers@shop.example")),
        "webhook_secret": SECRET,
        "url": url,
    }
    return Brevo(Place(**(settings | changes)))


def ban(address, scope=Scope.CHANNEL, topic=None, reason=Reason.OBJECTION, channel=None):
    return Suppression(parse_contact(address), scope, reason, channel, topic)


@pytest.fixture
async def tool():
    async with Tool() as made:
        yield made


# -- the stand-in, by the vendor's own client --------------------------------------------


async def test_the_stand_in_answers_brevos_own_client(tool):
    tool.add("early@example.com", "358401234567", at=START, smsBlacklisted=True)
    tool.add("late@example.com", at=START + DAY_MS, emailBlacklisted=True, lists=[42])
    tool.block("blocked@example.com", "hardBounce", "news@shop.example", at=START)

    def talk():
        with httpx.Client() as http:
            return ask(http)

    def ask(http):
        client = brevo.Brevo(base_url=tool.url, api_key=KEY, max_retries=0, httpx_client=http)
        stranger = brevo.Brevo(base_url=tool.url, api_key="x", httpx_client=http)
        contacts, mails = client.contacts, client.transactional_emails
        page = contacts.get_contacts(limit=1, offset=1, sort="asc")
        since = contacts.get_contacts(modified_since="2020-09-13T12:26:40.000Z")
        new = contacts.create_contact(email="new@example.com", email_blacklisted=True)
        known = contacts.create_contact(
            email="early@example.com", email_blacklisted=True, update_enabled=True
        )
        contacts.update_batch_contacts(contacts=[{"sms": "+358401234567", "smsBlacklisted": True}])
        blocked = mails.get_transac_blocked_contacts(
            start_date="2020-09-13", end_date="2020-09-14", limit=100, offset=0, sort="asc"
        )
        errors = []
        for call in (
            lambda: contacts.get_contacts(limit=1001),
            lambda: mails.get_transac_blocked_contacts(start_date="2020-09-13"),
            lambda: mails.get_transac_blocked_contacts(
                start_date="2020-09-13", end_date="2999-01-01"
            ),
            lambda: contacts.create_contact(email="early@example.com"),
            stranger.contacts.get_contacts,
        ):
            with pytest.raises(ApiError) as error:
                call()
            errors.append((error.value.status_code, _code(error.value.body)))
        return page, since, new, known, blocked, errors

    page, since, new, known, blocked, errors = await asyncio.to_thread(talk)
    assert page.count == 2
    (late,) = page.contacts
    assert (late.email, late.email_blacklisted, late.list_unsubscribed) == (
        "late@example.com",
        True,
        [42],
    )
    assert [one.email for one in since.contacts] == ["late@example.com"]
    assert new.id == 3
    assert known is None
    assert tool.contacts[0]["emailBlacklisted"] is True
    (entry,) = blocked.contacts
    assert (entry.email, entry.sender_email) == ("blocked@example.com", "news@shop.example")
    assert entry.reason.code == "hardBounce"
    assert [status for status, _ in errors] == [400, 400, 400, 400, 401]
    assert errors[3][1] == "duplicate_parameter"


def _code(body):
    return body.get("code") if isinstance(body, dict) else getattr(body, "code", None)


# -- reading -----------------------------------------------------------------------------


async def test_flags_and_reasons_are_told_in_the_registers_words(tool):
    tool.add("left@example.com", emailBlacklisted=True)
    tool.add("both@example.com", "358401234567", emailBlacklisted=True, smsBlacklisted=True)
    tool.add(None, "358407654321", smsBlacklisted=True)
    tool.add("reader@example.com", "358409999999", lists=[42, 7])
    # Blocked ones are asked for by days, and those of a new day a while after midnight.
    blocked = now_ms() - 60 * MINUTE
    for number, code in enumerate(
        (
            "unsubscribedViaMA",
            "unsubscribedViaEmail",
            "unsubscribedViaApi",
            "adminBlocked",
            "hardBounce",
            "contactFlaggedAsSpam",
        )
    ):
        tool.block(f"b{number}@example.com", code, at=blocked)
    tool.block("offers@example.com", sender="offers@shop.example", at=blocked)
    tool.block("other@example.com", sender="else@shop.example", at=blocked)
    async with Driver(connector(tool.url)) as driver:
        found, _ = await driver.read(driver.connector.listing)
        new, _ = await driver.read(driver.connector.changes)
        assert driver.bad == 0
    assert (
        held(found)
        == held(new)
        == {
            ("added", "left@example.com", "channel", None, "blocked"),
            ("added", "both@example.com", "channel", None, "blocked"),
            ("added", "+358401234567", "channel", None, "blocked"),
            ("added", "+358407654321", "channel", None, "blocked"),
            ("added", "reader@example.com", "topic", "news", "objection"),
            ("added", "b0@example.com", "channel", None, "objection"),
            ("added", "b1@example.com", "channel", None, "objection"),
            ("added", "b2@example.com", "channel", None, "objection"),
            ("added", "b3@example.com", "channel", None, "blocked"),
            ("added", "b4@example.com", "channel", None, "bounce"),
            ("added", "b5@example.com", "channel", None, "complaint"),
            ("added", "offers@example.com", "topic", "offers", "objection"),
            ("added", "other@example.com", "channel", None, "objection"),
        }
    )
    channels = {one.suppression.contact.channel for one in found}
    assert channels == {Channel.EMAIL, Channel.SMS}
    assert all(one.suppression.channel is one.suppression.contact.channel for one in found)
    assert found[0].suppression.at is None
    assert found[-1].suppression.at is not None


@pytest.mark.parametrize("skew", [-10 * MINUTE, 0, 10 * MINUTE])
async def test_what_is_new_is_told_though_clocks_differ(tool, skew):
    tool.skew = skew
    async with Driver(connector(tool.url)) as driver:
        _, cursor = await driver.read(driver.connector.changes)
        for number in range(3):
            at = tool.time() - 8 * MINUTE
            # Made long ago and changed just now, late by a clock that is wrong.
            tool.add(f"new{number}@example.com", at=at, made=START, emailBlacklisted=True)
            found, cursor = await driver.read(driver.connector.changes, cursor)
            assert f"new{number}@example.com" in names(found)


@pytest.mark.parametrize("skew", [-10 * MINUTE, 0, 10 * MINUTE])
@pytest.mark.parametrize("hour", range(0, 24, 3))
async def test_blocked_contacts_are_asked_for_at_every_hour(tool, skew, hour):
    midnight = now_ms() // DAY_MS * DAY_MS
    now = midnight + hour * 60 * MINUTE + MINUTE
    tool.time = lambda: now + skew
    made = Brevo(connector(tool.url).place, clock=lambda: now)
    async with Driver(made) as driver:
        _, cursor = await driver.read(made.changes)
        tool.block("new@example.com", at=now + skew - MINUTE)
        later = Brevo(made.place, clock=lambda: now + 25 * MINUTE)
        tool.time = lambda: now + skew + 25 * MINUTE
        found, _ = await driver.read(later.changes, cursor)
    assert names(found) == ["new@example.com"]


async def test_a_cursor_is_good_for_a_month_and_then_asks_for_little(tool):
    month = now_ms() + 30 * DAY_MS
    async with Driver(connector(tool.url)) as driver:
        _, cursor = await driver.read(driver.connector.changes)
        later = Brevo(driver.connector.place, clock=lambda: month)
        tool.time = lambda: month
        tool.add("early@example.com", at=now_ms() + DAY_MS, emailBlacklisted=True)
        tool.add("late@example.com", at=month - DAY_MS, emailBlacklisted=True)
        tool.block("blocked@example.com", at=now_ms() + DAY_MS)
        found, cursor = await driver.read(later.changes, cursor)
        assert names(found) == ["early@example.com", "late@example.com", "blocked@example.com"]
        found, _ = await driver.read(later.changes, cursor)
        assert names(found) == ["late@example.com", "blocked@example.com"]


@pytest.mark.slow
async def test_a_hundred_thousand_are_listed_once_each(tool):
    for number in range(100_000):
        at = START + number // 300 * SECOND + number % 7
        tool.add(f"p{number}@example.com", at=now_ms(), made=at, emailBlacklisted=True)
    async with Driver(connector(tool.url)) as driver:
        found, _ = await driver.read(driver.connector.listing)
    assert len(found) == 100_000
    assert len(set(names(found))) == 100_000


async def test_thousands_made_in_one_second_are_not_left_out(tool):
    for number in range(3000):
        tool.add(f"p{number}@example.com", made=START + number % 900, emailBlacklisted=True)
    tool.add("last@example.com", made=START + 2 * SECOND, emailBlacklisted=True)
    async with Driver(connector(tool.url)) as driver:
        found, _ = await driver.read(driver.connector.listing)
    assert len(set(names(found))) == 3001
    assert len(found) < 3030


async def test_contacts_that_go_while_pages_are_read_hide_no_other(tool):
    for number in range(3000):
        made = START + number * SECOND
        tool.add(f"p{number}@example.com", made=made, emailBlacklisted=True)
    for number in range(900):
        tool.block(f"b{number}@example.com", at=START + number * SECOND)

    def between():
        del tool.contacts[:100]
        del tool.blocked[:30]

    tool.between = between
    async with Driver(connector(tool.url)) as driver:
        found, _ = await driver.read(driver.connector.listing)
    seen = set(names(found))
    gone = {f"p{number}@example.com" for number in range(1000)}
    gone |= {f"b{number}@example.com" for number in range(400)}
    assert {f"p{number}@example.com" for number in range(3000)} - gone <= seen
    assert {f"b{number}@example.com" for number in range(900)} - gone <= seen


async def test_a_thousand_blocked_contacts_are_listed_once_each(tool):
    for number in range(1000):
        tool.block(f"b{number}@example.com", at=START + number)
    async with Driver(connector(tool.url)) as driver:
        found, _ = await driver.read(driver.connector.listing)
    assert len(found) == len(set(names(found))) == 1000


async def test_contacts_that_go_while_changes_are_read_hide_no_other(tool):
    for number in range(2500):
        tool.add(f"p{number}@example.com", made=START + number, emailBlacklisted=True)

    def between():
        del tool.contacts[:90]

    tool.between = between
    async with Driver(connector(tool.url)) as driver:
        found, _ = await driver.read(driver.connector.changes)
    gone = {f"p{number}@example.com" for number in range(1500)}
    assert {f"p{number}@example.com" for number in range(2500)} - gone <= set(names(found))


async def test_a_listing_goes_on_where_it_stopped(tool):
    for number in range(2500):
        made = START + number * SECOND
        tool.add(f"p{number}@example.com", made=made, emailBlacklisted=True)
    tool.fails_at = set(range(2, 7))
    found, stopped = await listed_in_pieces(lambda: connector(tool.url))
    assert stopped == 1
    assert len(found) == len(set(names(found))) == 2500


async def test_what_cannot_be_read_is_counted(tool):
    tool.add("no address", emailBlacklisted=True)
    tool.add("a@example.com", smsBlacklisted=True)
    tool.add("b@example.com", "12", smsBlacklisted=True)
    tool.add("no address either")
    tool.block("c@example.com", "somethingNew")
    tool.block("nobody", "hardBounce")
    async with Driver(connector(tool.url)) as driver:
        found, _ = await driver.read(driver.connector.listing)
        assert found == []
        assert driver.bad == 5


async def test_a_busy_tool_is_waited_for(tool):
    tool.add("a@example.com", emailBlacklisted=True)
    tool.busy = 2
    async with Driver(connector(tool.url)) as driver:
        found, _ = await driver.read(driver.connector.changes)
    assert names(found) == ["a@example.com"]


async def test_wrong_settings_are_named(tool):
    async with Driver(connector(tool.url, secret="wrong")) as driver:
        for pages in (driver.connector.changes, driver.connector.listing):
            with pytest.raises(ToolRefused, match="blue: secret_file"):
                await driver.read(pages)
        with pytest.raises(ToolRefused, match="blue: secret_file"):
            await driver.put([ban("a@example.com")])
    async with Driver(connector(f"{tool.url}/other")) as driver:
        with pytest.raises(ToolRefused, match="url"):
            await driver.read(driver.connector.changes)
    with pytest.raises(InputError, match="blue: secret_file"):
        connector(secret="")


# Each is an answer that Brevo's documents do not know.
ODD = [b"", b"{", b"[]", b"null", b'{"contacts": 1}', b'{"contacts": [1]}', b"\xff"]


@pytest.mark.parametrize("body", ODD)
async def test_odd_answers_are_unreadable(tool, body):
    tool.garble(200, body)
    await expect_unreadable(connector(tool.url))


@pytest.mark.parametrize("status", [301, 400, 403, 415])
async def test_odd_statuses_are_told(tool, status):
    tool.garble(status, b"<html>")
    await expect_told(connector(tool.url), status, ban("a@example.com"))


contact = st.fixed_dictionaries(
    {},
    optional={
        "email": odd | st.just("a@example.com"),
        "emailBlacklisted": odd,
        "smsBlacklisted": odd,
        "listUnsubscribed": odd | st.just([42]),
        "attributes": odd | st.fixed_dictionaries({"SMS": odd | st.just("358401234567")}),
        "createdAt": odd | st.just("2026-01-01T00:00:00.000Z"),
        "modifiedAt": odd,
        "senderEmail": odd,
        "reason": odd | st.just({"code": "hardBounce"}),
        "blockedAt": odd,
    },
)


@settings(deadline=None)
@given(contacts=st.lists(contact, max_size=4), cursor=st.text())
def test_any_contacts_are_read_or_counted(contacts, cursor):
    made = connector()
    body = orjson.dumps({"contacts": contacts, "count": len(contacts)})
    for pages in (made.changes, made.listing):
        at = cursor
        for _ in range(2):
            exchange = pages(at)
            assert next(exchange).query.isascii()
            with pytest.raises(StopIteration) as end:
                exchange.send(Answer(200, body))
            page = end.value.value
            at = page.cursor
            assert page.bad <= len(contacts)
            assert set(names(page.changes)) <= {"a@example.com", "+358401234567"}


# -- writing -----------------------------------------------------------------------------


async def test_a_thousand_are_put_and_found_again(tool):
    tool.add("p1@example.com", "358401000001")
    entries = [ban(f"p{number}@example.com") for number in range(500)]
    entries += [ban(f"+35840{2000000 + number}") for number in range(500)]
    async with Driver(connector(tool.url)) as driver:
        assert all(one.done for one in await driver.put(entries))
        assert all(one.done for one in await driver.put(entries[::100]))
        found, _ = await driver.read(driver.connector.changes)
    assert len(tool.contacts) == 1000
    assert tool.contacts[0]["smsBlacklisted"] is False
    assert set(names(found)) == {one.contact.canonical for one in entries}
    # Addresses and numbers stand in bodies alone.
    assert not any("p1" in one.path or "35840" in one.path for one in tool.asked)


async def test_a_number_of_a_known_contact_is_flagged_there(tool):
    tool.add("owner@example.com", "358401234567")
    async with Driver(connector(tool.url)) as driver:
        (result,) = await driver.put([ban("+358401234567")])
    assert result.done
    assert len(tool.contacts) == 1
    assert tool.contacts[0]["smsBlacklisted"] is True
    assert tool.contacts[0]["emailBlacklisted"] is False


async def test_one_bad_address_spoils_no_other(tool):
    entries = [ban(f"p{number}@example.com") for number in range(5)]
    entries += [ban("refused@example.com"), ban("odd@example.com"), ban("z@example.com")]
    async with Driver(connector(tool.url)) as driver:
        results = await driver.put(entries)
    assert [one.done for one in results] == [True] * 5 + [False, False, True]
    assert [one.final for one in results[5:7]] == [True, False]
    assert not any("example.com" in one.cause for one in results)


async def test_what_it_cannot_hold_is_not_put(tool):
    entries = [
        ban("topic@example.com", Scope.TOPIC, "news"),
        ban("gone@example.com", reason=Reason.BOUNCE),
        ban("sms@example.com", channel=Channel.SMS),
        ban("all@example.com", Scope.ALL),
        ban("mail@example.com", channel=Channel.EMAIL),
    ]
    async with Driver(connector(tool.url)) as driver:
        results = await driver.put(entries)
    assert [one.done for one in results] == [False, False, False, True, True]
    assert [one.final for one in results[:3]] == [True, True, True]
    assert [one["email"] for one in tool.contacts] == ["all@example.com", "mail@example.com"]


def test_what_it_holds_and_warns_of():
    made = connector_of("brevo", connector().place)
    assert made.holds.scopes == {Scope.ALL, Scope.CHANNEL}
    assert made.holds.channels == {Channel.EMAIL, Channel.SMS}
    assert made.holds.topics == frozenset()
    assert not made.holds.dated
    assert any("bounce" in line for line in made.warnings())
    assert any("place" in line for line in connector(place="7").warnings())


# -- webhooks ----------------------------------------------------------------------------


def basic(password, user="brevo"):
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


KNOWN = (("Authorization", f"Bearer {SECRET}"),)


def call(events, headers=KNOWN, method="POST"):
    body = events if isinstance(events, bytes) else orjson.dumps(events)
    return Request(
        method, "/hooks/blue", "", (("Content-Type", "application/json"), *headers), body
    )


def mail(event, email="a@example.com", **more):
    return {
        "event": event,
        "email": email,
        "id": 26224,
        "date": "2026-11-05 17:33:54",
        "ts": 1793900034,
        "message-id": "<201798300811.5787683@relay.domain.com>",
        "ts_event": 1793896434,
        "ts_epoch": 1793896434123,
    } | more


def campaign(event, email="a@example.com", **more):
    return {
        "id": 26224,
        "camp_id": 7,
        "email": email,
        "campaign name": "My first campaign",
        "date_event": "2026-11-05 17:33:54",
        "event": event,
        "ts_event": 1793896434,
        "ts": 1793900034,
    } | more


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        (campaign("unsubscribe", list_id=[3, 42]), "objection"),
        (campaign("spam"), "complaint"),
        (campaign("hard_bounce"), "bounce"),
        (mail("unsubscribed"), "objection"),
        (mail("spam"), "complaint"),
        (mail("complaint"), "complaint"),
        (mail("hard_bounce"), "bounce"),
        (mail("invalid_email"), "bounce"),
        (mail("unsubscribed", ts_epoch=1793896434), "objection"),
    ],
)
def test_events_are_heard(event, reason):
    (change,) = connector().hook(call(event), now_ms())
    assert held([change]) == {("added", "a@example.com", "channel", None, reason)}
    assert change.suppression.at // 1000 == 1793896434
    assert change.id
    assert "example" not in change.id
    (other,) = connector().hook(call(event | {"email": "b@example.com"}), now_ms())
    assert other.id != change.id


@pytest.mark.parametrize(
    ("status", "reason"), [("unsubscribe", "objection"), ("Blacklisted", "blocked")]
)
def test_text_messages_events_are_heard(status, reason):
    event = {"id": 1, "to": "358401234567", "msg_status": status, "ts_event": 1793896434}
    (change,) = connector().hook(call(event), now_ms())
    assert held([change]) == {("added", "+358401234567", "channel", None, reason)}
    assert change.suppression.channel is Channel.SMS


@pytest.mark.parametrize(
    "event",
    [
        mail("blocked"),
        mail("soft_bounce"),
        mail("delivered"),
        mail("contact_updated"),
        campaign("list_addition"),
        {"to": "358401234567", "msg_status": "delivered"},
        {"to": "358401234567", "msg_status": "hard_bounce"},
        {},
    ],
)
def test_other_events_tell_nothing(event):
    assert connector().hook(call(event), now_ms()) == ()


def test_many_events_come_together_and_those_without_time_have_no_mark():
    events = [mail("unsubscribed", f"p{number}@example.com") for number in range(100)]
    events += [mail("unsubscribed", "nobody"), mail("opened")]
    found = connector().hook(call(events), now_ms())
    assert len({one.id for one in found}) == 100
    (change,) = connector().hook(call(mail("spam", ts_epoch=None, ts_event="x")), now_ms())
    assert (change.suppression.at, change.id) == (None, "")


@pytest.mark.parametrize(
    "headers",
    [KNOWN, (("Authorization", basic(SECRET)),), (("X-Gateway-Secret", SECRET),)],
)
def test_the_secret_may_come_in_these_headers(headers):
    assert connector().hook(call(mail("spam"), headers), now_ms())
    assert connector().hook(call(b"", headers, "GET"), now_ms()) == ()


def test_every_bit_of_the_secret_counts():
    made = connector()
    for place in range(len(SECRET)):
        for bit in range(7):
            wrong = SECRET[:place] + chr(ord(SECRET[place]) ^ 1 << bit) + SECRET[place + 1 :]
            with pytest.raises(HookRefused) as refused:
                made.hook(call(mail("spam"), (("Authorization", f"Bearer {wrong}"),)), now_ms())
            assert refused.value.http == 401


@pytest.mark.parametrize("headers", [(), (("api-key", SECRET),), (("Authorization", SECRET),)])
def test_strangers_are_refused(headers):
    with pytest.raises(HookRefused) as refused:
        connector().hook(call(mail("spam"), headers), now_ms())
    assert refused.value.http == 401


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"1",
        b'["x"]',
        mail("spam", "nobody"),
        mail("spam", None),
        [{"msg_status": "unsubscribe"}],
    ],
)
def test_events_that_cannot_be_read_are_refused(body):
    with pytest.raises(HookRefused) as refused:
        connector().hook(call(body), now_ms())
    assert refused.value.http == 400


@settings(deadline=None)
@given(events=odd)
def test_any_json_is_heard_or_refused(events):
    try:
        connector().hook(call(events), now_ms())
    except HookRefused as refused:
        assert refused.http == 400
