"""``held …`` of text messages: as of mail."""

import json
import urllib.request
from base64 import b64encode
from urllib.parse import urlencode

import pytest

from tests.cli.conftest import BY, Place
from tests.peers.house import client_table

SID = "AC00000000000000000000000000000000"
YES, NO = "+358401111111", "+358402222222"


@pytest.fixture
def place(tmp_path):
    route = {
        "name": "texts",
        "provider": "twilio",
        "prefix": "/texts",
        "networks": ["127.0.0.0/8"],
        "kind": "declared",
        "senders": ["LamisNET"],
        "sandbox": "sent.jsonl",
    }
    sms = {"listen": ["127.0.0.1:0"], "routes": [route]}
    one = Place(tmp_path, clients=[client_table()], sms=sms)
    yield one
    one.clean_up()


def text(place, to, body):
    port = place.said("ready")["sms"][0].rpartition(":")[2]
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/texts/2010-04-01/Accounts/{SID}/Messages.json",
        urlencode({"To": to, "From": "LamisNET", "Body": body}).encode(),
        {"Authorization": "Basic " + b64encode(f"{SID}:its-own".encode()).decode()},
    )
    with urllib.request.urlopen(request, timeout=20) as answer:
        return answer.status


def sent(place):
    path = place.folder / "data" / "sent.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


@pytest.mark.slow
def test_text_messages_wait_for_a_person_as_mail_does(place):
    place.run_gateway()
    for to, body in ((YES, "Lasku 1"), (NO, "Tarjous"), (YES, "Lasku 2")):
        assert text(place, to, body) == 201
    assert sent(place) == []
    rows = place.good("held", "list", "--json", status=1).rows
    first, second, third = reversed(rows)
    assert {(row["channel"], row["client"], row["upstream"]) for row in rows} == {
        ("sms", "texts", "sandbox")
    }
    assert "sms" in place.good("held", "list", status=1).out
    out = place.folder / "text"
    assert YES in place.good("held", "show", first["held"], *BY, "--content", out).out
    assert out.read_text() == "LamisNET: Lasku 1\n"

    reason = ("--reason", "checked")
    assert "--kind" in place.refused("held", "release", first["held"], *BY, *reason)
    kind = ("--kind", "transactional")
    done = place.good("held", "release", first["held"], *BY, *reason, *kind)
    assert done.out == f"{YES}: sent\n"
    assert ["Lasku+1" in one["body"] for one in sent(place)] == [True]
    assert "not held" in place.refused("held", "release", first["held"], *BY, *reason)

    place.good("register", "ban", NO, *BY)
    marketing = ("--kind", "marketing")
    done = place.good("held", "release", second["held"], *BY, *reason, *marketing, status=1)
    assert f"{NO}: not sent, R" in done.out
    assert "it stays held" in done.out
    place.good("held", "discard", second["held"], *BY, "--reason", "banned")

    # The same with nothing running.
    place.stop_gateway()
    place.good("held", "release", third["held"], *BY, *reason, *kind)
    assert len(sent(place)) == 2
    assert place.good("held", "list").out == "nothing is held\n"
    states = {one["held"]: one for one in place.good("held", "list", "--all", "--json").rows}
    assert [states[row["held"]]["state"] for row in (first, second, third)] == [
        "released",
        "discarded",
        "released",
    ]
    [row] = place.good("records", "show", first["recipients"][0]["record"], "--json").rows
    assert [one["result"] for one in row["outcomes"]] == ["held", "released"]
    assert (row["outcomes"][1]["person"], row["outcomes"][1]["reason"]) == ("tester", "checked")
    [row] = place.good("records", "show", second["recipients"][0]["record"], "--json").rows
    assert [one["result"] for one in row["outcomes"]] == ["held", "discarded"]


def test_a_route_that_is_gone_is_named(place):
    place.run_gateway()
    text(place, YES, "Lasku")
    place.stop_gateway()
    place.configure(sms={"routes": []})
    [row] = place.good("held", "list", "--json", status=1).rows
    said = place.refused("held", "release", row["held"], *BY, "--reason", "x")
    assert "'texts'" in said
    place.good("held", "discard", row["held"], *BY, "--reason", "the tool is gone")
