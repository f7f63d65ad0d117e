"""Mailgun's lists and events, against lists that its documented examples have been tried on."""

import asyncio
import contextlib
import hashlib
import hmac
import os
import random
import shutil
import subprocess

import orjson
import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from gateway.connector.connector import HookRefused, Place, ToolRefused, ToolUnreadable
from gateway.connector.mailgun import Mailgun
from gateway.connector.suppression import Reason, Said, Suppression
from gateway.contacts.contact import Channel
from gateway.contacts.parse import parse_email
from gateway.entry.entry import Scope
from gateway.failure import GatewayError, InputError
from gateway.provider.request import Answer, Request
from tests.connector.entry import names as addresses
from tests.hook.bits import text_flips
from tests.peers.provider import Provider
from tests.peers.tools.driver import Driver, answered
from tests.peers.tools.mailgun import MailgunDomain

MINUTE = 60_000
NEWS = (("uutiset", "newsletter"), ("Tarjoukset", "offers"))


def place(url="", **changed):
    said = {"name": "mg", "secret": "key-1", "place": "mg.example.com", "url": url}
    return Place(**(said | changed))


@contextlib.asynccontextmanager
async def tool(**changed):
    """Its lists, the connector to them, and what carries between them."""
    domain = MailgunDomain()
    async with Provider(domain.answer) as provider:
        connector = Mailgun(place(provider.url, **changed))
        async with Driver(connector, tries=4) as carrier:
            yield domain, connector, carrier


def entry(address, scope=Scope.CHANNEL, reason=Reason.OBJECTION, topic=None, at=None):
    return Suppression(parse_email(address), scope, reason, Channel.EMAIL, topic, at)


def failed(**changed):
    # https://documentation.mailgun.com/docs/mailgun/user-manual/events/
    return {
        "severity": "permanent",
        "reason": "bounce",
        "delivery-status": {"code": 550, "message": "no such <a@example.com>"},
    } | changed


# -- the stand-in is what Mailgun's documented examples take it for -----------------------


async def test_the_documented_requests_read_and_write_the_stand_in():
    domain = MailgunDomain()

    def used(url):
        auth = ("api", "key-1")
        base = f"{url}/v3/mg.example.com"
        requests.post(
            f"{base}/bounces", auth=auth, data={"address": "bob@example.com"}
        ).raise_for_status()
        requests.post(
            f"{base}/unsubscribes", auth=auth, data={"address": "bob@example.com", "tag": "*"}
        ).raise_for_status()
        batch = requests.post(
            f"{base}/unsubscribes",
            auth=auth,
            headers={"Content-Type": "application/json"},
            data=orjson.dumps(
                [
                    {
                        "address": "alice@example.com",
                        "tags": ["some tag"],
                        "created_at": "Thu, 13 Oct 2011 18:02:00 UTC",
                    },
                    {"address": "bob@example.com", "tags": ["*"]},
                    {"address": "carol@example.com"},
                ]
            ),
        ).json()
        one = requests.get(f"{base}/unsubscribes/alice@example.com", auth=auth).json()
        none = requests.get(f"{base}/bounces/nobody@example.com", auth=auth)
        page = requests.get(f"{base}/unsubscribes", auth=auth, params={"limit": 2}).json()
        following = requests.get(page["paging"]["next"], auth=auth).json()
        empty = requests.get(following["paging"]["next"], auth=auth).json()
        forbidden = requests.get(f"{base}/bounces", auth=("api", "other"))
        wrong = requests.post(f"{base}/bounces", auth=auth, data={"address": "bob"})
        domain.happen("failed", "bob@example.com", severity="permanent")
        domain.happen("failed", "bob@example.com", severity="temporary")
        domain.happen("rejected", "bob@example.com")
        domain.happen("delivered", "bob@example.com")
        asked = {"begin": 1, "ascending": "yes", "limit": 2, "event": "rejected OR failed"}
        events = requests.get(f"{base}/events", auth=auth, params=asked).json()
        more = requests.get(events["paging"]["next"], auth=auth).json()
        last = requests.get(more["paging"]["next"], auth=auth).json()
        return batch, one, none, page, following, empty, forbidden, wrong, events, more, last

    async with Provider(domain.answer) as provider:
        found = await asyncio.to_thread(used, provider.url)
    batch, one, none, page, following, empty, forbidden, wrong, events, more, last = found
    assert batch == {"message": "3 addresses have been added to the unsubscribes table"}
    assert one == {
        "address": "alice@example.com",
        "tags": ["some tag"],
        "created_at": "Thu, 13 Oct 2011 18:02:00 UTC",
    }
    assert none.status_code == 404
    assert [item["address"][:3] for item in page["items"]] == ["ali", "bob"]
    assert set(page["paging"]) == {"first", "next", "previous", "last"}
    assert [item["address"][:3] for item in following["items"]] == ["car"]
    assert empty["items"] == []
    assert (forbidden.status_code, wrong.status_code) == (401, 400)
    assert [item["event"] for item in events["items"]] == ["failed", "failed"]
    assert [item["event"] for item in more["items"]] == ["rejected"]
    assert last["items"] == []


