"""`subject …` and `organisation …` as people run them, with the gateway running and not."""

import json
import stat
import time
import urllib.request
from pathlib import Path

from tests.cli.conftest import BY


def _pair(test: str) -> tuple[str, str]:
    """Two addresses of one test's own: the gateway is shared."""
    return f"maija.virtanen@{test}.example", f"maija.korhonen@{test}.example"


def _add(place, *contacts, name="Maija Virtanen") -> str:
    options = [part for each in contacts for part in ("--contact", each)]
    done = place.good("subject", "add", *BY, "--name", name, "--source", "form", *options, "--json")
    return done.rows[0]["person"]["id"]


def test_a_ban_of_one_contact_stops_the_others_at_once(either):
    mark = "r" if either.running else "s"
    first, second = f"{mark}1@example.com", f"{mark}2@example.com"
    _add(either, first, second)
    either.good("register", "ban", first, *BY)
    assert either.outcome(second)[1:] == ("suppress", "R11")
    third = f"{mark}3@example.com"
    either.good("subject", "change", second, second, third, *BY, "--source", "telephone")
    assert either.outcome(third)[1:] == ("suppress", "R11")
    found = either.good("subject", "find", third, *BY, "--json").rows
    contacts = {each["address"]: "until" in each for each in found[0]["person"]["contacts"]}
    assert contacts == {first: False, second: True, third: False}
    stands = either("register", "unban", second, *BY, "--evidence", "by mistake")
    assert stands.status == 1
    assert "of another contact of the person" in stands.out + stands.err
    assert either.outcome(second)[1:] == ("suppress", "R11")
    either.good("subject", "unban", first, *BY, "--reason", "taken back")
    for address in (first, second, third):
        assert either.outcome(address)[2] == "R49", address


def test_the_running_gateway_carries_what_an_import_bans(running, tmp_path):
    _add(running, "one@imported.example", "+358401234999")
    file = tmp_path / "bans.csv"
    file.write_text("email,ban\none@imported.example,all\n")
    running.good("register", "import", str(file), *BY)
    end = time.monotonic() + 60
    while True:
        shown = running("register", "show", "+358401234999", "--json")
        if shown.rows[0]["bans"]:
            break
        assert time.monotonic() < end
        time.sleep(0.2)
    history = running.good("register", "history", "+358401234999", "--json").rows
    assert [each["source"] for each in history] == ["person"]
    assert all(each["cause"] for each in history)
    with urllib.request.urlopen(f"http://127.0.0.1:{running.http}/metrics") as answer:
        text = answer.read().decode()
    assert 'gateway_subject_requests{state="open"}' in text
    assert 'gateway_subject_requests{state="late"} 0.0' in text


def test_a_persons_rights_from_receipt_to_erasure(running, tmp_path):
    place, (old, new) = running, _pair("rights")
    maija = _add(place, old, new)
    place.good("subject", "set", maija, *BY, "--warranty", "T-1", "--end", "2099-01-01")
    place.good("subject", "rename", maija, "Maija Korhonen", *BY)
    done = place.good(
        "subject", "object", old, *BY, "--words", "Ei enää mainoksia", "--how", "puhelin"
    )
    assert "2 contacts" in done.out
    received = place.good(
        "subject",
        "request",
        "receive",
        "erasure",
        *BY,
        "--person",
        old,
        "--words",
        "Poistakaa",
        "--received",
        "2026-01-31",
        "--json",
    ).rows[0]
    assert received["due"].startswith("2026-02-28")
    assert place("subject", "requests", "--due").status == 1
    place.good("subject", "request", "identify", received["request"], *BY, "--how", "bank login")
    written = place.good("subject", "access", maija, *BY, "--out", tmp_path, "--language", "sv")
    page, data = (Path(line) for line in written.out.split())
    for path in (page, data):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert "Personuppgifter om er" in page.read_text()
    assert json.loads(data.read_text())["objections"][0]["words"] == "Ei enää mainoksia"
    written = place.good("subject", "portability", maija, *BY, "--out", tmp_path)
    assert "Maija Korhonen" in Path(written.out.split()[1]).read_text()

    check = place("subject", "erase", maija, *BY, "--check")
    assert (check.status, check.err) == (1, "")
    assert "stands against it: warranty T-1 2099-01-01" in check.out
    refused = place("subject", "erase", maija, *BY, "--reason", "asked for")
    assert (refused.status, refused.err) == (1, "")
    assert "takuu on voimassa: T-1 (2099-01-01 saakka)" in refused.out
    place.good(
        "subject",
        "erase",
        maija,
        *BY,
        "--reason",
        "asked for",
        "--except",
        "warranty",
        "--request",
        received["request"],
    )
    assert "erased" in place.refused("subject", "show", maija, *BY)
    assert place("subject", "find", old, *BY).status == 1
    place.good("subject", "requests", "--due")
    for address in (old, new):
        assert place.outcome(address)[1:] == ("suppress", "R11")
    shown = place("register", "show", old, "--json").rows[0]
    assert shown["tombstone"]
    wanted = {"read", "change", "object", "request", "identify", "erase", "refuse"}
    end = time.monotonic() + 60
    while True:
        acts = place.good("records", "acts", "--json", "--limit", "100").rows
        if wanted <= {each["action"] for each in acts}:
            break
        assert time.monotonic() < end
    assert not [each for each in acts if "maija" in json.dumps(each).lower()]


