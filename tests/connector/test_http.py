"""The gateway's own protocol: driven against a stand-in of its page; its webhooks."""

import hashlib
import hmac
import json
from collections import Counter
from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.connector.connector import HookRefused, ToolRefused, ToolUnreadable
from gateway.connector.registry import connector_of
from gateway.connector.row import RowError, change_of, row_of
from gateway.connector.suppression import Change, Reason, Said, Suppression
from gateway.connector.topics import Topics
from gateway.contacts.contact import Channel
from gateway.contacts.parse import parse_contact
from gateway.entry.entry import Scope
from gateway.failure import InputError
from gateway.provider.request import Answer, Request
from tests.connector.dialogue import answered, place, served
from tests.hook.bits import flips, text_flips
from tests.peers.tools.http import Ledger

SECRET = "webhook secret"
NUMBER = "+358401234567"
TOPICS = (("newsletter", "News"), ("shoes", "42"))
SECOND = 1_700_000_000
NOW = SECOND * 1000


def connector(**changes):
    return connector_of("http", place(**({"topics": TOPICS, "webhook_secret": SECRET} | changes)))


def ban(address, scope=Scope.ALL, **more):
    return Suppression(parse_contact(address), scope, Reason.OBJECTION, **more)


async def test_a_long_list_is_told_without_a_gap_or_a_double():
    tool = Ledger(rows=70)
    tool.busy = 3
    tool.entries = [{"contact": f"p{number}@example.com"} for number in range(3000)]
    tool.entries.append({"contact": "gone@example.com", "removed": True})
    async with served(tool.app) as server:
        found = await server.listed(connector())
    names = Counter(change.suppression.contact.canonical for change in found)
    assert names == Counter({f"p{number}@example.com": 1 for number in range(3000)})


@pytest.mark.slow
async def test_a_hundred_thousand_are_told_once_each():
    tool = Ledger(rows=1000)
    tool.entries = [{"contact": f"p{number}@example.com"} for number in range(100_000)]
    async with served(tool.app) as server:
        found = await server.listed(connector())
    names = Counter(change.suppression.contact.canonical for change in found)
    assert len(names) == 100_000
    assert set(names.values()) == {1}


async def test_changes_go_on_from_where_they_were():
    tool = Ledger()
    now = datetime.now(UTC).isoformat()
    tool.entries = [
        {"contact": "old@example.com", "at": "2020-01-01T00:00:00Z"},
        {"contact": "new@example.com", "at": now},
    ]
    one = connector()
    async with served(tool.app) as server:
        first, cursor = await server.changed(one, "")
        again, cursor = await server.changed(one, cursor)
        tool.entries.append({"contact": "new@example.com", "removed": True, "at": now})
        then, cursor = await server.changed(one, cursor)
    assert [change.suppression.contact.canonical for change in first] == ["new@example.com"]
    assert not again
    assert [change.said for change in then] == [Said.REMOVED]


async def test_what_an_entry_may_say():
    tool = Ledger()
    tool.entries = [
        {"contact": "A@Example.com"},
        {"contact": NUMBER, "scope": "channel", "reason": "blocked", "at": "2026-01-02T03:04:05Z"},
        {"contact": "b@example.com", "scope": "topic", "topic": "news", "channel": "email"},
        {"contact": "c@example.com", "scope": "topic", "topic": "42", "reason": "complaint"},
        {"contact": "d@example.com", "scope": "all", "channel": None, "at": None, "note": "x"},
        # What cannot be read, one way each.
        {"contact": "nobody"},
        {"contact": 7},
        {},
        {"contact": "e@example.com", "scope": "contact"},
        {"contact": "e@example.com", "scope": "topic"},
        {"contact": "e@example.com", "scope": "topic", "topic": "other"},
        {"contact": "e@example.com", "channel": "sms"},
        {"contact": "e@example.com", "reason": "because"},
        {"contact": "e@example.com", "at": "yesterday"},
        {"contact": "e@example.com", "at": 1700000000},
        {"contact": "e@example.com", "removed": "perhaps"},
    ]
    one = connector()
    async with served(tool.app) as server:
        page = await server.run(one, one.listing(""))
    assert [change.suppression for change in page.changes] == [
        ban("a@example.com"),
        Suppression(
            parse_contact(NUMBER), Scope.CHANNEL, Reason.BLOCKED, Channel.SMS, at=1767323045000
        ),
        ban("b@example.com", Scope.TOPIC, channel=Channel.EMAIL, topic="newsletter"),
        Suppression(parse_contact("c@example.com"), Scope.TOPIC, Reason.COMPLAINT, topic="shoes"),
        ban("d@example.com"),
    ]
    assert page.bad == 11