@pytest.mark.skipif(
    shutil.which("curl") is None and os.environ.get("CI") != "true",
    reason="curl is not installed",
)
async def test_the_documented_curl_lines_do_too():
    domain = MailgunDomain()
    async with Provider(domain.answer) as provider:
        url = f"{provider.url}/v3/mg.example.com/complaints"

        def run(*arguments):
            line = ["curl", "-s", "--user", "api:key-1", *arguments]
            return orjson.loads(subprocess.run(line, capture_output=True, check=True).stdout)

        posted = await asyncio.to_thread(run, url, "-F", "address=bob@example.com")
        listed = await asyncio.to_thread(run, "-G", url)
    assert posted["address"] == "bob@example.com"
    assert [item["address"] for item in listed["items"]] == ["bob@example.com"]


# -- reading --------------------------------------------------------------------------------


async def test_all_its_lists_are_read():
    async with tool(topics=NEWS) as (domain, connector, carrier):
        domain.add("bounces", "b@example.com", 1e9, code="550", error="<b@example.com> is none")
        domain.add("complaints", "c@example.com", 1e9)
        domain.add("unsubscribes", "all@example.com", 1e9)
        domain.add("unsubscribes", "bare@example.com", 1e9, tags=[])
        domain.add("unsubscribes", "both@example.com", 1e9, tags=["offers", "*"])
        domain.add("unsubscribes", "some@example.com", 1e9, tags=["newsletter", "else"])
        domain.add("unsubscribes", "one@example.com", 1e9, tag="newsletter")
        domain.add("unsubscribes", "not an address", 1e9)
        changes, cursor = await carrier.read(connector.listing)
        said = {
            (
                one.suppression.contact.canonical.partition("@")[0],
                one.suppression.scope.value,
                one.suppression.topic,
                one.suppression.reason.value,
                one.suppression.note,
            )
            for one in changes
        }
        assert said == {
            ("b", "channel", None, "bounce", "bounces 550"),
            ("c", "channel", None, "complaint", "complaints"),
            ("all", "channel", None, "objection", "unsubscribes"),
            ("bare", "channel", None, "objection", "unsubscribes"),
            ("both", "channel", None, "objection", "unsubscribes"),
            ("some", "topic", "uutiset", "objection", "unsubscribes"),
            ("one", "topic", "uutiset", "objection", "unsubscribes"),
            ("some", "topic", "mg:else", "objection", "unsubscribes"),
        }
        assert {one.suppression.at for one in changes} == {1_000_000_000_000}
        assert {one.said for one in changes} == {Said.ADDED}
        assert (carrier.bad, cursor) == (1, "")


@pytest.mark.slow
async def test_a_hundred_thousand_are_read_without_a_skip_or_a_double():
    async with tool() as (domain, connector, carrier):
        for number in range(90_000):
            domain.add("unsubscribes", f"n{number:06}+x@example.com", 1e9)
        for number in range(10_000):
            domain.add("bounces", f"b{number:06}@example.com", 1e9)
        domain.coming = ["", "429", "cut", "500", "late"] * 10
        changes, _ = await carrier.read(connector.listing)
        assert addresses(changes) == [
            *sorted(domain.lists["unsubscribes"]),
            *sorted(domain.lists["bounces"]),
        ]
        assert not carrier.bad


