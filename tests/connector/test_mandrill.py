"""Mandrill's rejection lists, read, written and heard."""

from __future__ import annotations

import asyncio
import json
from urllib.parse import unquote_plus, urlencode

import mailchimp_transactional
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mailchimp_transactional.api_client import ApiClientError

from gateway.clock import DAY_MS, now_ms
from gateway.connector.connector import HookRefused, Place, ToolRefused, ToolUnreadable
from gateway.connector.mandrill import Mandrill, signature
from gateway.connector.registry import connector_of
from gateway.connector.suppression import Reason
from gateway.entry.entry import Scope
from gateway.failure import InputError
from gateway.provider.request import Answer, Request
from tests.connector.entry import ban, expect_unreadable, names
from tests.peers.tools.driver import Driver, held, odd
from tests.peers.tools.mandrill import KEY, signed
from tests.peers.tools.mandrill import Mandrill as Tool

SECRET = "webhook-key_0123456789"
URL = "https://preferences.example.com/hooks/drill"
MINUTE = 60_000


def connector(url="http://127.0.0.1:1/api/1.3", **changes):
    settings = {
        "name": "drill",
        "secret": KEY,
        "place": "marketing",
        "topics": (("News", "newsletter"),),
        "webhook_secret": SECRET,
        "webhook_source": URL,
        "url": url,
    }
    return Mandrill(Place(**(settings | changes)))


@pytest.fixture
async def tool():
    async with Tool("marketing", "newsletter", "elsewhere") as made:
        yield made


# -- the stand-in, by the vendor's own client --------------------------------------------


async def test_the_stand_in_answers_mandrills_own_client(tool):
    def client(key=KEY):
        made = mailchimp_transactional.Client(key)
        made.api_client.host = tool.url
        return made.rejects

    def talk():
        rejects = client()
        added = rejects.add({"email": "a@example.com", "comment": "c", "subaccount": "marketing"})
        found = rejects.list({"subaccount": "marketing"})
        everything = rejects.list({})
        with pytest.raises(ApiClientError) as unknown:
            rejects.list({"subaccount": "nowhere"})
        with pytest.raises(ApiClientError) as bad:
            rejects.add({"email": "refused@example.com"})
        with pytest.raises(ApiClientError) as stranger:
            client("wrong").list({})
        return added, found, everything, [one.value for one in (unknown, bad, stranger)]

    added, found, everything, errors = await asyncio.to_thread(talk)
    assert added == {"email": "a@example.com", "added": True}
    assert found == everything
    (entry,) = found
    assert (entry["email"], entry["reason"], entry["detail"]) == ("a@example.com", "custom", "c")
    assert [one.text["name"] for one in errors] == [
        "Unknown_Subaccount",
        "ValidationError",
        "Invalid_Key",
    ]
    assert [one.status_code for one in errors] == [500, 500, 500]


# -- reading -----------------------------------------------------------------------------


async def test_reasons_and_subaccounts_are_told_in_the_registers_words(tool):
    tool.add("marketing", "left@example.com")
    tool.add("marketing", "blocked@example.com", "custom", detail="by hand")
    tool.add("marketing", "gone@example.com", "hard-bounce")
    tool.add("marketing", "full@example.com", "soft-bounce")
    tool.add("marketing", "over@example.com", "hard-bounce", expired=True)
    tool.add("newsletter", "angry@example.com", "spam")
    tool.add("elsewhere", "other@example.com")
    async with Driver(connector(tool.url)) as driver:
        found, _ = await driver.read(driver.connector.listing)
        new, _ = await driver.read(driver.connector.changes)
        assert driver.bad == 0
    assert (
        held(found)
        == held(new)
        == {
            ("added", "left@example.com", "channel", None, "objection"),
            ("added", "blocked@example.com", "channel", None, "blocked"),
            ("added", "gone@example.com", "channel", None, "bounce"),
            ("added", "angry@example.com", "topic", "news", "complaint"),
        }
    )
    left = next(one for one in found if one.suppression.note == "unsub")
    assert abs(left.suppression.at - now_ms()) < 60_000


