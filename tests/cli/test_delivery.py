"""`register undeliverable|deliverable`: kept apart from bans, everywhere it is told."""

import csv
import hashlib
import io
from datetime import UTC, datetime, timedelta

import pytest

from tests.cli.conftest import BY

PROOF = ("--wording", "Kyllä, v3", "--evidence", "form 17")


def allow(place, address):
    place.good("register", "consent", address, *BY, *PROOF)
    place.good("register", "describe", address, *BY, "--source", "form")
    assert place.outcome(address) == (0, "forward", "R40")


@pytest.mark.slow
def test_a_bounce_and_its_end(either):
    who = "kalle@bounced.example"
    allow(either, who)
    done = either.good("register", "undeliverable", who, *BY, "--reason", "hard_bounce")
    assert done.out.startswith(f"{who}: undeliverable (hard_bounce); in force now (event ")
    assert either.outcome(who) == (1, "suppress", "R15d")
    # Nothing but marketing stops.
    assert either.outcome(who, "--kind", "transactional") == (0, "forward", "R06")
    assert either.outcome(who, "--kind", "notice") == (0, "forward", "R04")
    assert "has bounced or was reported as spam" in either("check", who).out

    [row] = either.good("register", "show", who, "--json").rows
    assert row["bans"] == []
    [told] = row["delivery"]
    assert (told["undeliverable"], told["expired"]) == ("hard_bounce", False)
    term = datetime.fromisoformat(told["expires"]) - datetime.fromisoformat(told["since"])
    assert term == timedelta(days=365)  # as [delivery] says
    assert "hard_bounce" in either.good("register", "show", who).out
    event = either.good("register", "history", who, "--json").rows[-1]
    assert (event["kind"], event["delivery"]) == ("undeliverable", "hard_bounce")
    assert "hard_bounce" in either.good("register", "history", who).out

    # No unban lifts it, nor a later proven consent, and both say so.
    done = either("register", "unban", who, *BY, "--evidence", "a call")
    assert done.status == 1
    assert "there was no such ban" in done.out
    assert "register deliverable lifts it" in done.err + done.out
    done = either("register", "consent", who, *BY, *PROOF)
    assert done.status == 1
    assert "register deliverable lifts it" in done.err + done.out
    assert either.outcome(who)[2] == "R15d"
    # A ban is named first.
    either.good("register", "ban", who, *BY)
    assert either.outcome(who)[2] == "R11"
    either("register", "unban", who, *BY, "--evidence", "a mistake")
    assert either.outcome(who)[2] == "R15d"

    assert "--evidence: say how" in either.refused(
        "register", "deliverable", who, *BY, "--evidence", " "
    )
    done = either("register", "deliverable", who, *BY, "--evidence", "x", "--reason", "complaint")
    assert done.status == 1
    assert "no such delivery suppression" in done.out
    either.good("register", "deliverable", who, *BY, "--evidence", "the mailbox is back")
    assert either.outcome(who) == (0, "forward", "R40")
    done = either("register", "deliverable", who, *BY, "--evidence", "again")
    assert done.status == 1


def test_a_complaint_counts_for_every_spelling_and_a_bounce_does_not(running):
    plain, tagged = "liisa@spam.example", "liisa+shop@spam.example"
    allow(running, plain)
    running.good("register", "undeliverable", tagged, *BY, "--reason", "rejected")
    assert running.outcome(plain)[1] == "forward"
    running.good("register", "undeliverable", tagged, *BY, "--reason", "complaint")
    assert running.outcome(plain)[2] == "R15d"
    other = "liisa+other@spam.example"
    assert "reported as spam by another spelling" in running.good("register", "show", other).out
    [row] = running.good("register", "show", other, "--json").rows
    [told] = row["complaints_by_other_spellings"]
    assert told["expires"] is None  # complaint_days = 0
    running.good("register", "deliverable", plain, *BY, "--evidence", "she wrote to us")
    assert running.outcome(plain)[1] == "forward"
    done = running(
        "register", "deliverable", tagged, *BY, "--evidence", "x", "--reason", "rejected"
    )
    assert done.status == 1
    assert "that stands" in done.out + done.err


def test_its_term_and_what_is_refused(running):
    who = "olli@term.example"
    soon = (datetime.now(UTC) + timedelta(days=2)).isoformat(timespec="seconds")
    how = ("register", "undeliverable", who, *BY, "--reason", "complaint")
    assert "that time is over" in running.refused(*how, "--expires", "2020-01-01")
    assert "not to a domain" in running.refused(
        "register", "undeliverable", "@term.example", *BY, "--reason", "complaint"
    )
    running.good(*how, "--expires", soon)
    [row] = running.good("register", "show", who, "--json").rows
    assert row["delivery"][0]["expires"] == soon
    running.good(*how, "--expires", "never")
    [row] = running.good("register", "show", who, "--json").rows
    assert row["delivery"][0]["expires"] is None


def test_rebuild_verify_export_and_import_carry_it(running, tmp_path):
    who = "eeva@carried.example"
    running.good("register", "undeliverable", who, *BY, "--reason", "hard_bounce")
    running.good("register", "undeliverable", who, *BY, "--reason", "complaint")
    [before] = running.good("register", "show", who, "--json").rows
    running.good("register", "rebuild", *BY)
    [after] = running.good("register", "show", who, "--json").rows
    assert after["delivery"] == before["delivery"]
    assert len(after["delivery"]) == 2
    assert running("records", "verify").status == 0

    done = running("register", "export", *BY, "--reason", "move")
    rows = [row for row in csv.DictReader(io.StringIO(done.out)) if row["email"] == who]
    assert {row["undeliverable"] for row in rows} == {"hard_bounce", "complaint"}
    path = tmp_path / "again.csv"
    path.write_text(done.out.replace(who, "toinen@carried.example"))
    running("register", "import", path, *BY)
    [taken] = running.good("register", "show", "toinen@carried.example", "--json").rows
    assert taken["delivery"] == before["delivery"]
    # The same file again lifts nothing and refreshes nothing.
    running("register", "deliverable", who, *BY, "--evidence", "back", "--reason", "complaint")
    running("register", "import", path, *BY)
    [taken] = running.good("register", "show", "toinen@carried.example", "--json").rows
    assert taken["delivery"] == before["delivery"]


def test_it_is_nobody_elses_concern(running):
    """For a supplier, and in a list of hashes, a bounce is no ban and is not told."""
    who = "pekka@hidden.example"
    running.good("register", "undeliverable", who, *BY, "--reason", "complaint")
    running.good("register", "ban", "banned@hidden.example", *BY)
    why = (*BY, "--reason", "contract 5")
    done = running("register", "export", *why, "--for", "supplier")
    assert done.status == 0, done
    assert "banned@hidden.example" in done.out
    assert who not in done.out
    assert "undeliverable" not in done.out
    hashes = ("--hashed", "sha256", "--normalise", "lower")
    listed = running("register", "export", *why, *hashes)
    assert listed.status == 0, listed
    lines = set(listed.out.split())
    assert hashlib.sha256(b"banned@hidden.example").hexdigest() in lines
    assert hashlib.sha256(who.encode()).hexdigest() not in lines


@pytest.mark.parametrize("word", ["full", "soft_bounce"])
def test_an_import_names_what_it_does_not_know(running, tmp_path, word):
    path = tmp_path / "bad.csv"
    path.write_text(f"email,undeliverable\na@x.example,{word}\n")
    done = running("register", "import", path, *BY)
    assert done.status == 1
    assert "hard_bounce, complaint, rejected" in done.out + done.err
    assert word not in done.out + done.err