@pytest.mark.parametrize("seed", range(3))
async def test_nothing_is_skipped_of_a_list_that_changes_while_it_is_read(seed):
    chance = random.Random(seed)
    async with tool() as (domain, connector, carrier):
        listed = domain.lists["unsubscribes"]
        for number in range(5000):
            domain.add("unsubscribes", f"n{number:05}@example.com", 1e9)
        stayed = set(listed)

        def between():
            for gone in chance.sample(sorted(listed), min(len(listed), 200)):
                del listed[gone]
                stayed.discard(gone)
            for _ in range(200):
                domain.add("unsubscribes", f"n{chance.randrange(10**5):05}x@example.com")

        domain.between = between
        changes, _ = await carrier.read(connector.listing)
        assert stayed <= set(addresses(changes))


@pytest.mark.parametrize("skew", [-10 * MINUTE, 0, 10 * MINUTE])
async def test_what_is_new_is_told_whatever_the_clocks_say(skew):
    async with tool() as (domain, connector, carrier):
        clock = 1_700_000_000_000
        connector.clock = lambda: clock
        domain.now = lambda: (clock + skew) / 1000
        domain.happen("unsubscribed", "old@example.com", clock / 1000 - 3 * 86_400)
        changes, cursor = await carrier.read(connector.changes)
        assert addresses(changes) == []
        told = set()
        for number in range(6):
            clock += 7 * MINUTE
            new = {f"{name}{number}@example.com" for name in "ucfl"}
            domain.happen("unsubscribed", f"u{number}@example.com")
            domain.happen("complained", f"c{number}@example.com")
            domain.happen("failed", f"f{number}@example.com", **failed())
            # It appears half an hour late.
            domain.happen("unsubscribed", f"l{number}@example.com", domain.now() - 30 * 60)
            changes, cursor = await carrier.read(connector.changes, cursor)
            told |= set(addresses(changes))
            assert new <= told
        assert "old@example.com" not in told


async def test_events_are_read_to_the_last_page():
    async with tool() as (domain, connector, carrier):
        for number in range(1000):
            domain.happen("complained", f"n{number:04}@example.com")
        domain.coming = ["", "429", "late", "500"]
        changes, _ = await carrier.read(connector.changes)
        assert addresses(changes) == [f"n{number:04}@example.com" for number in range(1000)]
        assert len({one.id for one in changes}) == 1000


async def test_only_what_adds_to_a_list_is_told():
    async with tool() as (domain, connector, carrier):
        domain.happen("failed", "a@example.com", **failed())
        for changed in (
            {"severity": "temporary"},
            {"reason": "suppress-bounce"},
            {"reason": "suppress-unsubscribe"},
            {"reason": "generic"},
            {"reason": "old"},
            {"delivery-status": {"code": 550, "enhanced-code": "5.7.1"}},
            {"delivery-status": {"code": 550, "bounce-type": "soft"}},
        ):
            domain.happen("failed", "no@example.com", **failed(**changed))
        domain.happen("delivered", "no@example.com")
        domain.happen("complained", "nobody")
        changes, _ = await carrier.read(connector.changes)
        [change] = changes
        assert change.suppression.note == "failed 550"
        assert change.suppression.reason is Reason.BOUNCE
        assert addresses(changes) == ["a@example.com"]
        assert carrier.bad == 1


