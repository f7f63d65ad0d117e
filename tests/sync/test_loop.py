"""The loops: one tool's failure is its own, one machine at a time, a clean end."""

import asyncio
import time

import pytest

from gateway.records.lease import Hold, Lease
from gateway.settings.sync import Sync
from gateway.sync import loop as module
from gateway.sync.loop import LEASE_LASTS, Loops, asked_key, lease_key, renewed
from tests.sync.plain import PlainTool


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(module, "_TICK", 0.05)
    monkeypatch.setattr(module, "_ELSEWHERE", 0.1)
    monkeypatch.setattr("gateway.sync.session._FIRST", 0.01)


@pytest.fixture
async def plain():
    async with PlainTool() as one:
        yield one


async def until(condition, within: float = 30):
    end = time.monotonic() + within
    while not (
        found := await condition() if asyncio.iscoroutinefunction(condition) else condition()
    ):
        assert time.monotonic() < end, "it never came"
        await asyncio.sleep(0.02)
    return found


async def test_a_failing_tool_stops_no_other(world, plain):
    async with PlainTool() as broken:
        broken.status = 401
        loops = Loops()
        tools = [broken.tool("broken"), plain.tool("good")]
        await world.ban("a@example.com")
        await world.stores.archiver.run_once()
        await loops.set(world.bureau.hands, tools, Sync(every=0.1))
        await until(lambda: plain.has("a@example.com"))

        async def told():
            return (await world.bureau.store.tool("broken")).failing_since

        await until(told)
        assert "key is not known" in (await world.bureau.store.tool("broken")).cause
        assert (await world.bureau.store.tool("good")).failing_since is None
        broken.status = 200
        await until(lambda: broken.has("a@example.com"))

        async def recovered():
            return not await told()

        await until(recovered)
        await loops.aclose()


async def test_one_of_two_machines_drives_a_tool_and_the_other_takes_over(world, plain):
    tool = plain.tool()
    first, second = Loops(), Loops()
    await first.set(world.bureau.hands, [tool], Sync(every=0.05))
    await until(lambda: plain.asked)
    await second.set(world.bureau.hands, [tool], Sync(every=0.05))
    wire = world.bureau.wire
    (holder,) = await wire.exchange([(b"GET", lease_key("plain"))], 5)
    await asyncio.sleep(0.5)
    assert (await wire.exchange([(b"GET", lease_key("plain"))], 5)) == [holder]
    await first.aclose()
    await world.ban("a@example.com")
    await world.stores.archiver.run_once()
    await until(lambda: plain.has("a@example.com"))
    (other,) = await wire.exchange([(b"GET", lease_key("plain"))], 5)
    assert other not in (None, holder)
    assert len(plain.puts) == 1
    await second.aclose()
    assert (await wire.exchange([(b"GET", lease_key("plain"))], 5)) == [None]


async def test_ended_in_the_middle_it_goes_on_where_it_was(world):
    async with PlainTool(page=20) as plain:
        for number in range(400):
            entry = {"address": f"p{number}@example.com", "at": 1_700_000_000_123}
            plain.list[entry["address"], "all", ""] = entry
        tool = plain.tool()
        loops = Loops()

        async def listed():
            return (await world.bureau.store.tool("plain")).listed

        for _ in range(3):
            asked = plain.asked.count("/list")
            await loops.set(world.bureau.hands, [tool], Sync(every=0.1))
            await until(lambda: plain.asked.count("/list") > asked + 2)  # noqa: B023
            await loops.aclose()
        await loops.set(world.bureau.hands, [tool], Sync(every=0.1))
        await until(listed)
        await loops.aclose()
        # Of 20 pages each is read once, and one more for each time that it was ended.
        assert plain.asked.count("/list") <= 20 + 3
        for number in (0, 199, 399):
            assert await world.banned(f"p{number}@example.com")
            assert len(await world.events(f"p{number}@example.com")) == 1


async def test_a_round_that_is_asked_for_comes_at_once(world, plain):
    loops = Loops()
    await loops.set(world.bureau.hands, [plain.tool()], Sync(every=3600))

    async def listed():
        return (await world.bureau.store.tool("plain")).listed

    await until(listed)
    plain.add("a@example.com", at=1_700_000_000_123)
    before = (await world.bureau.store.tool("plain")).rounds
    await world.bureau.wire.exchange([(b"SET", asked_key("plain"), b"new")], 5)

    async def answered():
        return (await world.bureau.store.tool("plain")).rounds > before

    await until(answered)
    assert await world.banned("a@example.com")
    await loops.aclose()


async def test_new_settings_are_taken_and_a_tool_that_is_gone_is_let_go(world, plain):
    async with PlainTool() as other:
        loops = Loops()
        await loops.set(world.bureau.hands, [plain.tool("one")], Sync(every=0.1))
        await until(lambda: plain.asked)
        await loops.set(world.bureau.hands, [other.tool("two")], Sync(every=0.1))
        await until(lambda: other.asked)  # what was under way has come
        asked = len(plain.asked)
        await until(lambda: len(other.asked) > 3)
        assert len(plain.asked) == asked
        await loops.aclose()


async def test_work_whose_lease_is_lost_is_cut_off_and_says_so(world, monkeypatch):
    monkeypatch.setattr(module, "_RENEW", 0.05)
    wire = world.bureau.wire
    lease = Lease(wire, lease_key("plain"), lasts=LEASE_LASTS)
    assert await lease.hold() is not Hold.ELSEWHERE
    assert await renewed(lease, asyncio.sleep(0.2))
    await wire.exchange([(b"SET", lease_key("plain"), b"another")], 5)
    assert not await renewed(lease, asyncio.sleep(600))
