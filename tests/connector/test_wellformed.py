"""Whatever a tool answers: it is read, or refused by words that repeat nothing of it."""

import json

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from gateway.connector.answer import whole_at
from gateway.connector.asking import post
from gateway.connector.connector import HookRefused, ToolRefused, ToolUnreadable
from gateway.connector.lap import numbers
from gateway.connector.registry import connector_of
from gateway.connector.saying import email_of, moment_of, phone_of
from gateway.connector.suppression import Reason, Suppression
from gateway.connector.webhook import called
from gateway.contacts.parse import parse_contact
from gateway.entry.entry import Scope
from gateway.provider.request import Answer, Request
from tests.connector.dialogue import place
from tests.peers.tools.twilio_consents import ACCOUNT, SERVICE

NAMES = [
    "data",
    "results",
    "total",
    "id",
    "email",
    "status",
    "lists",
    "subscription_status",
    "type",
    "created_at",
    "stats",
    "lead_id",
    "channel",
    "reason",
    "date_added",
    "contacts",
    "fields",
    "all",
    "core",
    "value",
    "mobile",
    "contact",
    "doNotContact",
    "errors",
    "items",
    "correlation_id",
    "error_code",
    "error_messages",
    "entries",
    "cursor",
    "more",
    "scope",
    "topic",
    "at",
    "removed",
    "EmailAddress",
    "Reason",
    "LastUpdateTime",
    "NextToken",
    "created",
    "group_id",
    "address",
    "tags",
    "recipient",
    "event",
    "timestamp",
    "SuppressionReason",
    "CreatedAt",
    "Status",
    "email_address",
    "last_changed",
    "code",
    "blockedAt",
    "modifiedAt",
    "emailBlacklisted",
    "added",
    "name",
]
VALUES = (
    "a@example.com",
    "+358401234567",
    "blocklisted",
    "unsubscribed",
    "email",
    "sms",
    "hard",
    "1",
    "2026-11-30T12:00:00Z",
    "secret@example.org",
)
_leaf = (
    st.none()
    | st.booleans()
    | st.integers(-5, 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(VALUES)
    | st.text(max_size=8)
)
DOCUMENTS = st.recursive(
    _leaf,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=6)
    ),
    max_leaves=12,
)
SHAPES = {
    "listmonk": lambda some: {"data": {"results": some, "total": 2}},
    "mautic": lambda some: {"total": "2", "stats": some, "contacts": some, "contact": some},
    "twilio": lambda some: {"items": some},
    "http": lambda some: {"entries": some, "results": some, "cursor": "1", "more": False},
    "file": lambda some: {"rows": some, "cursor": "1"},
    "ses": lambda some: {"SuppressedDestinationSummaries": some},
    "sendgrid": lambda some: some,
    "mailgun": lambda some: {"items": some, "message": "x", "paging": {"next": VALUES[0]}},
    "postmark": lambda some: {"Suppressions": some},
    "mailchimp": lambda some: {"members": some, "errors": some, "total_items": 3},
    "mandrill": lambda some: some,
    "brevo": lambda some: {"contacts": some, "count": 3},
}


PLACES = {
    "twilio": {"username": ACCOUNT, "place": SERVICE},
    "ses": {"place": "eu-north-1", "webhook_secret": ""},
    "sendgrid": {"webhook_secret": ""},
    "mailgun": {"place": "mg.example.com"},
    "mailchimp": {"place": "a6b5da1054"},
}
TOOL = connector_of("file", place())


def connector(kind):
    said = {"webhook_secret": "s", "topics": (("news", "3"),)} | PLACES.get(kind, {})
    return connector_of(kind, place(**said))


def fed(exchange, answers):
    """The exchange with these answers, the last of them again and again."""
    try:
        next(exchange)
        for _ in range(50):
            answer = answers.pop(0) if len(answers) > 1 else answers[0]
            exchange.send(answer)
    except StopIteration as done:
        return done.value
    exchange.close()
    return None