async def test_what_an_unsubscribe_refuses_is_looked_up_where_tags_are_topics():
    async with tool(topics=NEWS) as (domain, connector, carrier):
        for name, tags in (("tag", ["newsletter"]), ("all", ["*"]), ("gone", None)):
            address = f"{name}+x@example.com"
            domain.happen("unsubscribed", address, tags=["newsletter", "other"])
            domain.happen("unsubscribed", address, tags=["newsletter", "other"])
            if tags:
                domain.add("unsubscribes", address, tags=tags)
        domain.happen("unsubscribed", "one@example.com", tags=["newsletter", "other"])
        domain.add("unsubscribes", "one@example.com", tag="newsletter")
        domain.happen("unsubscribed", "bare@example.com", tags=[])
        changes, _ = await carrier.read(connector.changes)
        said = {(addresses([one])[0], one.suppression.topic) for one in changes}
        assert said == {
            ("tag+x@example.com", "uutiset"),
            ("one@example.com", "uutiset"),
            ("all+x@example.com", None),
            ("gone+x@example.com", "uutiset"),
            ("gone+x@example.com", "mg:other"),
            ("bare@example.com", None),
        }
        # Once for each address.
        assert sum("/unsubscribes/" in one for one in domain.called) == 4
    # Where they are not, all is refused.
    async with tool() as (domain, connector, carrier):
        domain.happen("unsubscribed", "a@example.com", tags=["newsletter"])
        changes, _ = await carrier.read(connector.changes)
        assert [one.suppression.scope for one in changes] == [Scope.CHANNEL]


async def test_pages_elsewhere_are_not_followed():
    async with tool() as (domain, connector, carrier):
        domain.add("unsubscribes", "a@example.com")
        domain.happen("complained", "a@example.com")
        for elsewhere in ("http://127.0.0.1:1", "https://api.eu.mailgun.net"):
            domain.elsewhere = elsewhere
            for exchange in (connector.listing(""), connector.changes("")):
                with pytest.raises(ToolUnreadable, match="url"):
                    await carrier.run(exchange)


@pytest.mark.parametrize(
    "link",
    [
        "https://api.mailgun.net/v3/other.example.com/unsubscribes?page=next",
        "https://api.mailgun.net/v3/mg.example.com/bounces?page=next",
        "https://api.mailgun.net/v3/mg.example.com/unsubscribes/../../../v4/keys",
        "https://api.mailgun.net:444/v3/mg.example.com/unsubscribes?page=next",
        "https://api.mailgun.net@example.com/v3/mg.example.com/unsubscribes",
        "http://api.mailgun.net/v3/mg.example.com/unsubscribes?page=next",
        "https://api.mailgun.net/v3/mg.example.com/unsubscribes?a=ä",
        "/v3/mg.example.com/unsubscribes?page=next",
        "https://[api.mailgun.net/v3/mg.example.com/unsubscribes",
        "",
    ],
)
def test_links_that_lead_elsewhere_are_unreadable(link):
    document = {"items": [{"address": "a@example.com"}], "paging": {"next": link}}
    with pytest.raises(ToolUnreadable):
        answered(Mailgun(place()).listing(""), Answer(200, orjson.dumps(document)))


def test_a_list_below_a_path_is_followed_below_it():
    connector = Mailgun(place("https://proxy.example/mailgun"))
    link = "https://proxy.example/mailgun/v3/mg.example.com/unsubscribes?page=next&address=a"
    document = {"items": [{"address": "a@example.com"}], "paging": {"next": link}}
    page = answered(connector.listing(""), Answer(200, orjson.dumps(document)))
    request = next(connector.listing(page.cursor))
    assert request.path == "/v3/mg.example.com/unsubscribes"
    assert request.query == "page=next&address=a"
    # A link that leads back ends the list.
    page = answered(connector.listing(page.cursor), Answer(200, orjson.dumps(document)))
    assert next(connector.listing(page.cursor)).path == "/v3/mg.example.com/complaints"


async def test_a_wrong_key_or_domain_names_the_setting():
    for changed, name in (({"secret": "other"}, "secret_file"), ({"place": "x.example"}, "place")):
        async with tool(**changed) as (_, connector, carrier):
            for exchange in (
                connector.listing(""),
                connector.changes(""),
                connector.put([entry("a@example.com")]),
            ):
                with pytest.raises(ToolRefused, match=rf"sync\.tools mg: {name}"):
                    await carrier.run(exchange)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"{}",
        b"[]",
        b"null",
        b'{"items": {}}',
        b'{"items": [5]}',
        b'{"items": [{}]}',
        b'{"items": [{}], "paging": {}}',
        b'{"items": [{}], "paging": {"next": 5}}',
    ],
)
def test_what_no_document_says_is_unreadable(body):
    connector = Mailgun(place())
    for exchange in (connector.listing(""), connector.changes("")):
        with pytest.raises(ToolUnreadable):
            answered(exchange, Answer(200, body))
    with pytest.raises(ToolUnreadable):
        answered(connector.put([entry("a@example.com")]), Answer(200, body))
    for cursor in ("x", '[9,"",0,1,[]]', '[0,"/v3/elsewhere",0,1,[]]'):
        for exchange in (connector.listing(cursor), connector.changes(cursor)):
            with pytest.raises(ToolUnreadable):
                next(exchange)