async def test_the_accounts_own_list_shows_those_of_subaccounts_which_are_told_apart(tool):
    tool.add(None, "left@example.com")
    tool.add("newsletter", "topic@example.com")
    tool.add("elsewhere", "other@example.com")
    async with Driver(connector(tool.url, place="")) as driver:
        found, _ = await driver.read(driver.connector.listing)
    assert held(found) == {
        ("added", "left@example.com", "channel", None, "objection"),
        ("added", "topic@example.com", "topic", "news", "objection"),
    }


@pytest.mark.parametrize("skew", [-10 * MINUTE, 0, 10 * MINUTE])
async def test_what_is_new_is_told_though_clocks_differ(tool, skew):
    tool.skew = skew
    async with Driver(connector(tool.url)) as driver:
        _, cursor = await driver.read(driver.connector.changes)
        for number in range(3):
            tool.add("newsletter", f"new{number}@example.com", at=tool.time() - 8 * MINUTE)
            found, cursor = await driver.read(driver.connector.changes, cursor)
            assert f"new{number}@example.com" in names(found)


async def test_all_that_is_shown_is_told_once_and_then_what_is_new(tool):
    tool.add("marketing", "old@example.com", at=now_ms() - 300 * DAY_MS)
    tool.add("marketing", "renewed@example.com", at=now_ms() - 3 * DAY_MS)
    async with Driver(connector(tool.url)) as driver:
        found, cursor = await driver.read(driver.connector.changes)
        assert set(names(found)) == {"old@example.com", "renewed@example.com"}
        tool.add("marketing", "now@example.com")
        entry = tool.lists["marketing"]["renewed@example.com"]
        entry["last_event_at"] = tool.lists["marketing"]["now@example.com"]["last_event_at"]
        _, cursor = await driver.read(driver.connector.changes, cursor)
        found, _ = await driver.read(driver.connector.changes, cursor)
    assert set(names(found)) == {"renewed@example.com", "now@example.com"}


async def test_a_list_of_more_than_it_shows_is_never_taken_for_whole(tool):
    for number in range(1500):
        tool.add("marketing", f"p{number}@example.com")
    made = connector(tool.url)
    async with Driver(made) as driver:
        page = await driver.run(made.listing(""))
        assert len(page.changes) == 1000
        assert page.more
        for _ in range(2):
            with pytest.raises(ToolUnreadable, match="export"):
                await driver.run(made.listing(page.cursor))
        for number in range(600):
            del tool.lists["marketing"][f"p{number}@example.com"]
        found, _ = await driver.read(made.listing, page.cursor)
        assert len(found) == 900
    assert any("1000" in line for line in made.warnings())


async def test_a_busy_tool_is_waited_for_and_a_broken_one_told(tool):
    tool.add("marketing", "a@example.com")
    tool.busy = 2
    async with Driver(connector(tool.url)) as driver:
        found, _ = await driver.read(driver.connector.changes)
        assert names(found) == ["a@example.com"]
        tool.fails_at = {tool.requests + 2}
        with pytest.raises(ToolUnreadable, match="500"):
            await driver.read(driver.connector.listing)


async def test_wrong_settings_are_named(tool):
    async with Driver(connector(tool.url, secret="wrong")) as driver:
        with pytest.raises(ToolRefused, match="drill: secret_file"):
            await driver.read(driver.connector.changes)
    async with Driver(connector(tool.url, place="nowhere")) as driver:
        with pytest.raises(ToolRefused, match="drill: place and topics"):
            await driver.read(driver.connector.listing)
        with pytest.raises(ToolRefused, match="drill: place and topics"):
            await driver.put([ban("a@example.com")])
    with pytest.raises(InputError, match="drill: secret_file"):
        connector(secret="")


# Each is an answer that Mandrill's documents do not know.
ODD = [b"", b"{", b"{}", b"null", b"[1]", b'{"added": "yes"}', b"\xff"]


