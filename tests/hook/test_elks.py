"""46elks' incoming messages."""

import pytest

from gateway.hook.elks import Elks
from gateway.hook.hook import Incoming, Signs
from gateway.provider.problem import Refusal
from tests.hook.bits import NOW, form

HOOK = Elks()
# https://46elks.se/docs/receive-sms
FIELDS = (
    ("direction", "incoming"),
    ("id", "sf8425555e5d8db61dda7a7b3f1b91bdb"),
    ("from", "+46706861004"),
    ("to", "+46706860000"),
    ("created", "2018-07-13T13:57:23.741000"),
    ("message", "Hello how are you?"),
)


def test_a_message_is_read():
    assert HOOK.read(form(*FIELDS)) == (
        Incoming(
            "sf8425555e5d8db61dda7a7b3f1b91bdb",
            "+46706861004",
            "+46706860000",
            "Hello how are you?",
            1_531_490_243_741,
        ),
    )


def test_a_report_is_passed_on_and_anything_else_refused():
    assert HOOK.read(form(("id", "1"), ("status", "delivered"), ("delivered", "x"))) == ()
    for wrong in ((), FIELDS[:-1], FIELDS[2:], (*FIELDS, ("from", "x"))):
        with pytest.raises(Refusal):
            HOOK.read(form(*wrong))


def test_nothing_is_signed_and_nothing_is_said_without_a_reply():
    assert HOOK.signs is Signs.NONE
    assert not HOOK.signed(form(*FIELDS), "https://hooks.example", "secret", NOW)
    assert HOOK.replies
    for reply in (None, ""):
        answer = HOOK.answer(reply)
        assert (answer.status, answer.body) == (204, b"")
    answer = HOOK.answer("Poistettu ✓")
    assert (answer.status, answer.body.decode()) == (200, "Poistettu ✓")
    assert answer.content_type == "text/plain; charset=utf-8"
