"""Twilio's incoming messages."""

import pytest

from gateway.hook.hook import Incoming, Signs, called
from gateway.hook.twilio import Twilio
from gateway.provider.problem import Refusal
from gateway.provider.request import Request
from tests.hook.bits import (
    NOW,
    assert_every_bit_counts,
    assert_every_bit_of_the_url_counts,
    form,
)

HOOK = Twilio()
TOKEN = "12345"
URL = "https://hooks.example/sms/twilio"
SIGNATURE = "X-Twilio-Signature"
SETTINGS = "X-Twilio-Webhooks-Signature-Settings"
FIELDS = (
    ("MessageSid", "SM0123456789abcdef0123456789abcdef"),
    ("AccountSid", "AC0123456789abcdef0123456789abcdef"),
    ("From", "+358401234567"),
    ("To", "+358457396016"),
    ("Body", "Lopeta!"),
    ("NumMedia", "0"),
)
# Made with twilio 9.13.0, RequestValidator.compute_signature, over URL + "?key=x".
SHA1 = "YD/2qzlbe3xsYjfj2Kr8Ttny4i8="
SHA256 = "Bc35GPZ4JoYnU2R33Mhk6yvtDzfvcyOZXWMdZdndl/s="
SIGNED = form(*FIELDS, X_Twilio_Signature=SHA1)._replace(query="key=x")


def test_a_message_is_read():
    assert HOOK.read(SIGNED) == (
        Incoming("SM0123456789abcdef0123456789abcdef", "+358401234567", "+358457396016", "Lopeta!"),
    )
    query = "MessageSid=SM1&From=%2B358401234567&To=16400&Body="
    assert HOOK.read(Request("GET", "/hook", query)) == (
        Incoming("SM1", "+358401234567", "16400", ""),
    )


def test_what_twilio_takes_for_an_opt_out_is_told():
    (one,) = HOOK.read(form(*FIELDS, ("OptOutType", "STOP")))
    assert one.keyword == "STOP"


def test_another_channel_is_no_number():
    fields = (("MessageSid", "SM1"), ("From", "whatsapp:+358401234567"), ("To", "x"), ("Body", ""))
    assert HOOK.read(form(*fields))[0].sender == "whatsapp:+358401234567"


def test_a_status_is_passed_on_and_anything_else_refused():
    report = form(("MessageSid", "SM1"), ("MessageStatus", "sent"), ("SmsStatus", "sent"))
    assert HOOK.read(report) == ()
    for fields in ((), FIELDS[:4], FIELDS[1:], (*FIELDS, ("Body", "x")), (*FIELDS, ("body", "x"))):
        with pytest.raises(Refusal):
            HOOK.read(form(*fields))
    with pytest.raises(Refusal):
        HOOK.read(SIGNED.with_headers({"Content-Type": "application/json"}))


@pytest.mark.parametrize(
    ("url", "caller", "expected"),
    [
        # twilio.com/docs/usage/webhooks/webhooks-security, its example, old and new
        ("https://mycompany.com/myapp.php", "+14158675309", "RSOYDt4T1cUTdK1PDd93/VVr8B8="),
        ("https://example.com/myapp.php", "+14158675310", "L/OH5YylLD5NRKLltdqwSvS0BnU="),
        # twilio-python, tests/unit/test_request_validator.py
        ("https://mycompany.com/myapp.php", "+12349013030", "0/KCTR6DLpKmkAf8muzZqo1nDgQ="),
    ],
)
def test_twilios_own_examples_are_signed(url, caller, expected):
    request = form(
        ("To", "+18005551212"),
        ("CallSid", "CA1234567890ABCDE"),
        ("Caller", caller),
        ("Digits", "1234"),
        ("From", caller),
        X_Twilio_Signature=expected,
    )._replace(query="foo=1&bar=2")
    assert HOOK.signed(request, url, TOKEN, NOW)


def test_every_bit_counts():
    assert HOOK.signs is Signs.URL
    assert_every_bit_counts(HOOK, SIGNED, URL, TOKEN, NOW, (SIGNATURE,), octets=False)
    assert_every_bit_of_the_url_counts(HOOK, SIGNED, URL, TOKEN, NOW)


def test_a_key_of_its_own_signs_with_sha_256():
    settings = {SIGNATURE: SHA256, SETTINGS: "key=webhooks_sharedkey_1,algorithm=HMAC_SHA256"}
    request = SIGNED.with_headers(settings)
    assert_every_bit_counts(HOOK, request, URL, TOKEN, NOW, (SIGNATURE,), octets=False)
    assert not HOOK.signed(request.with_headers({SETTINGS: None}), URL, TOKEN, NOW)
    other = {SETTINGS: "key=x,algorithm=HMAC_MD5"}
    assert not HOOK.signed(request.with_headers(other), URL, TOKEN, NOW)
    resigned = HOOK.resigned(request, "https://tool.example/in", TOKEN)
    assert HOOK.signed(resigned, "https://tool.example/in", TOKEN, NOW)


def test_a_port_may_be_written_or_not():
    for signed, configured in (
        ("https://hooks.example:443/x", "https://hooks.example/x"),
        ("https://hooks.example/x", "https://hooks.example:8443/x"),
        ("https://hooks.example/x", "https://hooks.example:443/x"),
    ):
        request = HOOK.resigned(form(*FIELDS), signed, TOKEN)
        assert HOOK.signed(request, configured, TOKEN, NOW)
    assert not HOOK.signed(request, "https://hooks.example:port/x", TOKEN, NOW)


def test_it_is_signed_again_for_the_tools_url():
    tool = "https://tool.example/in?from=gateway"
    resigned = HOOK.resigned(SIGNED, tool, TOKEN)
    assert not HOOK.signed(SIGNED, tool, TOKEN, NOW)
    assert HOOK.signed(resigned, tool, TOKEN, NOW)
    assert not HOOK.signed(resigned, URL, TOKEN, NOW)
    assert resigned._replace(headers=()) == SIGNED._replace(headers=())
    assert called(tool, "key=x") == "https://tool.example/in?from=gateway&key=x"


def test_a_reply_stands_in_the_answer():
    head = b'<?xml version="1.0" encoding="UTF-8"?>'
    assert HOOK.replies
    assert HOOK.answer(None).body == HOOK.answer("").body == head + b"<Response></Response>"
    answer = HOOK.answer("<Kiitos> & hyvää\x00")
    expected = "<Response><Message>&lt;Kiitos&gt; &amp; hyvää</Message></Response>"
    assert answer.body == head + expected.encode()
    assert (answer.status, answer.content_type) == (200, "text/xml; charset=utf-8")


def test_a_messaging_service_may_send():
    service = "MG0123456789abcdef0123456789abcdef"
    request = HOOK.compose(service, "+358401234567", "x", "AC1/../AC2")
    assert request.path == "/2010-04-01/Accounts/AC1%2F..%2FAC2/Messages.json"
    assert f"MessagingServiceSid={service}".encode() in request.body
