"""Postmark's lists, read, written and heard."""

from __future__ import annotations

import asyncio
import base64

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from postmarker.core import PostmarkClient
from postmarker.exceptions import ClientError

from gateway.clock import DAY_MS, now_ms
from gateway.connector.connector import HookRefused, Place, ToolRefused
from gateway.connector.postmark import Postmark
from gateway.connector.registry import connector_of
from gateway.connector.suppression import Reason, Said
from gateway.entry.entry import Scope
from gateway.failure import InputError
from gateway.provider.request import Answer, Request
from tests.connector.entry import ban, expect_told, expect_unreadable
from tests.peers.tools.driver import Broken, Driver, held, odd
from tests.peers.tools.postmark import TOKEN
from tests.peers.tools.postmark import Postmark as Tool

SECRET = "correct horse battery"
SECOND = 1000
MINUTE = 60 * SECOND


def connector(url="http://127.0.0.1:1", **changes):
    settings = {
        "name": "post",
        "secret": TOKEN,
        "topics": (("News", "news"),),
        "webhook_secret": SECRET,
        "url": url,
    }
    return Postmark(Place(**(settings | changes)))


@pytest.fixture
async def tool():
    async with Tool("outbound", "broadcast", "news") as made:
        yield made


# -- the stand-in, by the vendor's own client --------------------------------------------


async def test_the_stand_in_answers_postmarks_own_client(tool):
    client = PostmarkClient(server_token=TOKEN, root_api_url=tool.url)
    path = "/message-streams/broadcast/suppressions"

    def talk():
        body = {"Suppressions": [{"EmailAddress": "a@example.com"}]}
        created = client.call("POST", path, data=body)
        dumped = client.call("GET", f"{path}/dump", SuppressionReason="")
        later = client.call("GET", f"{path}/dump", fromdate="2999-01-01")
        with pytest.raises(ClientError) as wrong:
            client.call("GET", "/message-streams/nowhere/suppressions/dump")
        with pytest.raises(ClientError) as stranger:
            PostmarkClient(server_token="x", root_api_url=tool.url).call("GET", f"{path}/dump")
        client.session.close()
        return created, dumped, later, wrong.value.error_code, stranger.value.error_code

    created, dumped, later, wrong, stranger = await asyncio.to_thread(talk)
    assert created["Suppressions"][0]["Status"] == "Suppressed"
    (entry,) = dumped["Suppressions"]
    assert entry["EmailAddress"] == "a@example.com"
    assert (entry["SuppressionReason"], entry["Origin"]) == ("ManualSuppression", "Customer")
    assert later == {"Suppressions": []}
    assert (wrong, stranger) == (1226, 10)


# -- reading -----------------------------------------------------------------------------


async def test_reasons_and_streams_are_told_in_the_registers_words(tool):
    tool.add("broadcast", "left@example.com")
    tool.add("broadcast", "blocked@example.com", origin="Customer")
    tool.add("broadcast", "gone@example.com", "HardBounce")
    tool.add("news", "angry@example.com", "SpamComplaint")
    tool.add("outbound", "elsewhere@example.com")
    async with Driver(connector(tool.url)) as driver:
        found, _ = await driver.read(driver.connector.listing)
    assert held(found) == {
        ("added", "left@example.com", "channel", None, "objection"),
        ("added", "blocked@example.com", "channel", None, "blocked"),
        ("added", "gone@example.com", "channel", None, "bounce"),
        ("added", "angry@example.com", "topic", "news", "complaint"),
    }
    first = found[0].suppression
    assert first.note == "ManualSuppression Recipient"
    assert first.at == tool.streams["broadcast"]["left@example.com"][2]


@pytest.mark.parametrize("skew", [-10 * MINUTE, 0, 10 * MINUTE])
async def test_what_is_new_is_told_though_clocks_differ(tool, skew):
    tool.skew = skew
    async with Driver(connector(tool.url)) as driver:
        _, cursor = await driver.read(driver.connector.changes)
        for number in range(3):
            # Late by ten minutes, by a clock that is wrong.
            tool.add("news", f"new{number}@example.com", at=tool.time() - 10 * MINUTE)
            found, cursor = await driver.read(driver.connector.changes, cursor)
            assert ("added", f"new{number}@example.com", "topic", "news", "objection") in held(
                found
            )


