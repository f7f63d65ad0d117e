"""Mailchimp's audiences, read, written and heard."""

from __future__ import annotations

import asyncio
from hashlib import md5
from urllib.parse import urlencode

import mailchimp_marketing
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mailchimp_marketing.api_client import ApiClientError

from gateway.clock import DAY_MS, now_ms
from gateway.connector.connector import HookRefused, Place, ToolRefused
from gateway.connector.mailchimp import Mailchimp
from gateway.connector.registry import connector_of
from gateway.connector.suppression import Reason, Said
from gateway.entry.entry import Scope
from gateway.failure import InputError
from gateway.provider.request import Answer, Request
from tests.connector.entry import ban, expect_told, expect_unreadable, listed_in_pieces, names
from tests.peers.tools.driver import Driver, held, odd
from tests.peers.tools.mailchimp import KEY
from tests.peers.tools.mailchimp import Mailchimp as Tool

SECRET = "correct-horse-battery"
SECOND = 1000
MINUTE = 60 * SECOND
START = 1_600_000_000_000


def connector(url="http://127.0.0.1:1/3.0", **changes):
    settings = {
        "name": "chimp",
        "secret": KEY,
        "place": "a6b5da1054",
        "topics": (("News", "b7c6eb2165"),),
        "webhook_secret": SECRET,
        "url": url,
    }
    return Mailchimp(Place(**(settings | changes)))


@pytest.fixture
async def tool():
    async with Tool("a6b5da1054", "b7c6eb2165", "elsewhere") as made:
        yield made


# -- the stand-in, by the vendor's own client --------------------------------------------


async def test_the_stand_in_answers_mailchimps_own_client(tool):
    tool.add("a6b5da1054", "early@example.com", at=START)
    tool.add("a6b5da1054", "late@example.com", at=START + DAY_MS)
    tool.add("a6b5da1054", "cleaned@example.com", "cleaned", at=START)

    def client(key=KEY):
        made = mailchimp_marketing.Client({"api_key": key})
        made.api_client.host = tool.url
        return made.lists

    def talk():
        lists, audience = client(), "a6b5da1054"
        page = lists.get_list_members_info(
            audience,
            status="unsubscribed",
            count=1,
            offset=1,
            sort_field="last_changed",
            sort_dir="ASC",
            fields=["members.email_address", "total_items"],
        )
        since = lists.get_list_members_info(
            audience, status="unsubscribed", since_last_changed="2020-09-13T12:26:40+00:00"
        )
        members = [
            {"email_address": "new@example.com", "status": "unsubscribed"},
            {"email_address": "refused@example.com", "status": "unsubscribed"},
            {"email_address": "early@example.com", "status": "unsubscribed"},
        ]
        batch = lists.batch_list_members(audience, {"members": members, "update_existing": True})
        hashed = md5(b"early@example.com").hexdigest()
        known = lists.get_list_member(audience, hashed)
        body = {"email_address": "early@example.com", "status_if_new": "subscribed"}
        with pytest.raises(ApiClientError) as complying:
            lists.set_list_member(audience, hashed, body | {"status": "subscribed"})
        with pytest.raises(ApiClientError) as unknown:
            lists.get_list_member(audience, md5(b"nobody@example.com").hexdigest())
        with pytest.raises(ApiClientError) as stranger:
            client("wrong-us19").get_list_members_info(audience)
        return page, since, batch, known, [one.value for one in (complying, unknown, stranger)]

    page, since, batch, known, errors = await asyncio.to_thread(talk)
    assert [one["email_address"] for one in page["members"]] == ["late@example.com"]
    assert page["total_items"] == 2
    assert [one["email_address"] for one in since["members"]] == ["late@example.com"]
    assert (batch["total_created"], batch["error_count"]) == (1, 1)
    assert batch["errors"][0]["email_address"] == "refused@example.com"
    assert known["status"] == "unsubscribed"
    assert [one.status_code for one in errors] == [400, 404, 401]
    assert errors[0].text["title"] == "Member In Compliance State"


# -- reading -----------------------------------------------------------------------------


async def test_statuses_and_audiences_are_told_in_the_registers_words(tool):
    tool.add("a6b5da1054", "left@example.com")
    tool.add("a6b5da1054", "gone@example.com", "cleaned")
    tool.add("b7c6eb2165", "topic@example.com")
    tool.add("elsewhere", "other@example.com")
    for status in ("subscribed", "pending", "archived", "transactional"):
        tool.add("a6b5da1054", f"{status}@example.com", status)
    async with Driver(connector(tool.url)) as driver:
        found, _ = await driver.read(driver.connector.listing)
        new, _ = await driver.read(driver.connector.changes)
    assert (
        held(found)
        == held(new)
        == {
            ("added", "left@example.com", "channel", None, "objection"),
            ("added", "gone@example.com", "channel", None, "bounce"),
            ("added", "topic@example.com", "topic", "news", "objection"),
        }
    )


