"""`/v1/imports` on a running gateway: one list at a time, whatever happens to the process."""

import asyncio
import contextlib
import io
import os
import signal
import time

import aiohttp
import pytest

from gateway.api.account import Role
from tests.peers.postgresql import sql

YES, NO = "yes.person@example.com", "no.person@example.com"
OPEN = ("waiting", "running")


async def ended(caller, job, within=30):
    """The import, once it has ended."""
    end = time.monotonic() + within
    while True:
        status, told = await caller.get(f"/v1/imports/{job}")
        assert status == 200, told
        if told["state"] not in OPEN:
            return told
        assert time.monotonic() < end, told
        await asyncio.sleep(0.1)


async def outcome(caller, *contacts):
    _, said = await caller.post("/v1/decisions", {"contacts": list(contacts)})
    return [one["rule"] for one in said["decisions"]]


async def test_a_list_is_taken_in_and_never_lifts_a_ban(house):
    officer = await house.caller(Role.OFFICER)
    await house.gateway.allow(YES)
    rows = f"email,ban,consent_email,consent_proof,source\n{YES},all,,,shop\n{NO},,granted,x,shop\n"
    status, job = await officer.post("/v1/imports", {"rows": rows, "source": "list of May"})
    assert (status, job["state"], job["source"]) == (202, "waiting", "list of May")
    done = await ended(officer, job["id"])
    assert (done["state"], done["rows"], done["done"]) == ("done", 2, 2)
    assert (done["changed"], done["unchanged"], done["bad"]) == (2, 0, 0)
    assert (done["begun"], done["account"]) == (1, "officer-1")
    assert await outcome(officer, YES, NO) == ["R11", "R40"]

    # Another list that says the opposite lifts nothing, and the same again changes nothing.
    again = f"email,consent_email,consent_proof\n{YES},granted,form 5\n"
    _, job = await officer.post("/v1/imports", {"rows": again})
    assert (await ended(officer, job["id"]))["state"] == "done"
    assert (await outcome(officer, YES)) == ["R11"]
    _, job = await officer.post("/v1/imports", {"rows": rows})
    done = await ended(officer, job["id"])
    assert (done["changed"], done["unchanged"]) == (0, 2)

    status, listed = await officer.get("/v1/imports?limit=2")
    assert listed["imports"][0]["id"] == job["id"]
    assert len(listed["imports"]) == 2
    # No row is kept when it is over.
    kept = sql(house.gateway.folder / "data/archive.sqlite", "SELECT sealed_rows FROM import_job")
    assert kept == [(None,)] * 3


@pytest.mark.parametrize("kind", ["text/csv", "application/x-ndjson"])
async def test_a_list_is_the_body_itself_with_its_options_in_the_query(house, kind):
    officer = await house.caller(Role.OFFICER)
    body = f"Osoite;ban\n{NO};all\n" if kind == "text/csv" else f'{{"Osoite":"{NO}","ban":"all"}}\n'
    headers = {"Content-Type": kind}
    path = "/v1/imports?columns=email%3DOsoite&source=crm"
    status, job, _ = await officer.ask("POST", path, headers=headers, data=body.encode())
    assert status == 202, job
    assert (await ended(officer, job["id"]))["changed"] == 1
    assert await outcome(officer, NO) == ["R11"]
    status, wrong, _ = await officer.ask(
        "POST", "/v1/imports?columns=nothing", headers=headers, data=body.encode()
    )
    assert (status, wrong["errors"][0]["pointer"]) == (422, "/columns")
    status, wrong = await officer.post("/v1/imports?source=crm", {"rows": body})
    assert (status, wrong["errors"][0]["pointer"]) == (422, "/source")


async def test_bad_rows_are_named_by_line_and_never_repeated(house):
    officer = await house.caller(Role.OFFICER)
    rows = f"email,ban\nnot-an-address,all\n{NO},all\nkalle@example.com,sometimes\n"
    _, job = await officer.post("/v1/imports", {"rows": rows})
    done = await ended(officer, job["id"])
    assert (done["state"], done["bad"], done["changed"]) == ("refused", 2, 0)
    assert [(bad["line"], bad["column"]) for bad in done["bad_rows"]] == [(2, "email"), (4, "ban")]
    assert "nothing is applied" in done["cause"]
    for value in ("not-an-address", "sometimes", "kalle", NO):
        assert value not in str(done)
    assert await outcome(officer, NO) == ["R49"]
    _, job = await officer.post("/v1/imports", {"rows": rows, "skip_bad": True})
    done = await ended(officer, job["id"])
    assert (done["state"], done["bad"], done["changed"]) == ("done", 2, 1)
    assert await outcome(officer, NO) == ["R11"]
    # A list without a header: its first contact is not told on.
    for rows in (f"email,{NO}\na@example.com,x\n", f"{NO},all\n"):
        _, job = await officer.post("/v1/imports", {"rows": rows})
        assert NO not in str(await ended(officer, job["id"]))
    for rows in ("", " \n"):
        assert (await officer.post("/v1/imports", {"rows": rows}))[0] == 422
    tool = await house.caller(Role.TOOL)
    assert (await tool.post("/v1/imports", {"rows": rows}))[0] == 403
    assert (await officer.get("/v1/imports/01NOTHING"))[0] == 404
    assert (await officer.post("/v1/imports/01NOTHING/cancel", None))[0] == 404