async def test_a_cursor_is_good_for_a_month(tool):
    async with Driver(connector(tool.url)) as driver:
        _, cursor = await driver.read(driver.connector.changes)
        later = Postmark(driver.connector.place, clock=lambda: now_ms() + 30 * DAY_MS)
        tool.add("broadcast", "early@example.com", at=now_ms() + DAY_MS)
        found, _ = await driver.read(later.changes, cursor)
    assert [one.suppression.contact.canonical for one in found] == ["early@example.com"]


async def test_the_day_before_is_asked_for_again(tool):
    async with Driver(connector(tool.url)) as driver:
        _, cursor = await driver.read(driver.connector.changes)
        tool.add("broadcast", "late@example.com", at=now_ms() - DAY_MS)
        found, _ = await driver.read(driver.connector.changes, cursor)
    assert [one.suppression.contact.canonical for one in found] == ["late@example.com"]


@pytest.mark.slow
async def test_a_hundred_thousand_are_listed_once_each(tool):
    for number in range(100_000):
        at = 1_500_000_000_000 + number * 4_550_000
        tool.add("broadcast", f"p{number}@example.com", at=at)
    async with Driver(connector(tool.url)) as driver:
        found, _ = await driver.read(driver.connector.listing)
    assert len(found) == 100_000
    assert len({one.suppression.contact.canonical for one in found}) == 100_000


async def test_a_listing_goes_on_where_it_stopped(tool):
    for year in range(2018, 2027):
        at = (year - 1970) * 31_556_952 * SECOND + 5 * DAY_MS
        tool.add("broadcast", f"in{year}@example.com", at=at)
    tool.fails_at = set(range(4, 8))
    made = connector(tool.url)
    async with Driver(made) as driver:
        found, cursor = [], ""
        while True:
            try:
                page = await driver.run(made.listing(cursor))
            except Broken:
                made = connector(tool.url)
                continue
            found += page.changes
            cursor = page.cursor
            if not page.more:
                break
    assert len(found) == 9
    assert tool.requests > 7


async def test_what_cannot_be_read_is_counted(tool):
    tool.add("broadcast", "no address")
    tool.add("broadcast", "odd@example.com", "SomethingNew")
    tool.add("broadcast", "good@example.com")
    tool.twice = True
    async with Driver(connector(tool.url)) as driver:
        found, _ = await driver.read(driver.connector.listing)
        assert driver.bad == 4
    assert {one.suppression.contact.canonical for one in found} == {"good@example.com"}


async def test_a_busy_tool_is_waited_for(tool):
    tool.add("broadcast", "a@example.com")
    tool.busy = 2
    async with Driver(connector(tool.url)) as driver:
        found, _ = await driver.read(driver.connector.changes)
    assert len(found) == 1


async def test_wrong_settings_are_named(tool):
    async with Driver(connector(tool.url, secret="wrong")) as driver:
        with pytest.raises(ToolRefused, match="post: secret_file"):
            await driver.read(driver.connector.changes)
    async with Driver(connector(tool.url, place="nowhere")) as driver:
        with pytest.raises(ToolRefused, match="post: place and topics"):
            await driver.read(driver.connector.listing)
        with pytest.raises(ToolRefused, match="post: place and topics"):
            await driver.put([ban("a@example.com")])
    with pytest.raises(InputError, match="post: secret_file"):
        connector(secret="")
    with pytest.raises(InputError, match="topics"):
        connector(topics=(("News", "broadcast"),))


# Each is an answer that Postmark's documents do not know.
ODD = [b"", b"{", b"[]", b"null", b'{"Suppressions": 1}', b'{"Suppressions": null}', b"\xff"]


@pytest.mark.parametrize("body", ODD)
async def test_odd_answers_are_unreadable(tool, body):
    tool.garble(200, body)
    await expect_unreadable(connector(tool.url), ban("a@example.com"))


@pytest.mark.parametrize("status", [301, 400, 404, 415, 422])
async def test_odd_statuses_are_told(tool, status):
    tool.garble(status, b"<html>")
    await expect_told(connector(tool.url), status)


member = st.fixed_dictionaries(
    {},
    optional={
        "EmailAddress": odd | st.just("a@example.com"),
        "SuppressionReason": odd | st.sampled_from(["HardBounce", "ManualSuppression"]),
        "Origin": odd,
        "CreatedAt": odd | st.just("2026-01-01T00:00:00Z"),
    },
)


