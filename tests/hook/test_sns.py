"""Incoming messages of AWS End User Messaging by SNS."""

import base64
from datetime import UTC, datetime, timedelta

import orjson
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA1, SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from gateway.hook.hook import Incoming, Signs
from gateway.hook.sns import Sns
from gateway.provider.problem import Refusal
from tests.hook.bits import NOW, assert_every_bit_counts, webhook

HOOK = Sns()
URL = "https://hooks.example/sms/sns"
DAY = 24 * 60 * 60 * 1000
# https://docs.aws.amazon.com/sms-voice/latest/userguide/two-way-sms-payload.html
MESSAGE = {
    "originationNumber": "+14255550182",
    "destinationNumber": "+12125550101",
    "messageKeyword": "JOIN",
    "messageBody": "EXAMPLE",
    "inboundMessageId": "cae173d2-66b9-564c-8309-21f858e9fb84",
    "previousPublishedMessageId": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
}
KEY = rsa.generate_private_key(65537, 2048)


def certificate(key=KEY):
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "sns.amazonaws.com")])
    now = datetime.fromtimestamp(NOW / 1000, UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1)
    builder = builder.not_valid_before(now - timedelta(days=1))
    builder = builder.not_valid_after(now + timedelta(days=1))
    return builder.sign(key, SHA256()).public_bytes(Encoding.PEM).decode()


PINNED = certificate()


def notification(message=None, hashed=None, version="2", **more):
    # https://docs.aws.amazon.com/sns/latest/dg/sns-verify-signature-of-message.html
    fields = {
        "Type": "Notification",
        "MessageId": "22b80b92-fdea-4c2c-8f9d-bdfb0c7bf324",
        "TopicArn": "arn:aws:sns:eu-north-1:123456789012:MyTopic",
        "Message": orjson.dumps(MESSAGE if message is None else message).decode(),
        "Timestamp": "2012-05-02T00:54:06.655Z",
        **more,
    }
    text = "".join(
        f"{name}\n{fields[name]}\n"
        for name in ("Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type")
        if name in fields
    )
    value = KEY.sign(text.encode(), padding.PKCS1v15(), hashed or SHA256())
    fields |= {
        "SignatureVersion": version,
        "Signature": base64.b64encode(value).decode(),
        "SigningCertURL": "https://sns.eu-north-1.amazonaws.com/x.pem",
    }
    return webhook("text/plain; charset=UTF-8", orjson.dumps(fields))


def test_a_message_is_read():
    assert HOOK.read(notification()) == (
        Incoming(
            "cae173d2-66b9-564c-8309-21f858e9fb84",
            "+14255550182",
            "+12125550101",
            "EXAMPLE",
            1_335_920_046_655,
            keyword="JOIN",
        ),
    )


def test_subscriptions_and_events_are_passed_on_and_anything_else_refused():
    for kind in ("SubscriptionConfirmation", "UnsubscribeConfirmation"):
        assert HOOK.read(notification(Type=kind)) == ()
    assert HOOK.read(notification({"eventType": "TEXT_DELIVERED"})) == ()
    for wrong in (
        notification(Type="Other"),
        notification({"a": 1}),
        notification([]),
        notification(Message="STOP"),
        notification({**MESSAGE, "originationNumber": None}),
        # Raw delivery: the message alone, which nobody has signed.
        webhook("text/plain; charset=UTF-8", orjson.dumps(MESSAGE)),
        webhook("text/html", notification().body),
    ):
        with pytest.raises(Refusal):
            HOOK.read(wrong)


def test_every_bit_of_what_is_read_counts():
    assert HOOK.signs is Signs.BODY
    request = notification({"messageBody": "STOP", **MESSAGE}, Subject="s")
    assert_every_bit_counts(HOOK, request, URL, PINNED, NOW, (), octets=False)


def test_only_a_pinned_certificate_that_is_valid_is_taken():
    request = notification()
    other = certificate(rsa.generate_private_key(65537, 2048))
    curve = certificate(ec.generate_private_key(ec.SECP256R1()))
    assert HOOK.signed(request, URL, other + PINNED, NOW)
    assert not HOOK.signed(request, URL, other, NOW)
    assert not HOOK.signed(request, URL, curve, NOW)
    assert not HOOK.signed(request, URL, "no certificate", NOW)
    assert not HOOK.signed(request, URL, PINNED, NOW + 2 * DAY)
    assert not HOOK.signed(request, URL, PINNED, NOW - 2 * DAY)


def test_the_first_version_and_other_types_are_not_taken():
    assert not HOOK.signed(notification(hashed=SHA1(), version="1"), URL, PINNED, NOW)
    assert not HOOK.signed(notification(version="1"), URL, PINNED, NOW)
    assert not HOOK.signed(notification(Type="SubscriptionConfirmation"), URL, PINNED, NOW)