@pytest.mark.parametrize("status", [200, 500])
@pytest.mark.parametrize("body", ODD)
async def test_odd_answers_are_unreadable(tool, status, body):
    tool.garble(status, body)
    await expect_unreadable(connector(tool.url), ban("a@example.com"))


@pytest.mark.parametrize("name", ["GeneralError", "ServiceUnavailable", "a@example.com"])
async def test_errors_are_told_by_their_names_alone(tool, name):
    tool.garble(500, orjson.dumps({"status": "error", "code": -99, "name": name, "message": "m"}))
    async with Driver(connector(tool.url)) as driver:
        with pytest.raises(ToolUnreadable) as raised:
            await driver.read(driver.connector.changes)
    assert "example" not in str(raised.value)
    assert "@" not in str(raised.value)


entry = st.fixed_dictionaries(
    {},
    optional={
        "email": odd | st.just("a@example.com"),
        "reason": odd | st.sampled_from(["unsub", "custom", "soft-bounce"]),
        "detail": odd | st.just("suppression gateway: bounce"),
        "created_at": odd | st.just("2026-01-01 00:00:00"),
        "subaccount": odd | st.just("newsletter"),
    },
)


@settings(deadline=None)
@given(entries=st.lists(entry, max_size=5), cursor=st.text())
def test_any_entries_are_read_or_counted(entries, cursor):
    made = connector()
    for exchange in (made.changes(cursor), made.listing(cursor)):
        next(exchange)
        with pytest.raises(StopIteration) as end:
            exchange.send(Answer(200, orjson.dumps(entries)))
        page = end.value.value
        assert len(page.changes) + page.bad <= len(entries)
        assert set(names(page.changes)) <= {"a@example.com"}


# -- writing -----------------------------------------------------------------------------


async def test_a_thousand_are_put_and_found_again_with_their_reasons(tool):
    reasons = list(Reason)
    entries = [ban(f"p{n}@example.com", reason=reasons[n % len(reasons)]) for n in range(999)]
    entries.insert(500, ban("refused@example.com"))
    async with Driver(connector(tool.url)) as driver:
        results = await driver.put(entries)
        assert [place for place, one in enumerate(results) if not one.done] == [500]
        assert results[500].final
        assert all(one.done for one in await driver.put(entries[:50]))
        found, _ = await driver.read(driver.connector.listing)
    assert len(tool.lists["marketing"]) == len(tool.lists["newsletter"]) == 999
    assert tool.lists[None] == tool.lists["elsewhere"] == {}
    told = {
        one.suppression.contact.canonical: one.suppression.reason
        for one in found
        if one.suppression.scope is Scope.CHANNEL
    }
    assert told == {one.contact.canonical: one.reason for one in entries if one != entries[500]}


async def test_what_is_there_already_is_done_and_what_is_allowed_is_not(tool):
    tool.adds_twice = False
    tool.add("marketing", "there@example.com")
    tool.add("newsletter", "there@example.com")
    tool.allowed = {"allowed@example.com"}
    async with Driver(connector(tool.url)) as driver:
        results = await driver.put([ban("there@example.com"), ban("allowed@example.com")])
    assert [(one.done, one.final) for one in results] == [(True, False), (False, True)]
    assert "allowlist" in results[1].cause


async def test_a_ban_of_a_topic_goes_into_its_subaccount_alone(tool):
    entries = [
        ban("topic@example.com", Scope.TOPIC, "NEWS"),
        ban("other@example.com", Scope.TOPIC, "offers"),
        ban("all@example.com", Scope.ALL, channel=None),
        ban("+358401234567", Scope.ALL, channel=None),
    ]
    async with Driver(connector(tool.url)) as driver:
        results = await driver.put(entries)
    assert [one.done for one in results] == [True, False, True, False]
    assert set(tool.lists["newsletter"]) == {"topic@example.com", "all@example.com"}
    assert set(tool.lists["marketing"]) == {"all@example.com"}


