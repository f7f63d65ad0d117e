"""What the register forbids reaches a tool's list, whatever comes in between."""

import pytest

from gateway.contacts.parse import parse_contact
from gateway.entry.entry import Scope
from gateway.entry.event import EventKind
from gateway.sync.session import ToolAway
from gateway.sync.task import Why
from tests.sync.plain import PlainTool


@pytest.fixture
async def plain():
    async with PlainTool() as one:
        yield one


async def test_a_new_tool_gets_all_bans_and_its_list_is_taken_in(world, plain):
    for number in range(7):
        await world.ban(f"old{number}@example.com")
    await world.ban("news@example.com", Scope.TOPIC, topic="Newsletter")
    await world.ban("other@example.com", Scope.TOPIC, topic="another brand")
    await world.consent("fine@example.com")
    plain.add("theirs@example.com", at=1_700_000_000_000)
    await world.round(plain.tool())
    assert all(plain.has(f"old{number}@example.com") for number in range(7))
    assert plain.has("news@example.com", "topic", "newsletter")
    assert not any("other" in each["address"] or "fine" in each["address"] for each in plain.puts)
    assert await world.banned("theirs@example.com")
    assert not await world.banned("fine@example.com")


async def test_what_is_there_is_not_put_again(world, plain):
    await world.ban("a@example.com")
    plain.add("b@example.com")
    for _ in range(3):
        await world.round(plain.tool(), whole=True)
    assert [each["address"] for each in plain.puts] == ["a@example.com"]
    assert len(await world.events("a@example.com")) == 1
    assert len(await world.events("b@example.com")) == 1


async def test_a_change_reaches_the_tool_by_the_next_turn(world, plain):
    tool = plain.tool()
    await world.round(tool)
    await world.tell("w@example.com", EventKind.WITHDRAW)
    await world.ban("t@example.com", Scope.TOPIC, topic="newsletter")
    await world.round(tool)
    assert plain.has("w@example.com", "channel")
    assert plain.has("t@example.com", "topic", "newsletter")


async def test_the_wider_spelling_is_put_as_well(world, plain):
    await world.ban("maija+shop@example.com")
    await world.round(plain.tool())
    assert plain.has("maija+shop@example.com")
    assert plain.has("maija@example.com")


async def test_a_tool_that_is_down_loses_nothing_and_gets_it_once(world, plain):
    tool = plain.tool()
    await world.round(tool)
    plain.status = 401
    await world.ban("a@example.com")
    with pytest.raises(Exception, match="key"):
        await world.round(tool)
    await world.ban("b@example.com")
    plain.status = 200
    await world.round(tool)
    await world.round(tool)
    assert sorted(each["address"] for each in plain.puts) == ["a@example.com", "b@example.com"]


async def test_one_that_is_not_taken_stops_no_other_and_is_tried_again(world, plain):
    tool = plain.tool()
    plain.refused = {
        "later@example.com": ("busy with it", False),
        "never@example.com": ("not an address there", True),
    }
    for name in ("later", "never", "good"):
        await world.ban(f"{name}@example.com")
    await world.round(tool)
    assert plain.has("good@example.com")
    (figures,) = (await world.bureau.store.figures(world.clock() + 1)).values()
    assert (figures.owed, figures.final, figures.late) == (2, 1, 1)
    assert set(await world.bureau.store.causes("plain")) == {"busy with it", "not an address there"}
    plain.refused = {}
    await world.round(tool)
    assert not plain.has("later@example.com")  # not due yet
    world.later(3_600_000)
    await world.round(tool)
    assert plain.has("later@example.com")
    assert not plain.has("never@example.com")
    (figures,) = (await world.bureau.store.figures(0)).values()
    assert (figures.owed, figures.final) == (1, 1)


async def test_a_lifted_ban_is_not_taken_out_but_told(world, plain):
    tool = plain.tool()
    await world.ban("a@example.com")
    await world.round(tool)
    await world.tell("a@example.com", EventKind.UNBAN, scope=Scope.ALL, evidence="by mistake")
    await world.round(tool, whole=True)
    await world.round(tool, whole=True)
    assert plain.has("a@example.com")
    assert not await world.banned("a@example.com")
    [task] = await world.tasks()
    assert (task.why, task.entry, task.tool) == (Why.LIFTED, "all", "plain")
    plain.remove("a@example.com")
    await world.round(tool)
    assert await world.tasks() == []
    assert not plain.has("a@example.com")


