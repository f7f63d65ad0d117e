"""Mautic: driven against a stand-in of its documented shapes; its webhooks."""

import base64
import hashlib
import hmac
import json
from collections import Counter
from urllib.parse import parse_qsl

import pytest

from gateway.clock import now_ms
from gateway.connector.connector import HookRefused, ToolRefused, ToolUnreadable
from gateway.connector.mautic import Mautic as MauticConnector
from gateway.connector.registry import connector_of
from gateway.connector.suppression import Reason, Said, Suppression
from gateway.contacts.contact import Channel
from gateway.contacts.parse import parse_contact
from gateway.entry.entry import Scope
from gateway.failure import InputError
from gateway.provider.request import Answer, Request
from tests.connector.dialogue import answered, place, served
from tests.hook.bits import flips, text_flips
from tests.peers.tools.mautic import Mautic as Tool

DAY = 86_400
SECRET = "webhook secret"
NUMBER = "+358401234567"


def connector(**changes):
    return connector_of("mautic", place(**({"webhook_secret": SECRET} | changes)))


def ban(address, scope=Scope.ALL, channel=None, reason=Reason.OBJECTION):
    return Suppression(parse_contact(address), scope, reason, channel)


def told(changes):
    assert {change.said for change in changes} <= {Said.ADDED}
    return Counter(
        (s.contact.canonical, s.channel, s.reason)
        for s in (change.suppression for change in changes)
    )


async def test_a_long_list_is_told_without_a_gap_or_a_double():
    tool = Tool()
    for number in range(1200):
        contact = tool.contact(email=f"p{number}@example.com", mobile=f"+3584012{number:05}")
        tool.enter(contact, "email", 1 + number % 3)
        if number % 2:
            tool.enter(contact, "sms", 1)
    async with served(tool.app) as server:
        tool.busy = 3
        found = told(await server.listed(connector()))
    assert len(found) == 1800
    assert set(found.values()) == {1}
    assert ("p0@example.com", Channel.EMAIL, Reason.OBJECTION) in found
    assert ("p1@example.com", Channel.EMAIL, Reason.BOUNCE) in found
    assert ("p2@example.com", Channel.EMAIL, Reason.BLOCKED) in found
    assert ("+358401200001", Channel.SMS, Reason.OBJECTION) in found


@pytest.mark.slow
async def test_a_hundred_thousand_are_told_once_each():
    tool = Tool()
    for number in range(100_000):
        tool.enter(tool.contact(email=f"p{number}@example.com"), "email", 1)
    async with served(tool.app) as server:
        found = told(await server.listed(connector()))
    assert len(found) == 100_000
    assert set(found.values()) == {1}


