"""`register export` for a purpose: who is left out, what is told, what is recorded."""

import csv
import hashlib
import hmac
import io
import json
import os
import sqlite3

import pytest

from tests.cli.conftest import BY, place_in

WHY = (*BY, "--reason", "letter 12/2026")
PEOPLE = (
    "email,phone,ban,ban_at,consent_email,consent_at,restricted,source\n"
    "free@x.example,,,,granted,2025-01-01,,crm\n"
    "all@x.example,,all,2025-02-01,,,,crm\n"
    "mail@x.example,,email,2025-02-01,,,,crm\n"
    "closed+shop@x.example,,disclosure,2025-02-01,,,,crm\n"
    "both@x.example,,all;disclosure,2025-02-01,,,,crm\n"
    "still@x.example,,,,,,yes,crm\n"
    ",+358501234567,sms,2025-02-01,,,,crm\n"
)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = place_in(tmp_path_factory.mktemp("export"))
    place.run_gateway()
    try:
        path = place.folder / "in.csv"
        path.write_text(PEOPLE)
        place.good("register", "import", path, *BY)
        place.good("register", "ban", "@secret.example", *BY, "--scope", "disclosure")
        place.good("register", "consent", "c@secret.example", *BY)
        hashes = place.folder / "hashes.txt"
        hashes.write_text(hashlib.sha256(b"nobody@x.example").hexdigest())
        place.good(
            *("register", "import-hashed", hashes, *BY, "--algorithm", "sha256"),
            *("--normalise", "lower", "--source", "partner"),
        )
        yield place
        place.stop_gateway()
    finally:
        place.clean_up()


def exported(place, *options):
    """The rows that go to standard output, and what is said of those left out."""
    done = place("register", "export", *WHY, *options)
    assert done.status == 0, done
    return list(csv.DictReader(io.StringIO(done.out))), done.err.splitlines()


def names(rows):
    return {row["email"] or row["phone"] or f"@{row['organisation']}" for row in rows}


EVERYBODY = {
    "free@x.example", "all@x.example", "mail@x.example", "closed+shop@x.example",
    "both@x.example", "still@x.example", "+358501234567", "@secret.example", "c@secret.example",
}  # fmt: skip


def test_whom_an_export_is_for_says_who_is_left_out(place):
    rows, said = exported(place)
    assert names(rows) == EVERYBODY
    assert said == ["1 left out: hash only", "9 contacts exported"]
    rows, said = exported(place, "--for", "authority")
    assert names(rows) == EVERYBODY
    rows, _ = exported(place, "--for", "processor", "--contract", "Mail House Oy 7/2026")
    assert names(rows) == EVERYBODY
    rows, said = exported(place, "--for", "supplier")
    # A ban of marketing keeps nobody back, one of disclosure does, by the domain's too.
    assert names(rows) == {"free@x.example", "all@x.example", "mail@x.example", "+358501234567"}
    assert said == [
        "4 left out: disclosure ban",
        "1 left out: hash only",
        "1 left out: restricted",
        "4 contacts exported",
    ]
    assert set(rows[0]) == {"email", "phone", "organisation", "ban", "ban_topics", "ban_at"}


def test_every_export_is_recorded_before_and_after(place):
    exported(place, "--for", "supplier")
    place("records", "search")  # archives what waits
    with sqlite3.connect(place.folder / "data" / "archive.sqlite") as archive:
        rows = archive.execute(
            "select actor, reason, detail from act where action = 'export' order by id"
        ).fetchall()
    assert {row[:2] for row in rows} == {("tester", "letter 12/2026")}
    before, after = (json.loads(row[2]) for row in rows[-2:])
    assert (before["for"], before["form"]) == ("supplier", "rows")
    assert after["contacts"] == 4
    assert after["excluded_disclosure_ban"] == 4
    assert "x.example" not in repr(rows)


def test_what_must_be_said(place):
    for options, cause in (
        (BY, "--reason"),
        ((*BY, "--reason", " "), "--reason"),
        ((*WHY, "--for", "processor"), "--contract"),
        ((*WHY, "--contract", "x"), "--for processor"),
        ((*WHY, "--full", "--for", "supplier"), "--full"),
        ((*WHY, "--hashed", "md5"), "--normalise"),
        ((*WHY, "--hashed", "md5", "--normalise", "lower", "--for", "research"), "counts only"),
        ((*WHY, "--scope", "all"), "--hashed"),
    ):
        done = place("register", "export", *options, env={"USER": ""})
        assert done.status == 2, done
        assert done.out == ""
        assert cause in done.err


