"""Settings of a tool that are changed: what it then lacks is put there, with no word more."""

from dataclasses import replace

import pytest

from gateway.clock import now_ms
from gateway.entry.entry import Scope
from gateway.sync.plan import plan
from gateway.sync.session import Session
from gateway.sync.task import Why
from tests.sync.plain import PlainTool

ALL_ALONE = frozenset({Scope.ALL, Scope.CHANNEL})


@pytest.fixture
async def plain():
    async with PlainTool() as one:
        yield one


def with_topics(plain, *topics):
    """The tool, as settings make it that name these topics."""
    tool = plain.tool(topics=frozenset(topics))
    named = {topic: f"list of {topic}" for topic in topics}
    return replace(tool, settings=replace(tool.settings, topics=named))


async def test_bans_of_before_are_put_when_push_is_turned_on(world, plain):
    await world.ban("a@example.com")
    await world.round(plain.tool(push=False))
    assert plain.puts == []
    await world.round(plain.tool(push=True))
    assert plain.has("a@example.com")


async def test_bans_that_it_could_not_hold_are_put_when_wider_ones_are_accepted(world, plain):
    await world.ban("a@example.com", Scope.TOPIC, topic="offers")
    await world.round(plain.tool(scopes=ALL_ALONE))
    assert plain.puts == []
    await world.round(plain.tool(scopes=ALL_ALONE, accept_wider=True))
    assert [entry["address"] for entry in plain.puts] == ["a@example.com"]


async def test_bans_of_a_topic_are_put_when_it_gets_a_name_there(world, plain):
    await world.ban("a@example.com", Scope.TOPIC, topic="offers")
    before = with_topics(plain, "newsletter")
    await world.round(before)
    assert plain.puts == []
    await world.round(with_topics(plain, "newsletter", "offers"))
    assert plain.has("a@example.com", "topic", "offers")


async def test_another_list_gets_every_ban_and_is_read_whole(world, plain):
    await world.ban("a@example.com")
    await world.round(plain.tool(reads=False), whole=True)
    async with PlainTool() as other:
        other.add("b@example.com", at=now_ms() - 10 * 86_400_000)
        await world.round(other.tool())
        assert other.has("a@example.com")
        assert await world.banned("b@example.com")
        assert await world.tasks() == []


async def test_what_did_not_change_puts_nothing_again(world, plain):
    await world.ban("a@example.com")
    for _ in range(3):
        await world.round(plain.tool())
    assert len(plain.puts) == 1


async def test_a_ban_that_was_put_wider_is_not_taken_for_lifted(world, plain):
    """Whoever took it out then would lift the topic's ban in the tool."""
    tool = plain.tool(scopes=ALL_ALONE, accept_wider=True)
    await world.ban("a@example.com", Scope.TOPIC, topic="offers")
    await world.round(tool)
    await world.consent("a@example.com", topic="newsletter")
    await world.ban("a@example.com", Scope.TOPIC, topic="news")
    for _ in range(2):
        await world.round(tool, whole=True)
    assert await world.tasks() == []
    session = Session(tool.settings, tool.connector)
    found = await plan(world.bureau, world.stores.ring, tool, session)
    await session.aclose()
    assert (found.lifted, found.nothing) == (0, True)
    await world.consent("a@example.com", topic="offers")
    await world.consent("a@example.com", topic="news")
    await world.round(tool)
    assert [task.why for task in await world.tasks()] == [Why.LIFTED]
