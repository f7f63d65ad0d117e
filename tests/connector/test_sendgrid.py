"""SendGrid's lists, against lists that its own SDK has been tried on."""

import asyncio
import base64
import contextlib
import random

import orjson
import pytest
import sendgrid
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st
from python_http_client.exceptions import HTTPError

from gateway.connector.connector import HookRefused, Place, ToolRefused, ToolUnreadable
from gateway.connector.sendgrid import SendGrid
from gateway.connector.suppression import Reason, Said, Suppression
from gateway.contacts.contact import Channel
from gateway.contacts.parse import parse_email
from gateway.entry.entry import Scope
from gateway.failure import GatewayError, InputError
from gateway.provider.request import Answer, Request
from tests.connector.entry import names as addresses
from tests.hook.bits import flips, text_flips
from tests.peers.provider import Provider
from tests.peers.tools.driver import Driver, answered
from tests.peers.tools.sendgrid import SendGridLists

MINUTE = 60_000
# https://github.com/sendgrid/sendgrid-python (test/unit/test_eventwebhook.py)
PUBLIC_KEY = (
    "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE83T4O/n84iotIvIW4mdBgQ/7dAfSmpqIM8kF9mN1flpV"
    "KS3GRqe62gw+2fNNRaINXvVpiglSI8eNEc6wEA3F+g=="
)
SIGNATURE = (
    "MEUCIGHQVtGj+Y3LkG9fLcxf3qfI10QysgDWmMOVmxG0u6ZUAiEAyBiXDWzM+uOe5W0JuG+luQAbPIqH"
    "h89M15TluLtEZtM="
)
STAMP = "1600112502"
PAYLOAD = (
    b'[{"email":"hello@world.com","event":"dropped","reason":"Bounced Address",'
    b'"sg_event_id":"ZHJvcC0xMDk5NDkxOS1MUnpYbF9OSFN0T0doUTRrb2ZTbV9BLTA",'
    b'"sg_message_id":"LRzXl_NHStOGhQ4kofSm_A.filterdrecv-p3mdw1-756b745b58-kmzbl-18-5F5FC76C-9.0",'
    b'"smtp-id":"<LRzXl_NHStOGhQ4kofSm_A@ismtpd0039p1iad1.sendgrid.net>",'
    b'"timestamp":1600112492}]\r\n'
)
SIGNED_AT = int(STAMP) * 1000


def place(url="", **changed):
    return Place(**({"name": "sg", "secret": "SG.key", "url": url} | changed))


@contextlib.asynccontextmanager
async def tool(**changed):
    """Its lists, the connector to them, and what carries between them."""
    lists = SendGridLists()
    async with Provider(lists.answer) as provider:
        connector = SendGrid(place(provider.url, **changed))
        async with Driver(connector, tries=4) as carrier:
            yield lists, connector, carrier


def entry(address, scope=Scope.CHANNEL, reason=Reason.OBJECTION, topic=None):
    return Suppression(parse_email(address), scope, reason, Channel.EMAIL, topic)


# -- the stand-in is what SendGrid's SDK takes it for -------------------------------------


