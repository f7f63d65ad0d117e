"""listmonk: driven against a stand-in that runs the expressions as SQL, and on PostgreSQL."""

import asyncio
import json
from collections import Counter
from urllib.parse import unquote_plus

import asyncpg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.clock import now_ms
from gateway.connector.connector import ToolRefused, ToolUnreadable
from gateway.connector.listmonk import Listmonk as ListmonkConnector
from gateway.connector.listmonk import _these
from gateway.connector.registry import connector_of
from gateway.connector.suppression import Reason, Said, Suppression
from gateway.contacts.contact import Channel
from gateway.contacts.parse import parse_contact, parse_email
from gateway.entry.entry import Scope
from gateway.failure import InputError
from gateway.provider.request import Answer
from tests.connector.dialogue import answered, place, served
from tests.peers.tools.listmonk import Listmonk as Tool

DAY = 86_400
TOPICS = (("News ", "3"), ("shoes", "4"))


def connector(**changes):
    return connector_of("listmonk", place(**({"topics": TOPICS} | changes)))


def ban(address, scope=Scope.ALL, topic=None, reason=Reason.OBJECTION):
    return Suppression(parse_contact(address), scope, reason, topic=topic)


def told(changes):
    assert {change.said for change in changes} <= {Said.ADDED}
    return Counter(
        (s.contact.canonical, s.scope, s.topic, s.reason)
        for s in (change.suppression for change in changes)
    )


async def test_a_long_list_is_told_without_a_gap_or_a_double():
    tool = Tool(rows=50)
    for number in range(1200):
        tool.add(f"b{number}@example.com", "blocklisted")
        tool.add(f"e{number}@example.com", lists=(3,))
    async with served(tool.app) as server:
        found = told(await server.listed(connector()))
    assert found == Counter(
        {
            (f"b{number}@example.com", Scope.CHANNEL, None, Reason.BLOCKED): 1
            for number in range(1200)
        }
    )


async def test_what_fails_in_between_makes_no_gap_and_no_double():
    tool = Tool(rows=20)
    for number in range(100):
        tool.add(f"b{number}@example.com", "blocklisted")
    tool.busy = 2
    tool.broken = {5: 500, 6: 502, 9: 503}
    entries = [ban(f"p{number}@example.com") for number in range(100)]
    async with served(tool.app) as server:
        assert len(told(await server.listed(connector()))) == 100
        tool.broken = {len(tool.calls) + step: 503 for step in (1, 7, 8, 51, 60)}
        tool.busy = 1
        assert all(result.done for result in await server.put(connector(), entries))
        found = told(await server.listed(connector()))
    assert len(found) == 200
    assert set(found.values()) == {1}


async def test_a_put_that_ended_half_way_is_put_again():
    tool = Tool()
    one = connector()
    entries = [ban(f"p{number}@example.com") for number in range(10)]
    tool.add("p9@example.com", lists=(3,))
    async with served(tool.app) as server:
        exchange = one.put(entries)
        request = next(exchange)
        async with server.driver(one) as driver:
            for _ in range(5):
                request = exchange.send(await driver.ask(request))
        exchange.close()
        assert tool.status("p4@example.com") == "blocklisted"
        assert tool.status("p9@example.com") == "enabled"
        assert all(result.done for result in await server.put(one, entries))
    assert all(tool.status(f"p{number}@example.com") == "blocklisted" for number in range(10))


@pytest.mark.slow
async def test_a_hundred_thousand_are_told_once_each():
    tool = Tool(rows=500)
    for number in range(100_000):
        tool.add(f"b{number}@example.com", "blocklisted")
    async with served(tool.app) as server:
        found = told(await server.listed(connector(topics=())))
    assert len(found) == 100_000
    assert set(found.values()) == {1}


async def test_who_leaves_while_the_list_is_read_makes_no_gap():
    tool = Tool(rows=10)
    numbers = [tool.add(f"b{number}@example.com", "blocklisted") for number in range(100)]
    one = connector()
    found = set()
    async with served(tool.app) as server:
        async for page in server.pages(one, one.listing, ""):
            found |= {change.suppression.contact.canonical for change in page.changes}
            # Rows before and behind the page go: by its number the next page would skip some.
            for number in (numbers.pop(), numbers.pop(0)) if numbers else ():
                tool.database.execute("DELETE FROM subscribers WHERE id = ?", (number,))
    left = {row[0] for row in tool.database.execute("SELECT email FROM subscribers")}
    assert left <= found


