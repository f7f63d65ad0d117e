"""Every look at personal data is an act, on record before anything is shown."""

import time

import pytest
import redis

from gateway.serve.assembly import embedded_register
from tests.cli.conftest import BY, place_in

READER = "reader@example.com"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = place_in(tmp_path_factory.mktemp("place"))
    place.run_gateway()
    try:
        place.good("register", "ban", READER, "--by", "editor")
        assert place.mail(READER).endswith("1 suppressed")
        place.archived(1)
        yield place
        if place.running:
            place.stop_gateway()
    finally:
        place.clean_up()


def test_whoever_looks_is_on_record_with_the_reason(place):
    (record,) = place.good("records", "search", "--json").rows
    looks = (
        ("records", "search", "--address", READER),
        ("records", "show", record["record_id"]),
        ("records", "show", record["record_id"], "--json"),
        ("register", "show", READER),
        ("register", "history", READER),
    )
    for number, look in enumerate(looks):
        assert place.good(*look, "--by", "officer", "--reason", f"asked {number}").out
    acts = place.good("records", "acts", "--by", "officer", "--json").rows
    end = time.monotonic() + 60
    while len(acts) < len(looks) and time.monotonic() < end:
        # The running gateway archives them, a moment after they are recorded.
        time.sleep(0.1)
        acts = place.good("records", "acts", "--by", "officer", "--json").rows
    assert [act["reason"] for act in reversed(acts)] == [f"asked {n}" for n in range(len(looks))]
    assert [act["action"] for act in acts] == ["read"] * 4 + ["search"]
    assert {act["subject"] for act in acts} == {record["digest"]}
    assert acts[-2]["detail"] == {"what": "record", "record": record["record_id"]}
    # By whom it is about, by what was done, in a table; and nobody is named in the clear.
    for query in (("--subject", READER), ("--action", "search"), ("--subject", record["digest"])):
        listed = place.good("records", "acts", *query)
        assert "officer" in listed.out
        assert READER not in listed.out
    assert place.good("records", "acts", "--by", "nobody", status=1).out == "no such acts\n"
    assert place.good("records", "verify").out.count("whole") == 1


def test_nothing_is_shown_when_the_look_cannot_be_recorded(place):
    (record,) = place.good("records", "search", "--json").rows
    server = embedded_register(place.settings)
    with redis.Redis.from_url(server.url) as client:
        client.execute_command("ACL", "SETUSER", "default", "-xadd")
        try:
            for look in (
                ("records", "search", "--address", READER),
                ("records", "show", record["record_id"]),
                ("register", "show", READER),
                ("register", "history", READER),
            ):
                assert "could not be recorded" in place.refused(*look, *BY), look
        finally:
            client.execute_command("ACL", "SETUSER", "default", "+xadd")
    assert place.good("records", "show", record["record_id"], *BY).out
