"""Twilio's consents: the stand-in is proven by Twilio's own SDK, then driven."""

import asyncio
import json

import pytest
from twilio.base.exceptions import TwilioRestException
from twilio.http.http_client import TwilioHttpClient
from twilio.rest import Client

from gateway.connector.connector import ToolRefused, ToolUnreadable
from gateway.connector.registry import connector_of
from gateway.connector.suppression import Reason, Suppression
from gateway.contacts.contact import Channel
from gateway.contacts.parse import parse_contact
from gateway.entry.entry import Scope
from gateway.failure import InputError
from gateway.provider.request import Answer
from tests.connector.dialogue import answered, place, served
from tests.peers.tools.twilio_consents import ACCOUNT, SERVICE
from tests.peers.tools.twilio_consents import TwilioConsents as Tool

NUMBER = "+358401234567"
SENDER = "+15005550006"


def connector(**changes):
    return connector_of("twilio", place(**({"username": ACCOUNT, "place": SERVICE} | changes)))


def ban(number, scope=Scope.CHANNEL, at=1_700_000_000_000):
    return Suppression(parse_contact(number), scope, Reason.OBJECTION, at=at)


async def by_sdk(url, items, token="t0ken"):
    client = Client(ACCOUNT, token, http_client=TwilioHttpClient(pool_connections=False))
    client.accounts.base_url = url
    return await asyncio.to_thread(client.accounts.v1.bulk_consents.create, items=items)


async def test_the_stand_in_answers_twilios_own_sdk():
    tool = Tool()
    item = {
        "contact_id": NUMBER,
        "correlation_id": "ad388b5a46b33b874b0d41f7226db2ef",
        "sender_id": SERVICE,
        "date_of_consent": "2025-02-28T10:05:27Z",
        "status": "opt-out",
        "source": "website",
    }
    wrong = item | {"contact_id": "+19", "correlation_id": "02520cfa6c432f0e3ec3a38c122d428d"}
    async with served(tool.app) as server:
        made = await by_sdk(server.url, [item, wrong])
        with pytest.raises(TwilioRestException) as caught:
            await by_sdk(server.url, [item], token="other")
    assert caught.value.status == 401
    assert [one["error_code"] for one in made.items] == [0, 30646]
    assert tool.consents == {(SERVICE, NUMBER): "opt-out"}


async def test_the_connector_sends_what_the_sdk_sends():
    """The same item, in the same form, under the same name."""
    by_us, by_them = Tool(), Tool()
    async with served(by_us.app) as server:
        [result] = await server.put(connector(), [ban(NUMBER)])
        [request] = server.requests
    assert result.done
    async with served(by_them.app) as server:
        await by_sdk(server.url, by_us.items)
    assert by_us.items == by_them.items
    assert by_us.consents == by_them.consents == {(SERVICE, NUMBER): "opt-out"}
    assert request.header("content-type") == "application/x-www-form-urlencoded"
    assert by_us.items[0]["date_of_consent"] == "2023-11-14T22:13:20Z"


async def test_a_thousand_are_put_there_once_and_again():
    tool = Tool()
    tool.busy = 2
    entries = [ban(f"+3584012{number:05}") for number in range(1000)]
    async with served(tool.app) as server:
        assert all(result.done for result in await server.put(connector(), entries))
        first, tool.items = tool.items, []
        assert all(result.done for result in await server.put(connector(), entries))
    assert len(tool.consents) == 1000
    assert tool.items == first
    assert len({item["correlation_id"] for item in first}) == 1000


async def test_every_sender_has_it():
    tool = Tool()
    one = connector(place=f"{SERVICE} {SENDER} +15005550007")
    entries = [ban(f"+3584012{number:05}") for number in range(25)]
    async with served(tool.app) as server:
        assert all(result.done for result in await server.put(one, entries))
    assert len(tool.consents) == 75


async def test_the_same_twice_is_put_once():
    tool = Tool()
    async with served(tool.app) as server:
        results = await server.put(connector(), [ban(NUMBER), ban(NUMBER, Scope.ALL)])
    assert [result.done for result in results] == [True, True]
    assert len(tool.items) == 1


async def test_one_bad_number_does_not_harm_the_others():
    tool = Tool()
    tool.failing = {"+358401200002"}
    bad = Suppression(
        parse_contact(NUMBER)._replace(canonical="+19"), Scope.CHANNEL, Reason.OBJECTION
    )
    entries = [
        ban("+358401200001"),
        bad,
        ban("+358401200002"),
        ban("a@example.com"),
        ban("+358401200003", Scope.ALL, None),
    ]
    async with served(tool.app) as server:
        results = await server.put(connector(), entries)
    assert [(result.done, result.final) for result in results] == [
        (True, False),
        (False, True),
        (False, False),
        (False, True),
        (True, False),
    ]
    assert not [result for result in results if "+" in result.cause or "INVALID" in result.cause]


async def test_wrong_settings_are_named():
    tool = Tool()
    async with served(tool.app) as server:
        with pytest.raises(ToolRefused, match="secret_file"):
            await server.put(connector(secret="other"), [ban(NUMBER)])
    answer = {
        "items": [
            {"correlation_id": "x", "error_code": 30646, "error_messages": ["INVALID_SENDER_ID"]}
        ]
    }
    with pytest.raises(ToolRefused, match="place"):
        answered(connector().put([ban(NUMBER)]), Answer(201, json.dumps(answer).encode()))


@pytest.mark.parametrize(
    "wrong",
    [
        {},
        {"items": {}},
        {"items": [{"error_code": 0}]},
        {"items": [{"correlation_id": "x", "error_code": None}]},
        [],
    ],
)
def test_a_malformed_answer_is_unreadable(wrong):
    with pytest.raises(ToolUnreadable):
        answered(connector().put([ban(NUMBER)]), Answer(201, json.dumps(wrong).encode()))


def test_an_item_that_the_answer_leaves_out_is_not_done():
    [result], _ = answered(connector().put([ban(NUMBER)]), Answer(201, b'{"items": []}'))
    assert not result.done
    assert not result.final


def test_there_is_nothing_to_read():
    one = connector()
    for exchange in (one.changes(""), one.listing("")):
        page, asked = answered(exchange)
        assert not asked
        assert not page.more
    assert not one.holds.reads
    assert one.holds.channels == {Channel.SMS}
    assert one.holds.scopes == {Scope.ALL, Scope.CHANNEL}


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({"username": ""}, "username"),
        ({"username": "gateway"}, "username"),
        ({"secret": ""}, "secret_file"),
        ({"place": ""}, "place"),
        ({"place": "LamisNET"}, "place"),
        ({"place": " ".join([SENDER] * 6)}, "place"),
    ],
)
def test_what_is_lacking_is_named(changes, names):
    with pytest.raises(InputError, match=names):
        connector(**changes)