async def test_a_thousand_are_put_there_once_and_again():
    tool = Ledger(rows=1000)
    entries = [ban(f"p{number}@example.com") for number in range(1000)]
    one = connector()
    async with served(tool.app) as server:
        assert all(result.done for result in await server.put(one, entries))
        assert all(result.done for result in await server.put(one, entries))
        found = await server.listed(one)
    assert len(found) == 1000
    assert {change.suppression for change in found} == set(entries)
    assert all("example" not in path for _, path in tool.calls)


async def test_each_entry_has_its_own_result():
    tool = Ledger()
    tool.refused, tool.later = {"bad@example.com"}, {"later@example.com"}
    entries = [
        ban("a@example.com"),
        ban("bad@example.com"),
        ban("t@example.com", Scope.TOPIC, topic="unheard of"),
        ban("later@example.com"),
        ban("t@example.com", Scope.TOPIC, topic="shoes"),
    ]
    async with served(tool.app) as server:
        results = await server.put(connector(), entries)
    assert [(result.done, result.final) for result in results] == [
        (True, False),
        (False, True),
        (False, True),
        (False, False),
        (True, False),
    ]
    assert tool.entries[-1]["topic"] == "42"


async def test_a_wrong_token_is_told():
    async with served(Ledger().app) as server:
        with pytest.raises(ToolRefused, match="secret_file"):
            await server.listed(connector(secret="other"))
        with pytest.raises(ToolRefused, match="secret_file"):
            await server.put(connector(secret="other"), [ban("a@example.com")])


@pytest.mark.parametrize(
    "wrong",
    [
        {"cursor": "1", "more": False},
        {"entries": {}, "cursor": "1", "more": False},
        {"entries": ["a@example.com"], "cursor": "1", "more": False},
        {"entries": [], "more": False},
        {"entries": [], "cursor": "", "more": False},
        {"entries": [], "cursor": 1, "more": False},
        {"entries": [], "cursor": "1"},
        {"entries": [], "cursor": "same", "more": True},
        {"entries": [], "cursor": "x" * 5000, "more": False},
        [],
    ],
)
def test_a_malformed_answer_is_unreadable(wrong):
    with pytest.raises(ToolUnreadable):
        answered(connector().listing("same"), Answer(200, json.dumps(wrong).encode()))


@pytest.mark.parametrize(
    "wrong",
    [{"results": []}, {"results": [{"status": "perhaps"}]}, {"results": [{}]}, {"results": [1]}],
)
def test_malformed_results_are_unreadable(wrong):
    with pytest.raises(ToolUnreadable):
        answered(connector().put([ban("a@example.com")]), Answer(200, json.dumps(wrong).encode()))


@settings(deadline=None)
@given(
    st.binary(max_size=200)
    | st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(
                st.sampled_from(["entries", "cursor", "more", "contact", "scope"]), inner
            )
        ),
    ).map(lambda value: json.dumps(value).encode())
)
def test_any_answer_is_a_page_or_unreadable(body):
    try:
        page, _ = answered(connector().listing(""), Answer(200, body))
    except ToolUnreadable as error:
        assert len(str(error)) < 100
    else:
        assert page.cursor


# -- rows -------------------------------------------------------------------------------