async def test_the_key_stands_in_the_body_alone(tool):
    made = connector(tool.url)
    (request,) = [next(made.listing(""))]
    assert KEY.encode() not in request.body
    async with Driver(made) as driver:
        await driver.put([ban("a@example.com")])
    assert all(orjson.loads(one.body)["key"] == KEY for one in tool.asked)
    assert not any(KEY in str(one.headers) + one.path for one in tool.asked)


def test_what_it_holds_and_warns_of():
    made = connector_of("mandrill", connector().place)
    assert made.holds.scopes == {Scope.ALL, Scope.CHANNEL, Scope.TOPIC}
    assert made.holds.topics == {"news"}
    assert not made.holds.lists
    assert len(made.warnings()) == 1
    assert any("receipts" in line for line in connector(place="").warnings())
    assert any("webhook_source" in line for line in connector(webhook_source="").warnings())


# -- webhooks ----------------------------------------------------------------------------


def call(events, key=SECRET, url=URL, method="POST"):
    body, value = signed(url, key, events)
    headers = (
        ("Content-Type", "application/x-www-form-urlencoded; charset=utf-8"),
        ("X-Mandrill-Signature", value),
    )
    return Request(method, "/hooks/drill", "", headers, body)


def message(event, email="a@example.com", subaccount="marketing", **more):
    msg = {"ts": 1365109999, "email": email, "subaccount": subaccount, "_id": "example01"}
    return {"event": event, "msg": msg | more, "_id": "example01", "ts": 1384954004}


def sync(kind, action, name="reject", **more):
    entry = {"email": "a@example.com", "created_at": "2014-01-15 11:32:19", "detail": "Example"}
    return {"type": kind, "action": action, name: entry | more, "ts": 1438785792}


# What Mandrill itself once sent as a test, kept with its key by an open webhook library:
# github.com/evendis/mandrill-rails, spec/fixtures/webhook_examples/click_with_signature.json
REAL_KEY = "ntynTMaFpM_octE5R1DKAw"
REAL_URL = "http://requestb.in/q9a918q9"
REAL_SIGNATURE = "7rUa4lNJitlb178MgGOcHO6T4Bg="
_EVENT = (
    '{"event":"click","msg":{"ts":1365109999,"subject":"This an example webhook message",'
    '"email":"example.webhook@mandrillapp.com","sender":"example.sender@mandrillapp.com",'
    '"tags":["webhook-example"],"opens":[{"ts":1365111111}],"clicks":[{"ts":1365111111,'
    '"url":"http:\\/\\/mandrill.com"}],"state":"sent","metadata":{"user_id":111},'
    '"_id":"exampleaaaaaaaaaaaaaaaaaaaaaaaaa","_version":"exampleaaaaaaaaaaaaaaa"},'
    '"ip":"127.0.0.1","location":{"country_short":"US","country":"United States",'
    '"region":"Oklahoma","city":"Oklahoma City","latitude":35.4675598145,'
    '"longitude":-97.5164337158,"postal_code":"73101","timezone":"-05:00"},'
    '"user_agent":"Mozilla\\/5.0 (Macintosh; U; Intel Mac OS X 10.6; en-US; rv:1.9.1.8) '
    'Gecko\\/20100317 Postbox\\/1.1.3","user_agent_parsed":{"type":"Email Client",'
    '"ua_family":"Postbox","ua_name":"Postbox 1.1.3","ua_version":"1.1.3",'
    '"ua_url":"http:\\/\\/www.postbox-inc.com\\/","ua_company":"Postbox, Inc.",'
    '"ua_company_url":"http:\\/\\/www.postbox-inc.com\\/",'
    '"ua_icon":"http:\\/\\/cdn.mandrill.com\\/img\\/email-client-icons\\/postbox.png",'
    '"os_family":"OS X","os_name":"OS X 10.6 Snow Leopard",'
    '"os_url":"http:\\/\\/www.apple.com\\/osx\\/","os_company":"Apple Computer, Inc.",'
    '"os_company_url":"http:\\/\\/www.apple.com\\/",'
    '"os_icon":"http:\\/\\/cdn.mandrill.com\\/img\\/email-client-icons\\/macosx.png",'
    '"mobile":false},"url":"http:\\/\\/mandrill.com","ts":1379233940}'
)
REAL_EVENTS = f"[{_EVENT},{_EVENT}]"


