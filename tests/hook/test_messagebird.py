"""MessageBird's incoming messages."""

import hashlib

import orjson
import pytest

from gateway.hook import jwt
from gateway.hook.hook import Incoming, Signs
from gateway.hook.messagebird import MessageBird
from gateway.provider.problem import Refusal
from gateway.provider.request import Request
from tests.hook.bits import (
    NOW,
    SECOND,
    assert_every_bit_counts,
    assert_every_bit_of_the_url_counts,
    document,
    form,
)

HOOK = MessageBird()
HEADER = "MessageBird-Signature-JWT"
URL = "https://hooks.example/sms/messagebird"
FIELDS = {
    "id": "e8077d803532c0b5937c639b60216938",
    "originator": "31612345678",
    "recipient": "31970000000",
    "body": "Stop",
    "createdDatetime": "2016-05-03T14:26:57+00:00",
}
READ = Incoming(
    "e8077d803532c0b5937c639b60216938", "+31612345678", "31970000000", "Stop", 1_462_285_617_000
)


def test_a_message_is_read_in_every_form():
    assert HOOK.read(form(*FIELDS.items())) == (READ,)
    assert HOOK.read(document(orjson.dumps(FIELDS))) == (READ,)
    numbers = FIELDS | {"originator": 31612345678, "price": 0.01, "datacoding": None}
    assert HOOK.read(document(orjson.dumps(numbers))) == (READ,)
    assert HOOK.read(Request("GET", "/hook", "originator=31612345678&id=1&payload=a%26b")) == (
        Incoming("1", "+31612345678", "", "a&b"),
    )


def test_a_flow_without_an_id_is_told_by_its_content():
    flow = {name: value for name, value in FIELDS.items() if name != "id"}
    (one,) = HOOK.read(form(*flow.items()))
    (again,) = HOOK.read(form(*flow.items()))
    (other,) = HOOK.read(form(*(flow | {"body": "Start"}).items()))
    assert one.id == again.id != other.id


def test_a_report_is_passed_on_and_anything_else_refused():
    report = "id=1&recipient=31612345678&status=delivered&statusDatetime=x&statusReason=y"
    assert HOOK.read(Request("GET", "/hook", report)) == ()
    for wrong in (form(), form(("originator", "1")), form(("body", "x")), document("[]")):
        with pytest.raises(Refusal):
            HOOK.read(wrong)
    with pytest.raises(Refusal):
        HOOK.read(form(*FIELDS.items(), ("payload", "Start")))


# messagebird-nodejs, lib/testdata/webhook-signature-jwt-reference.json (the same in every
# SDK of MessageBird's): the secret, and the claims' part and signature of four tokens.
REFERENCE_SECRET = "36efdd1aace2e26cd490f0d951138253bef2f7c6d34d18981da781555cc4cebb"
REFERENCE_TIME = 1_625_479_200 * SECOND
REFERENCE_URL = "https://example.com/path?bar=1&foo=2"
WITH_PAYLOAD = (
    "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJpc3MiOiJNZXNzYWdlQmlyZCIsIm5iZiI6MTYyNTQ3OTIwMCwiZXhw"
    "IjoxNjI1NDc5MjYwLCJqdGkiOiI5M2U1NTAwNi1hMGU4LTQ1MjYtYTE5MC1mYTVmZjAwZWExMTYiLCJ1cmxfaGFzaCI6Ij"
    "QxZjA1ZjBkZGQwYTIyYWIyMDlhYzQ2ZjQ3YzQ1NzJkOWNlZmEyNTdlZDc0YjI0MDA0YmFlNzUzZWNlNmMyNjAiLCJwYXls"
    "b2FkX2hhc2giOiJkZmZkNjAyMWJiMmJkNWIwYWY2NzYyOTA4MDllYzNhNTMxOTFkZDgxYzdmNzBhNGIyODY4OGEzNjIxOD"
    "I5ODZmIn0._H--TOuYFLpeEH39-rg5E3IHVkjHozBcaKVWPRC5m9I"
)
WITHOUT_PAYLOAD = (
    "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJpc3MiOiJNZXNzYWdlQmlyZCIsIm5iZiI6MTYyNTQ3OTIwMCwiZXhw"
    "IjoxNjI1NDc5MjYwLCJqdGkiOiJjOTQ2YWY3Ny1lMTgyLTRlYWEtYjJmZi0xYTU0NWI1ZTk5MWEiLCJ1cmxfaGFzaCI6Ij"
    "QxZjA1ZjBkZGQwYTIyYWIyMDlhYzQ2ZjQ3YzQ1NzJkOWNlZmEyNTdlZDc0YjI0MDA0YmFlNzUzZWNlNmMyNjAifQ.huo2o"
    "u6JDoDc7sV25d75UMWeYhBeavQlLsqIibSZuac"
)
TOO_LATE = (
    "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJpc3MiOiJNZXNzYWdlQmlyZCIsIm5iZiI6MTYyNTQ3NTYwMCwiZXhw"
    "IjoxNjI1NDc1NjYwLCJqdGkiOiI1ZjAyZjUyMi02MDMwLTQ2YzgtYjVhMy0wMTI0NjQ3OGQ4YmMiLCJ1cmxfaGFzaCI6Ij"
    "BmMTE1ZGIwNjJiN2MwZGQwMzBiMTY4NzhjOTlkZWE1YzM1NGI0OWRjMzdiMzhlYjg4NDYxNzljNzc4M2U5ZDcifQ.45MST"
    "ST3B_2PsjNUeiuW54_vUQgVw4rBXrdWrOUEz3lM"
)
TOO_EARLY = (
    "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJpc3MiOiJNZXNzYWdlQmlyZCIsIm5iZiI6MTYyNTQ4MjgwMCwiZXhw"
    "IjoxNjI1NDgyODYwLCJqdGkiOiJmOWY4YzM4Mi0yNDQ5LTQzMTEtYjcyYi0xZGY3MTY4NzkzMWUiLCJ1cmxfaGFzaCI6Ij"
    "BmMTE1ZGIwNjJiN2MwZGQwMzBiMTY4NzhjOTlkZWE1YzM1NGI0OWRjMzdiMzhlYjg4NDYxNzljNzc4M2U5ZDcifQ.ZELgD"
    "FNGhjZH9CffQKcq3sytBe2I0KciLxpBhcfstHQ"
)