@settings(deadline=None)
@given(entries=st.lists(member | odd), cursor=st.text())
def test_any_json_is_read_or_refused(entries, cursor):
    made = connector()
    body = orjson.dumps({"Suppressions": entries})
    for exchange in (made.changes(cursor), made.listing(cursor)):
        request = next(exchange)
        assert request.query.isascii()
        with pytest.raises(StopIteration) as end:
            exchange.send(Answer(200, body))
        page = end.value.value
        assert all(one.suppression.contact.canonical == "a@example.com" for one in page.changes)


# -- writing -----------------------------------------------------------------------------


async def test_a_thousand_are_put_and_found_again(tool):
    entries = [ban(f"p{number}@example.com") for number in range(1000)]
    async with Driver(connector(tool.url)) as driver:
        results = await driver.put(entries)
        assert all(one.done for one in results)
        assert len(tool.streams["broadcast"]) == len(tool.streams["news"]) == 1000
        again = await driver.put(entries)
        assert all(one.done for one in again)
        found, _ = await driver.read(driver.connector.changes)
    assert tool.streams["outbound"] == {}
    assert {one.suppression.contact.canonical for one in found} == {
        one.contact.canonical for one in entries
    }


@pytest.mark.parametrize("bad", ["refused@example.com", "spoiling@example.com"])
async def test_one_bad_address_spoils_no_other(tool, bad):
    entries = [ban(f"p{number}@example.com") for number in range(49)]
    entries.insert(20, ban(bad))
    async with Driver(connector(tool.url)) as driver:
        results = await driver.put(entries)
    assert [one.done for one in results] == [one.contact.canonical != bad for one in entries]
    assert results[20].final
    assert bad not in results[20].cause
    assert len(tool.streams["broadcast"]) == 49


async def test_a_ban_of_a_topic_goes_into_its_stream_alone(tool):
    entries = [
        ban("topic@example.com", Scope.TOPIC, "NEWS"),
        ban("other@example.com", Scope.TOPIC, "offers"),
        ban("all@example.com", Scope.ALL, channel=None),
        ban("+358401234567", Scope.ALL, channel=None),
        ban("gone@example.com", reason=Reason.BOUNCE),
        ban("blocked@example.com", reason=Reason.BLOCKED),
    ]
    async with Driver(connector(tool.url)) as driver:
        results = await driver.put(entries)
    assert [one.done for one in results] == [True, False, True, False, False, True]
    assert [one.final for one in results] == [False, True, False, True, True, False]
    assert set(tool.streams["news"]) == {
        "topic@example.com",
        "all@example.com",
        "blocked@example.com",
    }
    assert set(tool.streams["broadcast"]) == {"all@example.com", "blocked@example.com"}


async def test_an_entry_that_the_answer_leaves_out_is_not_done(tool):
    tool.garble(200, b'{"Suppressions": [{"EmailAddress": "b@example.com"}]}')
    async with Driver(connector(tool.url)) as driver:
        results = await driver.put([ban("a@example.com"), ban("b@example.com")])
    assert [(one.done, one.final) for one in results] == [(False, False)] * 2


def test_what_it_holds_and_warns_of():
    made = connector_of("postmark", connector().place)
    assert made.holds.scopes == {Scope.ALL, Scope.CHANNEL, Scope.TOPIC}
    assert made.holds.topics == {"news"}
    assert connector(topics=()).holds.scopes == {Scope.ALL, Scope.CHANNEL}
    assert made.warnings() == []
    assert "transactional" in connector(place="outbound").warnings()[0]
    assert "transactional" in connector(topics=(("news", "outbound"),)).warnings()[0]


# -- webhooks ----------------------------------------------------------------------------


def basic(password, user="postmark"):
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


KNOWN = (("Authorization", basic(SECRET)),)


def call(record, headers=KNOWN, method="POST"):
    body = record if isinstance(record, bytes) else orjson.dumps(record)
    return Request(
        method, "/hooks/post", "", (("Content-Type", "application/json"), *headers), body
    )


