"""What a tool writes where nobody expects it."""

import pytest

from gateway.clock import now_ms
from tests.sync.plain import PlainTool


@pytest.fixture
async def plain():
    async with PlainTool() as one:
        yield one


async def test_a_topic_that_no_database_takes_stops_nothing(world, plain):
    plain.add("a@example.com", scope="topic", topic="x\x00y", at=now_ms())
    plain.add("b@example.com", at=now_ms())
    await world.round(plain.tool())
    assert await world.banned("b@example.com")
    await world.stores.archiver.run_once()