@pytest.mark.parametrize("skew", [-10 * MINUTE, 0, 10 * MINUTE])
async def test_what_is_new_is_told_though_clocks_differ(tool, skew):
    tool.skew = skew
    async with Driver(connector(tool.url)) as driver:
        _, cursor = await driver.read(driver.connector.changes)
        for number in range(3):
            # Late by eight minutes, by a clock that is wrong.
            tool.add("b7c6eb2165", f"new{number}@example.com", at=tool.time() - 8 * MINUTE)
            found, cursor = await driver.read(driver.connector.changes, cursor)
            assert f"new{number}@example.com" in names(found)


async def test_a_cursor_is_good_for_a_month_and_then_asks_for_little(tool):
    async with Driver(connector(tool.url)) as driver:
        _, cursor = await driver.read(driver.connector.changes)
        later = Mailchimp(driver.connector.place, clock=lambda: now_ms() + 30 * DAY_MS)
        tool.add("a6b5da1054", "early@example.com", at=now_ms() + DAY_MS)
        tool.add("a6b5da1054", "late@example.com", at=now_ms() + 29 * DAY_MS)
        found, cursor = await driver.read(later.changes, cursor)
        assert names(found) == ["early@example.com", "late@example.com"]
        found, _ = await driver.read(later.changes, cursor)
        assert names(found) == ["late@example.com"]


