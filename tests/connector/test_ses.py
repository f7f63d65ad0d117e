"""Amazon SES's suppression list, against a list that boto3 has been tried on."""

import asyncio
import base64
import contextlib
import time
from datetime import UTC, datetime, timedelta
from functools import partial

import boto3
import botocore.config
import botocore.exceptions
import orjson
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA1, SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st

from gateway.connector.connector import (
    HookRefused,
    Place,
    ToolRefused,
    ToolUnreadable,
)
from gateway.connector.ses import Ses
from gateway.connector.suppression import Reason, Said, Suppression
from gateway.contacts.contact import Channel
from gateway.contacts.parse import parse_email
from gateway.entry.entry import Scope
from gateway.failure import GatewayError, InputError
from gateway.provider.request import Answer, Request
from tests.connector.entry import names as addresses
from tests.hook.bits import flips
from tests.peers.provider import Provider
from tests.peers.tools import driver
from tests.peers.tools.driver import Driver
from tests.peers.tools.ses import SesList

TOPIC = "arn:aws:sns:eu-north-1:123456789012:ses-events"
NOW = 1_700_000_000_000
MINUTE = 60_000


def place(url="", **changed):
    said = {
        "name": "ses",
        "username": "AKIAEXAMPLE",
        "secret": "wJalrXUtnFEMI",
        "place": "eu-north-1",
        "url": url,
    }
    return Place(**(said | changed))


@contextlib.asynccontextmanager
async def tool(**changed):
    """A list, the connector to it, and what carries between them."""
    listed = SesList()
    async with Provider(listed.answer) as provider:
        connector = Ses(place(provider.url, **changed))
        async with Driver(connector, tries=4) as carrier:
            yield listed, connector, carrier


def objection(address, reason=Reason.OBJECTION):
    return Suppression(parse_email(address), Scope.CHANNEL, reason, Channel.EMAIL)


def answered(connector, ask, *answers):
    """The result of an exchange, answered by hand."""
    return driver.answered(ask("") if callable(ask) else ask, *answers)


# -- the stand-in is what boto3 takes it for ----------------------------------------------


async def test_boto3_reads_and_writes_the_stand_in():
    listed = SesList(most=2)
    async with Provider(listed.answer) as provider:
        client = await asyncio.to_thread(
            partial(
                boto3.client,
                "sesv2",
                endpoint_url=provider.url,
                region_name="eu-north-1",
                aws_access_key_id="AKIAEXAMPLE",
                aws_secret_access_key="wJalrXUtnFEMI",
                config=botocore.config.Config(retries={"total_max_attempts": 1}),
            )
        )

        def used():
            for name in ("a", "b", "c"):
                client.put_suppressed_destination(
                    EmailAddress=f"{name}@example.com", Reason="COMPLAINT"
                )
            listed.put("old@example.com", "BOUNCE", at=1000.0)
            one = client.get_suppressed_destination(EmailAddress="a@example.com")
            found, token = [], None
            while True:
                asked = {"NextToken": token} if token else {}
                page = client.list_suppressed_destinations(
                    StartDate=datetime.now(UTC) - timedelta(hours=1), PageSize=2, **asked
                )
                found += [each["EmailAddress"] for each in page["SuppressedDestinationSummaries"]]
                token = page.get("NextToken")
                if not token:
                    break
            faults = []
            for wrong in ({"EmailAddress": "none", "Reason": "BOUNCE"},):
                try:
                    client.put_suppressed_destination(**wrong)
                except client.exceptions.BadRequestException as fault:
                    faults.append(fault)
            try:
                client.list_suppressed_destinations(NextToken="x")
            except client.exceptions.InvalidNextTokenException as fault:
                faults.append(fault)
            listed.coming = ["429"]
            try:
                client.list_suppressed_destinations()
            except client.exceptions.TooManyRequestsException as fault:
                faults.append(fault)
            return one["SuppressedDestination"], found, faults

        one, found, faults = await asyncio.to_thread(used)
        assert one["Reason"] == "COMPLAINT"
        assert abs(one["LastUpdateTime"].timestamp() - time.time()) < 60
        assert found == ["a@example.com", "b@example.com", "c@example.com"]
        assert len(faults) == 3
        client.close()


