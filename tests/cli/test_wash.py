"""`wash`: a list in, who may be mailed and who may not out."""

import csv
import hashlib
import json
import os
import subprocess
import sys

from tests.cli.conftest import BY
from tests.peers.process import environment

ROWS = 20_000


def rows(path):
    with path.open(newline="") as file:
        return list(csv.reader(file))


def test_counts_outputs_and_bad_rows(either):
    either.good("register", "ban", "banned@example.com", *BY)
    either.good(
        *("register", "relationship", "customer@example.com", *BY, "--start", "2020-01-01"),
        *("--collected", "sale", "--opt-out-offered", "--product-group", "broadband"),
    )
    source = either.folder / "list.csv"
    source.write_text(
        "name;email\n"
        "One;Customer@Example.com\n"
        "Two;banned@example.com\n"
        "Three;stranger@example.com\n"
        "Four;not an address\n"
        "Five\n"
    )
    done = either.good("wash", source, "--product-group", "broadband", "--json", status=1)
    [row] = done.rows
    assert (row["may_go"], row["may_not_go"], row["unreadable"]) == (1, 2, 2)
    assert sum(row["rules"].values()) == 3
    assert row["rules"]["R11"] == 1
    go, stop = either.folder / "list.may-go.csv", either.folder / "list.may-not-go.csv"
    assert go.read_text().splitlines() == ["name;email", "One;Customer@Example.com"]
    stopped = [line.split(";") for line in stop.read_text().splitlines()]
    assert stopped[0][-3:] == ["gateway_outcome", "gateway_rule", "gateway_reason"]
    assert [line[0] for line in stopped[1:]] == ["Two", "Three", "Four", "Five"]
    assert stopped[1][2:4] == ["suppress", "R11"]
    # Whoever reads the table sees the same counts.
    told = either.good(
        *("wash", source, "--product-group", "broadband", "--language", "sv"),
        *("--may-go", either.folder / "go.csv", "--may-not-go", either.folder / "stop.csv"),
        status=1,
    ).out
    assert "1 may go: " in told
    assert "4 may not go: " in told
    assert (either.folder / "go.csv").read_text() == go.read_text()


def test_a_list_of_hashes_that_is_not_taken_in(running):
    for who in ("keep@list.example", "drop+x@list.example"):
        running.good("register", "consent", who, *BY, "--wording", "v1", "--evidence", "form")
    source = running.folder / "mailing.csv"
    source.write_text("email\nkeep@list.example\nDrop+X@list.example\nno address\n")
    hashed = running.folder / "hashed.csv"
    hashed.write_text(f"id,md5\n1,{hashlib.md5(b'DROP@LIST.EXAMPLE').hexdigest()}\n")
    against = ("--against", hashed, "--algorithm", "md5", "--normalise", "upper")
    against = (*against, "--against-column", "md5")
    done = running.good("wash", source, *against, "--json", status=1)
    [row] = done.rows
    assert (row["may_go"], row["may_not_go"], row["unreadable"], row["named"]) == (1, 0, 1, 1)
    stopped = rows(running.folder / "mailing.may-not-go.csv")
    assert [line[0] for line in stopped[1:]] == ["Drop+X@list.example", "no address"]
    assert stopped[1][1] == "suppress"
    assert "hashed list" in stopped[1][3]
    told = running.good("wash", source, *against, status=1).out
    assert "2 may not go: " in told
    # The register has learned nothing.
    assert running.outcome("drop+x@list.example")[1] == "forward"
    for options, cause in (
        (("--against", hashed), "--algorithm"),
        (("--normalise", "lower"), "--against"),
        (("--against", hashed, "--algorithm", "md5", "--normalise", "e164"), "email"),
        (("--against", hashed, "--algorithm", "md5", "--normalise", "lower"), "line 1"),
    ):
        assert cause in running.refused("wash", source, *options)


def washed(place, count: int) -> int:
    """Wash a list of so many rows of two kilobytes; the most memory that took, in KiB."""
    source = place.folder / f"{count}.csv"
    with source.open("w") as file:
        file.write("id,email,padding\n")
        for number in range(count):
            file.write(f"{number},reader{number}@example.com,{'x' * 2000}\n")
    process = subprocess.Popen(
        [sys.executable, "-m", "gateway", "wash", source, "--json"],
        cwd=place.folder,
        env=environment(),
        stdout=subprocess.PIPE,
    )
    [line] = process.stdout.readlines()
    process.stdout.close()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 1
    told = json.loads(line)
    assert told["may_go"] + told["may_not_go"] == count
    assert told["rules"]["R11"] == 1
    return usage.ru_maxrss


def test_twenty_thousand_rows_stream(running):
    running.good("register", "ban", "reader7@example.com", *BY)
    few, many = washed(running, 10), washed(running, ROWS)
    go, stop = (rows(running.folder / f"{ROWS}.{name}.csv") for name in ("may-go", "may-not-go"))
    assert len(go) + len(stop) == ROWS + 2
    assert [int(line[0]) for line in stop[1:]] == sorted(int(line[0]) for line in stop[1:])
    # Forty megabytes pass through; they are never all in memory.
    assert many - few < 25_000, f"{many - few} KiB more"


def test_lists_that_cannot_be_washed(stopped):
    source = stopped.folder / "list.csv"
    assert "No such file" in stopped.refused("wash", source)
    source.write_text("name,address\nMaija,maija@example.com\n")
    said = stopped.refused("wash", source)
    assert "no column for email addresses among name, address; name it with --column" in said
    stopped.good("wash", source, "--column", "address", status=1)
    source.write_text("")
    assert "empty" in stopped.refused("wash", source)
    source.write_bytes(b"email\n\xe4@example.com\n")
    assert "line 2 is not UTF-8" in stopped.refused("wash", source)
    source.write_text('email\na@example.com\n"b@example.com\nc@example.com\n')
    assert "the row that begins in line 3 is not readable" in stopped.refused("wash", source)
    source.write_bytes(b"email\na@example.com\n" + b"b" * (2 << 20))
    assert "line 3 is longer than 1 MiB" in stopped.refused("wash", source)
    left = {path.name for path in stopped.folder.iterdir() if "part" in path.name}
    assert left == set()


def test_a_reader_that_goes_away_is_no_traceback(running):
    """`… | head -1`: the rest of the output is not wanted, and that is no fault."""
    done = subprocess.run(
        ["sh", "-c", f"{sys.executable} -m gateway rules show --json | head -1"],
        cwd=running.folder,
        env=environment(),
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.stdout.startswith(b'{"id":"R01"')
    assert done.stderr == b""