_json = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**62), 2**62) | st.floats() | st.text(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["address", "code", "x"]), inner, max_size=3)
    ),
    max_leaves=8,
)
_items = st.lists(
    st.dictionaries(
        st.sampled_from(
            ["address", "created_at", "tags", "code", "recipient", "event", "severity", "reason"]
        ),
        _json | st.sampled_from(["a@example.com", "failed", "complained", "permanent", "bounce"]),
        max_size=8,
    ),
    max_size=5,
)


@given(_items)
def test_whatever_stands_in_a_list_is_read_or_counted(items):
    connector = Mailgun(place())
    link = "https://api.mailgun.net/v3/mg.example.com/{}?page=next"
    document = {"items": items, "paging": {"next": link.format("complaints")}}
    exchange = connector.listing('[1,"",0,0,[]]')
    page = answered(exchange, Answer(200, orjson.dumps(document)))
    assert len(page.changes) + page.bad == len(items)
    document = {"items": items, "paging": {"next": link.format("events")}}
    page = answered(connector.changes(""), Answer(200, orjson.dumps(document)))
    assert len(page.changes) + page.bad <= len(items)


# -- writing --------------------------------------------------------------------------------


async def test_a_thousand_are_put_at_once_and_a_bad_one_is_left_out():
    async with tool() as (domain, connector, carrier):
        wanted = [entry(f"n{number}@example.com", at=10**12) for number in range(1000)]
        assert connector.most == 1000
        put = await carrier.run(connector.put(wanted))
        assert all(one.done for one in put)
        assert domain.called == ["POST /v3/mg.example.com/unsubscribes"]
        assert len(domain.lists["unsubscribes"]) == 1000
        assert domain.lists["unsubscribes"]["n5@example.com"] == {
            "address": "n5@example.com",
            "tags": ["*"],
            "created_at": "Sun, 09 Sep 2001 01:46:40 UTC",
        }
        wanted[500] = entry("päivi@example.com")
        domain.coming = ["", "429", "cut", "late"]
        put = await carrier.run(connector.put(wanted))
        assert [number for number, one in enumerate(put) if not one.done] == [500]
        assert put[500].final
        assert "@" not in put[500].cause


@pytest.mark.parametrize("replaces", [True, False])
async def test_a_topic_is_added_to_what_is_refused_already(replaces):
    async with tool(topics=NEWS) as (domain, connector, carrier):
        domain.replaces = replaces
        domain.add("unsubscribes", "all@example.com")
        domain.add("unsubscribes", "some@example.com", tags=["elsewhere"])
        put = await carrier.run(
            connector.put(
                [
                    entry("all@example.com", Scope.TOPIC, topic="uutiset"),
                    entry("some@example.com", Scope.TOPIC, topic="UUTISET"),
                    entry("some@example.com", Scope.TOPIC, topic="tarjoukset"),
                    entry("new@example.com", Scope.TOPIC, topic="uutiset"),
                    entry("wide@example.com", Scope.TOPIC, topic="uutiset"),
                    entry("wide@example.com", Scope.ALL),
                    entry("new@example.com", Scope.TOPIC, topic="muu"),
                ]
            )
        )
        assert [one.done for one in put] == [True] * 6 + [False]
        assert put[6].final
        tags = {name: item["tags"] for name, item in domain.lists["unsubscribes"].items()}
        assert tags == {
            "all@example.com": ["*"],
            "some@example.com": ["elsewhere", "newsletter", "offers"],
            "new@example.com": ["newsletter"],
            "wide@example.com": ["*"],
        }