def entries():
    contacts = st.sampled_from(["a@example.com", "ä@sähkö.example", NUMBER]).map(parse_contact)
    times = st.none() | st.integers(0, 4_000_000_000_000).map(lambda ms: ms // 1000 * 1000)

    def made(contact, scope, reason, at, topic, channel):
        return Suppression(
            contact,
            scope,
            reason,
            contact.channel
            if scope is Scope.CHANNEL or (scope is Scope.TOPIC and channel)
            else None,
            topic if scope is Scope.TOPIC else None,
            at,
        )

    return st.builds(
        made,
        contacts,
        st.sampled_from([Scope.ALL, Scope.CHANNEL, Scope.TOPIC]),
        st.sampled_from(list(Reason)),
        times,
        st.sampled_from(["newsletter", "shoes"]),
        st.booleans(),
    )


@settings(deadline=None)
@given(entries())
def test_an_entry_is_read_as_it_was_written(entry):
    topics = Topics(place(topics=TOPICS))
    assert change_of(row_of(entry, topics), topics) == Change(Said.ADDED, entry)


@settings(deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(["contact", "scope", "channel", "topic", "reason", "at", "removed"]),
        st.text()
        | st.none()
        | st.integers()
        | st.booleans()
        | st.sampled_from(["a@example.com", "topic", "all", "news", "email"]),
    )
)
def test_any_row_is_an_entry_or_names_what_is_wrong(row):
    try:
        change_of(row, Topics(place(topics=TOPICS)))
    except RowError as error:
        assert str(error).split()[0] in (
            "contact",
            "scope",
            "channel",
            "topic",
            "reason",
            "at",
            "removed",
        )


# -- webhooks ---------------------------------------------------------------------------


def hooked(*entries, seconds=SECOND, secret=SECRET):
    made = Ledger().webhook(secret, seconds, *entries)
    return Request("POST", "/hooks/tool", "", tuple(made["headers"].items()), made["body"])


ENTRY = {"contact": "a@example.com"}


def test_what_a_webhook_tells():
    one = connector()
    found = one.hook(hooked(ENTRY, ENTRY | {"removed": True}), NOW)
    assert [change.said for change in found] == [Said.ADDED, Said.REMOVED]
    assert {change.suppression for change in found} == {ban("a@example.com")}


def refused(request, now=NOW, **changes):
    with pytest.raises(HookRefused) as caught:
        connector(**changes).hook(request, now)
    return caught.value.http


def test_every_bit_of_a_webhook_counts():
    request = hooked(ENTRY)
    for body in flips(request.body):
        assert refused(request.with_body(body)) == 401
    for value in text_flips(request.header("gateway-signature")):
        assert refused(request.with_headers({"Gateway-Signature": value})) == 401
    assert refused(request.with_headers({"Gateway-Signature": None})) == 401
    assert refused(request, webhook_secret="other") == 401
    assert refused(request, webhook_secret="") == 401


def test_a_stale_webhook_is_refused():
    request = hooked(ENTRY)
    one = connector()
    assert one.hook(request, NOW + 300_000)
    assert one.hook(request, NOW - 300_000)
    assert refused(request, NOW + 300_001) == 401
    assert refused(request, NOW - 300_001) == 401


def test_a_replay_is_known_whatever_stands_beside_its_signature():
    one = connector()
    request = hooked(ENTRY)
    header = request.header("gateway-signature")
    seconds, signature = header.split(",")
    other = request.with_headers({"Gateway-Signature": f"{seconds},v1={'0' * 64},{signature}"})
    assert one.hook(other, NOW)
    assert one.replays(request)
    assert one.replays(request) == one.replays(other)
    assert one.replays(request) != one.replays(hooked(ENTRY, seconds=SECOND + 1))
    assert not one.replays(request.with_headers({"Gateway-Signature": None}))


@pytest.mark.parametrize("entries", [[{}], [ENTRY, {"contact": "x"}]])
def test_one_entry_that_cannot_be_read_and_none_is_taken(entries):
    assert refused(hooked(*entries)) == 400


def test_a_body_that_is_something_else_is_refused():
    for body in (b"{}", b"[]", b"x", b'{"entries": [], "entries": []}', b'{"entries": [1]}'):
        made = hmac.new(SECRET.encode(), b"%d." % SECOND + body, hashlib.sha256).hexdigest()
        request = hooked().with_headers({"Gateway-Signature": f"t={SECOND},v1={made}"})
        assert refused(request.with_body(body)) == 400


@pytest.mark.parametrize(("name", "names"), [("url", "url"), ("secret", "secret_file")])
def test_what_is_lacking_is_named(name, names):
    with pytest.raises(InputError, match=names):
        connector(**{name: ""})


def test_what_it_holds():
    assert connector().holds.scopes == {Scope.ALL, Scope.CHANNEL, Scope.TOPIC}
    assert connector(topics=()).holds.scopes == {Scope.ALL, Scope.CHANNEL}
    assert connector().holds.topics == {"newsletter", "shoes"}
    assert connector(webhook_secret="").warnings()
    assert not connector().warnings()
