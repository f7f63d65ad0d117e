"""LINK Mobility's incoming messages."""

import orjson
import pytest

from gateway.hook.hook import Incoming, Signs
from gateway.hook.link import Link
from gateway.provider.problem import Refusal
from tests.hook.bits import NOW, document

HOOK = Link()
# LINK Mobility SMS REST API, MO, "Example sent to a keyword", shortened
MESSAGE = {
    "destination": "NO-2333",
    "subNumber": None,
    "source": "+4741560067",
    "content": {"type": "SMS", "userData": "Bclt hello", "encoding": "TEXT"},
    "operator": "no.telenor",
    "timestamp": "2015-11-17T14:28:40Z",
    "messageId": "Dcshuhod0PMAAAFQ+/PbnR3x",
    "operatorTimestamp": "2015-11-17T14:28:40Z",
    "operatorMessageId": "0",
    "route": {"type": "KEYWORD_ROUTE", "number": "NO-2333", "keyword": "BCLT"},
    "gateCustomParameters": {},
    "customParameters": {"platformId": "0"},
}


def test_a_message_is_read():
    assert HOOK.read(document(orjson.dumps(MESSAGE))) == (
        Incoming(
            "Dcshuhod0PMAAAFQ+/PbnR3x",
            "+4741560067",
            "NO-2333",
            "Bclt hello",
            1_447_770_520_000,
            keyword="BCLT",
        ),
    )
    subnumber = {**MESSAGE, "subNumber": 9999999989, "route": {"type": "SUBNUMBER_ROUTE"}}
    assert HOOK.read(document(orjson.dumps(subnumber)))[0].keyword == ""


def test_a_report_is_passed_on_and_anything_else_refused():
    assert HOOK.read(document('{"refId":"1","resultCode":1001,"id":"x"}')) == ()
    for name in ("destination", "source", "content", "messageId"):
        with pytest.raises(Refusal):
            HOOK.read(document(orjson.dumps({one: MESSAGE[one] for one in MESSAGE if one != name})))
    with pytest.raises(Refusal):
        HOOK.read(document(orjson.dumps(MESSAGE | {"content": "STOP"})))


def test_nothing_is_signed():
    assert HOOK.signs is Signs.NONE
    request = document(orjson.dumps(MESSAGE))
    assert not HOOK.signed(request, "https://hooks.example", "secret", NOW)


@pytest.mark.parametrize(
    ("sender", "source", "kind"),
    [
        ("NO-2333", "2333", "SHORTNUMBER"),
        ("16400", "16400", "SHORTNUMBER"),
        ("+358401234567", "+358401234567", "MSISDN"),
        ("Lamisnet", "Lamisnet", "ALPHANUMERIC"),
    ],
)
def test_the_sender_is_written_by_its_type(sender, source, kind):
    written = orjson.loads(HOOK.compose(sender, "+4741560067", "x", "P/17").body)
    assert (written["source"], written["sourceTON"]) == (source, kind)
    assert (written["platformId"], written["platformPartnerId"]) == ("P", "17")
