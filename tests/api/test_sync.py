"""The lists of tools by the API: how far they are, and what a person is to look at."""

import asyncio
import signal
import sqlite3
from pathlib import Path

import aiohttp
import pytest

from gateway.api.account import Role
from gateway.clock import now_ms
from tests.api.conftest import House
from tests.peers.port import free_port
from tests.peers.process import RunningGateway
from tests.peers.scripted import ScriptedUpstream


@pytest.fixture
async def house(tmp_path: Path):
    (tmp_path / "key").write_text("SG.key")
    tool = {
        "name": "away",
        "kind": "sendgrid",
        "url": f"http://127.0.0.1:{free_port()}",
        "secret_file": "key",
    }
    async with (
        ScriptedUpstream() as upstream,
        RunningGateway(
            tmp_path, upstream=upstream, api={"listen": ["127.0.0.1:0"]}, sync={"tools": [tool]}
        ) as gateway,
        aiohttp.ClientSession() as session,
    ):
        yield House(gateway, session)


@pytest.mark.slow
async def test_how_far_the_tools_are(house):
    viewer = await house.caller(Role.VIEWER)
    for _ in range(600):
        status, found = await viewer.get("/v1/sync")
        assert status == 200
        [tool] = found["tools"]
        if tool["failing_since"] is not None:
            break
        await asyncio.sleep(0.1)
    assert (tool["tool"], tool["kind"], tool["owed"]) == ("away", "sendgrid", 0)
    assert "does not answer" in tool["cause"]
    assert any("topic" in warning for warning in tool["warnings"])
    assert (await viewer.get("/v1/sync/tasks"))[0] == 403


async def test_a_task_is_shown_to_an_officer_and_settled_once(house):
    officer = await house.caller(Role.OFFICER)
    assert await officer.get("/v1/sync/tasks") == (200, {"tasks": []})
    with sqlite3.connect(house.gateway.settings.records.archive, timeout=10) as database:
        database.execute(
            "INSERT INTO sync_task (id, tool, subject, entry, why, told, state, closed_by, reason)"
            " VALUES ('01T', 'away', 'k1:00', 'all', 'removed', ?, 'open', '', '')",
            (now_ms(),),
        )
    status, found = await officer.get("/v1/sync/tasks")
    assert status == 200
    assert [(task["task"], task["why"], task["contact"]) for task in found["tasks"]] == [
        ("01T", "removed", None)
    ]
    path = "/v1/sync/tasks/01T/settle"
    assert (await officer.post(path, {"reason": " "}))[0] == 422
    status, task = await officer.post(path, {"reason": "asked: stays"})
    assert (status, task["closed_by"], task["reason"]) == (200, "officer-1", "asked: stays")
    assert (await officer.post(path, {"reason": "again"}))[0] == 404
    status, found = await officer.get("/v1/sync/tasks?closed=true")
    assert [task["reason"] for task in found["tasks"]] == ["asked: stays"]


@pytest.mark.slow
async def test_an_erasure_knows_the_tools_of_a_reload(house):
    """What a tool lacks of somebody erased nobody can put there later: it is to be named."""
    admin = await house.caller(Role.ADMIN)
    [away] = house.gateway.how["sync"]["tools"]
    house.gateway.configure(sync={"tools": [away, {**away, "name": "new"}]})
    house.gateway.signal(signal.SIGHUP)
    await house.gateway.line("api_reloaded")
    address = "old.person@example.com"
    status, person = await admin.post("/v1/subjects", {"contacts": [address], "source": "shop"})
    assert status == 200, person
    assert (await admin.post("/v1/bans", {"contact": address}))[0] == 200
    erase = f"/v1/subjects/{person['id']}/erase"
    status, done = await admin.post(erase, {"reason": "GDPR 17"})
    assert (status, done["ended"]) == (200, True), done
    assert sorted(done["tools_untold"]) == ["away", "new"]
