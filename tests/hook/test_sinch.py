"""Sinch's incoming messages."""

import base64
import hmac

import orjson
import pytest

from gateway.hook.hook import Incoming, Signs
from gateway.hook.sinch import Sinch
from gateway.provider.problem import Refusal
from tests.hook.bits import NOW, SECOND, assert_every_bit_counts, document

HOOK = Sinch()
URL = "https://hooks.example/sms/sinch"
HEADER = "x-sinch-webhook-signature"
# https://developers.sinch.com/docs/sms/api-reference/sms/tag/Webhooks/ (incoming SMS)
MESSAGE = {
    "body": "Stop",
    "from": "16051234567",
    "id": "01XXXXX21XXXXX119Z8P1XXXXX",
    "operator_id": "string",
    "received_at": "2022-08-24T14:15:22.123456789Z",
    "to": "13185551234",
    "type": "mo_text",
}


def test_a_message_is_read():
    assert HOOK.read(document(orjson.dumps(MESSAGE))) == (
        Incoming(
            "01XXXXX21XXXXX119Z8P1XXXXX", "+16051234567", "13185551234", "Stop", 1_661_350_522_123
        ),
    )
    media = {**MESSAGE, "type": "mo_media", "body": {"message": "Stop", "media": []}}
    assert HOOK.read(document(orjson.dumps(media)))[0].text == "Stop"
    late = {**MESSAGE, "received_at": "tomorrow"}
    assert HOOK.read(document(orjson.dumps(late)))[0].received is None


def test_reports_and_binaries_are_passed_on_and_anything_else_refused():
    for kind in ("delivery_report_sms", "recipient_delivery_report_sms", "mo_binary"):
        assert HOOK.read(document(orjson.dumps({**MESSAGE, "type": kind}))) == ()
    for wrong in ({"type": "mo_other"}, {"type": None}, {"body": None}, {"from": None}):
        with pytest.raises(Refusal):
            HOOK.read(document(orjson.dumps(MESSAGE | wrong)))


def test_sinchs_own_example_is_signed():
    # sinch-sdk-dotnet, tests, Conversation/HooksTests.cs ValidateRequest; the SMS API
    # signs alike (sinch-sdk-python, validate_sinch_event_signature_with_nonce).
    body = (
        '{"app_id":"","accepted_time":"2021-10-18T17:49:13.813615Z",'
        '"project_id":"e2df3a34-a71b-4448-9db5-a8d2baad28e4","contact_create_notification":'
        '{"contact":{"id":"01FJA8B466Y0R2GNXD78MD9SM1","channel_identities":[{"channel":"SMS",'
        '"identity":"48123456789","app_id":""}],"display_name":"New Test Contact",'
        '"email":"new.contact@email.com","external_id":"","metadata":"","language":"EN_US"}},'
        '"message_metadata":""}'
    )
    request = document(body).with_headers(
        {
            f"{HEADER}-nonce": "01FJA8B4A7BM43YGWSG9GBV067",
            f"{HEADER}-timestamp": "1634579353",
            HEADER: "6bpJoRmFoXVjfJIVglMoJzYXxnoxRujzR4k2GOXewOE=",
        }
    )
    assert HOOK.signed(request, URL, "foo_secret1234", 1_634_579_353 * SECOND)
    assert not HOOK.signed(request, URL, "foo_secret1235", 1_634_579_353 * SECOND)


def signed(body=b'{"type":"mo_text"}', stamp=str(NOW // SECOND), algorithm="HmacSHA256"):
    text = body + b".01FJ." + stamp.encode()
    value = base64.b64encode(hmac.digest(b"secret", text, "sha256")).decode()
    return document(body).with_headers(
        {
            HEADER: value,
            f"{HEADER}-nonce": "01FJ",
            f"{HEADER}-timestamp": stamp,
            f"{HEADER}-algorithm": algorithm,
        }
    )


def test_every_bit_counts():
    headers = (HEADER, f"{HEADER}-nonce", f"{HEADER}-timestamp")
    assert HOOK.signs is Signs.BODY
    assert_every_bit_counts(HOOK, signed(), URL, "secret", NOW, headers)


def test_old_times_and_other_algorithms_are_not_taken():
    assert HOOK.signed(signed(), URL, "secret", NOW - 300 * SECOND)
    assert not HOOK.signed(signed(), URL, "secret", NOW + 301 * SECOND)
    assert not HOOK.signed(signed(), URL, "secret", NOW - 301 * SECOND)
    assert not HOOK.signed(signed(stamp="now"), URL, "secret", NOW)
    assert not HOOK.signed(signed(algorithm="HmacSHA1"), URL, "secret", NOW)
    assert HOOK.signed(signed(algorithm=""), URL, "secret", NOW)