async def test_the_kinds_of_entries_and_what_they_mean():
    tool = Tool()
    tool.add("all@example.com", "blocklisted", lists=(3,))
    some = tool.add("some@example.com", lists=(3, 4, 9))
    tool.unsubscribed_by_link(some, everywhere=False, lists=(4, 9))
    hard = tool.add("hard@example.com", lists=(3,))
    tool.bounced(hard, "hard")
    tool.bounced(tool.add("soft@example.com"), "soft")
    tool.bounced(tool.add("spam@example.com"), "complaint")
    tool.add("fine@example.com", lists=(3, 4))
    async with served(tool.app) as server:
        found = told(await server.listed(connector()))
    assert found == Counter(
        {
            ("all@example.com", Scope.CHANNEL, None, Reason.BLOCKED): 1,
            ("some@example.com", Scope.TOPIC, "shoes", Reason.OBJECTION): 1,
            ("hard@example.com", Scope.CHANNEL, None, Reason.BOUNCE): 1,
            ("spam@example.com", Scope.CHANNEL, None, Reason.COMPLAINT): 1,
        }
    )


@pytest.mark.parametrize("skew", [-600, 0, 600])
async def test_changes_are_heard_whatever_its_clock_says(skew):
    tool = Tool()
    tool.skew = skew
    tool.add("old@example.com", "blocklisted", ago=3 * DAY)
    link = tool.add("link@example.com", lists=(3,), ago=3 * DAY)
    topic = tool.add("topic@example.com", lists=(3,), ago=3 * DAY)
    bounce = tool.add("bounce@example.com", lists=(3,), ago=3 * DAY)
    one = connector()
    async with served(tool.app) as server:
        found, cursor = await server.changed(one, "")
        assert not found
        tool.unsubscribed_by_link(link, everywhere=True, lists=(3,))
        tool.unsubscribed_by_link(topic, everywhere=False, lists=(3,))
        tool.bounced(bounce, "hard", blocklisted=True)
        tool.add("new@example.com", "blocklisted")
        found, cursor = await server.changed(one, cursor)
        again, _ = await server.changed(one, cursor)
    assert set(told(found)) == {
        ("link@example.com", Scope.CHANNEL, None, Reason.BLOCKED),
        ("topic@example.com", Scope.TOPIC, "news", Reason.OBJECTION),
        ("bounce@example.com", Scope.CHANNEL, None, Reason.BLOCKED),
        ("bounce@example.com", Scope.CHANNEL, None, Reason.BOUNCE),
        ("new@example.com", Scope.CHANNEL, None, Reason.BLOCKED),
    }
    # What is as new as two clocks may differ is told again.
    assert set(told(again)) == set(told(found))


async def test_a_pass_that_comes_late_begins_before_the_one_before():
    """The tool's clock is ten minutes behind, and hours lie between two looks."""
    tool = Tool()
    tool.skew = -600
    times = [now_ms(), now_ms() + 3 * 3_600_000]
    one = ListmonkConnector(place(), times[0].__int__)
    async with served(tool.app) as server:
        _, cursor = await server.changed(one, "")
        tool.add("new@example.com", "blocklisted")
        one.clock = times[1].__int__
        found, _ = await server.changed(one, cursor)
    assert [change.suppression.contact.canonical for change in found] == ["new@example.com"]


def test_a_clock_that_was_ahead_leaves_nothing_out():
    now = 1_700_000_000_000
    one = ListmonkConnector(place(), now.__int__)
    request = next(one.changes(f"{now + 10**9}.0.0.0"))
    assert "updated_at >= to_timestamp(1699999100)" in unquote_plus(request.query)


async def test_changes_are_not_told_for_ever():
    tool = Tool()
    tool.add("old@example.com", "blocklisted", ago=3 * DAY)
    tool.add("today@example.com", "blocklisted", ago=DAY / 2)
    one = connector()
    async with served(tool.app) as server:
        found, cursor = await server.changed(one, "")
        assert [change.suppression.contact.canonical for change in found] == ["today@example.com"]
        found, _ = await server.changed(one, cursor)
        assert not found


