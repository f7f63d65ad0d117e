"""A list whose cursors lead in a circle is told as failing, and loses nobody."""

from __future__ import annotations

import asyncio
import time

import pytest

from gateway.clock import now_ms
from gateway.connector.connector import ToolUnreadable
from gateway.settings.sync import Sync, SyncTool, ToolKind
from gateway.sync import loop
from gateway.sync.gauge import sync_figures
from gateway.sync.loop import Loops
from gateway.sync.plan import plan
from gateway.sync.session import Session
from gateway.sync.tool import Tool, tool_of
from tests.connector.dialogue import served
from tests.peers.journal import written_log
from tests.peers.tools.http import Ledger
from tests.sync.plain import PlainTool

LONG_AGO = "2020-01-05T10:00:00Z"
"""So long that what is new does not tell of it, only the whole list."""
DAY = 86_400_000


@pytest.fixture
async def ledger():
    """A system that speaks the small protocol, of nine pages."""
    one = Ledger(rows=3)
    for number in range(26):
        one.entries.append({"contact": f"p{number}@example.com", "at": LONG_AGO})
    async with served(one.app) as server:
        one.url = server.url
        yield one


@pytest.fixture
def tool(ledger, tmp_path) -> Tool:
    secret = tmp_path / "secret"
    secret.write_text("t0ken")
    secret.chmod(0o600)
    settings = SyncTool(
        name="round",
        kind=ToolKind.HTTP,
        url=ledger.url,
        secret_file=secret,
        requests_per_second=1000,
    )
    return tool_of(settings)


@pytest.mark.parametrize("back", [0, 3, 12, 24])
async def test_the_whole_list_fails_and_nobody_counts_as_gone(world, ledger, tool, back):
    await world.round(tool)
    world.later(DAY)
    ledger.entries += [{"contact": "late@example.com", "at": LONG_AGO}]
    await world.round(tool)
    ledger.back = back
    ledger.calls.clear()
    with pytest.raises(ToolUnreadable, match=r"lead in a circle|the cursor stays") as raised:
        await world.round(tool, whole=True)
    assert len(ledger.calls) < 40
    kept = await world.bureau.store.tool("round")
    assert kept.cause == str(raised.value)
    assert kept.failing_since is not None
    assert len(kept.sealed_listing) < 500
    assert await world.banned("late@example.com")
    ledger.back = None
    await world.round(tool, whole=True)
    assert (await world.bureau.store.tool("round")).failing_since is None
    assert await world.tasks() == []


async def test_a_new_tools_list_is_never_taken_for_read(world, ledger, tool):
    ledger.back = 6
    for _ in range(3):
        with pytest.raises(ToolUnreadable, match="circle"):
            await world.round(tool)
    assert (await world.bureau.store.tool("round")).listed is None
    for number in (0, 13, 25):
        assert await world.banned(f"p{number}@example.com")


@pytest.mark.parametrize("pages", [1000, 4])
async def test_what_is_new_fails_too_also_where_it_is_read_in_parts(
    world, ledger, tool, pages, monkeypatch
):
    monkeypatch.setattr("gateway.sync.pull._PAGES", pages)
    for entry in ledger.entries:
        del entry["at"]
    ledger.entries[0]["at"] = "2999-01-01T10:00:00Z"
    ledger.back = 3
    puller, store = world.bureau.puller, world.bureau.store
    session = Session(tool.settings, tool.connector)
    try:
        with pytest.raises(ToolUnreadable, match="circle"):
            for _ in range(20):
                await puller.changes(tool, session, await store.tool("round"))
        # Told again as long as it is so.
        with pytest.raises(ToolUnreadable, match="circle"):
            for _ in range(20):
                await puller.changes(tool, session, await store.tool("round"))
    finally:
        await session.aclose()
    assert await world.banned("p25@example.com")


async def test_a_plan_ends(world, ledger, tool):
    ledger.back = 9
    session = Session(tool.settings, tool.connector)
    try:
        with pytest.raises(ToolUnreadable, match="circle"):
            await plan(world.bureau, world.stores.ring, tool, session)
    finally:
        await session.aclose()


async def test_a_listing_that_an_older_version_began_is_gone_on_with():
    from gateway.sync.pull import Listing
    from gateway.sync.trail import Trail

    assert Listing.read('{"cursor":"7","began":5}') == Listing("7", 5, Trail())
    further = Listing("7", 5, Trail().on("6").on("7"))
    assert Listing.read(further.text) == further


async def until(condition, within: float = 60):
    end = time.monotonic() + within
    while not await condition():
        assert time.monotonic() < end, "it never came"
        await asyncio.sleep(0.02)


async def test_its_loop_tells_it_and_other_tools_and_bans_go_on(world, ledger, tool, monkeypatch):
    monkeypatch.setattr(loop, "_TICK", 0.05)
    monkeypatch.setattr(loop, "_RETRY_MOST", 0.5)
    ledger.back = 12
    store, settings = world.bureau.store, Sync(every=0.2, tools=[tool.settings])

    async def failing():
        figures = await sync_figures(world.stores.database, settings)
        return figures.tools["round"].failing

    async def recovered():
        return not await failing() and (await store.tool("round")).listed is not None

    async with PlainTool() as plain:
        plain.add("theirs@example.com", at=now_ms() - DAY)
        loops = Loops()
        with written_log() as log:
            await loops.set(world.bureau.hands, [tool, plain.tool()], settings)
            try:
                await until(failing)
                await world.ban("a@example.com")
                await world.stores.archiver.run_once()

                async def reached():
                    there = [entry["contact"] for entry in ledger.entries]
                    return "a@example.com" in there and plain.has("p25@example.com")

                await world.stores.archiver.run_once()
                await until(reached)
                assert await failing()
                assert (await store.tool("plain")).failing_since is None
                assert await world.banned("theirs@example.com")
                ledger.back = None
                await until(recovered)
            finally:
                await loops.aclose()
    [told] = [line for line in log.getvalue().splitlines() if "sync_failing" in line]
    assert "circle" in told
    assert "round" in told
    assert "sync_recovered" in log.getvalue()
    assert await world.tasks() == []