# -- reading --------------------------------------------------------------------------------


async def test_a_list_is_read_page_by_page():
    async with tool() as (listed, connector, carrier):
        listed.most = 3
        for number in range(10):
            listed.put(f"n{number}@example.com", "BOUNCE" if number % 2 else "COMPLAINT", 1e9)
        changes, cursor = await carrier.read(connector.listing)
        assert addresses(changes) == [f"n{number}@example.com" for number in range(10)]
        assert [one.suppression.reason for one in changes[:2]] == [Reason.COMPLAINT, Reason.BOUNCE]
        assert {one.said for one in changes} == {Said.ADDED}
        first = changes[0].suppression
        assert (first.scope, first.channel) == (Scope.CHANNEL, Channel.EMAIL)
        assert (first.at, first.note) == (1_000_000_000_000, "COMPLAINT")
        assert not carrier.bad
        # The cursor of an end is a beginning.
        again, _ = await carrier.read(connector.listing, cursor)
        assert addresses(again) == addresses(changes)


@pytest.mark.slow
async def test_a_hundred_thousand_are_read_without_a_skip_or_a_double():
    async with tool() as (listed, connector, carrier):
        for number in range(100_000):
            listed.put(f"n{number:06}@example.com", "BOUNCE", 1e9)
        listed.coming = ["", "429", "cut", "500", "late"] * 10
        changes, _ = await carrier.read(connector.listing)
        assert addresses(changes) == sorted(listed.entries)
        assert not carrier.bad
        assert 2.0 in carrier.waits


async def test_an_expired_token_begins_again():
    async with tool() as (listed, connector, carrier):
        listed.most = 2
        for number in range(4):
            listed.put(f"n{number}@example.com", "BOUNCE")
        for ask in (connector.listing, connector.changes):
            listed.expired = False
            page = await carrier.run(ask(""))
            assert page.more
            listed.expired = True
            page = await carrier.run(ask(page.cursor))
            assert addresses(page.changes) == ["n0@example.com", "n1@example.com"]


@pytest.mark.parametrize("skew", [-10 * MINUTE, 0, 10 * MINUTE])
async def test_what_is_new_is_told_whatever_the_clocks_say(skew):
    async with tool() as (listed, connector, carrier):
        listed.skew = skew
        clock = time.time_ns() // 1_000_000
        connector.clock = lambda: clock
        listed.now = lambda: (clock + listed.skew) / 1000
        listed.put("old@example.com", "BOUNCE", at=clock / 1000 - 3 * 86_400)
        changes, cursor = await carrier.read(connector.changes)
        assert addresses(changes) == []
        told = set()
        for number in range(6):
            clock += 7 * MINUTE
            listed.put(f"n{number}@example.com", "COMPLAINT")
            # It appears half an hour late.
            listed.put(f"late{number}@example.com", "BOUNCE", listed.now() - 30 * 60)
            changes, cursor = await carrier.read(connector.changes, cursor)
            told |= set(addresses(changes))
            assert {f"n{number}@example.com", f"late{number}@example.com"} <= told
        assert "old@example.com" not in told
        # Kept for a month.
        clock += 30 * 86_400_000
        listed.put("later@example.com", "BOUNCE", at=clock / 1000 - 20 * 86_400)
        changes, _ = await carrier.read(connector.changes, cursor)
        assert "later@example.com" in addresses(changes)


async def test_what_comes_while_pages_are_read_is_told_in_the_next_round():
    async with tool() as (listed, connector, carrier):
        listed.most = 2
        for number in range(5):
            listed.put(f"n{number}@example.com", "BOUNCE")
        page = await carrier.run(connector.changes(""))
        listed.put("a@example.com", "BOUNCE")
        changes, cursor = await carrier.read(connector.changes, page.cursor)
        assert "a@example.com" not in addresses(changes)
        changes, _ = await carrier.read(connector.changes, cursor)
        assert "a@example.com" in addresses(changes)