async def test_the_sdk_reads_and_writes_the_stand_in():
    lists = SendGridLists()
    lists.make_group(77, "News")
    lists.add("bounces", "b@example.com", reason="550 no such user", status="5.1.1")
    lists.add("spam_reports", "s@example.com", ip="192.0.2.1")
    lists.add("invalid_emails", "i@example.com", reason="known bad domain")

    def used(url):
        client = sendgrid.SendGridAPIClient("SG.key", host=url).client
        client.asm.suppressions._("global").post(
            request_body={"recipient_emails": ["a@example.com", "b@example.com"]}
        )
        group = client.asm.groups._(77).suppressions
        posted = group.post(request_body={"recipient_emails": ["g@example.com"]})
        # The trap: a group that does not exist.
        client.asm.groups._(78).suppressions.post(
            request_body={"recipient_emails": ["lost@example.com"]}
        )
        query = {"limit": 2, "offset": 1, "start_time": 1}
        pages = [
            client.suppression.unsubscribes.get(query_params=query).to_dict,
            client.suppression.bounces.get().to_dict,
            client.suppression.spam_reports.get().to_dict,
            client.suppression.invalid_emails.get().to_dict,
            client.asm.groups.get().to_dict,
            client.asm.suppressions.get().to_dict,
            group.get().to_dict,
        ]
        faults = []
        for trouble, wrong in (("", "none"), ("429", "c@example.com")):
            lists.coming = [trouble]
            with pytest.raises(HTTPError) as fault:
                group.post(request_body={"recipient_emails": [wrong]})
            faults.append(fault.value.status_code)
        with pytest.raises(HTTPError) as fault:
            sendgrid.SendGridAPIClient("other", host=url).client.asm.groups.get()
        faults.append(fault.value.status_code)
        return posted.status_code, pages, faults

    async with Provider(lists.answer) as provider:
        posted, pages, faults = await asyncio.to_thread(used, provider.url)
    assert posted == 201
    assert [one["email"] for one in pages[0]] == ["b@example.com", "a@example.com"]
    assert [page[0]["email"] for page in pages[1:4]] == [
        "b@example.com",
        "s@example.com",
        "i@example.com",
    ]
    assert pages[4][0]["id"] == 77
    assert pages[5][0] | {"created_at": 0} == {
        "email": "g@example.com",
        "group_id": 77,
        "group_name": "News",
        "created_at": 0,
    }
    assert pages[6] == ["g@example.com"]
    assert "lost@example.com" in {one["email"] for one in lists.lists["unsubscribes"]}
    assert faults == [400, 429, 401]


# -- reading --------------------------------------------------------------------------------


async def test_all_its_lists_are_read_and_blocks_are_not():
    async with tool(topics=(("Uutiset", "77"),)) as (lists, connector, carrier):
        lists.make_group(77, "News")
        lists.make_group(78, "Offers")
        lists.add("unsubscribes", "u@example.com", 1e9)
        lists.add("bounces", "b@example.com", 1e9, reason="550", status="5.1.1")
        lists.add("spam_reports", "s@example.com", 1e9, ip="192.0.2.1")
        lists.add("invalid_emails", "i@example.com", 1e9, reason="bad")
        lists.add("invalid_emails", "i@@", 1e9, reason="bad")
        lists.add("blocks", "k@example.com", 1e9, reason="4.7.1", status="4.7.1")
        lists.add_to_group(77, "g@example.com", 1e9)
        lists.add_to_group(78, "g@example.com", 1e9)
        changes, _ = await carrier.read(connector.listing)
        said = {
            (
                one.suppression.contact.canonical[0],
                one.suppression.scope.value,
                one.suppression.topic,
                one.suppression.reason.value,
                one.suppression.note,
            )
            for one in changes
        }
        assert said == {
            ("u", "channel", None, "objection", "unsubscribe"),
            ("g", "topic", "uutiset", "objection", "group unsubscribe"),
            ("g", "topic", "sg:78", "objection", "group unsubscribe"),
            ("b", "channel", None, "bounce", "bounce 5.1.1"),
            ("s", "channel", None, "complaint", "spam report"),
            ("i", "channel", None, "bounce", "invalid address"),
        }
        assert {one.suppression.at for one in changes} == {1_000_000_000_000}
        assert carrier.bad == 1


@pytest.mark.slow
async def test_a_hundred_thousand_are_read_without_a_skip_or_a_double():
    async with tool() as (lists, connector, carrier):
        lists.lists["unsubscribes"] = [
            {"created": 10**9, "email": f"n{number:06}@example.com"} for number in range(90_000)
        ]
        lists.lists["bounces"] = [
            {"created": 10**9, "email": f"b{number:06}@example.com"} for number in range(10_000)
        ]
        lists.coming = ["", "429", "cut", "500", "late"] * 10
        changes, _ = await carrier.read(connector.listing)
        wanted = [one["email"] for name in ("unsubscribes", "bounces") for one in lists.lists[name]]
        assert addresses(changes) == wanted
        assert not carrier.bad
        assert max(carrier.waits) > 1