async def test_each_reason_has_its_list():
    async with tool() as (domain, connector, carrier):
        wanted = [entry(f"{reason.value}@example.com", reason=reason) for reason in Reason]
        put = await carrier.run(connector.put(wanted))
        assert all(one.done for one in put)
        assert {name: set(items) for name, items in domain.lists.items()} == {
            "unsubscribes": {"objection@example.com", "blocked@example.com"},
            "complaints": {"complaint@example.com"},
            "bounces": {"bounce@example.com"},
        }


# -- settings -------------------------------------------------------------------------------


def test_what_it_cannot_do_without_is_named():
    for changed, name in (
        ({"secret": ""}, "secret_file"),
        ({"place": ""}, "place"),
        ({"place": "mg.example.com/../x"}, "place"),
        ({"topics": (("news", ""),)}, "topics.news"),
        ({"topics": (("news", "*"),)}, "topics.news"),
    ):
        with pytest.raises(InputError, match=name):
            Mailgun(place(**changed))


def test_what_it_holds_is_said():
    assert Mailgun(place()).place.url == "https://api.mailgun.net"
    assert Mailgun(place("https://api.eu.mailgun.net")).place.url == "https://api.eu.mailgun.net"
    assert Mailgun(place()).holds.scopes == {Scope.ALL, Scope.CHANNEL}
    tagged = Mailgun(place(topics=NEWS))
    assert tagged.holds.scopes == {Scope.ALL, Scope.CHANNEL, Scope.TOPIC}
    assert tagged.holds.topics == {"uutiset", "tarjoukset"}
    assert any("pull" in line for line in tagged.warnings())
    assert any("contract messages" in line for line in Mailgun(place()).warnings())


# -- the webhook ----------------------------------------------------------------------------

SIGNING_KEY = "key-2"
# The form of the example in Mailgun's manual, which names no key.
TOKEN = "e0b5477167110d68991efc6b9f89f0a11066af27834600e123"
STAMP = "1770920772"
SIGNED_AT = int(STAMP) * 1000
HOOKED = Mailgun(place(webhook_secret=SIGNING_KEY, topics=NEWS))
ALL_IN_ONE = Mailgun(place(webhook_secret=SIGNING_KEY))


def signature(stamp=STAMP, token=TOKEN, key=SIGNING_KEY):
    return hmac.new(key.encode(), f"{stamp}{token}".encode(), hashlib.sha256).hexdigest()


def call(event, **changed):
    shown = {"timestamp": STAMP, "token": TOKEN, "signature": signature()} | changed
    document = {"signature": shown, "event-data": event}
    headers = (("Content-Type", "application/json"),)
    return Request("POST", "/hooks/mg", "", headers, orjson.dumps(document))


def event(kind, **more):
    return {
        "event": kind,
        "id": f"id-{kind}",
        "timestamp": 1529704976.104692,
        "recipient": "alice@example.com",
        "tags": [],
        **more,
    }


def refusal(request, now=SIGNED_AT, connector=HOOKED):
    with pytest.raises(HookRefused) as refused:
        connector.hook(request, now)
    return refused.value.http


def test_events_are_read():
    [change] = HOOKED.hook(call(event("unsubscribed")), SIGNED_AT)
    said = change.suppression
    assert (change.said, change.id) == (Said.ADDED, "id-unsubscribed")
    assert (said.scope, said.channel, said.reason) == (
        Scope.CHANNEL,
        Channel.EMAIL,
        Reason.OBJECTION,
    )
    assert (said.at, said.note) == (1_529_704_976_105, "unsubscribed")
    [change] = HOOKED.hook(call(event("complained", tags=["newsletter"])), SIGNED_AT)
    assert (change.suppression.reason, change.suppression.scope) == (
        Reason.COMPLAINT,
        Scope.CHANNEL,
    )
    [change] = HOOKED.hook(call(event("failed", **failed())), SIGNED_AT)
    assert change.suppression.reason is Reason.BOUNCE
    for other in ("delivered", "opened", "accepted"):
        assert HOOKED.hook(call(event(other)), SIGNED_AT) == ()
    assert HOOKED.hook(call(event("failed", severity="temporary")), SIGNED_AT) == ()
    assert HOOKED.hook(call(event("unsubscribed", recipient="nobody")), SIGNED_AT) == ()


