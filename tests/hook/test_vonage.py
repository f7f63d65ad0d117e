"""Vonage's incoming messages, of both of its APIs."""

import hashlib
import hmac

import orjson
import pytest

from gateway.hook import jwt
from gateway.hook.hook import Incoming, Signs
from gateway.hook.part import Part
from gateway.hook.vonage import Vonage, VonageMessages
from gateway.provider.problem import Refusal
from gateway.provider.request import Request, written_form
from tests.hook.bits import NOW, SECOND, assert_every_bit_counts, document, form

SMS = Vonage()
MESSAGES = VonageMessages()
URL = "https://hooks.example/sms/vonage"

# https://developer.vonage.com/messaging/sms/guides/inbound-sms
TEXT = {
    "msisdn": "447700900001",
    "to": "447700900000",
    "messageId": "0A0000000123ABCD1",
    "text": "Hello world",
    "type": "text",
    "keyword": "HELLO",
    "api-key": "abcd1234",
    "message-timestamp": "2020-01-01 12:00:00",
}
READ = Incoming(
    "0A0000000123ABCD1", "+447700900001", "447700900000", "Hello world", 1_577_880_000_000
)


@pytest.mark.parametrize(
    "request_",
    [
        form(*TEXT.items()),
        document(orjson.dumps(TEXT)),
        document(orjson.dumps(TEXT | {"concat": True, "more": {"a": 1}})),
        Request("GET", "/hook", written_form(tuple(TEXT.items())).decode()),
    ],
)
def test_an_sms_is_read_in_every_form(request_):
    assert SMS.read(request_) == (READ,)


def test_a_part_of_a_long_sms_says_so():
    concat = {"concat": "true", "concat-ref": "1", "concat-total": "3", "concat-part": "2"}
    (one,) = SMS.read(form(*(TEXT | concat).items()))
    assert one.part == Part("1", 2, 3)
    for wrong in ({"concat-part": "4"}, {"concat-part": "x"}, {"concat-total": "256"}):
        with pytest.raises(Refusal):
            SMS.read(form(*(TEXT | concat | wrong).items()))


def test_a_report_and_a_binary_sms_are_passed_on_and_anything_else_refused():
    report = {"msisdn": "447700900001", "status": "delivered", "err-code": "0", "scts": "20010"}
    binary = {**TEXT, "type": "binary", "data": "0a", "udh": "00"}
    del binary["text"]
    assert SMS.read(form(*report.items())) == SMS.read(form(*binary.items())) == ()
    for wrong in (form(), form(("msisdn", "1")), document("[]"), document('{"text":"a"}')):
        with pytest.raises(Refusal):
            SMS.read(wrong)
    with pytest.raises(Refusal):
        SMS.read(document(b'{"text":"a","text":"b","msisdn":"1","to":"2","messageId":"3"}'))