async def test_whoever_was_erased_before_the_tool_had_the_ban_is_told_of(world, plain):
    tool = plain.tool()
    await world.ban("kept@example.com")
    await world.round(tool)
    await world.ban("lost@example.com")
    await world.stores.archiver.run_once()
    for name in ("kept", "lost", "never"):
        await world.tell(f"{name}@example.com", EventKind.ERASE)
    await world.round(tool)
    [task] = await world.tasks()
    assert (task.why, task.subject) == (
        Why.ERASED,
        world.register.subject(parse_contact("lost@example.com")),
    )
    assert [each["address"] for each in plain.puts] == ["kept@example.com"]
    assert await world.bureau.store.figures(0) == {}


async def test_what_stands_there_of_somebody_erased_and_goes_is_told(world, plain):
    tool = plain.tool()
    await world.ban("kept@example.com")
    await world.round(tool)
    await world.tell("kept@example.com", EventKind.ERASE)
    await world.round(tool)
    assert await world.tasks() == []
    plain.remove("kept@example.com", told=False)
    world.later(20 * 60_000)
    await world.round(tool, whole=True)
    [task] = await world.tasks()
    assert task.why is Why.ERASED


async def test_bans_of_an_organisation_are_no_addresses(world, plain):
    from gateway.clock import now_ms
    from gateway.entry.event import Event

    event = Event(kind=EventKind.BAN, at=now_ms(), actor="test")
    await world.register.apply_organisation(event, "example.org")
    await world.round(plain.tool())
    assert plain.puts == []
    assert await world.bureau.store.figures(0) == {}


async def test_a_topic_becomes_the_address_only_where_that_is_accepted(world, plain):
    await world.ban("t@example.com", Scope.TOPIC, topic="newsletter")
    narrow = frozenset({Scope.ALL, Scope.CHANNEL})
    await world.round(plain.tool("strict", scopes=narrow, pull=False))
    assert plain.puts == []
    wide = plain.tool("wide", scopes=narrow, accept_wider=True)
    await world.round(wide)
    assert plain.has("t@example.com", "channel")
    await world.round(wide, whole=True)
    # And what was widened does not come back as the person's word.
    assert not await world.banned("t@example.com", "another")
    assert await world.tasks() == []


async def test_a_tool_without_push_gets_nothing(world, plain):
    await world.ban("a@example.com")
    await world.round(plain.tool(push=False))
    assert plain.puts == []


async def test_it_is_away_after_some_tries(world, plain, monkeypatch):
    monkeypatch.setattr("gateway.sync.session._FIRST", 0.01)
    plain.status = 503
    with pytest.raises(ToolAway, match="503"):
        await world.round(plain.tool())
    assert len(plain.asked) == 5


async def test_before_an_address_is_destroyed_the_tools_get_what_they_lack(world, plain):
    async with PlainTool() as away, PlainTool() as third:
        tools = [plain.tool("one"), away.tool("two"), third.tool("three", push=False)]
        await world.round(*tools)
        await world.ban("a@example.com")
        away.status = 401
        contacts = [parse_contact("a@example.com"), parse_contact("b@example.com")]
        assert await world.bureau.put_now(tools, contacts) == ["two"]
        assert plain.has("a@example.com")
        # Who was not banned is not handed on because of an erasure.
        assert [each["address"] for each in plain.puts] == ["a@example.com"]
        await world.round(tools[0])
        assert len(plain.puts) == 1


async def test_what_a_slow_tool_took_late_is_still_known_to_be_ours(world):
    """Put off for minutes, it dates our entry after a consent that came meanwhile."""

    class Slow(PlainTool):
        async def _put(self, request):
            world.later(180_000)
            answer = await super()._put(request)
            for entry in self.list.values():
                entry["at"] = world.clock()
            self.log.clear()
            return answer

    async with Slow() as slow:
        tool = slow.tool()
        world.later(-300_000)
        await world.round(tool)  # its list is read for the first time
        begun = world.clock()
        await world.ban("a@example.com", at=begun - 1000)
        await world.round(tool)
        await world.consent("a@example.com", at=begun + 60_000)
        assert not await world.banned("a@example.com")
        world.later(120_000)
        await world.round(tool, whole=True)
        assert not await world.banned("a@example.com")
