"""Bounces and complaints reach the other tools, and never become what nobody said."""

from __future__ import annotations

import orjson
import pytest

from gateway.clock import DAY_MS, now_ms
from gateway.connector.suppression import DELIVERY
from gateway.contacts.parse import parse_contact
from gateway.entry.entry import DeliveryReason, Scope
from gateway.entry.event import EventKind
from gateway.provider.request import Request
from gateway.settings.sync import Sync, SyncTool, ToolKind
from gateway.sync.folder import session_of
from gateway.sync.intake import Via
from gateway.sync.loop import Drive
from gateway.sync.plan import plan
from gateway.sync.session import Session
from gateway.sync.task import Why
from gateway.sync.tool import tool_of, warnings_of
from tests.sync.plain import PlainTool, signed

HARD, COMPLAINT = DeliveryReason.HARD_BOUNCE, DeliveryReason.COMPLAINT


@pytest.fixture
async def plain():
    async with PlainTool() as one:
        yield one


async def give_up(world, address, reason, **more):
    await world.tell(address, EventKind.UNDELIVERABLE, delivery=reason, **more)


def reasons(plain):
    return {each["address"]: each["reason"] for each in plain.puts}


async def called(world, tool, *entries):
    """A call of the tool's."""
    body = orjson.dumps([{**entry, "at": now_ms()} for entry in entries])
    headers = tuple(signed(body).items())
    changes = tool.connector.hook(Request("POST", "/", "", headers, body), now_ms())
    await world.bureau.intake.take(tool, changes, Via.HOOK)


async def test_each_reason_is_put_where_the_list_has_it(world, plain):
    tool = plain.tool(delivery=DELIVERY)
    await give_up(world, "old@example.com", HARD)
    await world.round(tool)
    await give_up(world, "b@example.com", HARD)
    await give_up(world, "c@example.com", COMPLAINT)
    await give_up(world, "r@example.com", DeliveryReason.REJECTED)
    await give_up(world, "both@example.com", HARD)
    await world.ban("both@example.com")
    await world.round(tool)
    assert reasons(plain) == {
        "old@example.com": "bounce",
        "b@example.com": "bounce",
        "c@example.com": "complaint",
        "both@example.com": "objection",
    }
    before = len(plain.puts)
    for _ in range(2):
        await world.round(tool, whole=True)
    assert len(plain.puts) == before
    for address in ("b@example.com", "c@example.com"):
        assert not await world.banned(address)
        assert len(await world.events(address)) == 1
    assert await world.tasks() == []


@pytest.mark.parametrize("dated", [True, False])
async def test_a_list_without_reasons_gets_complaints_alone_and_they_stay_no_bans(
    world, plain, dated
):
    tool = plain.tool(dated=dated)
    await world.round(tool)
    await give_up(world, "b@example.com", HARD)
    await give_up(world, "c@example.com", COMPLAINT)
    await world.round(tool)
    assert reasons(plain) == {"c@example.com": "blocked"}
    # The tool's own clock dates what it was given.
    for entry in plain.list.values():
        entry["at"] = now_ms()
    await called(world, tool, *plain.list.values())
    for _ in range(2):
        await world.round(tool, whole=True)
    assert not await world.banned("c@example.com")
    assert len(await world.events("c@example.com")) == 1
    assert await world.tasks() == []


async def test_what_a_person_says_there_later_is_a_ban_all_the_same(world, plain):
    tool = plain.tool()
    world.later(-2 * DAY_MS)
    await give_up(world, "c@example.com", COMPLAINT)
    await world.round(tool, whole=True)
    world.later(2 * DAY_MS)
    plain.add("c@example.com", scope="channel", channel="email", at=now_ms())
    await world.round(tool)
    assert await world.banned("c@example.com")


async def test_what_is_lifted_here_is_a_task_and_what_has_expired_is_none(world, plain):
    tool = plain.tool(delivery=DELIVERY)
    await give_up(world, "l@example.com", HARD)
    await give_up(world, "e@example.com", HARD, expires=now_ms() + DAY_MS)
    await world.round(tool)
    await world.tell("l@example.com", EventKind.DELIVERABLE, evidence="wrote to us")
    world.later(2 * DAY_MS)
    await world.bureau.store.owe(tool.name, [(await world.events("e@example.com"))[0].subject])
    await world.round(tool, whole=True)
    await world.round(tool, whole=True)
    assert plain.has("l@example.com", "channel")
    assert plain.has("e@example.com", "channel")
    [task] = await world.tasks()
    assert (task.why, task.entry) == (Why.LIFTED, "delivery")
    assert task.subject == (await world.events("l@example.com"))[0].subject
    plain.remove("l@example.com", scope="channel", channel="email", reason="bounce")
    await world.round(tool)
    assert await world.tasks() == []