def test_tags_are_topics_only_where_the_settings_say_so():
    request = call(event("unsubscribed", tags=["newsletter", "x"]))
    assert [one.suppression.topic for one in HOOKED.hook(request, SIGNED_AT)] == ["uutiset", "mg:x"]
    [change] = ALL_IN_ONE.hook(request, SIGNED_AT)
    assert change.suppression.scope is Scope.CHANNEL


def test_of_a_subaccount_the_main_accounts_key_counts():
    shown = {"signature": signature(key="the subaccount's"), "parent-signature": signature()}
    assert HOOKED.hook(call(event("complained"), **shown), SIGNED_AT)
    shown["parent-signature"] = signature(key="another")
    assert refusal(call(event("complained"), **shown)) == 401


def test_every_bit_of_what_is_signed_counts():
    good = event("complained")
    assert HOOKED.hook(call(good), SIGNED_AT)
    assert HOOKED.hook(call(good, timestamp=int(STAMP)), SIGNED_AT)
    for name, value in (("timestamp", STAMP), ("token", TOKEN), ("signature", signature())):
        for turned in text_flips(value):
            try:
                request = call(good, **{name: turned})
            except TypeError:
                continue  # no UTF-8, which JSON cannot say
            assert refusal(request) == 401, turned
        assert refusal(call(good, **{name: None})) == 401
        assert refusal(call(good, **{name: ""})) == 401
        assert refusal(call(good, **{name: f"{value} "})) == 401


def test_no_digit_passes_from_the_time_to_the_token():
    token = "5" + TOKEN
    value = signature(token=token)
    assert HOOKED.hook(call(event("complained"), token=token, signature=value), SIGNED_AT)
    moved = call(event("complained"), timestamp=STAMP + "5", token=TOKEN, signature=value)
    assert refusal(moved, int(STAMP + "5") * 1000) == 401
    moved = call(
        event("complained"), timestamp=STAMP[:-1], token=STAMP[-1] + token, signature=value
    )
    assert refusal(moved, int(STAMP[:-1]) * 1000) == 401


def test_stale_calls_are_refused():
    request = call(event("complained"))
    assert HOOKED.hook(request, SIGNED_AT + 5 * MINUTE)
    assert HOOKED.hook(request, SIGNED_AT - 5 * MINUTE)
    assert refusal(request, SIGNED_AT + 5 * MINUTE + 1) == 401
    assert refusal(request, SIGNED_AT - 5 * MINUTE - 1) == 401


def test_repeats_are_known_by_the_token():
    # The body is not signed: another event by the same token is a repeat too.
    assert HOOKED.replays(call(event("complained"))) == TOKEN
    assert HOOKED.replays(call(event("unsubscribed"))) == TOKEN


def test_what_cannot_be_read_is_not_sent_again():
    for wrong in (
        call([]),
        call({}),
        call("x"),
        call(None),
        Request("POST", "/hooks/mg", body=b"{"),
        Request("POST", "/hooks/mg", body=b"[]"),
        # Webhooks of version 2, which are forms.
        Request("POST", "/hooks/mg", body=b"event=complained&token=1"),
    ):
        assert refusal(wrong) == 406
    assert refusal(call(event("complained")), connector=Mailgun(place())) == 401


@given(_items)
def test_no_event_breaks_the_hook(items):
    for item in items:
        with contextlib.suppress(HookRefused):
            for change in HOOKED.hook(call(item), SIGNED_AT):
                assert "@" in change.suppression.contact.canonical


@given(_json | st.binary(max_size=60))
def test_no_body_breaks_the_hook(value):
    body = value if isinstance(value, bytes) else orjson.dumps({"signature": value})
    with contextlib.suppress(GatewayError):
        HOOKED.hook(Request("POST", "/", body=body), SIGNED_AT)
        raise AssertionError("nobody has signed this")
    with contextlib.suppress(GatewayError):
        HOOKED.replays(Request("POST", "/", body=body))
