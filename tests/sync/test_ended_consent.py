"""A ban that a consent had lifted reaches the tools again when the consent ends."""

import pytest

from gateway.clock import now_ms
from gateway.contacts.contact import Channel
from gateway.contacts.digest import Digest
from gateway.contacts.parse import parse_contact
from gateway.entry.entry import Scope
from gateway.entry.event import Event, EventKind
from gateway.sync.task import Why
from tests.sync.plain import PlainTool

A = "a@example.com"
HOUR = 3_600_000


@pytest.fixture
async def plain():
    async with PlainTool() as one:
        yield one


async def lifted(world, tool, plain):
    """A ban that the tool had, a consent that lifts it for an hour, and the entry taken out."""
    await world.ban(A, at=now_ms() - 10_000)
    await world.round(tool)
    assert plain.has(A)
    until = now_ms() + HOUR
    await world.consent(A, at=now_ms() - 5_000, expires=until)
    await world.round(tool)
    assert [task.why for task in await world.tasks()] == [Why.LIFTED]
    plain.remove(A)
    await world.round(tool)
    assert await world.tasks() == []
    return until


async def test_a_ban_that_stands_again_is_put_again(world, plain):
    tool = plain.tool()
    until = await lifted(world, tool, plain)
    # Nothing is lacking meanwhile, and nobody is told so.
    assert not plain.has(A)
    assert await world.bureau.store.figures(now_ms()) == {}
    world.later(2 * HOUR)
    (figures,) = (await world.bureau.store.figures(until + 1)).values()
    assert (figures.owed, figures.oldest, figures.late) == (1, until, 1)
    await world.round(tool)
    assert plain.has(A)
    assert await world.bureau.store.figures(now_ms()) == {}
    assert await world.tasks() == []


async def test_it_waits_while_the_tool_is_down_and_counts_from_then(world, plain):
    tool = plain.tool()
    until = await lifted(world, tool, plain)
    world.later(2 * HOUR)
    plain.refused = {A: ("busy", False)}
    await world.round(tool)
    (figures,) = (await world.bureau.store.figures(0)).values()
    assert (figures.owed, figures.oldest) == (1, until)
    plain.refused = {}
    world.later(HOUR)
    await world.round(tool)
    assert plain.has(A)


async def test_what_comes_before_the_end_is_owed_since_it_came(world, plain):
    tool = plain.tool()
    until = await lifted(world, tool, plain)
    before = now_ms()
    await world.ban(A)
    await world.stores.archiver.run_once()
    while await world.bureau.store.follow("plain"):
        pass
    (figures,) = (await world.bureau.store.figures(0)).values()
    assert figures.owed == 1
    assert before - 1 <= figures.oldest < until
    await world.round(tool)
    assert plain.has(A)


async def test_the_task_of_an_entry_that_was_never_taken_out_ends(world, plain):
    tool = plain.tool()
    await world.ban(A, at=now_ms() - 10_000)
    await world.round(tool)
    until = now_ms() + HOUR
    await world.consent(A, at=now_ms() - 5_000, expires=until)
    await world.round(tool)
    assert [task.why for task in await world.tasks()] == [Why.LIFTED]
    world.later(2 * HOUR)
    await world.round(tool)
    assert await world.tasks() == []
    assert [each["address"] for each in plain.puts] == [A]


async def test_a_clock_that_was_ahead_delays_nothing(world, plain):
    """What was noted by it is not put off until the right clock shows its time."""
    tool = plain.tool()
    await world.round(tool)
    await world.ban(A)
    await world.stores.archiver.run_once()
    world.later(5 * HOUR)
    while await world.bureau.store.follow("plain"):
        pass
    world.later(-5 * HOUR)
    await world.round(tool)
    assert plain.has(A)


@pytest.mark.parametrize("anew", [False, True])
async def test_a_tool_that_was_added_by_a_clock_of_days_ahead_gets_its_bans(world, plain, anew):
    tool = plain.tool()
    await world.ban(A)
    await world.stores.archiver.run_once()
    world.later(50 * HOUR)
    await world.bureau.store.tool("plain")
    while await world.bureau.store.walk("plain", 100):
        pass
    world.later(-50 * HOUR)
    if anew:
        await world.ban(A, Scope.CHANNEL, channel=Channel.EMAIL)
    await world.round(tool)
    assert plain.has(A)


async def test_a_ban_that_stands_again_when_a_contact_is_forgotten_is_put_again(world, plain):
    """What is known beyond bans goes at the end of retention: the consent too."""
    tool = plain.tool()
    await lifted(world, tool, plain)
    await world.consent("other@example.com")
    for address in (A, "other@example.com"):
        digest = Digest.parse(world.register.subject(parse_contact(address)))
        event = Event(kind=EventKind.FORGET, at=now_ms(), actor="test", source="retention")
        assert await world.register.apply_to_digest(event, digest)
    assert await world.banned(A)
    await world.round(tool)
    assert plain.has(A)
    assert await world.tasks() == []


@pytest.mark.parametrize("imported", [False, True])
async def test_a_ban_that_stands_again_by_a_consent_without_proof_is_put_again(
    world, plain, imported
):
    """The later word on the same topic counts, and lifts nothing."""
    tool = plain.tool()
    await lifted(world, tool, plain)
    assert not await world.banned(A)
    await world.tell(A, EventKind.CONSENT, imported=imported)
    assert await world.banned(A)
    await world.round(tool)
    assert plain.has(A)
    assert await world.tasks() == []
