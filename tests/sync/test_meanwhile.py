"""What a webhook tells while the same tool is being written or read is not lost."""

import pytest

from gateway.clock import now_ms
from gateway.sync.task import Why
from tests.sync.plain import PlainTool
from tests.sync.test_hooks import call

A = "a@example.com"


@pytest.fixture
async def plain():
    async with PlainTool() as one:
        yield one


def resubscribes(hooks, plain):
    """Somebody takes the entry out, and the tool tells so at once."""

    async def happens():
        plain.remove(A, told=False)
        assert (await hooks(call({"address": A, "removed": True}))).status == 200

    return happens


async def test_a_removal_that_is_told_before_the_put_is_answered_asks_a_person(world, plain):
    tool = plain.tool()
    await world.round(tool)
    await world.ban(A)
    plain.meanwhile = [resubscribes(world.hooks(tool), plain)]
    await world.round(tool)
    await world.round(tool)
    assert await world.banned(A)
    assert plain.has(A)
    assert [(task.why, task.entry) for task in await world.tasks()] == [(Why.REMOVED, "all")]


@pytest.mark.parametrize("whole", [False, True])
async def test_a_removal_that_is_told_before_a_page_is_taken_in_asks_a_person(world, plain, whole):
    tool = plain.tool()
    plain.add(A, at=now_ms())
    await world.round(tool)
    assert await world.banned(A)
    if not whole:
        plain.add(A, at=now_ms())
    plain.meanwhile = [resubscribes(world.hooks(tool), plain)]
    await world.round(tool, whole=whole)
    await world.round(tool)
    assert await world.banned(A)
    assert plain.has(A)
    assert [(task.why, task.entry) for task in await world.tasks()] == [(Why.REMOVED, "all")]