@pytest.mark.parametrize("seed", range(5))
async def test_nothing_is_skipped_of_a_list_that_moves_while_it_is_read(seed):
    chance = random.Random(seed)
    async with tool() as (lists, connector, carrier):
        listed = lists.lists["unsubscribes"]
        for number in range(3000):
            lists.add("unsubscribes", f"n{number}@example.com", 1e9 + number)
        stayed = {one["email"] for one in listed}

        def between():
            for _ in range(chance.choice((0, 1, 15, 40, 100))):
                gone = listed.pop(chance.randrange(len(listed)))
                stayed.discard(gone["email"])
            for number in range(chance.choice((0, 1, 15, 40))):
                lists.add("unsubscribes", f"new{number}.{len(listed)}@example.com", 2e9)

        lists.between = between
        changes, _ = await carrier.read(connector.listing)
        assert stayed <= set(addresses(changes))


@pytest.mark.parametrize("came", [20, 479, 480, 500, 1000])
async def test_what_comes_in_front_while_pages_are_read_hides_nothing(came):
    async with tool() as (lists, connector, carrier):
        lists.lists["unsubscribes"] = [
            {"created": 10**9, "email": f"n{number}@example.com"} for number in range(2000)
        ]
        stayed = {one["email"] for one in lists.lists["unsubscribes"]}
        waves = iter(range(3))

        def between():
            if (wave := next(waves, None)) is not None:
                for number in range(came):
                    lists.add("unsubscribes", f"w{wave}x{number}@example.com", 1.1e9)

        lists.between = between
        changes, _ = await carrier.read(connector.listing)
        assert stayed <= set(addresses(changes))


async def test_a_server_that_does_not_count_pages_is_read_once():
    async with tool() as (lists, connector, carrier):
        lists.pages = False
        for size in (500, 700):
            lists.lists["unsubscribes"] = [
                {"created": 10**9, "email": f"n{number}@example.com"} for number in range(size)
            ]
            changes, _ = await carrier.read(connector.listing)
            assert addresses(changes) == [f"n{number}@example.com" for number in range(size)]


@pytest.mark.parametrize("skew", [-10 * MINUTE, 0, 10 * MINUTE])
async def test_what_is_new_is_told_whatever_the_clocks_say(skew):
    async with tool() as (lists, connector, carrier):
        clock = 1_700_000_000_000
        connector.clock = lambda: clock
        lists.now = lambda: (clock + skew) / 1000
        lists.make_group(77, "News")
        lists.add("unsubscribes", "old@example.com", clock / 1000 - 3 * 86_400)
        lists.add_to_group(77, "oldgroup@example.com", clock / 1000 - 3 * 86_400)
        changes, cursor = await carrier.read(connector.changes)
        assert addresses(changes) == []
        told = set()
        for number in range(6):
            clock += 7 * MINUTE
            new = {f"{name}{number}@example.com" for name in "ugsbil"}
            lists.add("unsubscribes", f"u{number}@example.com")
            lists.add_to_group(77, f"g{number}@example.com")
            lists.add("spam_reports", f"s{number}@example.com")
            lists.add("bounces", f"b{number}@example.com")
            lists.add("invalid_emails", f"i{number}@example.com")
            # It appears half an hour late.
            lists.add("unsubscribes", f"l{number}@example.com", lists.now() - 30 * 60)
            changes, cursor = await carrier.read(connector.changes, cursor)
            told |= set(addresses(changes))
            assert new <= told
        assert not {"old@example.com", "oldgroup@example.com"} & told


async def test_what_comes_while_a_round_is_read_is_told_in_the_next():
    async with tool() as (lists, connector, carrier):
        page = await carrier.run(connector.changes(""))
        lists.add("unsubscribes", "a@example.com")
        changes, cursor = await carrier.read(connector.changes, page.cursor)
        assert addresses(changes) == []
        changes, _ = await carrier.read(connector.changes, cursor)
        assert addresses(changes) == ["a@example.com"]


async def test_a_wrong_key_names_the_setting():
    async with tool(secret="other") as (_, connector, carrier):
        for exchange in (
            connector.listing(""),
            connector.changes(""),
            connector.put([entry("a@example.com")]),
        ):
            with pytest.raises(ToolRefused, match=r"sync\.tools sg: secret_file"):
                await carrier.run(exchange)