@pytest.mark.parametrize(
    ("token", "url", "payload", "good"),
    [
        (WITH_PAYLOAD, REFERENCE_URL, b"Hello, World!", True),
        (WITH_PAYLOAD, REFERENCE_URL, b"", False),
        (WITH_PAYLOAD, REFERENCE_URL, b"Hello, World", False),
        (WITH_PAYLOAD, "https://example.com/path?foo=2&bar=1", b"Hello, World!", False),
        (WITHOUT_PAYLOAD, REFERENCE_URL, b"", True),
        (WITHOUT_PAYLOAD, REFERENCE_URL, b"Hello, World!", False),
        (TOO_LATE, "https://example.com/", b"", False),
        (TOO_EARLY, "https://example.com/", b"", False),
    ],
)
def test_messagebirds_own_vectors(token, url, payload, good):
    url, _, query = url.partition("?")
    request = Request("POST", "/", query, ((HEADER, token),), payload)
    assert HOOK.signed(request, url, REFERENCE_SECRET, REFERENCE_TIME) is good


def signed(request, url=URL, **claims):
    whole = {
        "iss": "MessageBird",
        "nbf": NOW // SECOND,
        "exp": NOW // SECOND + 60,
        "jti": "1",
        "url_hash": hashlib.sha256(url.encode()).hexdigest(),
        "payload_hash": hashlib.sha256(request.body).hexdigest(),
        **claims,
    }
    return request.with_headers({HEADER: jwt.written(whole, "key")})


def test_every_bit_counts():
    request = signed(form(("originator", "31612345678"), ("body", "Stop")))
    assert HOOK.signs is Signs.URL
    assert_every_bit_counts(HOOK, request, URL, "key", NOW, (HEADER,))
    assert_every_bit_of_the_url_counts(HOOK, request, URL, "key", NOW)


def test_it_must_be_messagebirds_and_have_an_end():
    request = form(*FIELDS.items())
    for claims in (
        {"iss": "Messagebird"},
        {"exp": None},
        {"exp": NOW // SECOND - 301},
        {"nbf": NOW // SECOND + 301},
        {"url_hash": None},
        {"payload_hash": 1},
    ):
        assert not HOOK.signed(signed(request, **claims), URL, "key", NOW)


def test_it_is_signed_again_for_the_tools_url():
    tool = "https://tool.example/in"
    request = signed(form(*FIELDS.items())._replace(query="a=1"), URL + "?a=1")
    resigned = HOOK.resigned(request, tool, "key")
    assert HOOK.signed(request, URL, "key", NOW)
    assert HOOK.signed(resigned, tool, "key", NOW)
    assert not HOOK.signed(resigned, URL, "key", NOW)
    assert not HOOK.signed(resigned, tool, "key", NOW + 361 * SECOND)
    # What was not signed is not signed by us.
    assert HOOK.resigned(request, tool, "other") == request