def test_two_records_of_one_person_become_one(running):
    place, (old, new) = running, _pair("merge")
    first = _add(place, old)
    second = _add(place, new, name="M. Korhonen")
    place.good("register", "ban", new, *BY, "--scope", "disclosure")
    place.good("subject", "merge", first, second, *BY)
    shown = place.good("subject", "show", second, *BY, "--json").rows[0]["person"]
    assert shown["id"] == first
    standing = place.good("subject", "show", first, *BY, "--json").rows[0]["bans"]
    assert {(each["contact"], each["scope"]) for each in standing} == {
        (old, "disclosure"),
        (new, "disclosure"),
    }
    bans = place("register", "show", old, "--json").rows[0]["bans"]
    assert [each["scope"] for each in bans] == ["disclosure"]
    healed = place.good("subject", "heal", "--json").rows[0]
    assert healed.pop("people") >= 1
    assert set(healed.values()) == {0}


def test_what_cannot_be_done_is_told_in_one_line(running):
    place, (old, _) = running, _pair("line")
    assert "nobody has this contact" in place.refused("subject", "show", old, *BY)
    assert "no person of this id" in place.refused("subject", "show", "01ABC", *BY)
    assert "a name or a contact" in place.refused("subject", "add", *BY, "--source", "x")
    _add(place, old)
    _add(place, old, name="Pekka Virtanen")
    assert "2 people have it" in place.refused("subject", "show", old, *BY)
    assert "fi, sv or en" in place.refused(
        "subject", "add", *BY, "--source", "x", "--language", "de"
    )
    assert "--except" in place.refused(
        "subject", "erase", "x", *BY, "--reason", "y", "--except", "whim"
    )
    assert "not one of access" in place.refused(
        "subject", "request", "receive", "money", *BY, "--address", old
    )


def test_a_company_of_a_snapshot_makes_its_roles_addresses_legal(running, tmp_path):
    file = tmp_path / "ytj.json"
    company = {
        "businessId": {"value": "0112038-9"},
        "names": [{"name": "Nokia Oyj", "type": "1"}],
        "companyForms": [{"type": "17"}],
    }
    file.write_text(json.dumps({"companies": [company]}))
    done = running.good("organisation", "import", file, *BY, "--json")
    assert done.rows[0] | {"classified": 0} == {
        "companies": 1,
        "legal": 1,
        "gone": 0,
        "classified": 0,
    }
    running.good("organisation", "link", "nokia.com", "0112038-9", *BY)
    assert running.outcome("info@nokia.com")[1:] == ("forward", "R30")
    assert running.outcome("maija.virtanen@nokia.com")[1:] == ("suppress", "R49")
    assert running("organisation", "link", "other.fi", "2701131-6", *BY).status == 1
    assert len(running.good("organisation", "list", "--json").rows) == 2
