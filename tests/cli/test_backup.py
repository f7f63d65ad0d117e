"""`backup` and `restore`, by doing them: what was banned stays banned, nothing goes twice."""

import json
import sqlite3
import stat

import pytest

from tests.cli.conftest import BY, place_in
from tests.peers.house import INVOICE
from tests.peers.postgresql import sql

YES, NO, LATE = "reader@example.com", "banned@example.com", "late@example.com"


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def place(request, tmp_path):
    """A gateway that runs, has carried mail and holds two messages."""
    if request.param == "sqlite":
        place = place_in(tmp_path)
        place.archive = tmp_path / "data" / "archive.sqlite"
    else:
        url = request.getfixturevalue("postgresql").database()
        place = place_in(tmp_path, records={"url": url})
        place.archive = url
    place.run_gateway()
    try:
        proof = ("--wording", "Yes, please", "--evidence", "form 1", "--source", "web")
        for who in (YES, NO, LATE):
            place.good("register", "relationship", who, *BY, "--collected", "sale")
            place.good("register", "consent", who, *BY, *proof)
        place.good("register", "ban", NO, *BY)
        assert place.mail(YES, NO, LATE).endswith("2 forwarded, 1 suppressed")
        for _ in range(2):
            assert place.mail(YES, message=INVOICE, login="unclear").endswith("1 held")
        place.archived(5)
        yield place
        if place.running:
            place.stop_gateway()
    finally:
        place.clean_up()


HELD = ("held", "list", "--all", "--json")


def history(place) -> list:
    return place.good("register", "history", LATE, "--json").rows


def destroy(place) -> None:
    if isinstance(place.archive, str):
        sql(place.archive, "DROP SCHEMA public CASCADE", "CREATE SCHEMA public")
    else:
        place.archive.unlink()


@pytest.mark.slow
def test_nothing_banned_since_the_backup_is_lost_and_nothing_sent_since_goes_again(place):
    backup, keys = place.folder / "b1", place.folder / "k1"
    done = place.good("backup", backup, *BY, "--with-keys", keys)
    assert "keep them elsewhere" in done.out
    assert stat.S_IMODE((keys / "digest-keys.json").stat().st_mode) == 0o600
    names = {str(path.relative_to(backup)) for path in backup.rglob("*") if path.is_file()}
    assert names == {"archive.sqlite", "config.toml", "manifest.json", "rules/finland.toml"}
    secret = json.loads((keys / "content-keys.json").read_text())["keys"].values()
    octets = b"".join(path.read_bytes() for path in backup.rglob("*") if path.is_file())
    assert not any(key.encode() in octets or bytes.fromhex(key) in octets for key in secret)
    assert b"example.com" not in octets
    assert "is there already" in place.refused("backup", backup, *BY)

    # Since the backup: a ban, a message that it stops, one of two held messages released.
    place.good("register", "ban", LATE, *BY)
    assert place.mail(LATE).endswith("1 suppressed")
    first, second = (row["held"] for row in place.good("held", "list", "--json", status=1).rows)
    reason = ("--reason", "an invoice", "--kind", "transactional")
    place.good("held", "release", first, *BY, *reason)
    place.archived(7)
    assert "a gateway runs" in place.refused("restore", backup, *BY, "--force")
    place.stop_gateway()
    head = place.good("records", "verify").out

    # Replaced by the backup, with all that came since.
    assert "--force" in place.refused("restore", backup, *BY)
    assert place.good("records", "verify").out == head
    done = place.good("restore", backup, *BY, "--force", "--reason", "an exercise")
    assert "taken along from it" in done.out
    assert " event" in done.out
    assert "is kept" in done.out
    place.good("records", "verify")
    states = {row["held"]: row["state"] for row in place.good(*HELD).rows}
    assert states == {first: "released", second: "held"}
    assert [row["kind"] for row in history(place)] == ["relationship", "consent", "ban"]
    place.archived(7)
    place.run_gateway()
    assert place.mail(LATE).endswith("1 suppressed")
    place.archived(8)
    place.stop_gateway()
    if not isinstance(place.archive, str):
        [kept] = place.archive.parent.glob("archive.sqlite.replaced-*")
        assert sqlite3.connect(kept).execute("SELECT count(*) FROM record").fetchone() == (7,)
    else:
        [(schema,)] = sql(
            place.archive, "SELECT nspname FROM pg_namespace WHERE nspname LIKE 'replaced_%'"
        )
        assert sql(place.archive, f"SELECT count(*) FROM {schema}.record") == [(7,)]

    # Lost altogether: the register still has the ban, and what waited is not sent again.
    destroy(place)
    done = place.good("restore", backup, *BY, status=1)
    assert "nothing is known of what was archived after" in done.out
    assert "archived nowhere" in done.out
    assert "register export" in done.out
    assert "2 held messages may have been sent since" in done.out
    # What was signed and noted since says that something is missing, and is right.
    noted = place.good("records", "verify", status=1).out
    assert "the chain does not reach it any more" in noted
    place.folder.joinpath("data", "checkpoints.ndjson").unlink()
    # A new file begins with what is signed next.
    place.good("records", "checkpoint", *BY)
    place.good("records", "verify")
    states = {row["held"]: row["state"] for row in place.good(*HELD).rows}
    assert states == {first: "uncertain", second: "uncertain"}
    assert "uncertain" in place.refused("held", "release", first, *BY, *reason)
    place.run_gateway()
    assert place.mail(LATE).endswith("1 suppressed")
    place.archived(6)