async def test_entries_twice_and_unreadable_ones_do_no_harm():
    async with tool() as (listed, connector, carrier):
        listed.most, listed.again = 2, 1
        for number in range(4):
            listed.put(f"n{number}@example.com", "BOUNCE")
        listed.put("nobody", "BOUNCE")
        listed.put("x@example.com", "NEW")
        changes, _ = await carrier.read(connector.listing)
        assert set(addresses(changes)) == {f"n{number}@example.com" for number in range(4)}
        assert carrier.bad >= 1


async def test_a_wrong_key_names_the_setting():
    async with tool(secret="other") as (_, connector, carrier):
        for exchange in (
            connector.listing(""),
            connector.changes(""),
            connector.put([objection("a@example.com")]),
        ):
            with pytest.raises(ToolRefused, match=r"sync\.tools ses: secret_file"):
                await carrier.run(exchange)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[]",
        b"null",
        b'{"message": "x"}',
        b'{"SuppressedDestinationSummaries": {}}',
        b'{"SuppressedDestinationSummaries": [], "NextToken": 5}',
    ],
)
def test_what_no_document_says_is_unreadable(body):
    connector = Ses(place())
    with pytest.raises(ToolUnreadable):
        answered(connector, connector.listing, Answer(200, body))
    for status in (400, 418):
        with pytest.raises(ToolUnreadable):
            answered(connector, connector.listing, Answer(status, body))
    with pytest.raises(ToolRefused, match="url"):
        answered(connector, connector.listing, Answer(302, body))
    with pytest.raises(ToolRefused, match="place"):
        answered(connector, connector.listing, Answer(404, body))


def test_a_token_that_leads_back_is_unreadable():
    connector = Ses(place())
    document = {"SuppressedDestinationSummaries": [], "NextToken": "t"}
    page = answered(connector, connector.listing, Answer(200, orjson.dumps(document)))
    exchange = connector.listing(page.cursor)
    next(exchange)
    with pytest.raises(ToolUnreadable):
        exchange.send(Answer(200, orjson.dumps(document)))


def test_a_time_that_is_none_is_left_out():
    connector = Ses(place())
    for when in ("soon", None, True, -1, 1e400, {}):
        item = {"EmailAddress": "a@example.com", "Reason": "BOUNCE", "LastUpdateTime": when}
        document = orjson.dumps({"SuppressedDestinationSummaries": [item]})
        [change] = answered(connector, connector.listing, Answer(200, document)).changes
        assert change.suppression.at is None


def test_an_account_without_entries_is_read():
    connector = Ses(place())
    assert answered(connector, connector.listing, Answer(200, b"{}")).changes == ()