@pytest.mark.slow
async def test_a_hundred_thousand_are_listed_once_each(tool):
    for number in range(100_000):
        # Some share a second, as those of an import do, but no thousand.
        tool.add("a6b5da1054", f"p{number}@example.com", at=START + number // 300 * SECOND)
    async with Driver(connector(tool.url)) as driver:
        found, _ = await driver.read(driver.connector.listing)
    assert len(found) == 100_000
    assert len(set(names(found))) == 100_000


@pytest.mark.parametrize("total", [True, False])
async def test_thousands_of_one_second_are_not_left_out(tool, total):
    tool.tells_total = total
    for number in range(4000):
        tool.add("a6b5da1054", f"p{number}@example.com", at=START)
    tool.add("a6b5da1054", "first@example.com", at=START - SECOND)
    tool.add("a6b5da1054", "last@example.com", at=START + SECOND)
    async with Driver(connector(tool.url)) as driver:
        found, _ = await driver.read(driver.connector.listing)
    assert len(set(names(found))) == 4002
    assert len(found) < 4030


async def test_members_that_change_while_pages_are_read_hide_no_other(tool):
    for number in range(3500):
        tool.add("a6b5da1054", f"p{number}@example.com", at=START + number * SECOND)
    members = list(tool.audiences["a6b5da1054"].values())
    pages = 0

    def between():
        nonlocal pages
        pages += 1
        # The first hundred become the last ones: every page behind them moves.
        for one in members[:100]:
            one["at"] = START + (10_000 + pages) * SECOND

    tool.between = between
    async with Driver(connector(tool.url)) as driver:
        found, _ = await driver.read(driver.connector.listing)
    assert len(set(names(found))) == 3500


async def test_a_listing_goes_on_where_it_stopped(tool):
    for number in range(2500):
        tool.add("a6b5da1054", f"p{number}@example.com", at=START + number * SECOND)
    tool.fails_at = set(range(2, 7))
    found, stopped = await listed_in_pieces(lambda: connector(tool.url))
    assert stopped == 1
    assert len(found) == len(set(names(found))) == 2500


async def test_a_page_that_is_shorter_than_asked_for_is_not_the_last(tool):
    for number in range(250):
        tool.add("a6b5da1054", f"p{number}@example.com", at=START + number * SECOND)
    usual = tool._page

    def short(members, query):
        return usual(members, dict(query) | {"count": "100"})

    tool._page = short
    async with Driver(connector(tool.url)) as driver:
        found, _ = await driver.read(driver.connector.listing)
    assert len(set(names(found))) == 250


async def test_a_busy_tool_is_waited_for(tool):
    tool.add("a6b5da1054", "a@example.com")
    tool.busy = 2
    async with Driver(connector(tool.url)) as driver:
        found, _ = await driver.read(driver.connector.changes)
    assert names(found) == ["a@example.com"]


async def test_wrong_settings_are_named(tool):
    async with Driver(connector(tool.url, secret="wrong-us1")) as driver:
        with pytest.raises(ToolRefused, match="chimp: secret_file"):
            await driver.read(driver.connector.changes)
    async with Driver(connector(tool.url, place="nowhere")) as driver:
        with pytest.raises(ToolRefused, match="chimp: place"):
            await driver.read(driver.connector.listing)
        with pytest.raises(ToolRefused, match="chimp: place"):
            await driver.put([ban("a@example.com")])
    with pytest.raises(InputError, match="chimp: secret_file"):
        connector(secret="")
    with pytest.raises(InputError, match="chimp: place"):
        connector(place="")
    with pytest.raises(InputError, match="chimp: secret_file"):
        connector(url="", secret="a key of no data centre")


def test_the_data_centre_is_the_keys():
    assert connector(url="").url == "https://us19.api.mailchimp.com/3.0"
    assert connector(url="https://proxy.example/3.0").url == "https://proxy.example/3.0"


# Each is an answer that Mailchimp's documents do not know.
ODD = [b"", b"{", b"[]", b"null", b'{"members": 1}', b'{"members": [1]}', b"\xff"]


@pytest.mark.parametrize("body", ODD)
async def test_odd_answers_are_unreadable(tool, body):
    tool.garble(200, body)
    await expect_unreadable(connector(tool.url), ban("a@example.com"))


@pytest.mark.parametrize("status", [301, 400, 403, 415])
async def test_odd_statuses_are_told(tool, status):
    tool.garble(status, b"<html>")
    await expect_told(connector(tool.url), status, ban("a@example.com"))


member = st.fixed_dictionaries(
    {},
    optional={
        "email_address": odd | st.just("a@example.com"),
        "status": odd | st.sampled_from(["unsubscribed", "cleaned"]),
        "last_changed": odd | st.just("2026-01-01T00:00:00+00:00"),
    },
)


@settings(deadline=None)
@given(members=st.lists(member, max_size=5), total=odd, cursor=st.text())
def test_any_members_are_read_or_counted(members, total, cursor):
    made = connector()
    body = orjson.dumps({"members": members, "total_items": total})
    for exchange in (made.changes(cursor), made.listing(cursor)):
        request = next(exchange)
        assert request.query.isascii()
        with pytest.raises(StopIteration) as end:
            exchange.send(Answer(200, body))
        page = end.value.value
        assert len(page.changes) + page.bad <= len(members)
        assert set(names(page.changes)) <= {"a@example.com"}
        next(made.changes(page.cursor))


# -- writing -----------------------------------------------------------------------------


async def test_a_thousand_are_put_and_found_again(tool):
    tool.add("a6b5da1054", "p7@example.com", "subscribed")
    tool.add("a6b5da1054", "p8@example.com", "archived")
    entries = [ban(f"p{number}@example.com") for number in range(1000)]
    async with Driver(connector(tool.url)) as driver:
        results = await driver.put(entries)
        assert all(one.done for one in results)
        assert all(one.done for one in await driver.put(entries))
        found, _ = await driver.read(driver.connector.changes)
    for audience in ("a6b5da1054", "b7c6eb2165"):
        members = tool.audiences[audience].values()
        assert len(members) == 1000
        assert {one["status"] for one in members} == {"unsubscribed"}
    assert tool.audiences["elsewhere"] == {}
    assert set(names(found)) == {one.contact.canonical for one in entries}


async def test_what_mailchimp_says_of_single_members_is_understood(tool):
    texts = ["complying", "forgotten", "refused", "odd", "p"]
    entries = [ban(f"{text}@example.com") for text in texts]
    async with Driver(connector(tool.url)) as driver:
        results = await driver.put(entries)
    assert [one.done for one in results] == [True, True, False, False, True]
    assert [one.final for one in results] == [False, False, True, False, False]
    assert not any("example.com" in one.cause for one in results)


async def test_one_bad_address_spoils_no_other(tool):
    entries = [ban(f"p{number}@example.com") for number in range(499)]
    entries.insert(123, ban("spoiling@example.com"))
    async with Driver(connector(tool.url)) as driver:
        results = await driver.put(entries)
    assert [place for place, one in enumerate(results) if not one.done] == [123]
    assert results[123].final
    assert len(tool.audiences["a6b5da1054"]) == 499
    assert tool.requests < 60


async def test_a_ban_of_a_topic_goes_into_its_audience_alone(tool):
    entries = [
        ban("topic@example.com", Scope.TOPIC, "NEWS"),
        ban("other@example.com", Scope.TOPIC, "offers"),
        ban("all@example.com", Scope.ALL, channel=None),
        ban("+358401234567", Scope.ALL, channel=None),
        ban("gone@example.com", reason=Reason.BOUNCE),
        ban("all@example.com"),
    ]
    async with Driver(connector(tool.url)) as driver:
        results = await driver.put(entries)
    assert [one.done for one in results] == [True, False, True, False, False, True]
    shown = {
        name: {one["email_address"] for one in members.values()}
        for name, members in tool.audiences.items()
    }
    assert shown == {
        "a6b5da1054": {"all@example.com"},
        "b7c6eb2165": {"topic@example.com", "all@example.com"},
        "elsewhere": set(),
    }


def test_what_it_holds_and_warns_of():
    made = connector_of("mailchimp", connector().place)
    assert made.holds.scopes == {Scope.ALL, Scope.CHANNEL, Scope.TOPIC}
    assert made.holds.topics == {"news"}
    assert any("price" in line for line in made.warnings())


# -- webhooks ----------------------------------------------------------------------------


def call(kind, query=f"key={SECRET}", method="POST", **data):
    fields = {"type": kind, "fired_at": "2026-11-05 16:33:54"}
    data = {"list_id": "a6b5da1054", "id": "8a25ff1d98", "merges][FNAME": "Anna"} | data
    body = urlencode(fields | {f"data[{name}]": value for name, value in data.items()}).encode()
    headers = (("Content-Type", "application/x-www-form-urlencoded"),)
    return Request(method, "/hooks/chimp", query, headers, body)


@pytest.mark.parametrize(
    ("kind", "data", "told"),
    [
        ("unsubscribe", {"action": "unsub", "reason": "manual"}, ("added", "objection")),
        ("unsubscribe", {"action": "unsub", "reason": "abuse"}, ("added", "complaint")),
        ("unsubscribe", {"action": "delete", "reason": "manual"}, ("removed", "objection")),
        ("cleaned", {"reason": "hard"}, ("added", "bounce")),
        ("cleaned", {"reason": "abuse"}, ("added", "complaint")),
        ("subscribe", {}, ("removed", "objection")),
    ],
)
def test_events_are_heard(kind, data, told):
    (change,) = connector().hook(call(kind, email="Left@Example.com", **data), now_ms())
    said, reason = told
    assert held([change]) == {(said, "left@example.com", "channel", None, reason)}
    assert change.suppression.at == 1793896434000
    assert change.id
    assert "left" not in change.id
    (topic,) = connector().hook(
        call(kind, email="left@example.com", list_id="b7c6eb2165", **data), now_ms()
    )
    assert topic.suppression.topic == "news"
    assert topic.id != change.id


def test_a_changed_address_is_told_as_gone():
    request = call("upemail", old_email="old@example.com", new_email="new@example.com")
    (change,) = connector().hook(request, now_ms())
    assert change.said is Said.REMOVED
    assert change.suppression.contact.canonical == "old@example.com"


def test_other_events_and_audiences_tell_nothing():
    made = connector()
    assert made.hook(call("profile", email="a@example.com"), now_ms()) == ()
    assert made.hook(call("campaign", subject="Hello"), now_ms()) == ()
    strange = call("unsubscribe", email="a@example.com", list_id="elsewhere", action="unsub")
    assert made.hook(strange, now_ms()) == ()


def test_mailchimp_sees_by_get_that_the_url_answers():
    request = Request("GET", "/hooks/chimp", f"key={SECRET}")
    assert connector().hook(request, now_ms()) == ()
    with pytest.raises(HookRefused) as refused:
        connector().hook(request._replace(query="key=wrong"), now_ms())
    assert refused.value.http == 401


def test_every_bit_of_the_secret_counts():
    made = connector()
    for place in range(len(SECRET)):
        for bit in range(7):
            wrong = SECRET[:place] + chr(ord(SECRET[place]) ^ 1 << bit) + SECRET[place + 1 :]
            with pytest.raises(HookRefused) as refused:
                made.hook(call("cleaned", urlencode({"key": wrong})), now_ms())
            assert refused.value.http == 401


@pytest.mark.parametrize(
    "query",
    ["", "key", "key=", "secret=correct-horse-battery", "&&&", "key=%ff", "key=ä", "a=b&" * 200],
)
def test_strangers_are_refused(query):
    with pytest.raises(HookRefused) as refused:
        connector().hook(call("cleaned", query), now_ms())
    assert refused.value.http == 401


@pytest.mark.parametrize(
    "request_",
    [
        call("unsubscribe", email="nobody", action="unsub"),
        call("cleaned"),
        call("upemail", new_email="a@example.com"),
        call("unsubscribe", email="a@example.com")._replace(body=b"data[email]=a%40b.fi"),
        call("unsubscribe", email="a@example.com")._replace(body=b"type=cleaned&type=x"),
        call("unsubscribe", email="a@example.com")._replace(headers=()),
        call("unsubscribe", email="a@example.com")._replace(body=b"\xff=1"),
    ],
)
def test_calls_that_cannot_be_read_are_refused(request_):
    with pytest.raises(HookRefused) as refused:
        connector().hook(request_, now_ms())
    assert refused.value.http == 400
