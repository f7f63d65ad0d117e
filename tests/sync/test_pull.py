"""What a tool's list says is taken in, by its dates; nothing that is gone there lifts."""

import time

import pytest
from sqlalchemy import select

from gateway.clock import now_ms
from gateway.connector.connector import ToolUnreadable
from gateway.entry.entry import Scope
from gateway.entry.event import EventKind
from gateway.failure import SealError
from gateway.records import schema
from gateway.records.keyusage import KeyUsage
from gateway.records.seal import Sealer, fingerprint
from gateway.sync.cursor import Course, CursorSeal
from gateway.sync.session import Session
from gateway.sync.task import Why
from tests.sync.conftest import SEALER
from tests.sync.plain import PlainTool

DAY = 86_400_000


@pytest.fixture
async def plain():
    async with PlainTool() as one:
        yield one


async def test_each_scope_is_taken_as_it_is(world, plain):
    plain.add("all@example.com", at=1_700_000_000_000)
    plain.add("channel@example.com", scope="channel", channel="email")
    plain.add("topic@example.com", scope="topic", topic="Newsletter")
    await world.round(plain.tool())
    assert await world.banned("all@example.com")
    assert await world.banned("channel@example.com")
    assert await world.banned("topic@example.com", "newsletter")
    assert not await world.banned("topic@example.com", "another")
    [event] = await world.events("all@example.com")
    assert (event.kind, event.source, event.actor) == (EventKind.BAN, "sync:plain", "tool:plain")
    assert (event.at, event.imported, event.undated) == (1_700_000_000_999, True, False)
    [event] = await world.events("channel@example.com")
    assert event.undated
    assert "@" not in event.evidence


async def test_an_entry_from_before_a_consent_bans_nobody(world, plain):
    plain.add("a@example.com", at=now_ms() - 10 * DAY)
    await world.consent("a@example.com", at=now_ms() - 5 * DAY)
    for _ in range(2):
        await world.round(plain.tool(), whole=True)
    assert not await world.banned("a@example.com")


async def test_an_entry_from_after_a_consent_bans(world, plain):
    await world.consent("a@example.com", at=now_ms() - 5 * DAY)
    plain.add("a@example.com", at=now_ms() - DAY)
    await world.round(plain.tool())
    assert await world.banned("a@example.com")


@pytest.mark.parametrize("dated", [True, False])
async def test_what_was_there_before_does_not_ban_anew_after_a_consent(world, plain, dated):
    tool = plain.tool(dated=dated)
    plain.add("a@example.com", at=now_ms() - DAY)
    await world.ban("b@example.com")
    await world.round(tool)
    assert await world.banned("a@example.com")
    await world.consent("a@example.com")
    await world.consent("b@example.com")
    for _ in range(3):
        await world.round(tool, whole=True)
    assert not await world.banned("a@example.com")
    assert not await world.banned("b@example.com")


async def test_what_was_lifted_here_is_not_banned_anew_by_the_old_entry(world, plain):
    tool = plain.tool(dated=False)
    plain.add("a@example.com")
    await world.round(tool)
    await world.tell("a@example.com", EventKind.UNBAN, scope=Scope.ALL, evidence="by mistake")
    await world.round(tool, whole=True)
    assert not await world.banned("a@example.com")


