"""`check` and `rules`: what would be decided, and why."""

import shutil
from pathlib import Path

from tests.cli.conftest import BY

RULES = Path("rules/finland.toml").resolve()


def test_exit_statuses_and_words(either):
    either.good("register", "ban", "no@example.com", *BY)
    either.good(
        *("register", "relationship", "yes@example.com", *BY, "--start", "2020-01-01"),
        *("--collected", "sale", "--opt-out-offered", "--product-group", "broadband"),
    )
    group = ("--product-group", "broadband")
    done = either.good("check", "yes@example.com", *group)
    assert done.out.startswith("yes@example.com: forward by R")
    done = either.good("check", "yes@example.com", "no@example.com", *group, status=1)
    assert "no@example.com: suppress by R11: " in done.out
    assert "source: " in done.out
    done = either.good("check", "no@example.com", "--language", "fi", status=1)
    assert "kiel" in done.out
    # A ban on marketing concerns no invoice.
    done = either.good("check", "no@example.com", "--kind", "transactional")
    assert "forward by R06" in done.out


def test_json_and_explain(running):
    running.good("register", "ban", "No.Body+x@gmail.com", *BY)
    done = running.good("check", "nobody@gmail.com", "--json", "--explain", status=1)
    [row] = done.rows
    assert (row["outcome"], row["rule"], row["tier"]) == ("suppress", "R11", "base")
    assert set(row["reason"]) == {"fi", "sv", "en"}
    assert row["facts"]["ban_all"] is True
    assert [step["rule"] for step in row["trace"] if step["matched"]] == ["R11"]
    assert row["trace"][0]["because"]
    done = running.good("check", "No.Body@gmail.com", "--explain", status=1)
    assert "read as no.body@gmail.com, bans also as nobody@gmail.com" in done.out
    assert "R11: matches" in done.out
    assert running.outcome("+358501234567")[0] == 1


def test_rules_are_shown_and_tested(tmp_path, running):
    shown = running.good("rules", "show", "--json").rows
    assert shown[0]["id"] == "R01"
    assert set(shown[0]["title"]) == {"fi", "sv", "en"}
    assert "Viestin laji epäselvä" in running.good("rules", "show", "--language", "fi").out
    done = running.good("rules", "test")
    assert done.out.startswith("finland 2026.2: ")
    assert done.out.endswith("each fires its rule\n")
    assert running.good("rules", "test", "opt-out").out.startswith("opt-out ")

    bad = tmp_path / "house.toml"
    shutil.copy(RULES, bad)
    text = bad.read_text()
    line = text[: text.index('then = "suppress"')].count("\n") + 1
    bad.write_text(text.replace('then = "suppress"', 'then = "surpress"', 1))
    said = running.refused("rules", "test", str(bad))
    assert f"house.toml:{line}" in said or f"house.toml, line {line}" in said, said
    assert "surpress" in said
    # An example that another rule decides is a mistake in the file.
    bad.write_text(text.replace('kind = "unclear" },', 'kind = "marketing" },', 1))
    said = running.refused("rules", "test", str(bad))
    assert "house.toml" in said
    assert "R01" in said
    assert "nowhere.toml" in running.refused("rules", "test", "nowhere.toml")