_json = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**62), 2**62) | st.floats() | st.text(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["EmailAddress", "Reason", "LastUpdateTime", "bounce", "eventType", "x"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(st.lists(_json, max_size=5), _json)
def test_whatever_stands_in_a_list_is_read_or_counted(items, token):
    connector = Ses(place())
    document = {"SuppressedDestinationSummaries": items}
    if token is not None:
        document["NextToken"] = token
    try:
        page = answered(connector, connector.listing, Answer(200, orjson.dumps(document)))
    except GatewayError:
        assert token
        return
    assert len(page.changes) + page.bad == len(items)


@given(st.text(max_size=40) | _json.map(lambda value: orjson.dumps(value).decode()))
def test_a_cursor_of_somebody_elses_is_refused(cursor):
    connector = Ses(place())
    if not cursor:
        return
    with pytest.raises(ToolUnreadable):
        answered(connector, connector.listing(cursor))


# -- writing --------------------------------------------------------------------------------


async def test_reasons_are_written_in_its_words():
    async with tool() as (listed, connector, carrier):
        for reason, word in (
            (Reason.OBJECTION, "COMPLAINT"),
            (Reason.BLOCKED, "COMPLAINT"),
            (Reason.COMPLAINT, "COMPLAINT"),
            (Reason.BOUNCE, "BOUNCE"),
        ):
            put = await carrier.run(connector.put([objection("a@example.com", reason)]))
            assert [one.done for one in put] == [True]
            assert listed.entries["a@example.com"][0] == word
        # What we have put there comes back as an entry.
        changes, _ = await carrier.read(connector.changes)
        assert addresses(changes) == ["a@example.com"]


async def test_one_bad_address_among_many_is_left_out():
    async with tool() as (listed, connector, carrier):
        listed.coming = ["", "429", "cut", "late", "500"]
        wanted = [f"n{number}@example.com" for number in range(1000)]
        wanted[500] = "päivi@example.com"
        results = []
        for one in wanted:
            results += await carrier.run(connector.put([objection(one)]))
        assert [number for number, one in enumerate(results) if not one.done] == [500]
        assert results[500].final
        assert "@" not in results[500].cause
        assert len(listed.entries) == 999


def test_other_faults_are_tried_again_or_told():
    connector = Ses(place())
    entry = [objection("a@example.com")]
    throttled = Answer(400, b"{}", headers=(("x-amzn-ErrorType", "ThrottlingException"),))
    [put] = answered(connector, connector.put(entry), throttled)
    assert (put.done, put.final) == (False, False)
    named = Answer(400, b'{"__type": "com.amazonaws#BadRequestException"}')
    [put] = answered(connector, connector.put(entry), named)
    assert put.final
    with pytest.raises(ToolRefused):
        answered(connector, connector.put(entry), Answer(403))
    [put] = answered(connector, connector.put(entry), Answer(200))
    assert put.done


async def test_a_url_with_a_path_is_signed_whole():
    listed = SesList()
    async with Provider(listed.answer) as provider:
        connector = Ses(place(f"{provider.url}/proxy"))
        request = Request("GET", "/v2/email/suppression/addresses")
        signed = connector.prepare(request, NOW)
        assert signed.path == request.path
        assert signed.header("host") == provider.url.partition("//")[2]
        bare = Ses(place(provider.url)).prepare(request, NOW)
        assert signed.header("authorization") != bare.header("authorization")


# -- settings -------------------------------------------------------------------------------


def test_what_it_cannot_do_without_is_named():
    for changed, name in (
        ({"place": ""}, "place"),
        ({"place": "Stockholm"}, "place"),
        ({"username": ""}, "username"),
        ({"secret": ""}, "secret_file"),
        ({"webhook_secret": "pem"}, "webhook_source"),
        ({"webhook_secret": "pem", "webhook_source": "https://x"}, "webhook_source"),
    ):
        with pytest.raises(InputError, match=name):
            Ses(place(**changed))


def test_the_url_is_the_regions():
    assert Ses(place()).place.url == "https://email.eu-north-1.amazonaws.com"
    assert Ses(place(place="us-gov-west-1")).place.url.endswith("us-gov-west-1.amazonaws.com")
    assert Ses(place(place="cn-north-1")).place.url.endswith("cn-north-1.amazonaws.com.cn")
    assert Ses(place(Ses.url)).place.url == "https://email.eu-north-1.amazonaws.com"
    assert Ses(place()).url == "https://email.eu-north-1.amazonaws.com"


def test_what_it_holds_and_loses_is_said():
    narrow, wide = Ses(place()), Ses(place(accept_wider=True))
    assert narrow.holds == wide.holds
    assert narrow.holds.scopes == {Scope.ALL, Scope.CHANNEL}
    assert narrow.holds.channels == {Channel.EMAIL}
    assert any("contract messages" in line for line in narrow.warnings())
    assert not any("block of the whole address" in line for line in narrow.warnings())
    assert any("block of the whole address" in line for line in wide.warnings())


# -- the webhook ----------------------------------------------------------------------------

KEY = rsa.generate_private_key(65537, 2048)


def certificate(key=KEY):
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sns.amazonaws.com")])
    now = datetime.fromtimestamp(NOW / 1000, UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1)
    builder = builder.not_valid_before(now - timedelta(days=1))
    builder = builder.not_valid_after(now + timedelta(days=1))
    return builder.sign(key, SHA256()).public_bytes(Encoding.PEM).decode()


HOOKED = Ses(place(webhook_secret=certificate(), webhook_source=TOPIC))
_SIGNED = {
    "Notification": ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"),
    "SubscriptionConfirmation": (
        "Message",
        "MessageId",
        "SubscribeURL",
        "Timestamp",
        "Token",
        "TopicArn",
        "Type",
    ),
}


def told(message, version="2", at=NOW, key=KEY, **changed):
    # https://docs.aws.amazon.com/sns/latest/dg/sns-verify-signature-of-message.html
    fields = {
        "Type": "Notification",
        "MessageId": "22b80b92-fdea-4c2c-8f9d-bdfb0c7bf324",
        "TopicArn": TOPIC,
        "Message": message if isinstance(message, str) else orjson.dumps(message).decode(),
        "Timestamp": datetime.fromtimestamp(at / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z"),
        **changed,
    }
    text = "".join(
        f"{name}\n{fields[name]}\n" for name in _SIGNED[fields["Type"]] if name in fields
    )
    hashed = {"1": SHA1, "2": SHA256}[version]()
    fields |= {
        "SignatureVersion": version,
        "Signature": base64.b64encode(key.sign(text.encode(), padding.PKCS1v15(), hashed)).decode(),
        "SigningCertURL": "https://sns.eu-north-1.amazonaws.com/SimpleNotificationService-0a.pem",
        "UnsubscribeURL": "https://sns.eu-north-1.amazonaws.com/?Action=Unsubscribe",
    }
    headers = (("Content-Type", "text/plain; charset=UTF-8"),)
    return Request("POST", "/hooks/ses", "", headers, orjson.dumps(fields))


def bounce(kind="Permanent", subtype="General", name="eventType"):
    # https://docs.aws.amazon.com/ses/latest/dg/event-publishing-retrieving-sns-examples.html
    return {
        name: "Bounce",
        "bounce": {
            "bounceType": kind,
            "bounceSubType": subtype,
            "bouncedRecipients": [
                {
                    "emailAddress": "recipient@example.com",
                    "action": "failed",
                    "status": "5.1.1",
                    "diagnosticCode": "smtp; 550 5.1.1 user unknown",
                }
            ],
            "timestamp": "2017-08-05T00:41:02.669Z",
            "feedbackId": "01000157c44f053b",
            "reportingMTA": "dsn; mta.example.com",
        },
        "mail": {"destination": ["recipient@example.com"]},
    }


def complaint(feedback="abuse", subtype=None):
    return {
        "eventType": "Complaint",
        "complaint": {
            "complainedRecipients": [
                {"emailAddress": "recipient@example.com"},
                {"emailAddress": "other@example.com"},
            ],
            "timestamp": "2017-08-05T00:41:02.669Z",
            "complaintFeedbackType": feedback,
            "complaintSubType": subtype,
        },
        "mail": {"destination": ["recipient@example.com"]},
    }


def subscription(new, old=(), everything=False):
    def states(pairs):
        return [{"topicName": name, "subscriptionStatus": state} for name, state in pairs]

    return {
        "eventType": "Subscription",
        "mail": {"destination": ["recipient@example.com"]},
        "subscription": {
            "contactList": "ContactListName",
            "timestamp": "2022-01-12T01:00:17.910Z",
            "source": "UnsubscribeHeader",
            "newTopicPreferences": {
                "unsubscribeAll": everything,
                "topicSubscriptionStatus": states(new),
            },
            "oldTopicPreferences": {
                "unsubscribeAll": False,
                "topicSubscriptionStatus": states(old),
            },
        },
    }


@pytest.mark.parametrize("version", ["1", "2"])
@pytest.mark.parametrize("name", ["eventType", "notificationType"])
def test_a_permanent_bounce_is_told(version, name):
    [change] = HOOKED.hook(told(bounce(name=name), version), NOW)
    entry = change.suppression
    assert change.said is Said.ADDED
    assert change.id == "22b80b92-fdea-4c2c-8f9d-bdfb0c7bf324"
    assert entry.contact.canonical == "recipient@example.com"
    assert (entry.reason, entry.scope, entry.channel) == (
        Reason.BOUNCE,
        Scope.CHANNEL,
        Channel.EMAIL,
    )
    assert (entry.at, entry.note) == (1_501_893_662_669, "Bounce General")


def test_bounces_that_say_nothing_new_are_not_told():
    for kind, subtype in (
        ("Transient", "MailboxFull"),
        ("Undetermined", "Undetermined"),
        ("Permanent", "OnAccountSuppressionList"),
        ("Permanent", "UnsubscribedRecipient"),
    ):
        assert HOOKED.hook(told(bounce(kind, subtype)), NOW) == ()


def test_complaints_are_told_and_their_contraries_are_not():
    changes = HOOKED.hook(told(complaint()), NOW)
    assert addresses(changes) == ["recipient@example.com", "other@example.com"]
    assert {change.suppression.reason for change in changes} == {Reason.COMPLAINT}
    [change, _] = HOOKED.hook(told(complaint("opt-out")), NOW)
    assert change.suppression.reason is Reason.OBJECTION
    assert len(HOOKED.hook(told(complaint(None)), NOW)) == 2
    for feedback in ("not-spam", "Not-Spam", "auth-failure"):
        assert HOOKED.hook(told(complaint(feedback)), NOW) == ()
    assert HOOKED.hook(told(complaint("abuse", "OnAccountSuppressionList")), NOW) == ()


def test_a_persons_own_choice_is_an_objection():
    [change] = HOOKED.hook(told(subscription([], everything=True)), NOW)
    entry = change.suppression
    assert (entry.scope, entry.reason) == (Scope.CHANNEL, Reason.OBJECTION)
    chosen = subscription(
        [("Sports", "OptOut"), ("News", "OPT_OUT"), ("Cars", "OptIn"), ("Old", "OptOut")],
        [("Sports", "OptIn"), ("Old", "OptOut")],
    )
    mapped = Ses(
        place(
            webhook_secret=HOOKED.place.webhook_secret,
            webhook_source=TOPIC,
            topics=(("uutiset", "News"),),
        )
    )
    changes = mapped.hook(told(chosen), NOW)
    assert [one.suppression.topic for one in changes] == ["uutiset", "ses:Sports"]
    assert {one.suppression.scope for one in changes} == {Scope.TOPIC}
    assert {one.suppression.reason for one in changes} == {Reason.OBJECTION}


def test_other_events_tell_nothing():
    assert HOOKED.hook(told({"eventType": "Delivery", "delivery": {}}), NOW) == ()
    assert HOOKED.hook(told("Successfully validated SNS topic for Amazon SES."), NOW) == ()
    assert HOOKED.hook(told([1]), NOW) == ()


def test_an_event_that_cannot_be_read_is_refused():
    broken = bounce()
    del broken["bounce"]["bouncedRecipients"]
    for wrong in (
        told(broken),
        told(subscription([]) | {"mail": {}}),
        Request("POST", "/hooks/ses", body=b"{"),
        Request("POST", "/hooks/ses", body=b"[]"),
        # Raw delivery, which nobody has signed.
        Request("POST", "/hooks/ses", body=orjson.dumps(bounce())),
    ):
        with pytest.raises(HookRefused) as refused:
            HOOKED.hook(wrong, NOW)
        assert refused.value.http == 400


def test_a_confirmation_is_told_to_the_operator():
    asked = told(
        "You have chosen to subscribe to the topic.",
        Type="SubscriptionConfirmation",
        Token="2336412f37fb687f5d51e6e241d09c805a5a57b30d712f794cc5f6a988666d92768dd60a747ba6f3beb",
        SubscribeURL="https://sns.eu-north-1.amazonaws.com/?Action=ConfirmSubscription",
    )
    with pytest.raises(HookRefused, match="confirm-subscription") as refused:
        HOOKED.hook(asked, NOW)
    assert refused.value.http == 200
    assert TOPIC in str(refused.value)
    assert "2336412f37fb" in str(refused.value)


def refusal(request, now=NOW, connector=HOOKED):
    with pytest.raises(HookRefused) as refused:
        connector.hook(request, now)
    return refused.value


def test_who_is_not_the_topic_is_refused():
    other = rsa.generate_private_key(65537, 2048)
    refused = refusal(told(bounce(), key=other))
    assert refused.http == 401
    assert "SimpleNotificationService-0a.pem" in str(refused)
    assert refusal(told(bounce(), TopicArn=f"{TOPIC}x")).http == 401
    assert refusal(told(bounce(), TopicArn="arn:aws:sns:eu-north-1:210987654321:x")).http == 401
    assert refusal(told(bounce()), connector=Ses(place())).http == 401
    # A certificate of another host is not named.
    fields = orjson.loads(told(bounce(), key=other).body)
    fields["SigningCertURL"] = "https://sns.eu-north-1.amazonaws.com.example/a.pem"
    changed = told(bounce()).with_body(orjson.dumps(fields))
    assert "example" not in str(refusal(changed))


def test_another_topics_message_does_not_pass_in_pieces():
    # A certificate signs for all customers of a region, and what is signed has lines that
    # a message may hold itself.  The topic stands behind all that its owner can write.
    theirs = "arn:aws:sns:eu-north-1:210987654321:theirs"
    forged = orjson.dumps(bounce()).decode()
    inner = {
        "MessageId": "i",
        "Timestamp": "2023-11-14T22:13:20.000Z",
        "TopicArn": TOPIC,
        "Type": "Notification",
    }
    lines = "".join(f"\n{name}\n{value}" for name, value in inner.items())
    sent = told(forged + lines, TopicArn=theirs)
    assert refusal(sent).http == 401
    fields = orjson.loads(sent.body)
    rest = fields["Message"].removeprefix(forged)
    for moved in (
        inner | {"Message": forged},
        inner | {"Message": forged, "Type": "Notification\n"},
        inner | {"Message": forged, "TopicArn": f"{TOPIC}{rest}"},
        {"Message": forged, "MessageId": rest, "TopicArn": TOPIC},
    ):
        assert refusal(sent.with_body(orjson.dumps(fields | moved))).http in (400, 401)


def test_stale_calls_are_refused():
    hour = 60 * MINUTE
    assert HOOKED.hook(told(bounce()), NOW + hour)
    assert HOOKED.hook(told(bounce()), NOW - 5 * MINUTE)
    assert refusal(told(bounce()), NOW + hour + 1).http == 401
    assert refusal(told(bounce()), NOW - 5 * MINUTE - 1).http == 401
    assert refusal(told(bounce(), Timestamp="soon")).http == 401
    # Not once its certificate has run out.
    assert refusal(told(bounce(), at=NOW + 2 * 24 * hour), NOW + 2 * 24 * hour).http == 401


def test_repeats_are_known_by_the_messages_id():
    assert HOOKED.replays(told(bounce())) == HOOKED.replays(told(bounce()))
    assert HOOKED.replays(told(bounce(), MessageId="1")) == "1"


def test_no_other_message_has_the_same_signature():
    """What is signed has no word for where a member ends: the subject could be of the id."""
    request = told(bounce(), Subject="s")
    fields = orjson.loads(request.body)
    HOOKED.hook(request, NOW)
    del fields["Subject"]
    fields["MessageId"] += "\nSubject\ns"
    assert refusal(request.with_body(orjson.dumps(fields))).http == 401


@pytest.mark.parametrize("version", ["1", "2"])
def test_every_bit_of_what_is_signed_counts(version):
    request = told(bounce(), version, Subject="s")
    fields = orjson.loads(request.body)
    for name in ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type", "Signature"):
        for octets in flips(fields[name].encode()):
            try:
                changed = fields | {name: octets.decode()}
            except UnicodeDecodeError:
                continue
            with pytest.raises(HookRefused):
                HOOKED.hook(request.with_body(orjson.dumps(changed)), NOW)
    for value in ("0", "3", "12", "", " 2", 2, None, "2.0", "1" if version == "2" else "2"):
        changed = fields | {"SignatureVersion": value}
        with pytest.raises(HookRefused):
            HOOKED.hook(request.with_body(orjson.dumps(changed)), NOW)


@given(_json | st.binary(max_size=60))
def test_no_body_breaks_the_hook(value):
    body = value if isinstance(value, bytes) else orjson.dumps(value)
    for request in (Request("POST", "/", body=body), told(body.decode(errors="replace"))):
        with contextlib.suppress(HookRefused):
            HOOKED.hook(request, NOW)


@given(_json)
def test_no_event_breaks_the_hook(value):
    for kind in ("Bounce", "Complaint", "Subscription"):
        event = bounce() | complaint() | subscription([]) | {"eventType": kind}
        event |= {"bounce": value, "complaint": value, "subscription": value}
        with contextlib.suppress(HookRefused):
            HOOKED.hook(told(event), NOW)