async def test_a_list_that_is_too_large_is_refused(house):
    officer = await house.caller(Role.OFFICER)
    house.gateway.configure(
        api={"listen": ["127.0.0.1:0"], "requests_per_minute": 1_000_000, "max_import": 4096}
    )
    await house.gateway.stop()
    await house.gateway.start()
    officer.base = f"http://127.0.0.1:{house.gateway.api}"
    rows = "email,ban\n" + "".join(f"a{n}@example.com,all\n" for n in range(1000))
    assert (await officer.post("/v1/imports", {"rows": rows}))[0] == 413


def many(count):
    """Rows that each say something of their own, so that they take their time."""
    return "email,ban,source\n" + "".join(
        f"person.{n}@example{n % 50}.com,all,shop {n}\n" for n in range(count)
    )


async def handed_over(caller, rows):
    """A long list, sent as a file is."""
    status, job, _ = await caller.ask(
        "POST",
        "/v1/imports",
        headers={"Content-Type": "text/csv"},
        data=io.BytesIO(rows.encode()),
    )
    assert status == 202, job
    return job


async def under_way(officer):
    """A list that is half taken in, and its rows; on a quick machine a longer one."""
    count = 24_000
    while True:
        job = await handed_over(officer, many(count))
        end = time.monotonic() + 60
        while True:
            _, told = await officer.get(f"/v1/imports/{job['id']}")
            if told["done"] or told["state"] not in OPEN:
                break
            assert time.monotonic() < end, told
            await asyncio.sleep(0.02)
        if told["state"] == "running" and told["done"] < count:
            return job, count
        # The rows of before are known by then and change nothing.
        count *= 2
        assert count < 300_000, "every list is over before it can be stopped"


@pytest.mark.slow
async def test_a_killed_import_ends_as_if_it_had_run_once(house):
    officer = await house.caller(Role.OFFICER)
    job, count = await under_way(officer)
    _, second = await officer.post("/v1/imports", {"rows": f"email,ban\n{NO},all\n"})
    # One at a time, and others are served meanwhile.
    assert (await officer.get(f"/v1/imports/{second['id']}"))[1]["state"] == "waiting"
    await outcome(officer, NO)
    everyone = [house.gateway.pid, *house.gateway.processes()]
    for pid in everyone:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    await house.gateway.ended()
    await house.gateway.start()
    officer.base = f"http://127.0.0.1:{house.gateway.api}"
    done = await ended(officer, job["id"], within=120)
    assert (done["state"], done["rows"], done["done"]) == ("done", count, count)
    assert done["begun"] == 2
    assert done["changed"] + done["unchanged"] == count
    assert done["changed"] < count
    assert (await ended(officer, second["id"]))["state"] == "done"
    # Every ban once: as many events as if it had run once.
    for start in range(0, count, 8_000):
        some = [f"person.{n}@example{n % 50}.com" for n in range(start, start + 1000)]
        assert set(await outcome(officer, *some)) == {"R11"}
    await house.gateway.stop()
    archive = house.gateway.folder / "data/archive.sqlite"
    assert sql(archive, "SELECT count(*), count(DISTINCT subject) FROM event WHERE kind = 'ban'")[
        0
    ] == (count + 1, count + 1)


@pytest.mark.slow
async def test_an_import_goes_on_when_the_gateway_was_stopped_meanwhile(house):
    officer = await house.caller(Role.OFFICER)
    job, count = await under_way(officer)
    assert await house.gateway.stop() == 0
    await house.gateway.start()
    officer.base = f"http://127.0.0.1:{house.gateway.api}"
    done = await ended(officer, job["id"], within=60)
    assert (done["state"], done["done"], done["begun"]) == ("done", count, 2)


@pytest.mark.slow
async def test_a_cancelled_import_says_what_it_did(house):
    officer = await house.caller(Role.OFFICER)
    count = 60_000
    job = await handed_over(officer, many(count))
    _, waiting = await officer.post("/v1/imports", {"rows": f"email,ban\n{NO},all\n"})
    status, told = await officer.post(f"/v1/imports/{waiting['id']}/cancel", None)
    assert (status, told["state"]) == (200, "cancelled")
    end = time.monotonic() + 60
    while not told["done"] or told["id"] != job["id"]:
        _, told = await officer.get(f"/v1/imports/{job['id']}")
        assert time.monotonic() < end, told
        await asyncio.sleep(0.05)
    _, told = await officer.post(f"/v1/imports/{job['id']}/cancel", None)
    assert told["state"] == "cancelled"
    # The next one waits no longer; then nothing of the first moves any more.
    _, after = await officer.post("/v1/imports", {"rows": f"email,ban\n{YES},all\n"})
    assert (await ended(officer, after["id"]))["state"] == "done"
    _, told = await officer.get(f"/v1/imports/{job['id']}")
    assert 0 < told["done"] < count
    assert told["changed"] > 0
    assert await outcome(officer, NO) == ["R49"]


async def test_a_list_waits_while_the_register_is_away(house):
    officer = await house.caller(Role.OFFICER)
    register = house.gateway.register_pid
    _, job = await officer.post("/v1/imports", {"rows": f"email,ban\n{NO},all\n"})
    assert (await ended(officer, job["id"]))["state"] == "done"
    os.kill(register, signal.SIGSTOP)
    try:
        # It cannot be recorded who brought it, so it is not taken.
        status, _ = await officer.post(
            "/v1/imports", {"rows": "email\na@example.com\n"}, timeout=aiohttp.ClientTimeout(60)
        )
        assert status == 503
    finally:
        os.kill(register, signal.SIGCONT)
