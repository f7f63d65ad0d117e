"""A change of the digests' key: what was put under the old one stays known to be ours."""

import pytest

from gateway.clock import now_ms
from gateway.contacts.digest import KeyRing
from gateway.entry.entry import DeliveryReason
from gateway.entry.event import EventKind
from gateway.settings.public import Delivery
from gateway.sync.bureau import Bureau
from gateway.sync.intake import Intake
from gateway.sync.push import Pusher
from tests.sync.plain import PlainTool

HOUR = 3_600_000


@pytest.fixture
async def plain():
    async with PlainTool() as one:
        yield one


def rotate(world):
    """From now on contacts are kept under a new key, and found under both."""
    ring = KeyRing({"k1": bytes(range(32)), "k2": b"\x02" * 32}, "k2")
    stores, bureau = world.stores, world.bureau
    intake = Intake(stores.register, bureau.store, ring, stores.history, Delivery(), world.clock)
    pusher = Pusher(stores.register, bureau.store, bureau.tasks, stores.unsealer, ring, world.clock)
    puller = type(bureau.puller)(
        bureau.store, bureau.puller._seal, bureau.tasks, intake, world.clock
    )
    world.bureau = Bureau(
        register=bureau.register,
        store=bureau.store,
        tasks=bureau.tasks,
        intake=intake,
        pusher=pusher,
        puller=puller,
        wire=bureau.wire,
    )


async def test_a_complaint_that_was_put_as_a_block_does_not_come_back_as_a_ban(world, plain):
    tool = plain.tool()  # its list has no word for complaints
    await world.round(tool)
    await world.tell("c@example.com", EventKind.UNDELIVERABLE, delivery=DeliveryReason.COMPLAINT)
    await world.round(tool)
    [entry] = plain.list.values()
    entry["at"] = now_ms()
    await world.round(tool, whole=True)
    rotate(world)
    for _ in range(3):
        world.later(HOUR)
        await world.round(tool, whole=True)
    assert not await world.banned("c@example.com")
    assert len(plain.puts) == 1
    assert await world.tasks() == []


async def test_a_ban_that_was_put_is_no_news_and_no_loss(world, plain):
    tool = plain.tool()
    await world.ban("a@example.com")
    await world.round(tool, whole=True)
    rotate(world)
    for _ in range(3):
        world.later(HOUR)
        await world.round(tool, whole=True)
    assert len(await world.events("a@example.com")) == 1
    assert len(plain.puts) == 1
    assert await world.tasks() == []
