"""`register ban … show … history`: a change is in force and told with its proof."""

import pytest

from tests.cli.conftest import BY


def test_a_ban_and_its_end(either):
    who = "Maija.Meikäläinen+news@Example.com"
    assert either.good("register", "show", who, status=1).out == f"{who}: not in the register\n"
    done = either.good("register", "ban", who, *BY, "--evidence", "ticket 7", "--source", "phone")
    assert done.out.startswith(f"{who}: ban (all); in force now (event ")

    [row] = either.good("register", "show", who, "--json").rows
    [ban] = row["bans"]
    assert ban["scope"] == "all"
    assert ban["through_another_spelling"] is False
    # Another spelling of the same mailbox is banned through it.
    [row] = either.good("register", "show", "maija.meikäläinen@example.com", "--json").rows
    assert row["bans"][0]["through_another_spelling"] is True
    assert either.outcome("maija.meikäläinen@example.com")[:2] == (1, "suppress")

    assert "--evidence: say why" in either.refused("register", "unban", who, *BY, "--evidence", " ")
    done = either.good("register", "unban", who, *BY, "--evidence", "a mistake, ticket 8", "--json")
    assert done.rows[0]["kind"] == "unban"
    assert "sealed" not in done.rows[0] or done.rows[0]["sealed"] is None
    either.good("register", "show", "maija.meikäläinen@example.com", status=1)

    first, second = either.good("register", "history", who, "--json").rows
    assert (first["kind"], first["evidence"], first["source"]) == ("ban", "ticket 7", "phone")
    assert (second["kind"], second["actor"]) == ("unban", "tester")
    assert "maija" not in str(first).casefold()
    told = either.good("register", "history", who).out
    assert "ticket 7" in told
    assert "a mistake, ticket 8" in told


def test_scopes_numbers_and_organisations(running):
    running.good("register", "ban", "a@example.com", *BY, "--scope", "topic", "--topic", "news")
    [row] = running.good("register", "show", "a@example.com", "--json").rows
    assert (row["bans"][0]["scope"], row["bans"][0]["topic"]) == ("topic", "news")
    assert "go together" in running.refused("register", "ban", "a@example.com", *BY, "--topic", "x")

    running.good("register", "ban", "+358 50 1234567", *BY, "--scope", "sms", "--at", "2026-01-02")
    [row] = running.good("register", "show", "+358501234567", "--json").rows
    assert row["bans"][0] == {
        "scope": "channel",
        "channel": "sms",
        "topic": None,
        "since": "2026-01-02T00:00:00+00:00",
        "through_another_spelling": False,
    }

    running.good("register", "ban", "@firma.example", *BY)
    assert running.outcome("anyone@sub.firma.example") == (1, "suppress", "R14")
    [row] = running.good("register", "show", "@firma.example", "--json").rows
    assert row["bans"][0]["scope"] == "organisation"
    assert [e["kind"] for e in running.good("register", "history", "@firma.example", "--json").rows]
    running.good("register", "unban", "@firma.example", *BY, "--evidence", "wrong firm")
    assert running.outcome("anyone@sub.firma.example")[2] != "R14"


def test_consent_lifts_and_withdrawal_bans(running):
    who = "consents@example.com"
    running.good("register", "ban", who, *BY, "--at", "2026-01-01")
    done = running.good("register", "consent", who, *BY, status=1)
    assert "consent without full proof" in done.out
    assert "a ban stands and is stronger" in done.out
    assert running.outcome(who)[1] == "suppress"
    proof = ("--wording", "v3: Yes, please", "--evidence", "form 9", "--source", "web")
    assert ": consent; in force" in running.good("register", "consent", who, *BY, *proof).out
    assert running.outcome(who) == (1, "hold", "R42") or running.outcome(who)[1] == "forward"
    assert ": consent withdrawn; in" in running.good("register", "withdraw", who, *BY).out
    assert running.outcome(who)[:2] == (1, "suppress")


def test_a_relationship_is_what_soft_opt_in_needs(running):
    who = "customer@example.com"
    running.good(
        *("register", "relationship", who, *BY, "--start", "2020-01-01", "--collected", "sale"),
        *("--opt-out-offered", "--product-group", "broadband", "--product-group", "mobile"),
    )
    [row] = running.good("register", "show", who, "--json").rows
    assert row["relationship_start"] == "2020-01-01"
    assert row["product_groups"] == ["broadband", "mobile"]
    assert running.outcome(who, "--product-group", "broadband")[:2] == (0, "forward")
    assert running.outcome(who, "--product-group", "furniture")[0] == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("register", "ban", "nobody", *BY), "nobody:"),
        (("register", "ban", "a@b@c", *BY), "a@b@c:"),
        (("register", "ban", "@", *BY), "domain"),
        (("register", "ban", "a@b.fi", *BY, "--at", "someday"), "someday: not a time"),
        (("register", "relationship", "a@b.fi", *BY, "--start", "now"), "now: not a date"),
    ],
)
def test_what_cannot_be_read_is_said_in_one_line(stopped, arguments, words):
    assert words in stopped.refused(*arguments)


def test_an_answer_says_what_is_true_and_not_what_was_wanted(stopped):
    """It said "lifted; in force now" of bans that were not there, or still stood."""
    nothing = stopped.good(
        *("register", "unban", "never@example.com", *BY, "--evidence", "x"), status=1
    )
    assert "no such ban" in nothing.out
    stopped.good("register", "ban", "lena.berg+shop@gmail.com", *BY)
    stopped.good("register", "ban", "lenaberg@gmail.com", *BY)
    other = stopped.good(
        *("register", "unban", "lenaberg@gmail.com", *BY, "--evidence", "x"), status=1
    )
    assert "stands" in other.out
    stopped.good("register", "ban", "@firm.example", *BY)
    shown = stopped.good("register", "show", "info@firm.example")
    assert "its organisation has banned marketing: @firm.example" in shown.out
    unbanned = stopped.good(
        *("register", "unban", "info@firm.example", *BY, "--evidence", "x"), status=1
    )
    assert "organisation" in unbanned.out


def test_times_that_cannot_be_are_refused(stopped):
    for change in ("consent", "ban", "withdraw"):
        told = stopped.refused("register", change, "f@example.com", *BY, "--at", "2099-01-01")
        assert "future" in told
    over = ("--expires", "2020-01-01")
    assert "over" in stopped.refused("register", "consent", "f@example.com", *BY, *over)
    assert "--by" in stopped.refused("register", "ban", "f@example.com", "--by", " ")


def test_a_numbers_consent_and_its_withdrawal_are_for_text_messages(running):
    number, proof = "+358401230001", ("--wording", "Text me", "--evidence", "form 1")
    running.good("register", "consent", number, *BY, *proof)
    assert running.outcome(number) == (0, "forward", "R40")
    running.good("register", "withdraw", number, *BY)
    assert running.outcome(number) == (1, "suppress", "R12")
    running.good("register", "consent", number, *BY, *proof, "--channel", "email", status=0)
    assert running.outcome(number) == (1, "suppress", "R12")