def test_what_mandrill_itself_signed_is_believed():
    assert signature(REAL_KEY, REAL_URL, (("mandrill_events", REAL_EVENTS),)) == REAL_SIGNATURE
    made = connector(webhook_secret=REAL_KEY, webhook_source=REAL_URL)
    request = call(REAL_EVENTS, REAL_KEY, REAL_URL)
    assert request.header("x-mandrill-signature") == REAL_SIGNATURE
    assert made.hook(request, now_ms()) == ()
    with pytest.raises(HookRefused):
        connector(webhook_secret=REAL_KEY).hook(request, now_ms())


@pytest.mark.parametrize(
    ("event", "told"),
    [
        (message("hard_bounce"), ("added", "bounce")),
        (message("spam"), ("added", "complaint")),
        (message("unsub"), ("added", "objection")),
        (message("reject", reject={"reason": "unsub"}), ("added", "objection")),
        (sync("blacklist", "add", reason="unsub", subaccount="marketing"), ("added", "objection")),
        (
            sync("denylist", "change", reason="custom", subaccount="marketing"),
            ("added", "blocked"),
        ),
        (
            sync("denylist", "remove", reason="spam", subaccount="marketing"),
            ("removed", "objection"),
        ),
        (sync("whitelist", "add", "entry"), ("removed", "objection")),
    ],
)
def test_events_are_heard(event, told):
    (change,) = connector().hook(call([event]), now_ms())
    said, reason = told
    assert held([change]) == {(said, "a@example.com", "channel", None, reason)}
    assert change.suppression.at == event["ts"] * 1000
    assert "example.com" not in change.id


def test_each_event_of_many_is_heard_and_marked():
    events = [message("unsub", f"p{number}@example.com") for number in range(1000)]
    events.append(message("unsub", "nobody"))
    found = connector().hook(call(events), now_ms())
    assert len(found) == len({one.id for one in found}) == 1000
    (topic,) = connector().hook(call([message("unsub", subaccount="newsletter")]), now_ms())
    assert topic.suppression.topic == "news"


@pytest.mark.parametrize(
    "event",
    [
        message("open"),
        message("soft_bounce"),
        message("reject", reject={"reason": "soft-bounce"}),
        message("reject"),
        message("unsub", subaccount="elsewhere"),
        message("unsub", subaccount=None),
        sync("denylist", "add", reason="unsub", subaccount="elsewhere"),
        sync("denylist", "add", reason="soft-bounce", subaccount="marketing"),
        sync("allowlist", "remove", "entry"),
        {"event": "inbound", "ts": 1},
        {},
    ],
)
def test_other_events_tell_nothing(event):
    assert connector().hook(call([event]), now_ms()) == ()


def test_events_of_any_subaccount_are_the_accounts():
    made = connector(place="")
    for subaccount in (None, "elsewhere"):
        (change,) = made.hook(call([message("unsub", subaccount=subaccount)]), now_ms())
        assert change.suppression.scope is Scope.CHANNEL


def test_mandrill_sees_that_the_url_answers():
    made = connector(webhook_secret="", webhook_source=URL)
    assert made.hook(Request("HEAD", "/hooks/drill"), now_ms()) == ()
    assert made.hook(call([], "test-webhook"), now_ms()) == ()
    with pytest.raises(HookRefused) as refused:
        made.hook(call([message("unsub")], "test-webhook"), now_ms())
    assert refused.value.http == 401
    with pytest.raises(HookRefused) as refused:
        connector().hook(call([message("unsub")], "test-webhook"), now_ms())
    assert refused.value.http == 401