async def test_what_is_gone_there_is_put_again_and_told(world, plain):
    tool = plain.tool(delivery=DELIVERY)
    await give_up(world, "b@example.com", HARD)
    await world.round(tool)
    plain.remove("b@example.com", scope="channel", channel="email", reason="bounce")
    await world.round(tool)
    assert plain.has("b@example.com", "channel")
    [task] = await world.tasks()
    assert (task.why, task.entry) == (Why.REMOVED, "delivery")
    [event] = await world.events("b@example.com")
    assert event.kind is EventKind.UNDELIVERABLE


async def test_what_a_tool_told_is_put_into_the_others_alone(world, plain):
    async with PlainTool() as other:
        plain.add("b@example.com", reason="bounce", at=now_ms() - 1000)
        plain.add("c@example.com", reason="complaint", at=now_ms() - 1000)
        first, second = plain.tool("first", delivery=DELIVERY), other.tool("second")
        await world.round(first, second)
        await world.round(first, second, whole=True)
        assert plain.puts == []
        assert reasons(other) == {"c@example.com": "blocked"}
    assert await world.tasks() == []


async def test_a_ban_comes_beside_a_bounce_that_stands_there(world, plain):
    tool = plain.tool(delivery=DELIVERY)
    await give_up(world, "a@example.com", HARD)
    await world.round(tool)
    await world.ban("a@example.com", Scope.ALL)
    await world.round(tool)
    assert [each["reason"] for each in plain.puts] == ["bounce", "objection"]
    await world.round(tool, whole=True)
    assert await world.tasks() == []


async def test_what_a_person_says_by_a_call_just_after_is_heard(world, plain):
    blind, telling = plain.tool("blind"), plain.tool("telling", delivery=DELIVERY)
    await give_up(world, "c@example.com", COMPLAINT)
    await give_up(world, "b@example.com", HARD)
    await world.round(blind, telling)
    await called(world, blind, {"address": "c@example.com", "reason": "objection"})
    await called(world, telling, {"address": "b@example.com", "reason": "complaint"})
    assert await world.banned("c@example.com")
    assert [event.delivery for event in await world.events("b@example.com")] == [HARD, COMPLAINT]


async def test_what_a_list_cannot_hold_is_said(world, plain):
    said = "a complaint is put there as a block of the whole address, a bounce"
    assert any(said in line for line in warnings_of(plain.tool()))
    assert not any("bounce" in line for line in warnings_of(plain.tool(delivery=DELIVERY)))
    assert not any("bounce" in line for line in warnings_of(plain.tool(push=False)))


async def test_a_plan_counts_what_is_put_and_asks_nobody_for_what_stands_there(world, plain):
    tool, blind = plain.tool(delivery=DELIVERY), plain.tool()
    plain.add("theirs@example.com", reason="bounce", at=now_ms())
    await world.round(tool)
    await give_up(world, "b@example.com", HARD)
    await give_up(world, "c@example.com", COMPLAINT)
    await world.ban("a@example.com")
    await world.stores.archiver.run_once()
    for one, wanted in ((tool, {"delivery": 2, "all": 1}), (blind, {"delivery": 1, "all": 1})):
        session = Session(one.settings, one.connector)
        found = await plan(world.bureau, world.stores.ring, one, session)
        await session.aclose()
        assert (dict(found.put), found.take, found.lifted) == (wanted, 0, 0)
    await world.round(blind)
    session = Session(blind.settings, blind.connector)
    found = await plan(world.bureau, world.stores.ring, blind, session)
    await session.aclose()
    assert found.nothing


async def test_a_plan_of_files_counts_what_was_not_written(world, tmp_path):
    tool = tool_of(SyncTool(name="files", kind=ToolKind.FILE, folder=tmp_path / "crm"))

    async def put():
        session = session_of(tool.settings, tool.connector)
        found = await plan(world.bureau, world.stores.ring, tool, session)
        await session.aclose()
        return dict(found.put)

    await world.ban("a@example.com")
    await world.stores.archiver.run_once()
    assert await put() == {"all": 1}
    session = session_of(tool.settings, tool.connector)
    await Drive(world.bureau.hands, tool, Sync(), session).round()
    await session.aclose()
    # Its list shows nothing of what was written.
    assert await put() == {}
    await world.ban("b@example.com")
    await world.stores.archiver.run_once()
    assert await put() == {"all": 1}


async def test_an_erasure_hands_on_no_bounce(world, plain):
    tool = plain.tool(delivery=DELIVERY)
    contact = parse_contact("b@example.com")
    await give_up(world, "b@example.com", HARD)
    assert await world.bureau.put_now([tool], [contact]) == []
    assert plain.puts == []
    await world.ban("b@example.com")
    assert await world.bureau.put_now([tool], [contact]) == []
    assert reasons(plain) == {"b@example.com": "objection"}
