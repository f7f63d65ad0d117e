"""Infobip's incoming messages."""

import orjson
import pytest

from gateway.hook.hook import Incoming, Signs
from gateway.hook.infobip import Infobip
from gateway.provider.problem import Refusal
from tests.hook.bits import NOW, document

HOOK = Infobip()
# https://www.infobip.com/docs/api/channels/sms/inbound-sms/receive-inbound-sms-messages
RESULT = {
    "messageId": "817790313235066447",
    "from": "385916242493",
    "to": "385921004026",
    "text": "QUIZ Correct answer is Paris",
    "cleanText": "Correct answer is Paris",
    "keyword": "QUIZ",
    "receivedAt": "2016-10-06T09:28:39.220+0000",
    "smsCount": 1,
    "price": {"pricePerMessage": 0, "currency": "EUR"},
    "callbackData": "callbackData",
}


def webhook(*results):
    return document(
        orjson.dumps({"results": results, "messageCount": len(results), "pendingMessageCount": 0})
    )


def test_each_message_is_read():
    second = {**RESULT, "messageId": "2", "from": 385916242494, "keyword": None}
    assert HOOK.read(webhook(RESULT, second)) == (
        Incoming(
            "817790313235066447",
            "+385916242493",
            "385921004026",
            "QUIZ Correct answer is Paris",
            1_475_746_119_220,
            keyword="QUIZ",
        ),
        Incoming(
            "2",
            "+385916242494",
            "385921004026",
            "QUIZ Correct answer is Paris",
            1_475_746_119_220,
        ),
    )


def test_reports_are_passed_on_and_anything_else_refused():
    report = {"messageId": "1", "to": "385", "sentAt": "x", "status": {"groupId": 3}}
    assert HOOK.read(webhook()) == HOOK.read(webhook(report)) == ()
    assert len(HOOK.read(webhook(report, RESULT))) == 1
    for wrong in ({}, "x", RESULT | {"text": {"a": 1}}, RESULT | {"From": "1"}):
        with pytest.raises(Refusal):
            HOOK.read(webhook(RESULT, wrong))
    for name in ("messageId", "from", "to", "text"):
        with pytest.raises(Refusal):
            HOOK.read(webhook({one: RESULT[one] for one in RESULT if one != name}))
    for body in ("", "[]", "{}", '{"results":{}}', '{"results":[],"results":[]}', "[" * 2000):
        with pytest.raises(Refusal):
            HOOK.read(document(body))


def test_nothing_is_signed():
    assert HOOK.signs is Signs.NONE
    assert not HOOK.signed(webhook(RESULT), "https://hooks.example", "secret", NOW)
    assert HOOK.resigned(webhook(RESULT), "https://tool.example", "x") == webhook(RESULT)
    assert (HOOK.replies, HOOK.answer("x").status, HOOK.answer("x").body) == (False, 200, b"")
