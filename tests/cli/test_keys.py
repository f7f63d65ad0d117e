"""`keys …`: a content key is exchanged while the gateway runs, and the old one dropped."""

import json
import os
import time

import pytest

from tests.cli.conftest import BY, place_in

READER, BANNED = "reader@example.com", "banned@example.com"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = place_in(tmp_path_factory.mktemp("place"))
    place.run_gateway()
    try:
        yield place
        if place.running:
            place.stop_gateway()
    finally:
        place.clean_up()


def shown(place, record: dict) -> tuple[str, str]:
    (row,) = place.good("records", "show", record["record_id"], *BY, "--json").rows
    return row["recipient"], row["headers"]


def test_a_content_key_is_exchanged_and_dropped_while_mail_flows(place):
    place.good("register", "ban", BANNED, *BY, "--evidence", "never again, says Bo")
    assert place.mail(BANNED).endswith("1 suppressed")
    (first,) = place.archived(1)
    keys = place.good("keys", "list", "--json").rows
    assert [(row["key"], row["id"], row["current"]) for row in keys[:2]] == [
        ("content", "c1", True),
        ("digest", "k1", True),
    ]
    assert keys[0]["people"] > 0
    file = place.folder / "data" / "secrets" / "content-keys.json"
    secrets = json.loads(file.read_text())["keys"].values()
    assert not any(secret in place.good("keys", "list").out for secret in secrets)

    (told,) = place.good("keys", "rotate", *BY, "--reason", "yearly", "--json").rows
    assert (told["key"], told["id"]) == ("content", "c2")
    assert told["wrapped"]["people's keys"] == keys[0]["people"]
    # Mail goes on, whichever key a worker has; all of it can be read.
    assert place.mail(BANNED).endswith("1 suppressed")
    assert "c1 is the current" not in place.refused("keys", "retire", "c1", *BY)
    assert "current content key" in place.refused("keys", "retire", "c2", *BY)
    assert "no key c9" in place.refused("keys", "retire", "c9", *BY)
    long_ago = time.time() - 120
    os.utime(file, (long_ago, long_ago))
    time.sleep(10.5)  # what a running process takes at the most to follow the file
    assert place.mail(BANNED).endswith("1 suppressed")
    place.archived(3)
    assert place.good("keys", "retire", "c1", *BY).out == "content key c1 is gone\n"
    assert list(json.loads(file.read_text())["keys"]) == ["c2"]
    assert place.mail(BANNED).endswith("1 suppressed")
    records = place.archived(4)
    assert first["record_id"] in {record["record_id"] for record in records}
    for record in records:
        recipient, headers = shown(place, record)
        assert recipient == BANNED
        assert "Subject:" in headers
    (event,) = place.good("register", "history", BANNED, *BY, "--json").rows
    assert event["evidence"] == "never again, says Bo"
    acts = place.good("records", "acts", "--action", "rotate", "--json").rows
    assert [act["detail"] for act in acts] == [
        {"what": "content key", "retired": "c1"},
        {"what": "content key", "before": "c1"},
    ]
    assert acts[1]["reason"] == "yearly"
    assert place.good("records", "verify").out.count("whole") == 1


def test_a_digest_key_is_added_while_nothing_runs_and_the_old_one_still_finds(place):
    # A digest key is not exchanged under a running gateway's feet.
    assert "a gateway runs" in place.refused("keys", "rotate", "--digest", *BY)
    place.stop_gateway()
    (told,) = place.good("keys", "rotate", "--digest", *BY, "--json").rows
    assert (told["key"], told["id"]) == ("digest", "k2")
    place.run_gateway()
    # Bans under the old key hold, new ones are under the new key.
    assert place.mail(BANNED).endswith("1 suppressed")
    place.good("register", "ban", READER, *BY)
    assert place.mail(READER).endswith("1 suppressed")
    assert len(place.good("records", "search", "--address", BANNED, *BY, "--json").rows) == 5
    ids = [row["id"] for row in place.good("keys", "list", "--json").rows if row["key"] == "digest"]
    assert ids == ["k2", "k1"]
