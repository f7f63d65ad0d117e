"""GatewayAPI's incoming messages."""

import orjson
import pytest

from gateway.hook import jwt
from gateway.hook.gatewayapi import GatewayApi
from gateway.hook.hook import Incoming, Signs
from gateway.hook.part import Part
from gateway.provider.problem import Refusal
from tests.hook.bits import NOW, SECOND, assert_every_bit_counts, document

HOOK = GatewayApi()
URL = "https://hooks.example/sms/gatewayapi"
HEADER = "X-Gwapi-Signature"
# https://gatewayapi.com/docs/webhooks
MESSAGE = {
    "id": 1000001,
    "msisdn": 4587654321,
    "receiver": 451204,
    "message": "foo Hello World",
    "senttime": 1450000000,
    "webhook_label": "test",
}
# onlinecity/gatewayapi-docs, docs/rest.rst, of a delivery report under the token "secret"
REPORT_TOKEN = (
    "eyJ0eXAiOiJKV1QiLCJhbGciOiJIUzI1NiJ9.eyJpZCI6MjM4MTcwMywibXNpc2RuIjo0NTQyNjA5MDQ1LCJ0aW1lIjox"
    "NTIyNzY0MDYyLCJzdGF0dXMiOiJERUxJVkVSRUQiLCJlcnJvciI6bnVsbCwiY29kZSI6bnVsbCwidXNlcnJlZiI6bnVsbC"
    "wiY2FsbGJhY2tfdXJsIjoiaHR0cDovL2JiYWY3MTQyLm5ncm9rLmlvIiwiYXBpIjo0fQ.KdfDH65bnQtgxEkFnpAQodOci"
    "AJedZFB13r9wEo8t3Y"
)
# nickdnk/gatewayapi-php, tests/IncomingMessageWebhookTest.php, likewise
MESSAGE_TOKEN = (
    "eyJ0eXAiOiJKV1QiLCJhbGciOiJIUzI1NiJ9.eyJpZCI6MTAwMDAwMSwibXNpc2RuIjo0NTg3NjU0MzIxLCJyZWNlaXZl"
    "ciI6NDUxMjA0LCJtZXNzYWdlIjoiZm9vIEhlbGxvIFdvcmxkIiwic2VudHRpbWUiOjE0NTAwMDAwMDAsIndlYmhvb2tfbG"
    "FiZWwiOiJ0ZXN0IiwiY291bnRyeV9jb2RlIjoiREsiLCJjb3VudHJ5X3ByZWZpeCI6NDUsInNlbmRlciI6InRlc3QiLCJ2"
    "YWxpZGl0eV9wZXJpb2QiOjM0MzQsImVuY29kaW5nIjoic3RyaW5nIiwibWNjIjoxMjMsIm1uYyI6MTI1LCJwYXlsb2FkIj"
    "oiYmluIiwidWRoIjoidWRoIHN0cmluZyJ9._Kk85q5mTBwnLi17mMVu7RmUDoFHFjsSuzjrVjmaH-M"
)


def test_a_message_is_read():
    read = Incoming("1000001", "+4587654321", "451204", "foo Hello World", 1_450_000_000_000)
    assert HOOK.read(document(orjson.dumps(MESSAGE))) == (read,)
    part = {**MESSAGE, "udh": "0500033A0201", "senttime": None}
    (one,) = HOOK.read(document(orjson.dumps(part)))
    assert (one.part, one.received) == (Part("3a", 1, 2), None)


def test_a_report_is_passed_on_and_anything_else_refused():
    assert HOOK.read(document('{"id":1,"msisdn":45,"time":1,"status":"DELIVERED"}')) == ()
    for name in ("id", "msisdn", "receiver", "message"):
        with pytest.raises(Refusal):
            HOOK.read(document(orjson.dumps({one: MESSAGE[one] for one in MESSAGE if one != name})))
    for wrong in ({"message": 1.5}, {"msisdn": True}, {"Message": "x"}):
        with pytest.raises(Refusal):
            HOOK.read(document(orjson.dumps(MESSAGE | wrong)))


@pytest.mark.parametrize("token", [REPORT_TOKEN, MESSAGE_TOKEN])
def test_published_tokens_are_good_for_the_body_they_repeat(token):
    claims = jwt.claims_of(token, "secret")
    request = document(orjson.dumps(claims, option=orjson.OPT_INDENT_2)).with_headers(
        {HEADER: token}
    )
    assert HOOK.signed(request, URL, "secret", NOW)
    assert not HOOK.signed(request, URL, "secreT", NOW)
    for name in claims:
        for changed in ({**claims, name: "x"}, {o: v for o, v in claims.items() if o != name}):
            other = request._replace(body=orjson.dumps(changed))
            assert not HOOK.signed(other, URL, "secret", NOW)
    more = request._replace(body=orjson.dumps({**claims, "more": 1}))
    assert not HOOK.signed(more, URL, "secret", NOW)


def signed(body, **claims):
    token = jwt.written({**orjson.loads(body), **claims}, "secret")
    return document(body).with_headers({HEADER: token})


def test_every_bit_counts():
    body = orjson.dumps(MESSAGE)
    assert HOOK.signs is Signs.BODY
    assert_every_bit_counts(HOOK, signed(body), URL, "secret", NOW, (HEADER,), octets=False)


def test_a_member_that_stands_twice_is_not_taken():
    request = signed(b'{"id":1,"message":"STOP"}')
    double = request._replace(body=b'{"message":"START","id":1,"message":"STOP"}')
    assert HOOK.signed(request, URL, "secret", NOW)
    assert not HOOK.signed(double, URL, "secret", NOW)


def test_a_time_in_the_token_is_heeded():
    request = signed(orjson.dumps(MESSAGE), exp=NOW // SECOND)
    assert HOOK.signed(request, URL, "secret", NOW)
    assert not HOOK.signed(request, URL, "secret", NOW + 301 * SECOND)