@pytest.mark.parametrize("body", [b"", b"<html>", b"{}", b"null", b"[1]", b'["a@example.com"]'])
def test_what_no_document_says_is_unreadable(body):
    for cursor in ("", '[1,"",0,0,[]]'):
        with pytest.raises(ToolUnreadable):
            answered(SendGrid(place()).listing(cursor), Answer(200, body))
    for cursor in ("x", '[9,"",0,0,[]]'):
        with pytest.raises(ToolUnreadable):
            next(SendGrid(place()).listing(cursor))
    with pytest.raises(ToolUnreadable):
        answered(SendGrid(place()).put([entry("a@example.com")]), Answer(201, body))
    with pytest.raises(ToolRefused, match="url"):
        answered(SendGrid(place()).listing(""), Answer(302, body))


_json = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**62), 2**62) | st.floats() | st.text(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["email", "created", "group_id", "x"]), inner, max_size=4)
    ),
    max_leaves=8,
)


@given(
    st.integers(0, 4),
    st.lists(
        st.dictionaries(
            st.sampled_from(["email", "created", "created_at", "group_id", "status"]),
            _json,
            max_size=5,
        ),
        max_size=5,
    ),
)
def test_whatever_stands_in_a_list_is_read_or_counted(part, items):
    exchange = SendGrid(place()).listing(f'[{part},"",0,0,[]]')
    page = answered(exchange, Answer(200, orjson.dumps(items)))
    assert len(page.changes) + page.bad == len(items)


# -- writing --------------------------------------------------------------------------------


async def test_a_thousand_are_put_at_once_and_a_bad_one_is_left_out():
    async with tool() as (lists, connector, carrier):
        wanted = [entry(f"n{number}@example.com") for number in range(1000)]
        assert connector.most == 1000
        put = await carrier.run(connector.put(wanted))
        assert all(one.done for one in put)
        assert lists.called == ["POST /v3/asm/suppressions/global"]
        assert len(lists.lists["unsubscribes"]) == 1000
        wanted[500] = entry("päivi@example.com")
        lists.coming = ["", "429", "cut", "late"]
        put = await carrier.run(connector.put(wanted))
        assert [number for number, one in enumerate(put) if not one.done] == [500]
        assert put[500].final
        assert "@" not in put[500].cause
        assert len(lists.lists["unsubscribes"]) == 1000


async def test_a_topic_goes_into_its_group_and_nowhere_else():
    async with tool(topics=(("uutiset", "77"), ("tarjoukset", "78"))) as (
        lists,
        connector,
        carrier,
    ):
        lists.make_group(77, "News")
        put = await carrier.run(
            connector.put(
                [
                    entry("a@example.com", Scope.TOPIC, topic="Uutiset"),
                    entry("b@example.com", Scope.TOPIC, topic="tarjoukset"),
                    entry("c@example.com", Scope.ALL),
                    entry("d@example.com", Scope.TOPIC, topic="muu"),
                ]
            )
        )
        assert [(one.done, one.final) for one in put] == [
            (True, False),
            (False, False),
            (True, False),
            (False, True),
        ]
        assert "topics" in put[1].cause
        assert [one["email"] for one in lists.groups[77]] == ["a@example.com"]
        # The trap: what is put into a group that is gone lands in the global list.
        assert [one["email"] for one in lists.lists["unsubscribes"]] == ["c@example.com"]


async def test_bounces_and_complaints_are_not_made_into_objections():
    async with tool() as (lists, connector, carrier):
        reasons = (Reason.BOUNCE, Reason.COMPLAINT, Reason.BLOCKED)
        put = await carrier.run(
            connector.put([entry("a@example.com", reason=reason) for reason in reasons])
        )
        assert [one.done for one in put] == [False, False, True]
        assert len(lists.lists["unsubscribes"]) == 1


def test_an_address_that_the_answer_leaves_out_is_not_done():
    exchange = SendGrid(place()).put([entry("a@example.com"), entry("b@example.com")])
    put = answered(exchange, Answer(201, b'{"recipient_emails": ["A@Example.com"]}'))
    assert [(one.done, one.final) for one in put] == [(True, False), (False, False)]


async def test_a_subuser_is_named():
    async with tool(place="campaigns") as (lists, connector, carrier):
        await carrier.run(connector.put([entry("a@example.com")]))
        await carrier.run(connector.listing(""))
        assert set(lists.on_behalf) == {"campaigns"}


