"""`register at`, `check --at`, `register rebuild`, and what else can be said of a contact."""

import time
from datetime import UTC, datetime

import pytest

from tests.cli.conftest import BY

PROOF = ("--wording", "form v3", "--evidence", "form 8812")


def now() -> str:
    """A moment between what was done and what will be."""
    time.sleep(0.02)
    text = datetime.now(UTC).isoformat()
    time.sleep(0.02)
    return text


def test_what_was_known_and_what_would_have_been_decided(running):
    who = "eeva+shop@osasto.firma.example"
    first = now()
    running.good("register", "consent", who, *BY, *PROOF, "--expires", "2999-01-01")
    consented = now()
    # Told of later than it took effect: it was not known before.
    running.good(
        "register", "ban", who, *BY, "--at", "2020-01-01", "--scope", "topic", "--topic", "x"
    )
    running.good("register", "ban", "@firma.example", *BY)
    banned = now()
    running.good("register", "unban", "@firma.example", *BY, "--evidence", "wrong firm")
    unbanned = now()

    done = running.good("register", "at", first, who, "--json", status=1)
    assert (done.rows[0]["bans"], done.rows[0]["consents"]) == ([], [])
    [row] = running.good("register", "at", consented, who, "--json").rows
    assert row["bans"] == []
    assert row["consents"][0]["proven"]
    assert not row["consents"][0]["expired"]
    [row] = running.good("register", "at", banned, who, "--json").rows
    assert [ban["scope"] for ban in row["bans"]] == ["topic"]
    assert [ban["scope"] for ban in row["base"]["bans"]] == ["topic"]
    assert row["banned_by_organisation"] == ["firma.example"]
    [row] = running.good("register", "at", unbanned, who, "--json").rows
    assert row["banned_by_organisation"] == []
    [row] = running.good("register", "at", banned, "@firma.example", "--json").rows
    assert row["bans"][0]["scope"] == "organisation"
    running.good("register", "at", unbanned, "@firma.example", status=1)
    # Another spelling is banned through its base.
    [row] = running.good("register", "at", banned, "eeva@osasto.firma.example", "--json").rows
    assert row["bans"][0]["through_another_spelling"]
    told = running.good("register", "at", banned, who).out
    assert "its organisation had banned marketing: @firma.example" in told

    assert running.outcome(who, "--topic", "news", "--at", first)[2] == "R49"
    assert running.outcome(who, "--topic", "news", "--at", consented)[1] == "forward"
    assert running.outcome(who, "--topic", "x", "--at", consented)[1] == "forward"
    assert running.outcome(who, "--topic", "news", "--at", banned)[1:] == ("suppress", "R14")
    assert running.outcome(who, "--topic", "x", "--at", unbanned)[1:] == ("suppress", "R13")
    assert "lies in the future" in running.refused("register", "at", "2999-01-01", who)


@pytest.mark.slow
def test_an_expiry_is_judged_at_that_time(running):
    who = "kesto@example.com"
    running.good("register", "describe", who, *BY, "--source", "shop")
    soon = datetime.fromtimestamp(time.time() + 5, UTC)
    running.good("register", "consent", who, *BY, *PROOF, "--expires", soon.isoformat())
    before = now()
    assert before < soon.isoformat()
    assert running.outcome(who, "--topic", "news", "--at", before)[1] == "forward"
    time.sleep(max(0.0, soon.timestamp() - time.time()) + 0.05)
    assert running.outcome(who, "--topic", "news")[1] != "forward"
    assert running.outcome(who, "--topic", "news", "--at", before)[1] == "forward"
    [row] = running.good("register", "at", now(), who, "--json").rows
    assert row["consents"][0]["expired"]


def test_the_rules_of_that_time_are_used_where_the_archive_has_them(running):
    who = "saanto@example.com"
    running.good("register", "ban", who, *BY)
    done = running("check", who, "--at", "2020-01-01", "--json")
    assert done.rows[0]["rule_set"]["in_force_then"] is False
    running.mail(who)
    running.archived(1, "--address", who)
    done = running("check", who, "--at", now(), "--json")
    assert done.rows[0]["rule_set"]["in_force_then"] is True
    assert done.rows[0]["rule_set"]["name"] == "finland"
    assert (done.rows[0]["outcome"], done.rows[0]["rule"]) == ("suppress", "R11")
    assert "in force then" in running("check", who, "--at", now()).out


def test_rebuilding_says_what_it_did_and_changes_nothing(either):
    who = "uusi+a@example.com"
    either.good("register", "ban", who, *BY)
    either.good("register", "restrict", who, *BY, "--evidence", "disputed")
    before = either.good("register", "show", who, "--json").rows
    done = either.good("register", "rebuild", *BY, "--bits", "12", "--json")
    [row] = done.rows
    assert row["bits"] == 12
    assert row["contacts"] >= 2
    assert row["events"] > row["contacts"]
    assert (row["kept"], row["unreadable"]) == (0, 0)
    assert either.good("register", "show", who, "--json").rows == before
    assert "in 2**12 buckets" in either.good("register", "rebuild", *BY).out
    assert either.good("register", "show", who, "--json").rows == before
    assert either.outcome(who)[:2] == (1, "suppress")
    # What is changed afterwards is found as well, and lifted.
    either.good("register", "unban", who, *BY, "--evidence", "a mistake")
    [row] = either.good("register", "show", who, "--json").rows
    assert row["bans"] == []
    assert row["restricted"]
    assert "greater than or equal to 6" in either("register", "rebuild", *BY, "--bits", "5").err


def test_what_else_is_known_of_a_contact(running):
    who = "tieto@example.com"
    running.good("register", "classify", who, "work", *BY, "--evidence", "signature")
    running.good(
        *("register", "describe", who, *BY, "--age", "minor", "--guardian-consent"),
        *("--product-group", "broadband", "--collected", "sale", "--opt-out-offered"),
        *("--source", "shop form"),
    )
    running.good("register", "restrict", who, *BY, "--evidence", "disputed")
    [row] = running.good("register", "show", who, "--json").rows
    assert row["person_class"] == "work"
    assert row["age"] == "minor"
    assert row["product_groups"] == ["broadband"]
    assert row["collected"] == "sale"
    assert row["opt_out_offered"]
    assert row["source_known"]
    assert row["restricted"]
    assert running.outcome(who, "--topic", "news")[1:] == ("suppress", "R15")
    assert "--evidence: say why" in running.refused(
        "register", "unrestrict", who, *BY, "--evidence", ""
    )
    running.good("register", "unrestrict", who, *BY, "--evidence", "settled")
    [row] = running.good("register", "show", who, "--json").rows
    assert not row["restricted"]
    assert "nothing is said" in running.refused("register", "describe", who, *BY)
    kinds = [row["kind"] for row in running.good("register", "history", who, "--json").rows]
    assert kinds == ["classify", "describe", "restrict", "unrestrict"]
