"""Telnyx's incoming messages."""

import base64

import orjson
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gateway.hook.hook import Incoming, Signs
from gateway.hook.telnyx import Telnyx
from gateway.provider.problem import Refusal
from tests.hook.bits import NOW, SECOND, assert_every_bit_counts, document

HOOK = Telnyx()
URL = "https://hooks.example/sms/telnyx"
SIGNATURE, STAMP = "telnyx-signature-ed25519", "telnyx-timestamp"
# https://developers.telnyx.com/api-reference/callbacks/inbound-message, shortened
PAYLOAD = {
    "record_type": "message",
    "direction": "inbound",
    "id": "7ee4241c-f127-47e5-9c34-3aac291f8058",
    "type": "SMS",
    "from": {"phone_number": "+18665550001", "carrier": "T-MOBILE USA, INC."},
    "to": [{"phone_number": "+18445550001", "status": "delivered"}],
    "cc": [],
    "text": "Hello, World!",
    "parts": 1,
    "received_at": "2019-01-23T18:10:02.574Z",
}


def event(kind="message.received", **payload):
    data = {
        "record_type": "event",
        "id": "bf6307bd-884d-4c1f-b6ea-c62b8c495d3c",
        "event_type": kind,
        "payload": {**PAYLOAD, **payload},
    }
    return document(orjson.dumps({"data": data}))


def test_a_message_is_read():
    assert HOOK.read(event()) == (
        Incoming(
            "7ee4241c-f127-47e5-9c34-3aac291f8058",
            "+18665550001",
            "+18445550001",
            "Hello, World!",
            1_548_267_002_574,
        ),
    )
    assert HOOK.read(event(text=None))[0].text == ""


def test_other_events_are_passed_on_and_anything_else_refused():
    for kind in ("message.sent", "message.finalized"):
        assert HOOK.read(event(kind)) == ()
    for wrong in (
        event("call.initiated"),
        event(to=[]),
        event(to={"phone_number": "1"}),
        event(**{"from": "+1"}),
        event(id=None),
        event(text={"a": 1}),
        document("{}"),
    ):
        with pytest.raises(Refusal):
            HOOK.read(wrong)


KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PUBLIC = base64.b64encode(KEY.public_key().public_bytes_raw()).decode()


def signed(body=b'{"data":{}}', stamp=str(NOW // SECOND)):
    # As telnyx-python signs in its tests: "{timestamp}|{payload}"; no vector is published.
    value = base64.b64encode(KEY.sign(f"{stamp}|".encode() + body)).decode()
    return document(body).with_headers({SIGNATURE: value, STAMP: stamp})


def test_every_bit_counts():
    assert HOOK.signs is Signs.BODY
    assert_every_bit_counts(HOOK, signed(), URL, PUBLIC, NOW, (SIGNATURE, STAMP))


def test_old_times_and_what_is_no_key_or_signature_is_not_taken():
    assert HOOK.signed(signed(), URL, PUBLIC, NOW + 300 * SECOND)
    assert not HOOK.signed(signed(), URL, PUBLIC, NOW + 301 * SECOND)
    assert not HOOK.signed(signed(), URL, PUBLIC, NOW - 301 * SECOND)
    for secret in ("x", "AAAA", PUBLIC[:-4], base64.b64encode(bytes(32)).decode()):
        assert not HOOK.signed(signed(), URL, secret, NOW)
    for value in ("", "AAAA", "é"):
        assert not HOOK.signed(signed().with_headers({SIGNATURE: value}), URL, PUBLIC, NOW)