async def test_a_thousand_are_put_there_once_and_again():
    tool = Tool(rows=500)
    for number in range(0, 1000, 3):
        tool.add(f"P{number}@example.com".lower(), lists=(3, 4))
    entries = [ban(f"p{number}@example.com") for number in range(1000)]
    one = connector()
    async with served(tool.app) as server:
        assert all(result.done for result in await server.put(one, entries))
        assert all(result.done for result in await server.put(one, entries))
        found = told(await server.listed(one))
    assert len(found) == 1000
    assert set(found.values()) == {1}
    assert tool.subscription("p3@example.com", 3) == "unsubscribed"
    assert not [path for _, path in tool.calls if "p3" in path or "example" in path]


async def test_one_bad_address_does_not_harm_the_others():
    tool = Tool()
    tool.add("known@example.com")
    entries = [
        ban("new@example.com"),
        ban("bad@somewhere.invalid"),
        ban("known@example.com"),
        ban("+358401234567"),
        ban("bounced@example.com", reason=Reason.BOUNCE),
    ]
    async with served(tool.app) as server:
        results = await server.put(connector(), entries)
    assert [(result.done, result.final) for result in results] == [
        (True, False),
        (False, True),
        (True, False),
        (False, True),
        (False, True),
    ]
    assert tool.status("new@example.com") == tool.status("known@example.com") == "blocklisted"
    assert not tool.status("bounced@example.com")
    assert all("example" not in result.cause for result in results)


async def test_a_topic_is_unsubscribed_for_members_and_strangers_alike():
    tool = Tool()
    tool.add("member@example.com", lists=(3, 4))
    entries = [ban(f"{who}@example.com", Scope.TOPIC, "news") for who in ("member", "stranger")]
    one = connector()
    async with served(tool.app) as server:
        assert all(result.done for result in await server.put(one, entries))
        found = told(await server.listed(one))
    assert tool.subscription("member@example.com", 3) == "unsubscribed"
    assert tool.subscription("member@example.com", 4) == "confirmed"
    assert tool.subscription("stranger@example.com", 3) == "unsubscribed"
    assert not tool.subscription("stranger@example.com", 4)
    assert set(found) == {
        (f"{who}@example.com", Scope.TOPIC, "news", Reason.OBJECTION)
        for who in ("member", "stranger")
    }


async def test_other_spellings_of_the_domain_are_blocklisted_too():
    tool = Tool()
    tool.add("matti@sähkö.example", lists=(3,))
    async with served(tool.app) as server:
        [result] = await server.put(connector(), [ban("Matti@Sähkö.example")])
    assert result.done
    assert tool.status("matti@sähkö.example") == "blocklisted"


async def test_a_reply_that_somebody_is_known_may_be_an_older_one():
    tool = Tool()
    tool.old_duplicates = True
    tool.add("known@example.com")
    async with served(tool.app) as server:
        [result] = await server.put(connector(), [ban("known@example.com")])
    assert not result.done
    assert tool.status("known@example.com") == "blocklisted"


@pytest.mark.parametrize(
    "wrong",
    [
        {"data": {"results": [{"id": 1}], "total": "x"}},
        {"data": {"results": [{"email": "a@example.com"}], "total": 1}},
        {"data": {"results": ["a@example.com"], "total": 1}},
        {"data": {"results": [], "total": 3}},
        {"data": {"total": 3}},
        {"data": [1]},
        {"results": []},
        [1, 2],
    ],
)
def test_a_malformed_answer_is_unreadable(wrong):
    with pytest.raises(ToolUnreadable):
        answered(connector().listing(""), Answer(200, json.dumps(wrong).encode()))


def test_ids_that_do_not_descend_are_unreadable():
    rows = [{"id": 3, "email": "a@example.com", "status": "blocklisted"}] * 2
    answer = Answer(200, json.dumps({"data": {"results": rows, "total": 2}}).encode())
    with pytest.raises(ToolUnreadable, match="descending"):
        answered(connector().listing(""), answer)


@pytest.mark.parametrize(("status", "names"), [(401, "secret_file"), (403, "rights"), (404, "url")])
def test_wrong_settings_are_named(status, names):
    for exchange in (connector().listing(""), connector().put([ban("a@example.com")])):
        with pytest.raises(ToolRefused, match=names):
            answered(exchange, Answer(status, b"a@example.com"))


