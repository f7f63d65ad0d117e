"""`register import-hashed`: lists of hashes, whose people a running gateway then leaves out."""

import asyncio
import hashlib
import os

from redis.asyncio import Redis

from gateway.register.server import EmbeddedRegister
from tests.cli.conftest import BY

SALT = "a salt of the two of us"
HOW = ("--algorithm", "sha256", "--normalise", "lower", "--source", "partner")


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def test_a_running_gateway_leaves_out_whoever_the_list_names(running):
    for who in ("maija@hash.example", "bo@hash.example"):
        running.good(
            *("register", "consent", who, *BY, "--wording", "v1", "--evidence", "form 1"),
        )
    assert ": 2 forwarded" in running.mail("maija@hash.example", "bo@hash.example")
    path = running.folder / "hashes.txt"
    path.write_text(f"{sha256('maija@hash.example')}\n{sha256('x@hash.example')}\n")
    done = running.good("register", "import-hashed", path, *BY, *HOW)
    assert done.out.startswith("2 hashes (sha256:trim-lower): 2 new; in force now")
    # The very next check of a process that ran before the list came.
    reply = running.mail("maija@hash.example", "bo@hash.example")
    assert ": 1 forwarded, 1 suppressed" in reply
    told = running.good("register", "show", "maija@hash.example", "--json").rows[0]
    assert told["banned_by_hashed_list"] == ["all"]
    assert "a hashed list bans it: all" in running.good("register", "show", "x@hash.example").out
    rows = running.archived(2, "--address", "maija@hash.example")
    shown = running.good("records", "show", rows[0]["record_id"], "--json").rows[0]
    assert "hashed" in repr(shown)
    # The person asks for mail again: the ban of this address goes, the list stays.
    done = running("register", "unban", "maija@hash.example", *BY, "--evidence", "asked by letter")
    assert (done.status, done.err) == (0, ""), done
    assert ": 2 forwarded" in running.mail("maija@hash.example", "bo@hash.example")


def test_bad_lines_and_options(stopped):
    path = stopped.folder / "hashes.txt"
    path.write_text(f"email\n{sha256('a@hash.example')}\nb@hash.example\n")
    done = stopped("register", "import-hashed", path, *BY, *HOW)
    assert done.status == 1
    assert done.out == ""
    assert f"{path}:3: an address in the clear" in done.err
    assert "b@hash.example" not in done.err
    assert "nothing is applied" in done.err
    done = stopped("register", "import-hashed", path, *BY, *HOW, "--skip-bad", "--json")
    assert done.status == 1
    [row] = done.rows
    assert (row["applied"], row["rows"], row["new"], row["bad"]) == (True, 1, 1, 1)
    assert stopped.outcome("a@hash.example")[:2] == (1, "suppress")

    salt = stopped.folder / "salt"
    salt.write_text(SALT + "\n")
    os.chmod(salt, 0o644)
    more = ("--salt-file", salt)
    assert "chmod 600" in stopped.refused("register", "import-hashed", path, *BY, *HOW, *more)
    os.chmod(salt, 0o600)
    path.write_text(hashlib.sha256(f"{SALT}c@hash.example".encode()).hexdigest())
    more = (*more, "--salting", "prefix", "--scope", "email")
    done = stopped.good("register", "import-hashed", path, *BY, *HOW, *more, "--json")
    assert done.rows[0]["scheme"].startswith("sha256:trim-lower:prefix-")
    assert stopped.outcome("c@hash.example")[2] == "R12"
    salt.write_text("short")
    said = stopped.refused("register", "import-hashed", path, *BY, *HOW, "--salt-file", salt)
    assert "at least 16 octets" in said
    assert "short" not in said.replace(str(salt), "")
    said = stopped.refused(
        *("register", "import-hashed", path, *BY, "--algorithm", "md5", "--normalise", "as-is"),
        *("--source", "x"),
    )
    assert "trim-lower" in said


def test_a_gateway_that_starts_puts_lost_schemes_back_from_the_archive(stopped):
    path = stopped.folder / "hashes.txt"
    path.write_text(sha256("a@hash.example"))
    stopped.good("register", "import-hashed", path, *BY, *HOW)
    stopped.good("records", "search", status=1)  # archives what waits
    asyncio.run(without_schemes(stopped))
    assert stopped.outcome("a@hash.example")[2] != "R11"
    stopped.run_gateway()
    assert stopped.outcome("a@hash.example")[2] == "R11"
    stopped.stop_gateway()


async def without_schemes(place):
    server = EmbeddedRegister(place.folder / "data" / "register")
    await server.start()
    client = Redis.from_url(server.url)
    assert await client.delete("sg:hashed") == 1
    await client.aclose()
    await server.stop(wait_for_users=0)
