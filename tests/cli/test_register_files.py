"""`register import` and `register export`."""

import json

from tests.cli.conftest import BY, place_in

WHY = (*BY, "--reason", "a move to another machine")
HEADER = "Sähköposti;Kielto;Kieltoaika;Lähde\n"
MAP = [
    *("--map", "email=Sähköposti", "--map", "ban=Kielto"),
    *("--map", "ban_at=Kieltoaika", "--map", "source=Lähde"),
]


def test_an_import_with_a_map_and_again(either):
    path = either.folder / "bans.csv"
    path.write_text(HEADER + "a@import.example;all;2025-05-01;crm\nb@import.example;email;;\n")
    done = either.good("register", "import", path, *BY, *MAP)
    assert done.out == "2 rows, 2 contacts: 2 changed, 0 as they were\n"
    [row] = either.good("register", "show", "a@import.example", "--json").rows
    assert row["bans"][0]["since"] == "2025-05-01T00:00:00+00:00"
    done = either.good("register", "import", path, *BY, *MAP, "--json")
    assert done.rows[0]["unchanged"] == 2
    assert done.rows[0]["changed"] == 0
    # A list without the ban, or with a consent, lifts nothing.
    path.write_text(
        "email,consent_email,consent_at,consent_proof,source\n"
        "a@import.example,granted,2026-06-01,form 1,crm\n"
    )
    either.good("register", "import", path, *BY)
    assert either.outcome("a@import.example")[:2] == (1, "suppress")


def test_bad_rows_and_nothing_is_applied(running):
    path = running.folder / "bad.csv"
    path.write_text(
        "email,ban,ban_at\n"
        "good@bad.example,all,\n"
        "not an address,all,\n"
        "x@bad.example,everything,\n"
        "y@bad.example,all,yesterday\n"
    )
    done = running("register", "import", path, *BY)
    assert done.status == 1
    assert done.out == ""
    lines = done.err.splitlines()
    assert [line.split(": ")[:2] for line in lines[:3]] == [
        [f"{path}:3", "email"],
        [f"{path}:4", "ban"],
        [f"{path}:5", "ban_at"],
    ]
    assert "a ban is one of all, email" in lines[1]
    assert lines[3] == "3 bad rows: nothing is applied; mend them or use --skip-bad"
    running.good("register", "show", "good@bad.example", status=1)

    done = running("register", "import", path, *BY, "--skip-bad", "--json")
    assert done.status == 1
    [row] = done.rows
    assert (row["applied"], row["rows"], row["bad"]) == (True, 1, 3)
    assert row["bad_rows"][0]["line"] == 3
    running.good("register", "show", "good@bad.example")


def test_ndjson(running):
    path = running.folder / "in.ndjson"
    rows = [
        {"email": "n1@nd.example", "ban": "all"},
        {"phone": "050 1234567", "ban": "sms"},
        {"organisation": "nd-firm.example", "ban": "organisation"},
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = running.good("register", "import", path, *BY, "--region", "FI")
    assert done.out.startswith("3 rows, 3 contacts: 3 changed")
    running.good("register", "show", "+358501234567")
    running.good("register", "show", "@nd-firm.example")
    path.write_text('{"email": "n2@nd.example", "ban": "all"}\n{"email": \n')
    done = running("register", "import", path, *BY)
    assert done.status == 1
    assert done.err.startswith(f"{path}:2: ")


def test_files_that_cannot_be_imported(stopped):
    path = stopped.folder / "in.csv"
    assert "cannot be read" in stopped.refused("register", "import", path, *BY)
    path.write_text("name,ban\nMaija,all\n")
    said = stopped.refused("register", "import", path, *BY)
    assert "in.csv" in said
    assert "email" in said
    path.write_bytes("email,ban\nä@example.com,all\n".encode("latin-1"))
    done = stopped("register", "import", path, *BY)
    assert done.status in (1, 2)
    assert "UTF-8" in done.err
    assert done.err.count("\n") <= 2
    said = stopped.refused("register", "import", path, *BY, "--map", "email")
    assert "write OURS=THEIRS" in said


def test_what_is_exported_can_be_imported_elsewhere(stopped, tmp_path_factory):
    path = stopped.folder / "in.csv"
    path.write_text(
        "email,phone,organisation,ban,ban_topics,ban_at,consent_email,consent_topics,consent_at,"
        "consent_proof,relationship_start,collected,opt_out_offered,product_groups,source\n"
        "a+x@example.com,,,all,,2025-01-01,,,,,,,,,crm\n"
        "b@example.com,,,,news;offers,2025-02-01,granted,*,2025-03-01,form 2,,,,,web\n"
        "c@example.com,+358501234567,,email,,,,,,,2020-02-02,sale,yes,broadband;mobile,crm\n"
        ",,firma.example,all,,2025-04-01,,,,,,,,,crm\n"
        "d@example.com,,,contact;disclosure,,,,,,,,,,,crm\n"
    )
    stopped.good("register", "import", path, *BY)
    out = stopped.folder / "out.csv"
    done = stopped("register", "export", out, *WHY)
    assert done.status == 0
    assert out.stat().st_mode & 0o777 == 0o600
    assert done.err == "6 contacts exported\n"

    other = place_in(tmp_path_factory.mktemp("other"))
    try:
        done = other("register", "import", out, *BY)
        assert done.status == 0, done
        for name in ("again.csv", "again.ndjson"):
            assert other("register", "export", other.folder / name, *WHY).status == 0
        lines = [sorted(p.read_text().splitlines()) for p in (out, other.folder / "again.csv")]
        assert lines[0] == lines[1]
        for who in ("a+x@example.com", "a@example.com", "b@example.com", "c@example.com"):
            shown = [p("register", "show", who, "--json").rows for p in (stopped, other)]
            assert shown[0] == shown[1], who
        printed = other("register", "export", *WHY)
        assert printed.out.splitlines() == (other.folder / "again.csv").read_text().splitlines()
        ndjson = (other.folder / "again.ndjson").read_text()
        rows = [json.loads(line) for line in ndjson.splitlines()]
        assert {"d@example.com"} <= {row.get("email") for row in rows}
    finally:
        other.clean_up()