async def test_a_new_undated_entry_bans_although_there_is_a_consent(world, plain):
    tool = plain.tool(dated=False)
    plain.add("x@example.com")
    await world.round(tool)
    await world.ban("a@example.com", at=now_ms() - DAY)
    await world.consent("a@example.com", at=now_ms() - DAY // 2)
    plain.add("a@example.com")
    await world.round(tool, whole=True)
    assert await world.banned("a@example.com")


async def test_a_later_objection_there_counts_again(world, plain):
    tool = plain.tool()
    plain.add("a@example.com", at=now_ms() - DAY)
    await world.round(tool)
    await world.consent("a@example.com", at=now_ms() - DAY // 2)
    assert not await world.banned("a@example.com")
    plain.add("a@example.com", at=now_ms() - 1000)
    await world.round(tool)
    assert await world.banned("a@example.com")


async def test_a_date_in_whole_seconds_is_not_before_a_consent_of_that_second(world, plain):
    second = (now_ms() - DAY) // 1000 * 1000
    await world.consent("a@example.com", at=second + 500)
    plain.add("a@example.com", at=second)
    await world.round(plain.tool())
    assert await world.banned("a@example.com")


async def test_a_clock_that_is_ahead_is_put_right(world, plain):
    plain.add("a@example.com", at=now_ms() + 30 * DAY)
    await world.round(plain.tool())
    [event] = await world.events("a@example.com")
    assert event.at <= now_ms()


async def test_bad_entries_are_counted_and_stop_no_other(world, plain):
    plain.add("not an address")
    plain.add("a@example.com", scope="topic")  # of no topic
    plain.add("b@example.com", reason="weather")
    plain.add("c@example.com")
    tool = plain.tool()
    await world.round(tool)
    assert await world.banned("c@example.com")
    assert not await world.banned("a@example.com")
    assert (await world.bureau.store.tool("plain")).bad == 6  # by what is new, and by the whole


@pytest.mark.parametrize("told", [True, False])
async def test_what_is_gone_there_lifts_nothing_and_is_put_again(world, plain, told):
    tool = plain.tool()
    plain.add("theirs@example.com", at=now_ms() - DAY)
    await world.ban("ours@example.com")
    await world.round(tool)
    plain.remove("theirs@example.com", told=told)
    plain.remove("ours@example.com", told=told)
    world.later(20 * 60_000)
    await world.round(tool, whole=True)
    assert await world.banned("theirs@example.com")
    assert await world.banned("ours@example.com")
    assert plain.has("theirs@example.com")
    assert plain.has("ours@example.com")
    tasks = await world.tasks()
    assert [task.why for task in tasks] == [Why.REMOVED, Why.REMOVED]
    await world.round(tool, whole=True)
    assert len(await world.tasks()) == 2


async def test_what_is_gone_and_not_banned_here_is_nobodys_task(world, plain):
    tool = plain.tool()
    plain.add("a@example.com", at=now_ms() - DAY)
    await world.round(tool)
    await world.tell("a@example.com", EventKind.UNBAN, scope=Scope.ALL, evidence="wanted it")
    plain.remove("a@example.com")
    await world.round(tool)
    assert await world.tasks() == []
    assert not plain.has("a@example.com")


async def test_a_list_that_is_suddenly_empty_is_one_task_and_filled_again(world, plain):
    tool = plain.tool()
    for number in range(600):
        plain.add(f"p{number}@example.com", at=now_ms() - DAY)
    await world.round(tool)
    plain.list.clear()
    world.later(20 * 60_000)
    await world.round(tool, whole=True)
    assert [(task.why, task.entry) for task in await world.tasks()] == [(Why.SHRUNK, "600 entries")]
    assert len(plain.list) == 600
    assert await world.banned("p7@example.com")


async def test_what_another_list_lacks_is_put_there_and_is_nobodys_task(world, plain):
    """The settings name another list: nobody was in it before."""
    await world.ban("a@example.com")
    await world.round(plain.tool())
    world.later(DAY)
    async with PlainTool() as second:
        tool = second.tool(place="another")
        drive, store = world.drive(tool), world.bureau.store
        await store.configured("plain", tool.marks)
        # It is read before what it lacks has its turn.
        await world.bureau.puller.listing(tool, drive._session, await store.tool("plain"))
        await world.round(tool)
        assert second.has("a@example.com")
        assert await world.tasks() == []
        # From now on it is missed.
        world.later(DAY)
        second.remove("a@example.com", told=False)
        await world.round(tool, whole=True)
        assert [task.why for task in await world.tasks()] == [Why.REMOVED]


async def test_a_listing_goes_on_where_it_was_cut_off(world):
    async with PlainTool(page=10) as plain:
        tool = plain.tool()
        await world.round(tool)
        for number in range(45):
            plain.list[f"p{number}@example.com", "all", ""] = {"address": f"p{number}@example.com"}
        store, puller = world.bureau.store, world.bureau.puller
        drive = world.drive(tool)
        for _ in range(2):
            assert await puller.listing(tool, drive._session, await store.tool("plain"))
        plain.asked.clear()
        await world.round(tool)
        assert plain.asked.count("/list") == 3
        assert await world.banned("p44@example.com")


async def test_a_large_list_takes_seconds(world):
    async with PlainTool(page=1000) as plain:
        tool = plain.tool()
        count = 5000
        for number in range(count):
            entry = {"address": f"person{number}@example.com", "at": 1_700_000_000_000}
            plain.list[entry["address"], "all", ""] = entry
        began = time.perf_counter()
        await world.round(tool)
        first = time.perf_counter() - began
        began = time.perf_counter()
        await world.round(tool, whole=True)
        again = time.perf_counter() - began
        print(f"{count} entries: {first:.1f} s, again {again:.1f} s")
        assert await world.banned(f"person{count - 1}@example.com")


async def test_bounces_and_complaints_are_no_bans_but_stop_delivery(world, plain):
    from gateway.clock import now_ms
    from gateway.entry.entry import DeliveryReason

    at = now_ms() - DAY
    plain.add("bounced@example.com", reason="bounce", at=at)
    plain.add("complained@example.com", reason="complaint", at=at)
    plain.add("old@example.com", reason="bounce", at=at - 1000 * DAY)
    tool = plain.tool()
    for _ in range(2):
        await world.round(tool, whole=True)
    assert not await world.banned("bounced@example.com")
    [event] = await world.events("bounced@example.com")
    assert (event.kind, event.delivery) == (EventKind.UNDELIVERABLE, DeliveryReason.HARD_BOUNCE)
    assert event.expires == at + 365 * DAY
    [event] = await world.events("complained@example.com")
    assert (event.delivery, event.expires) == (DeliveryReason.COMPLAINT, None)
    assert await world.events("old@example.com") == []
    # What a person has lifted is not said anew by the same old entry.
    await world.tell("bounced@example.com", EventKind.DELIVERABLE)
    await world.round(tool, whole=True)
    assert len(await world.events("bounced@example.com")) == 2
    [task] = await world.tasks()
    assert (task.why, task.entry) == (Why.LIFTED, "delivery")


async def test_what_we_put_is_not_taken_for_a_complaint(world, plain):
    """Amazon's list knows no objections: one stands there as a complaint."""
    await world.ban("a@example.com")
    tool = plain.tool()
    await world.round(tool)
    plain.list["a@example.com", "all", ""].update(reason="complaint", at=now_ms())
    world.later(20 * 60_000)
    for _ in range(2):
        await world.round(tool, whole=True)
    assert [event.kind for event in await world.events("a@example.com")] == [EventKind.BAN]
    assert await world.tasks() == []


async def test_a_topic_of_the_tools_own_is_not_widened_into_it(world, plain):
    plain.add("a@example.com", scope="topic", topic="plain:7", at=now_ms() - DAY)
    tool = plain.tool(accept_wider=True)
    for _ in range(2):
        await world.round(tool, whole=True)
    assert plain.puts == []
    assert not await world.banned("a@example.com", "newsletter")


@pytest.mark.parametrize("whole", [False, True])
async def test_a_list_that_stands_still_is_an_error_and_nothing_counts_as_gone(world, plain, whole):
    plain.page = 2
    tool = plain.tool()
    addresses = [f"{number}@example.com" for number in range(5)]
    for address in addresses:
        plain.add(address)
    await world.round(tool, whole=True)
    world.later(DAY)
    for address in addresses:
        plain.add(address)
    plain.stuck = True
    with pytest.raises(ToolUnreadable, match="stays where it was"):
        await world.round(tool, whole=whole)
    plain.stuck = False
    await world.round(tool, whole=True)
    assert await world.tasks() == []


async def test_no_cursor_lies_in_the_clear(world, plain):
    plain.page = 1
    plain.called = "behind-anna@example.com-"
    tool = plain.tool()
    for number in range(3):
        plain.add(f"{number}@example.com")
    # Page by page, so that a listing is under way and there is a cursor of what is new.
    cursors = await world.bureau.store.tool(tool.name)
    session = Session(tool.settings, tool.connector)
    try:
        assert await world.bureau.puller.listing(tool, session, cursors)
        await world.bureau.puller.changes(tool, session, cursors)
    finally:
        await session.aclose()
    cursors = await world.bureau.store.tool(tool.name)
    assert cursors.listing
    seal = CursorSeal(SEALER)
    pulled = seal.open(tool.name, Course.PULLED, cursors.sealed_pulled)
    assert pulled == "behind-anna@example.com-3"
    # What the database has of it opens nowhere else, and tells nothing.
    for other, course in ((tool.name, Course.LISTING), ("other", Course.PULLED)):
        with pytest.raises(SealError):
            seal.open(other, course, cursors.sealed_pulled)
    async with world.stores.database.engine.connect() as connection:
        [row] = await connection.execute(select(schema.sync_tool))
    assert not any(b"example" in bytes(each) for each in row if isinstance(each, bytes))
    assert "example" not in str([each for each in row if isinstance(each, str)])


async def test_cursors_go_under_a_new_content_key(world, plain):
    plain.called = "behind-anna@example.com-"
    tool = plain.tool()
    plain.add("a@example.com")
    await world.round(tool)
    newer = Sealer({"c1": bytes(range(32)), "c2": bytes(32)}, "c2")
    usage = KeyUsage(world.stores.database, fingerprint(bytes(range(32))))
    assert (await usage.archive())["cursors of tools"] == 1
    assert await CursorSeal(newer).rewrap(world.stores.database) == 1
    assert await CursorSeal(newer).rewrap(world.stores.database) == 0
    assert "cursors of tools" not in await usage.archive()
    cursors = await world.bureau.store.tool(tool.name)
    opened = CursorSeal(newer).open(tool.name, Course.PULLED, cursors.sealed_pulled)
    assert opened == "behind-anna@example.com-1"