# -- settings -------------------------------------------------------------------------------


def spki(key):
    octets = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return base64.b64encode(octets).decode()


def test_what_it_cannot_do_without_is_named():
    for changed, name in (
        ({"secret": ""}, "secret_file"),
        ({"place": "a\r\nb"}, "place"),
        ({"topics": (("news", "News"),)}, "topics.news"),
        ({"webhook_secret": "x"}, "webhook_secret_file"),
        ({"webhook_secret": spki(rsa.generate_private_key(65537, 2048))}, "webhook_secret_file"),
        ({"webhook_secret": spki(ec.generate_private_key(ec.SECP384R1()))}, "webhook_secret_file"),
    ):
        with pytest.raises(InputError, match=name):
            SendGrid(place(**changed))


def test_what_it_holds_is_said():
    assert SendGrid(place()).place.url == "https://api.sendgrid.com"
    assert SendGrid(place("https://api.eu.sendgrid.com")).place.url.startswith("https://api.eu.")
    assert SendGrid(place()).holds.scopes == {Scope.ALL, Scope.CHANNEL}
    grouped = SendGrid(place(topics=(("Uutiset", "77"),))).holds
    assert Scope.TOPIC in grouped.scopes
    assert grouped.topics == {"uutiset"}
    assert grouped.channels == {Channel.EMAIL}
    assert any("contract messages" in line for line in SendGrid(place()).warnings())


# -- the webhook ----------------------------------------------------------------------------

HOOKED = SendGrid(place(webhook_secret=PUBLIC_KEY))
KEY = ec.generate_private_key(ec.SECP256R1())
OURS = SendGrid(place(webhook_secret=spki(KEY), topics=(("uutiset", "77"),)))


def call(body, stamp=STAMP, signature=SIGNATURE):
    headers = (
        ("Content-Type", "application/json"),
        ("X-Twilio-Email-Event-Webhook-Signature", signature),
        ("X-Twilio-Email-Event-Webhook-Timestamp", stamp),
    )
    return Request("POST", "/hooks/sg", "", headers, body)


def told(*events):
    body = orjson.dumps(list(events))
    value = KEY.sign(STAMP.encode() + body, ec.ECDSA(hashes.SHA256()))
    return call(body, signature=base64.b64encode(value).decode())


def event(kind, **more):
    return {
        "email": "example@test.com",
        "timestamp": 1513299569,
        "event": kind,
        "sg_event_id": f"id-{kind}",
        **more,
    }


def refusal(request, now=SIGNED_AT, connector=HOOKED):
    with pytest.raises(HookRefused) as refused:
        connector.hook(request, now)
    return refused.value.http


def test_the_published_vector_is_taken():
    # A message that was dropped says nothing but what stands in a list.
    assert HOOKED.hook(call(PAYLOAD), SIGNED_AT) == ()
    pem = f"-----BEGIN PUBLIC KEY-----\n{PUBLIC_KEY}\n-----END PUBLIC KEY-----\n"
    assert SendGrid(place(webhook_secret=pem)).hook(call(PAYLOAD), SIGNED_AT) == ()
    assert sendgrid.EventWebhook(PUBLIC_KEY).verify_signature(PAYLOAD.decode(), SIGNATURE, STAMP)


def test_the_published_wrong_ones_are_not():
    key = (
        "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEqTxd43gyp8IOEto2LdIfjRQrIbsd4SXZkLW6jDutdhXS"
        "JCWHw8REntlo7aNDthvj+y7GjUuFDb/R1NGe1OPzpA=="
    )
    signature = (
        "MEUCIQCtIHJeH93Y+qpYeWrySphQgpNGNr/U+UyUlBkU6n7RAwIgJTz2C+8a8xonZGi6BpSzoQsbVRam"
        "r2nlxFDWYNH3j/0="
    )
    assert refusal(call(PAYLOAD), connector=SendGrid(place(webhook_secret=key))) == 401
    assert refusal(call(PAYLOAD), connector=SendGrid(place())) == 401
    assert refusal(call(b"payload")) == 401
    assert refusal(call(PAYLOAD, signature=signature)) == 401
    assert refusal(call(PAYLOAD, stamp="timestamp")) == 401
    assert refusal(call(PAYLOAD, signature="")) == 401
    assert refusal(call(PAYLOAD.rstrip())) == 401