def signed_sms(digest="sha256", **more):
    fields = {
        "msisdn": "358401234567",
        "to": "16400",
        "messageId": "0A",
        "text": "STOP & go=1",
        "timestamp": str(NOW // SECOND),
        "nonce": "a-b",
        **more,
    }
    values = {name: one.replace("&", "_").replace("=", "_") for name, one in fields.items()}
    text = "".join(f"&{name}={values[name]}" for name in sorted(values))
    return {**fields, "sig": hmac.new(b"secret", text.encode(), digest).hexdigest()}


@pytest.mark.parametrize("digest", ["sha256", "sha512"])
def test_every_bit_of_an_sms_counts(digest):
    fields = signed_sms(digest)
    assert SMS.signs is Signs.BODY
    assert_every_bit_counts(SMS, form(*fields.items()), URL, "secret", NOW, (), octets=False)
    body = document(orjson.dumps(fields))
    assert_every_bit_counts(SMS, body, URL, "secret", NOW, (), octets=False)
    upper = fields | {"sig": fields["sig"].upper()}
    assert SMS.signed(form(*upper.items()), URL, "secret", NOW)
    query = written_form(tuple(fields.items())).decode()
    assert SMS.signed(Request("GET", "/hook", query), URL, "secret", NOW)


def test_vonages_own_example_is_signed():
    # Vonage python SDK, test_signature.py: the HMAC of SHA-256 under "secret".
    sig = "a321e824b9b816be7c3f28859a31749a098713d39f613c80d455bbaffae1cd24"
    request = form(("a", "1"), ("b", "2"), ("timestamp", "1461605396"), ("sig", sig))
    assert SMS.signed(request, URL, "secret", 1_461_605_396 * SECOND)
    # The same file's MD5 hash, which is no keyed hash.
    weak = form(
        ("a", "1"),
        ("b", "2"),
        ("timestamp", "1461605396"),
        ("sig", "6af838ef94998832dbfc29020b564830"),
    )
    assert not SMS.signed(weak, URL, "secret", 1_461_605_396 * SECOND)


def test_weak_hashes_old_times_and_names_with_separators_are_not_taken():
    request = form(*signed_sms().items())
    assert SMS.signed(request, URL, "secret", NOW + 300 * SECOND)
    assert not SMS.signed(request, URL, "secret", NOW + 301 * SECOND)
    assert not SMS.signed(request, URL, "secret", NOW - 301 * SECOND)
    for digest in ("md5", "sha1"):
        assert not SMS.signed(form(*signed_sms(digest).items()), URL, "secret", NOW)
    for timestamp in ("", "x", "²", "9" * 30):
        fields = signed_sms(timestamp=timestamp)
        assert not SMS.signed(form(*fields.items()), URL, "secret", NOW)
    # &a=1&b=2 and a name "a=1&b" say the same to the signature.
    merged = {**signed_sms(), "messageId=0A&msisdn": "358401234567"}
    del merged["messageId"], merged["msisdn"]
    assert not SMS.signed(form(*merged.items()), URL, "secret", NOW)


# https://developer.vonage.com/api/messages-olympus#inbound-message
MESSAGE = {
    "channel": "sms",
    "message_uuid": "aaaaaaaa-bbbb-4ccc-8ddd-0123456789ab",
    "to": "447700900000",
    "from": "447700900001",
    "timestamp": "2025-02-03T12:14:25Z",
    "usage": {"price": "0.0333", "currency": "EUR"},
    "message_type": "text",
    "text": "From Alice to Bob",
    "sms": {"num_messages": "1", "keyword": "FROM"},
    "origin": {"network_code": "12345"},
}


def test_a_message_is_read():
    assert MESSAGES.read(document(orjson.dumps(MESSAGE))) == (
        Incoming(
            "aaaaaaaa-bbbb-4ccc-8ddd-0123456789ab",
            "+447700900001",
            "447700900000",
            "From Alice to Bob",
            1_738_584_865_000,
        ),
    )


def test_other_channels_and_statuses_are_passed_on_and_anything_else_refused():
    for other in (
        MESSAGE | {"channel": "whatsapp"},
        MESSAGE | {"message_type": "image"},
        MESSAGE | {"status": "delivered"},
    ):
        assert MESSAGES.read(document(orjson.dumps(other))) == ()
    for name in ("channel", "message_uuid", "from", "to", "text", "message_type"):
        wrong = {one: value for one, value in MESSAGE.items() if one != name}
        with pytest.raises(Refusal):
            MESSAGES.read(document(orjson.dumps(wrong)))
    with pytest.raises(Refusal):
        MESSAGES.read(document(orjson.dumps(MESSAGE | {"text": ["STOP"]})))


def signed_message(body, **claims):
    whole = {"iat": NOW // SECOND, "payload_hash": hashlib.sha256(body).hexdigest(), **claims}
    return document(body, Authorization=f"Bearer {jwt.written(whole, 'signature secret')}")


def test_every_bit_of_a_message_counts():
    body = orjson.dumps({"channel": "sms", "text": "STOP"})
    request = signed_message(body, jti="1", iss="Vonage")
    assert MESSAGES.signs is Signs.BODY
    assert_every_bit_counts(MESSAGES, request, URL, "signature secret", NOW, ("Authorization",))


def test_a_token_without_time_or_hash_or_too_old_is_not_taken():
    body = b"{}"
    for claims in ({"payload_hash": None}, {"iat": None}, {"iat": True}, {"exp": 1}):
        request = signed_message(body, **claims)
        assert not MESSAGES.signed(request, URL, "signature secret", NOW)
    token = jwt.written({"payload_hash": hashlib.sha256(body).hexdigest()}, "signature secret")
    timeless = document(body, Authorization=f"Bearer {token}")
    assert not MESSAGES.signed(timeless, URL, "signature secret", NOW)
    request = signed_message(body)
    assert MESSAGES.signed(request, URL, "signature secret", NOW + 299 * SECOND)
    assert not MESSAGES.signed(request, URL, "signature secret", NOW + 301 * SECOND)
    assert not MESSAGES.signed(request, URL, "signature secret", NOW - 301 * SECOND)