@pytest.mark.parametrize("text", ["", "x", "1.2", "1.2.3.4.5", "1.-2.3.4", "١.2.3.4"])
def test_a_cursor_that_is_none_begins_anew(text):
    data = json.dumps({"data": {"results": [], "total": 0}}).encode()
    page, [request] = answered(connector().listing(text), Answer(200, data))
    assert page.more
    assert "below" not in request.query


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({"url": ""}, "url"),
        ({"username": ""}, "username"),
        ({"secret": ""}, "secret_file"),
        ({"topics": (("news", "News"),)}, "topics.news"),
        ({"topics": (("news", "1 OR 1=1"),)}, "topics.news"),
    ],
)
def test_what_is_lacking_is_named(changes, names):
    with pytest.raises(InputError, match=names):
        connector(**changes)


def test_what_it_holds():
    assert connector().holds.scopes == {Scope.ALL, Scope.CHANNEL, Scope.TOPIC}
    assert connector(topics=()).holds.scopes == {Scope.ALL, Scope.CHANNEL}
    assert connector().holds.channels == {Channel.EMAIL}
    assert connector().holds.topics == {"news", "shoes"}
    assert not connector().holds.hooks
    assert any("topics" in line for line in connector(topics=()).warnings())


@settings(deadline=None)
@given(st.text())
def test_no_text_reaches_the_expression_but_as_digits(local):
    contact = parse_email("a@example.com")._replace(canonical=local + "@example.com")
    try:
        text = _these([contact])
    except UnicodeEncodeError:
        return
    inside = text.removeprefix("(LOWER(subscribers.email) IN (").removesuffix("))")
    digits = inside.removeprefix("convert_from(decode('").removesuffix("', 'hex'), 'UTF8')")
    assert bytes.fromhex(digits).decode() == local + "@example.com"
    assert set(digits) <= set("0123456789abcdef")


QUERY = """SELECT email FROM subscribers LEFT JOIN subscriber_lists ON (FALSE)
WHERE (CARDINALITY($1::INT[]) = 0) AND {} ORDER BY subscribers.id desc"""


def test_the_expressions_are_postgresqls(postgresql):
    """The server that listmonk runs on takes them, and quotes stay quotes."""
    awkward = ["o'brien@example.com", "x');drop table subscribers;--@example.com", "ä@example.com"]

    async def ask():
        database = await asyncpg.connect(postgresql.database().replace("+asyncpg", ""))
        try:
            await database.execute(
                """
                CREATE TABLE subscribers (id SERIAL PRIMARY KEY, email TEXT, status TEXT,
                    updated_at TIMESTAMPTZ DEFAULT NOW());
                CREATE TABLE subscriber_lists (subscriber_id INT, list_id INT, status TEXT,
                    updated_at TIMESTAMPTZ DEFAULT NOW());
                CREATE TABLE bounces (subscriber_id INT, created_at TIMESTAMPTZ DEFAULT NOW());
                """
            )
            for email in [*awkward, "Other@Example.com"]:
                await database.execute(
                    "INSERT INTO subscribers (email, status) VALUES ($1, 'enabled')", email
                )
            contacts = [
                parse_email("a@example.com")._replace(canonical=email)
                for email in [*awkward, "other@example.com"]
            ]
            found = await database.fetch(QUERY.format(_these(contacts)), [])
            assert {row[0] for row in found} == {*awkward, "Other@Example.com"}
            await database.execute("UPDATE subscribers SET status = 'blocklisted' WHERE id = 1")
            await database.execute("INSERT INTO subscriber_lists VALUES (2, 4, 'unsubscribed')")
            await database.execute("INSERT INTO subscriber_lists VALUES (3, 9, 'unsubscribed')")
            for cursor in ("", "1.1.0.0", "1.1.99.0"):
                one = connector()
                assert isinstance(one, ListmonkConnector)
                request = next(one.changes(cursor))
                condition = dict(pair.split("=", 1) for pair in request.query.split("&"))["query"]
                found = await database.fetch(QUERY.format(unquote_plus(condition)), [])
                assert {row[0] for row in found} == set(awkward[:2])
        finally:
            await database.close()

    asyncio.run(ask())