CHANGED = {
    "RecordType": "SubscriptionChange",
    "MessageID": "883953f4-6105-42a2-a16a-77a8eac79483",
    "ServerID": 123456,
    "MessageStream": "news",
    "ChangedAt": "2026-02-01T10:53:34.416071Z",
    "Recipient": "left@example.com",
    "Origin": "Recipient",
    "SuppressSending": True,
    "SuppressionReason": "ManualSuppression",
    "Tag": "my-tag",
    "Metadata": {},
}
BOUNCED = {
    "RecordType": "Bounce",
    "MessageStream": "broadcast",
    "ID": 4323372036854775807,
    "Type": "HardBounce",
    "TypeCode": 1,
    "MessageID": "883953f4-6105-42a2-a16a-77a8eac79483",
    "Email": "gone@example.com",
    "BouncedAt": "2026-11-05T16:33:54.9070259Z",
}


def test_a_change_is_heard():
    (change,) = connector().hook(call(CHANGED), now_ms())
    assert held([change]) == {("added", "left@example.com", "topic", "news", "objection")}
    assert change.suppression.at == 1769943214416
    assert change.id
    assert "left" not in change.id
    (again,) = connector().hook(call(CHANGED), now_ms())
    assert again.id == change.id
    (other,) = connector().hook(call(CHANGED | {"Recipient": "b@example.com"}), now_ms())
    assert other.id != change.id


def test_a_reactivation_is_told_as_one():
    record = CHANGED | {"SuppressSending": False, "SuppressionReason": None, "MessageID": None}
    (change,) = connector().hook(call(record), now_ms())
    assert change.said is Said.REMOVED
    assert change.suppression.scope is Scope.TOPIC


def test_hard_bounces_and_complaints_are_heard_and_others_not():
    made = connector()
    assert held(made.hook(call(BOUNCED), now_ms())) == {
        ("added", "gone@example.com", "channel", None, "bounce")
    }
    spam = BOUNCED | {"RecordType": "SpamComplaint", "Type": "SpamComplaint", "TypeCode": 512}
    assert held(made.hook(call(spam), now_ms())) == {
        ("added", "gone@example.com", "channel", None, "complaint")
    }
    for record in (
        BOUNCED | {"Type": "SoftBounce", "TypeCode": 4096},
        BOUNCED | {"MessageStream": "outbound"},
        {"RecordType": "Delivery", "Recipient": "a@example.com"},
        {"RecordType": "Open"},
    ):
        assert made.hook(call(record), now_ms()) == ()


@pytest.mark.parametrize(
    "headers",
    [
        (("Authorization", basic(SECRET)),),
        (("authorization", f"Bearer {SECRET}"),),
        (("x-gateway-secret", SECRET),),
    ],
)
def test_the_secret_may_come_in_these_headers(headers):
    assert connector().hook(call(CHANGED, headers), now_ms())
    assert connector().hook(call(b"", headers, "GET"), now_ms()) == ()


def test_every_bit_of_the_secret_counts():
    made = connector()
    for place in range(len(SECRET)):
        for bit in range(7):
            wrong = SECRET[:place] + chr(ord(SECRET[place]) ^ 1 << bit) + SECRET[place + 1 :]
            for headers in (
                (("Authorization", basic(wrong)),),
                (("Authorization", f"Bearer {wrong}"),),
                (("X-Gateway-Secret", wrong),),
            ):
                with pytest.raises(HookRefused) as refused:
                    made.hook(call(CHANGED, headers), now_ms())
                assert refused.value.http == 401


@pytest.mark.parametrize(
    "headers",
    [
        (),
        (("Authorization", ""),),
        (("Authorization", "Basic !"),),
        (("Authorization", "Basic ä\udcff"),),
        (("X-Gateway-Secret", "ä\udcff"),),
        (("Authorization", basic("")),),
        (("Authorization", "Bearer"),),
        (("X-Postmark-Secret", SECRET),),
    ],
)
def test_strangers_are_refused(headers):
    with pytest.raises(HookRefused) as refused:
        connector().hook(call(CHANGED, headers), now_ms())
    assert refused.value.http == 401
    with pytest.raises(HookRefused) as unset:
        connector(webhook_secret="").hook(call(CHANGED, headers), now_ms())
    assert unset.value.http == 401


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"1",
        CHANGED | {"SuppressSending": "yes"},
        CHANGED | {"Recipient": "nobody"},
        CHANGED | {"SuppressionReason": "SomethingNew"},
        BOUNCED | {"Email": None},
    ],
)
def test_records_that_cannot_be_read_are_refused(body):
    with pytest.raises(HookRefused) as refused:
        connector().hook(call(body), now_ms())
    assert refused.value.http == 400
    assert "example.com" not in str(refused.value)
