"""`links …`: a new key seals, the older ones open until they are retired."""

import json

import pytest

from gateway.contacts.email import parse_email
from gateway.unsubscribe.link import DAY_MS, Link, LinkError, Links, Purpose
from tests.cli.conftest import BY, place_in

LINK = Link(parse_email("maija@example.fi"), Purpose.REFUSE, None, 20_600 * DAY_MS)


@pytest.fixture
def place(tmp_path):
    place = place_in(tmp_path)
    try:
        yield place
    finally:
        place.clean_up()


def test_keys_come_and_go(place):
    file = place.folder / "data" / "secrets" / "link-keys.json"
    (told,) = place.good("links", "rotate", *BY, "--reason", "yearly", "--json").rows
    assert told == {"key": "link", "id": "k2", "keys": ["k1", "k2"]}
    secrets = json.loads(file.read_text())["keys"]
    old = Links({"k1": bytes.fromhex(secrets["k1"])}, "k1").seal(LINK)
    assert Links.load_or_create(file).open(old, LINK.issued, 1) == LINK
    assert "current link key" in place.refused("links", "retire", "k2", *BY)
    assert "no key k9 (k1, k2)" in place.refused("links", "retire", "k9", *BY)
    assert "k1 is gone" in place.good("links", "retire", "k1", *BY).out
    with pytest.raises(LinkError):
        Links.load_or_create(file).open(old, LINK.issued, 1)
    assert file.stat().st_mode & 0o777 == 0o600
    out = place.good("links", "rotate", *BY).out
    assert out == "link key k1 is the current one now; reload the gateway (SIGHUP)\n"
    assert not any(secret in out for secret in secrets.values())
    place.run_gateway()
    acts = place.good("records", "acts", "--action", "rotate", "--json").rows
    place.stop_gateway()
    assert [act["detail"] for act in acts] == [
        {"what": "link key", "before": "k2"},
        {"what": "link key", "retired": "k1"},
        {"what": "link key", "before": "k1"},
    ]
    assert acts[2]["reason"] == "yearly"