def test_every_bit_counts():
    for body in flips(PAYLOAD):
        assert refusal(call(body)) == 401
    for signature in text_flips(SIGNATURE):
        assert refusal(call(PAYLOAD, signature=signature)) == 401
    for stamp in text_flips(STAMP):
        assert refusal(call(PAYLOAD, stamp=stamp)) == 401


def test_stale_calls_are_refused():
    assert HOOKED.hook(call(PAYLOAD), SIGNED_AT + 5 * MINUTE) == ()
    assert HOOKED.hook(call(PAYLOAD), SIGNED_AT - 5 * MINUTE) == ()
    assert refusal(call(PAYLOAD), SIGNED_AT + 5 * MINUTE + 1) == 401
    assert refusal(call(PAYLOAD), SIGNED_AT - 5 * MINUTE - 1) == 401


def test_repeats_are_known_by_what_is_signed():
    assert HOOKED.replays(call(PAYLOAD)) == HOOKED.replays(call(PAYLOAD, signature="another"))
    assert HOOKED.replays(call(PAYLOAD)) != HOOKED.replays(call(PAYLOAD, stamp="1600112503"))
    assert HOOKED.replays(call(PAYLOAD)) != HOOKED.replays(call(b"[]"))
    assert "@" not in HOOKED.replays(call(PAYLOAD))


def test_events_are_read():
    changes = OURS.hook(
        told(
            event("processed"),
            event("bounce", type="bounce", status="5.1.1", reason="550 5.1.1 <example@test.com>"),
            event("bounce", type="blocked", status="5.7.1"),
            event("bounce"),
            event("deferred"),
            event("dropped", reason="Unsubscribed Address"),
            event("spamreport"),
            event("unsubscribe"),
            event("group_unsubscribe", asm_group_id=77),
            event("group_unsubscribe", asm_group_id=78),
            event("group_unsubscribe"),
            event("group_resubscribe", asm_group_id=77),
            event("group_resubscribe"),
            event("unsubscribe") | {"email": "nobody"},
        ),
        SIGNED_AT,
    )
    assert [
        (one.said.value, one.suppression.reason.value, one.suppression.topic, one.suppression.note)
        for one in changes
    ] == [
        ("added", "bounce", None, "bounce 5.1.1"),
        ("added", "complaint", None, "spamreport"),
        ("added", "objection", None, "unsubscribe"),
        ("added", "objection", "uutiset", "group_unsubscribe"),
        ("added", "objection", "sg:78", "group_unsubscribe"),
        ("added", "objection", None, "group_unsubscribe"),
        ("removed", "objection", "uutiset", "group_resubscribe"),
    ]
    assert {one.suppression.at for one in changes} == {1_513_299_569_000}
    assert changes[0].id == "id-bounce"
    assert changes[-1].said is Said.REMOVED
    assert set(addresses(changes)) == {"example@test.com"}


def test_what_cannot_be_read_is_refused():
    for body in (b"{", b"{}", b"[1]", b"5"):
        value = KEY.sign(STAMP.encode() + body, ec.ECDSA(hashes.SHA256()))
        request = call(body, signature=base64.b64encode(value).decode())
        assert refusal(request, connector=OURS) == 400


@given(
    st.lists(
        st.dictionaries(
            st.sampled_from(["email", "event", "timestamp", "type", "asm_group_id", "sg_event_id"]),
            _json
            | st.sampled_from(["a@example.com", "bounce", "group_unsubscribe", "unsubscribe"]),
            max_size=6,
        ),
        max_size=4,
    )
)
def test_no_event_breaks_the_hook(events):
    for change in OURS.hook(told(*events), SIGNED_AT):
        assert "@" in change.suppression.contact.canonical


@given(st.binary(max_size=50), st.text(max_size=20), st.text(max_size=20))
def test_no_call_breaks_the_hook(body, stamp, signature):
    with contextlib.suppress(GatewayError):
        OURS.hook(call(body, stamp, signature), SIGNED_AT)
        raise AssertionError("nobody has signed this")
    OURS.replays(call(body, stamp, signature))