def test_every_bit_of_a_call_is_signed():
    made, request = connector(), call([message("unsub")])
    for place in range(len(request.body)):
        for bit in range(8):
            changed = bytearray(request.body)
            changed[place] ^= 1 << bit
            if unquote_plus(changed.decode("latin-1")) == unquote_plus(request.body.decode()):
                # The same fields in another spelling, as %2f for %2F.
                continue
            with pytest.raises(HookRefused):
                made.hook(request.with_body(bytes(changed)), now_ms())
    shown = request.header("x-mandrill-signature")
    for place in range(len(shown)):
        for bit in range(7):
            wrong = shown[:place] + chr(ord(shown[place]) ^ 1 << bit) + shown[place + 1 :]
            with pytest.raises(HookRefused) as refused:
                made.hook(request.with_headers({"X-Mandrill-Signature": wrong}), now_ms())
            assert refused.value.http == 401
    for place in range(len(URL)):
        wrong = URL[:place] + chr(ord(URL[place]) ^ 1) + URL[place + 1 :]
        with pytest.raises(HookRefused):
            connector(webhook_source=wrong).hook(request, now_ms())


def test_another_header_or_more_fields_are_refused():
    made, request = connector(), call([message("unsub")])
    value = request.header("x-mandrill-signature")
    changed = request.with_headers({"X-Mandrill-Signature": None, "X-Mailchimp-Signature": value})
    with pytest.raises(HookRefused) as refused:
        made.hook(changed, now_ms())
    assert refused.value.http == 401
    for odd_value in ("", "ä", "\udcff", value + "=", f" {value}"):
        with pytest.raises(HookRefused) as refused:
            made.hook(request.with_headers({"X-Mandrill-Signature": odd_value}), now_ms())
        assert refused.value.http == 401
    with pytest.raises(HookRefused) as refused:
        made.hook(request.with_body(request.body + b"&more=1"), now_ms())
    assert refused.value.http == 401
    with pytest.raises(HookRefused):
        made.hook(request.with_body(request.body + b"&mandrill_events=1"), now_ms())


def test_further_fields_are_signed_in_order_of_their_names():
    pairs = (("zebra", "1"), ("mandrill_events", "[]"), ("apple", "2"))
    text = f"{URL}apple2mandrill_events[]zebra1"
    assert signature(SECRET, URL, pairs) == signature(SECRET, text, ())


def test_a_repeat_is_known_by_its_signature():
    made, request = connector(), call([message("unsub")])
    assert made.replays(request) == request.header("x-mandrill-signature")
    assert made.replays(call([message("spam")])) != made.replays(request)


def test_whoever_asks_whether_the_url_answers_leaves_nothing_behind():
    """The key of that is known to all, so that a stranger could name a new call each time."""
    for made in (connector(), connector(webhook_secret="", webhook_source=URL)):
        for method in ("GET", "HEAD"):
            asked = Request(method, "/hooks/drill", "", (("X-Mandrill-Signature", "any"),))
            assert made.hook(asked, now_ms()) == ()
            assert made.replays(asked) == ""
        asked = call([], "test-webhook")
        assert made.hook(asked, now_ms()) == ()
        assert made.replays(asked) == ""


@pytest.mark.parametrize("events", ["", "{", "null", "1", '"x"', "[1]", "[[]]"])
def test_events_that_cannot_be_read_are_refused(events):
    with pytest.raises(HookRefused) as refused:
        connector().hook(call(events), now_ms())
    assert refused.value.http == 400


def test_an_event_without_address_is_refused():
    with pytest.raises(HookRefused) as refused:
        connector().hook(call([message("unsub", "nobody")]), now_ms())
    assert refused.value.http == 400


@settings(deadline=None)
@given(events=odd)
def test_any_signed_json_is_heard_or_refused(events):
    try:
        connector().hook(call(json.dumps(events)), now_ms())
    except HookRefused as refused:
        assert refused.http == 400


@settings(deadline=None)
@given(body=st.binary(max_size=60))
def test_any_body_is_refused(body):
    request = call([message("unsub")]).with_body(body + urlencode({"a": "b"}).encode())
    with pytest.raises(HookRefused):
        connector().hook(request, now_ms())