@pytest.mark.parametrize("kind", SHAPES)
@settings(deadline=None)
@given(data=st.data())
def test_any_answer_is_read_or_refused(kind, data):
    statuses = st.sampled_from([200, 201, 204, 301, 400, 401, 403, 404, 409, 422])
    some = st.lists(st.dictionaries(st.sampled_from(NAMES), DOCUMENTS, max_size=6), max_size=3)
    bodies = DOCUMENTS | some.map(SHAPES[kind])
    answers = [
        Answer(data.draw(statuses), json.dumps(data.draw(bodies)).encode()) for _ in range(3)
    ]
    entry = Suppression(parse_contact("+358401234567"), Scope.ALL, Reason.OBJECTION)
    one = connector(kind)
    exchange = data.draw(
        st.sampled_from(
            [lambda: one.listing(""), lambda: one.changes(""), lambda: one.put([entry])]
        )
    )()
    try:
        fed(exchange, answers)
    except (ToolRefused, ToolUnreadable) as error:
        assert not any(value in str(error) for value in VALUES if "@" in value or "+" in value)


@pytest.mark.parametrize("kind", sorted({*SHAPES} - {"twilio", "file"}))
@settings(deadline=None)
@given(body=st.binary(max_size=60))
def test_any_octets_are_read_or_refused(kind, body):
    # An empty list, or object, is an empty list in some tools' words.
    assume(not {*b"[{"} & {*body})
    with pytest.raises((ToolRefused, ToolUnreadable)):
        fed(connector(kind).listing(""), [Answer(200, body)])


@settings(deadline=None)
@given(st.text() | st.integers() | st.none() | st.sampled_from(VALUES))
def test_texts_are_contacts_or_none(value):
    for read in (email_of, phone_of):
        contact = read(value)
        assert contact is None or read(contact.canonical) == contact


def test_endless_texts_are_no_contacts():
    assert email_of("a@" + "b." * 5_000_000 + "com") is None
    assert phone_of("+" + "1" * 5_000_000) is None


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("2026-11-30T12:00:00.5+02:00", 1796032800500),
        ("2023-06-30 08:51:22", 1688115082000),
        ("1969-12-31T23:59:59Z", None),
        ("0001-01-01T00:00:00+14:00", None),
        ("9999-12-31T23:59:59-14:00", 253402351199000),
        ("yesterday", None),
        (1700000000, None),
        (None, None),
    ],
)
def test_moments(text, at):
    assert moment_of(text) == at


@settings(deadline=None)
@given(st.integers(0, 2**60))
def test_whole_numbers_are_read_as_such_or_as_texts(number):
    assert whole_at({"n": number}, "n", TOOL) == whole_at({"n": str(number)}, "n", TOOL) == number
    assert numbers([str(number)]) == [number]


@pytest.mark.parametrize("value", [-1, 1.0, True, "", "-1", "1.0", "١", "9" * 30, None, []])
def test_other_numbers_are_unreadable(value):
    with pytest.raises(ToolUnreadable, match="n is no whole number"):
        whole_at({"n": value}, "n", TOOL)


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"1", b'{"a": 1, "a": 2}', b'{"a": {"b": 1, "b": 1}}', b"[" * 100_000]
)
def test_a_webhook_is_one_object_of_members_that_stand_once(body):
    with pytest.raises(HookRefused):
        called(Request("POST", "/", "", (), body))
    assert called(post("/", {"a": [1]})) == {"a": [1]}


@pytest.mark.parametrize("kind", SHAPES)
@settings(deadline=None)
@given(
    body=st.binary(max_size=60) | DOCUMENTS.map(lambda one: json.dumps(one).encode()),
    headers=st.lists(
        st.tuples(
            st.sampled_from(["authorization", "x-mandrill-signature", "gateway-signature"]),
            st.sampled_from([*VALUES, "Basic eDpz", "Bearer s"]),
        ),
        max_size=2,
    ),
    method=st.sampled_from(["GET", "HEAD", "POST"]),
)
def test_any_webhook_is_read_or_refused(kind, body, headers, method):
    one = connector(kind)
    request = Request(method, "/hooks/x", "key=s", tuple(headers), body)
    for hear in (lambda: one.hook(request, 1_800_000_000_000), lambda: one.replays(request)):
        try:
            hear()
        except HookRefused as error:
            assert not any(value in str(error) for value in VALUES if "@" in value or "+" in value)
