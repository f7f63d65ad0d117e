"""Plivo's incoming messages."""

import pytest

from gateway.hook.hook import Incoming, Signs
from gateway.hook.plivo import Plivo
from gateway.provider.problem import Refusal
from gateway.provider.request import Request
from tests.hook.bits import (
    NOW,
    assert_every_bit_counts,
    assert_every_bit_of_the_url_counts,
    form,
)

HOOK = Plivo()
URL = "https://hooks.example/sms/plivo"
TOKEN = "my_auth_token"
V3, MAIN, NONCE = "X-Plivo-Signature-V3", "X-Plivo-Signature-Ma-V3", "X-Plivo-Signature-V3-Nonce"
# https://www.plivo.com/docs/messaging/xml/request
FIELDS = (
    ("From", "14155550123"),
    ("To", "14155550199"),
    ("Type", "sms"),
    ("Text", "STOP"),
    ("MessageUUID", "7f3b1c1e-0000-11ee-8c99-0242ac120002"),
)
# Made with plivo 4.63.0, plivo.utils.signature_v3, with the nonce 12345.
PLAIN = "nFDzfPG2/5kopyhIfqao5ancURAXbr+95d0dGvehKxA="
WITH_QUERY = "GXTsZEdX/Jd2gJw+QSe4ffGPnMzLI702/FpBxfL9VRo="
OF_GET = "FQod7DjToxWtn3hVUdt3C5cpePWUNkmwnQ5wL7d1KHU="


def signed(value, name=V3, query=""):
    return form(*FIELDS).with_headers({name: value, NONCE: "12345"})._replace(query=query)


def test_a_message_is_read():
    read = Incoming("7f3b1c1e-0000-11ee-8c99-0242ac120002", "+14155550123", "14155550199", "STOP")
    assert HOOK.read(form(*FIELDS)) == (read,)


def test_a_report_is_passed_on_and_anything_else_refused():
    assert HOOK.read(form(("MessageUUID", "1"), ("Status", "delivered"), ("From", "1"))) == ()
    assert HOOK.read(form(("MessageUUID", "1"), ("Type", "mms"), ("Media0", "https://x"))) == ()
    for wrong in ((), FIELDS[:3], FIELDS[:4], FIELDS[1:], (*FIELDS, ("Text", "START"))):
        with pytest.raises(Refusal):
            HOOK.read(form(*wrong))


def test_plivos_own_signatures_are_good():
    assert HOOK.signed(signed(PLAIN), URL, TOKEN, NOW)
    assert HOOK.signed(signed(WITH_QUERY, query="key=b&a=1"), URL, TOKEN, NOW)
    assert HOOK.signed(signed(PLAIN, MAIN), URL, TOKEN, NOW)
    assert HOOK.signed(signed(f"x,{PLAIN}"), URL, TOKEN, NOW)
    assert HOOK.signed(signed(f"x, {PLAIN}").with_headers({MAIN: "y"}), URL, TOKEN, NOW)
    query = "From=14155550123&MessageUUID=7f3b&Text=STOP&To=14155550199&Type=sms"
    get = Request("GET", "/hook", query, ((V3, OF_GET), (NONCE, "12345")))
    assert HOOK.signed(get, URL, TOKEN, NOW)
    assert HOOK.read(get)[0].text == "STOP"
    assert not HOOK.signed(get._replace(query=query.replace("STOP", "STOp")), URL, TOKEN, NOW)


def test_every_bit_counts():
    assert HOOK.signs is Signs.URL
    for request in (signed(PLAIN), signed(WITH_QUERY, query="key=b&a=1")):
        assert_every_bit_counts(HOOK, request, URL, TOKEN, NOW, (V3, NONCE), octets=False)
        assert_every_bit_of_the_url_counts(HOOK, request, URL, TOKEN, NOW)


def test_the_second_version_is_not_taken():
    # plivo-ruby, spec/signature_spec.rb: good there, and it covers neither text nor sender.
    names = {
        "X-Plivo-Signature-V2": "ehV3IKhLysWBxC1sy8INm0qGoQYdYsHwuoKjsX7FsXc=",
        "X-Plivo-Signature-V2-Nonce": "12345",
    }
    assert not HOOK.signed(form(*FIELDS).with_headers(names), "https://answer.url", TOKEN, NOW)


def test_a_signature_without_a_nonce_is_not_taken():
    bare = HOOK.resigned(form(*FIELDS).with_headers({V3: "x"}), URL, TOKEN)
    assert bare.header(V3.lower()) != "x"
    assert not HOOK.signed(bare, URL, TOKEN, NOW)


def test_it_is_signed_again_for_the_tools_url():
    tool = "https://tool.example/in?x=1"
    for request in (signed(PLAIN), signed(WITH_QUERY, query="key=b&a=1"), signed(PLAIN, MAIN)):
        resigned = HOOK.resigned(request, tool, TOKEN)
        assert HOOK.signed(resigned, tool, TOKEN, NOW)
        assert not HOOK.signed(resigned, URL, TOKEN, NOW)
        assert len(resigned.headers) == len(request.headers)


def test_the_answer_is_xml_that_does_nothing():
    answer = HOOK.answer("never said")
    assert not HOOK.replies
    assert (answer.status, answer.body) == (200, b"<Response></Response>")
    assert answer.content_type == "application/xml"