def test_hashes_of_the_banned_and_of_nobody_else(place):
    def of(text):
        return hashlib.sha256(text.encode()).hexdigest()

    out = place.folder / "out.txt"
    how = ("--hashed", "sha256", "--normalise", "trim-lower")
    done = place("register", "export", out, *WHY, *how)
    assert done.status == 0
    assert "can be guessed" in done.err
    lines = out.read_text().split()
    assert lines == sorted(map(of, ("all@x.example", "mail@x.example", "both@x.example")))
    for more, wanted in (
        (("--scope", "all"), ("all@x.example", "both@x.example")),
        (("--scope", "email"), ("mail@x.example",)),
        # The ban of a spelling with a tag is one of the mailbox.
        (
            ("--scope", "disclosure"),
            ("both@x.example", "c@secret.example", "closed+shop@x.example", "closed@x.example"),
        ),
        (("--for", "supplier"), ("all@x.example", "mail@x.example")),
    ):
        assert place("register", "export", out, *WHY, *how, *more).status == 0
        assert out.read_text().split() == sorted(map(of, wanted)), more
    salt = place.folder / "salt"
    salt.write_text("a salt of the two of us\n")
    os.chmod(salt, 0o600)
    done = place(
        *("register", "export", out, *WHY, "--hashed", "sha1", "--normalise", "e164-no-plus"),
        *("--salt-file", salt),
    )
    assert "guessed" not in done.err
    made = hmac.new(b"a salt of the two of us", b"358501234567", "sha1").hexdigest()
    assert out.read_text().split() == [made]


def test_what_one_gateway_hashes_another_bans(place, tmp_path_factory):
    out = place.folder / "exchange.txt"
    how = ("--normalise", "google")
    assert place("register", "export", out, *WHY, "--hashed", "sha512", *how).status == 0
    other = place_in(tmp_path_factory.mktemp("other"))
    try:
        other.good(
            *("register", "import-hashed", out, *BY, "--algorithm", "sha512", *how),
            *("--source", "the first"),
        )
        assert other.outcome("All@x.example")[1:] == ("suppress", "R11")
        assert other.outcome("free@x.example")[2] != "R11"
    finally:
        other.clean_up()


def test_research_gets_counts_and_no_small_ones(place):
    path = place.folder / "many.csv"
    lines = ["email,ban,person_class,source"]
    lines += [f"n{number}@many.example,,natural,crm" for number in range(20)]
    lines += [f"w{number}@many.example,all,work,crm" for number in range(9)]
    path.write_text("\n".join(lines) + "\n")
    place.good("register", "import", path, *BY)
    rows, said = exported(place, "--for", "research")
    assert "1 left out: restricted" in said
    told = {(row["channel"], row["table"], row["value"]): row["count"] for row in rows}
    assert told["all", "contacts", ""] == "37"
    # One number and one domain: theirs and the total's difference to the rest is withheld.
    assert {told[channel, "contacts", ""] for channel in ("email", "sms", "organisation")} == {
        "withheld"
    }
    assert not any(row["count"] not in ("withheld", "0") and int(row["count"]) < 5 for row in rows)
    assert "example" not in repr(rows)


def test_the_full_export_has_what_no_column_holds(place, tmp_path_factory):
    place.good(
        *("register", "ban", "full+tag@full.example", *BY, "--evidence", "letter of 1 May"),
        *("--source", "post"),
    )
    place.good(
        *("register", "consent", "full+tag@full.example", *BY, "--evidence", "form 5"),
        *("--wording", "Newsletter v3 (fi)"),
    )
    assert place.outcome("full+tag@full.example")[1] == "forward"
    out = place.folder / "full.ndjson"
    assert place("register", "export", out, *WHY, "--full").status == 0
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    [whole] = [
        row for row in rows if row.get("email") == "full+tag@full.example" and "entry" in row
    ]
    assert [event["kind"] for event in whole["events"]] == ["ban", "consent"]
    assert whole["events"][0]["evidence"] == "letter of 1 May"
    assert whole["events"][1]["wording"] == "Newsletter v3 (fi)"
    assert "sealed" not in whole["events"][0]
    assert whole["entry"]["consents"][0]["lifts"] is True
    assert whole["entry"]["tombstone"] is False
    # It can be imported, and lifts nothing.
    other = place_in(tmp_path_factory.mktemp("full"))
    try:
        done = other("register", "import", out, *BY)
        assert done.status == 0, done
        assert other.outcome("full+tag@full.example")[1:] == ("suppress", "R11")
        assert other.outcome("full@full.example")[1:] == ("suppress", "R11")
    finally:
        other.clean_up()


def test_a_contact_under_two_keys_is_written_once(stopped):
    stopped.good("register", "ban", "old@key.example", *BY, "--scope", "sms")
    stopped.good("register", "ban", "both@key.example", *BY, "--scope", "sms")
    path = stopped.folder / "data" / "secrets" / "digest-keys.json"
    document = json.loads(path.read_text())
    document["keys"]["k2"] = "ab" * 32
    document["current"] = "k2"
    path.write_text(json.dumps(document))
    stopped.good("register", "ban", "both@key.example", *BY, "--evidence", "letter")
    rows, _ = exported(stopped)
    assert sorted(row["email"] for row in rows if row["ban"] == "sms") == [
        "both@key.example",
        "old@key.example",
    ]
    assert [row["email"] for row in rows if row["ban"] == "all"] == ["both@key.example"]
    out = stopped.folder / "full.ndjson"
    assert stopped("register", "export", out, *WHY, "--full").status == 0
    told = [json.loads(line) for line in out.read_text().splitlines()]
    [both] = [row for row in told if row["email"] == "both@key.example" and "events" in row]
    assert [event["scope"] for event in both["events"]] == ["channel", "all"]