@pytest.mark.parametrize("skew", [-600, 0, 600])
async def test_changes_are_heard_whatever_its_clock_says(skew):
    tool = Tool()
    tool.skew = skew
    old = tool.contact(email="old@example.com")
    tool.enter(old, "email", 2, ago=3 * DAY)
    one = connector()
    async with served(tool.app) as server:
        found, cursor = await server.changed(one, "")
        assert not found
        tool.enter(tool.contact(email="new@example.com"), "email", 1)
        # Its entry stays and gets another reason: whose id is low, and whose date is new.
        tool.enter(old, "email", 1)
        found, cursor = await server.changed(one, cursor)
    assert told(found) == Counter(
        {
            ("old@example.com", Channel.EMAIL, Reason.OBJECTION): 1,
            ("new@example.com", Channel.EMAIL, Reason.OBJECTION): 1,
        }
    )
    [at] = {change.suppression.at // 1000 for change in found}
    assert abs(at - now_ms() // 1000 - skew) < 60


async def test_a_pass_that_comes_late_begins_before_the_one_before():
    """The tool's clock is ten minutes behind, and hours lie between two looks."""
    tool = Tool()
    tool.skew = -600
    times = [now_ms(), now_ms() + 3 * 3_600_000]
    one = MauticConnector(place(), times[0].__int__)
    async with served(tool.app) as server:
        _, cursor = await server.changed(one, "")
        tool.enter(tool.contact(email="new@example.com"), "email", 1)
        one.clock = times[1].__int__
        found, _ = await server.changed(one, cursor)
    assert [change.suppression.contact.canonical for change in found] == ["new@example.com"]


def test_a_clock_that_was_ahead_leaves_nothing_out():
    now = 1_700_000_000_000
    one = MauticConnector(place(), now.__int__)
    request = next(one.changes(f"{now + 10**9}.0.0"))
    assert dict(parse_qsl(request.query))["where[1][val]"] == "2023-11-14 21:58:20"


async def test_what_nobody_can_be_reached_by_is_counted_as_bad():
    tool = Tool()
    tool.enter(tool.contact(email="no address"), "email", 1)
    tool.enter(tool.contact(), "email", 1)
    tool.enter(tool.contact(email="a@example.com"), "sms", 1)
    tool.enter(tool.contact(email="b@example.com"), "notification", 1)
    tool.enter(tool.contact(email="c@example.com"), "email", 7)
    tool.enter(tool.contact(phone="+358 40 123 4567"), "sms", 1)
    gone = tool.contact(email="gone@example.com")
    tool.enter(gone, "email", 1)
    del tool.contacts[gone]
    one = connector()
    async with served(tool.app) as server:
        page = await server.run(one, one.listing(""))
    assert told(page.changes) == Counter({(NUMBER, Channel.SMS, Reason.OBJECTION): 1})
    assert page.bad == 5
    assert not page.more


async def test_a_thousand_are_put_there_once_and_again():
    tool = Tool()
    for number in range(0, 1000, 3):
        tool.contact(email=f"P{number}@Example.com")
    entries = [ban(f"p{number}@example.com", Scope.CHANNEL) for number in range(1000)]
    one = connector()
    async with served(tool.app) as server:
        assert all(result.done for result in await server.put(one, entries))
        assert all(result.done for result in await server.put(one, entries))
        found = told(await server.listed(one))
    assert len(found) == len(tool.contacts) == 1000
    assert set(found.values()) == {1}


async def test_every_contact_of_an_address_gets_it():
    tool = Tool()
    twins = [tool.contact(email="twin@example.com") for _ in range(3)]
    phones = [tool.contact(mobile=NUMBER), tool.contact(phone=NUMBER)]
    async with served(tool.app) as server:
        entries = [ban("twin@example.com", Scope.CHANNEL), ban(NUMBER, Scope.CHANNEL)]
        assert all(result.done for result in await server.put(connector(), entries))
    assert [tool.held(number) for number in twins] == [{"email": 1}] * 3
    assert [tool.held(number) for number in phones] == [{"sms": 1}] * 2


@pytest.mark.parametrize("address", ["o'brien@example.com", "a&b@example.com", "a+b@example.com"])
async def test_an_address_is_found_whatever_is_in_it(address):
    tool = Tool()
    twins = [tool.contact(email=address) for _ in range(2)]
    async with served(tool.app) as server:
        [result] = await server.put(connector(), [ban(address, Scope.CHANNEL)])
    assert result.done
    assert [tool.held(number) for number in twins] == [{"email": 1}] * 2
    assert len(tool.contacts) == 2


async def test_a_ban_of_all_holds_in_both_channels():
    tool = Tool()
    person = tool.contact(email="a@example.com", mobile=NUMBER)
    async with served(tool.app) as server:
        entries = [ban("a@example.com"), ban("new@example.com")]
        assert all(result.done for result in await server.put(connector(), entries))
    assert tool.held(person) == tool.held(person + 1) == {"email": 1, "sms": 1}


@pytest.mark.parametrize(
    ("reason", "number"),
    [
        (Reason.OBJECTION, 1),
        (Reason.BOUNCE, 2),
        (Reason.COMPLAINT, 2),
        (Reason.BLOCKED, 3),
    ],
)
async def test_reasons_stay_what_they_were(reason, number):
    tool = Tool()
    person = tool.contact(email="a@example.com")
    async with served(tool.app) as server:
        await server.put(connector(), [ban("a@example.com", reason=reason)])
        [change] = [
            change
            for change in await server.listed(connector())
            if change.suppression.channel is Channel.EMAIL
        ]
    assert tool.held(person)["email"] == number
    assert change.suppression.reason.legal == reason.legal


@pytest.mark.parametrize("reason", [Reason.BOUNCE, Reason.COMPLAINT])
@pytest.mark.parametrize("there", [1, 3])
async def test_a_bounce_takes_no_bans_place(reason, there):
    tool = Tool()
    number, other = (tool.contact(email="a@example.com") for _ in range(2))
    tool.enter(number, "email", there)
    async with served(tool.app) as server:
        [result] = await server.put(connector(), [ban("a@example.com", reason=reason)])
    assert result.done
    assert tool.held(number) == {"email": there}
    assert tool.held(other) == {"email": 2}


async def test_one_bad_address_does_not_harm_the_others():
    tool = Tool()
    entries = [
        ban("a@example.com"),
        ban("bad@somewhere.invalid"),
        ban("b@example.com"),
        Suppression(parse_contact("c@example.com"), Scope.TOPIC, Reason.OBJECTION, topic="news"),
    ]
    async with served(tool.app) as server:
        results = await server.put(connector(), entries)
    assert [(result.done, result.final) for result in results] == [
        (True, False),
        (False, True),
        (True, False),
        (False, True),
    ]
    assert [tool.held(number) for number in tool.contacts] == [{"email": 1, "sms": 1}] * 2


async def test_a_contact_that_was_created_without_its_entry_gets_it():
    tool = Tool()
    tool.forgets_entries = True
    async with served(tool.app) as server:
        [result] = await server.put(connector(), [ban("a@example.com")])
    assert result.done
    assert tool.held(1) == {"email": 1, "sms": 1}


async def test_who_may_not_view_contacts_is_told_so():
    tool = Tool()
    tool.viewer = False
    async with served(tool.app) as server:
        with pytest.raises(ToolRefused, match="username"):
            await server.listed(connector())
        with pytest.raises(ToolRefused, match="secret_file"):
            await server.listed(connector(secret="wrong"))


@pytest.mark.parametrize(
    "wrong",
    [
        {"availableTables": [], "tableColumns": {}},
        {"total": 1, "stats": {"0": {}}},
        {"total": 1, "stats": [{"lead_id": "1", "channel": "email"}]},
        {"total": 2, "stats": []},
        {"total": 2, "stats": [{"id": "2", "lead_id": "1"}, {"id": "1", "lead_id": "1"}]},
        {"stats": []},
        [],
    ],
)
def test_a_malformed_answer_is_unreadable(wrong):
    with pytest.raises(ToolUnreadable):
        answered(connector().listing(""), Answer(200, json.dumps(wrong).encode()))


# -- webhooks ---------------------------------------------------------------------------


def hooked(tool, *changes, **options):
    headers, body = tool.webhook(SECRET, *changes, **options)
    return Request("POST", "/hooks/tool", "", tuple(headers.items()), body)


def test_what_a_webhook_tells():
    tool = Tool()
    person = tool.contact(email="A@example.com", mobile=NUMBER)
    nobody = tool.contact()
    request = hooked(
        tool,
        (person, "email", 0, 1),
        (person, "sms", 0, 3),
        (person, "email", 0, 2),
        (person, "email", 1, 0),
        (person, "email", 0, 0),
        (person, "notification", 0, 1),
        (nobody, "email", 0, 1),
    )
    found = [
        (change.said, change.suppression.contact.canonical, change.suppression.reason)
        for change in connector().hook(request, now_ms())
    ]
    assert found == [
        (Said.ADDED, "a@example.com", Reason.OBJECTION),
        (Said.ADDED, NUMBER, Reason.BLOCKED),
        (Said.ADDED, "a@example.com", Reason.BOUNCE),
        (Said.REMOVED, "a@example.com", Reason.OBJECTION),
    ]


def test_a_clock_that_is_ahead_loses_no_objection():
    tool = Tool()
    person = tool.contact(email="a@example.com")
    now = now_ms()
    request = hooked(tool, (person, "email", 0, 1), at=now / 1000 + 600)
    [change] = connector().hook(request, now)
    assert change.suppression.at == now


def test_other_events_are_passed_over():
    tool = Tool()
    headers, _ = tool.webhook(SECRET)
    body = json.dumps({"mautic.lead_post_save_update": [{"contact": {}}]}).encode()
    digest = hmac.new(SECRET.encode(), body, hashlib.sha256).digest()
    headers["Webhook-Signature"] = base64.b64encode(digest).decode()
    request = Request("POST", "/hooks/tool", "", tuple(headers.items()), body)
    assert connector().hook(request, now_ms()) == ()


def test_every_bit_of_a_webhook_counts():
    tool = Tool()
    person = tool.contact(email="a@example.com")
    request = hooked(tool, (person, "email", 0, 1))
    one = connector()
    assert one.hook(request, now_ms())
    for body in flips(request.body):
        with pytest.raises(HookRefused) as caught:
            one.hook(request.with_body(body), now_ms())
        assert caught.value.http == 401
    for value in text_flips(request.header("webhook-signature")):
        with pytest.raises(HookRefused) as caught:
            one.hook(request.with_headers({"Webhook-Signature": value}), now_ms())
        assert caught.value.http == 401
    with pytest.raises(HookRefused):
        one.hook(request.with_headers({"Webhook-Signature": None}), now_ms())
    with pytest.raises(HookRefused):
        connector(webhook_secret="").hook(request, now_ms())
    with pytest.raises(HookRefused):
        connector(webhook_secret="other").hook(request, now_ms())


def test_the_same_webhook_is_known_again():
    tool = Tool()
    person = tool.contact(email="a@example.com")
    one = connector()
    first, other = hooked(tool, (person, "email", 0, 1)), hooked(tool, (person, "sms", 0, 1))
    assert one.replays(first)
    assert one.replays(first) == one.replays(first)
    assert one.replays(first) != one.replays(other)


@pytest.mark.parametrize("name", ["url", "username", "secret"])
def test_what_is_lacking_is_named(name):
    with pytest.raises(InputError, match=name):
        connector(**{name: ""})


def test_what_it_holds():
    assert connector().holds.scopes == {Scope.ALL, Scope.CHANNEL}
    assert connector().holds.channels == {Channel.EMAIL, Channel.SMS}
    assert not [line for line in connector().warnings() if "webhook" in line]
    assert [line for line in connector(webhook_secret="").warnings() if "webhook" in line]
