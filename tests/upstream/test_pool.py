import asyncio

import pytest

from gateway.failure import Overloaded, UpstreamUnavailable
from gateway.upstream import ConnectionFailed, Pool, Timeouts
from tests.peers.scripted import ScriptedUpstream
from tests.peers.scripted import Stage as At

SHORT = {"connect": 1, "greeting": 1, "command": 1}


@pytest.fixture
async def upstream():
    async with ScriptedUpstream() as upstream:
        yield upstream


async def test_the_last_given_back_is_the_first_leased(upstream):
    pool = Pool(upstream.target(), "gateway.test")
    first, second = await pool.lease(1), await pool.lease(1)
    pool.give_back(first)
    pool.give_back(second)
    assert await pool.lease(1) is second
    assert await pool.lease(1) is first
    stats = pool.stats
    assert (stats.open, stats.idle, stats.leased) == (2, 0, 2)
    assert (stats.connects, stats.reused, stats.failures) == (2, 2, 0)
    await pool.aclose(0)


async def test_no_more_connections_than_allowed_and_waiters_in_turn(upstream):
    pool = Pool(upstream.target(max_connections=2), "gateway.test")
    order = []

    async def use(number):
        connection = await pool.lease(5)
        order.append(number)
        await asyncio.sleep(0.005)
        pool.give_back(connection)

    await asyncio.gather(*(use(number) for number in range(20)))
    assert order == list(range(20))
    assert upstream.connections == 2
    assert (pool.stats.open, pool.stats.waiting) == (2, 0)
    await pool.aclose()


async def test_waiting_is_bounded_in_time_and_number(upstream):
    pool = Pool(upstream.target(max_connections=1, max_waiting=1), "gateway.test")
    held = await pool.lease(1)
    waiting = asyncio.create_task(pool.lease(0.1))
    await asyncio.sleep(0)
    with pytest.raises(Overloaded):
        await pool.lease(1)
    with pytest.raises(Overloaded):
        await waiting
    assert pool.stats.waiting == 0
    pool.give_back(held)
    assert await pool.lease(1) is held
    await pool.aclose(0)


async def test_a_discarded_connection_leaves_its_place_to_a_waiter(upstream):
    pool = Pool(upstream.target(max_connections=1), "gateway.test")
    held = await pool.lease(1)
    waiting = asyncio.create_task(pool.lease(1))
    await asyncio.sleep(0)
    pool.discard(held)
    got = await waiting
    assert got is not held
    pool.give_back(got)
    pool.give_back(held)  # its lease has ended: nothing happens
    assert pool.stats.open == 1
    await pool.aclose()


async def test_a_connection_that_dies_on_its_way_to_a_waiter_is_replaced(upstream):
    pool = Pool(upstream.target(max_connections=1), "gateway.test")
    held = await pool.lease(1)
    waiting = asyncio.create_task(pool.lease(1))
    await asyncio.sleep(0)
    pool.give_back(held)
    held.abort()
    got = await waiting
    assert got.usable and got is not held
    pool.give_back(got)
    await pool.aclose()


async def test_a_failed_connect_leaves_its_place_to_a_waiter(upstream):
    upstream.on(At.CONNECT, delay=0.05, reply="554 5.3.2 No", times=1)
    pool = Pool(upstream.target(max_connections=1), "gateway.test")
    first, second = await asyncio.gather(pool.lease(1), pool.lease(1), return_exceptions=True)
    assert isinstance(first, ConnectionFailed)
    pool.give_back(second)
    assert (pool.stats.open, pool.stats.failures, pool.stats.connects) == (1, 1, 2)
    await pool.aclose()


async def test_idle_connections_are_dropped_in_time(upstream):
    pool = Pool(upstream.target(timeouts=Timeouts(**SHORT, idle=0.1)), "gateway.test")
    one, two = await pool.lease(1), await pool.lease(1)
    pool.give_back(one)
    await asyncio.sleep(0.05)
    pool.give_back(two)
    async with asyncio.timeout(30):
        while pool.stats.open:
            await asyncio.sleep(0.01)
    await upstream.until(lambda: upstream.open == 0)
    assert all(dialogue.said_quit for dialogue in upstream.dialogues)
    pool.give_back(await pool.lease(1))
    await pool.aclose()


async def test_an_old_connection_is_not_used_again(upstream):
    pool = Pool(upstream.target(timeouts=Timeouts(**SHORT, age=0.05)), "gateway.test")
    first = await pool.lease(1)
    pool.give_back(first)
    await asyncio.sleep(0.06)
    second = await pool.lease(1)
    assert second is not first
    await asyncio.sleep(0.06)
    pool.give_back(second)
    assert pool.stats.open == 0
    await pool.aclose()


async def test_a_connection_has_its_number_of_messages(upstream):
    pool = Pool(upstream.target(max_messages=2), "gateway.test")
    for _ in range(4):
        connection = await pool.lease(1)
        connection.transactions += 1
        pool.give_back(connection)
    assert upstream.connections == 2
    await pool.aclose()


@pytest.mark.parametrize("steps", range(12))
async def test_a_cancelled_waiter_loses_no_place(upstream, steps):
    """Whenever a waiter is cancelled, also with its answer under way, the place stays."""
    pool = Pool(upstream.target(max_connections=1), "gateway.test")
    held = await pool.lease(1)
    waiting = asyncio.create_task(pool.lease(1))
    await asyncio.sleep(0)
    if steps % 3 == 0:
        pool.give_back(held)
    elif steps % 3 == 1:
        pool.discard(held)
    for _ in range(steps // 3):
        await asyncio.sleep(0)
    waiting.cancel()
    got = (await asyncio.gather(waiting, return_exceptions=True))[0]
    for connection in (held, got):
        if not isinstance(connection, BaseException):
            pool.give_back(connection)
    pool.give_back(await pool.lease(1))
    assert (pool.stats.open, pool.stats.waiting) == (1, 0)
    await pool.aclose()


async def test_closing_waits_for_what_is_leased_and_then_cuts_it(upstream):
    pool = Pool(upstream.target(max_connections=1), "gateway.test")
    held = await pool.lease(1)
    waiting = asyncio.create_task(pool.lease(5))
    await asyncio.sleep(0)
    closing = asyncio.create_task(pool.aclose(2))
    with pytest.raises(UpstreamUnavailable):
        await waiting
    with pytest.raises(UpstreamUnavailable):
        await pool.lease(1)
    assert not closing.done()
    pool.give_back(held)
    await asyncio.wait_for(closing, 30)

    pool = Pool(upstream.target(), "gateway.test")
    held = await pool.lease(1)
    await pool.aclose(0.05)
    assert not held.usable
    with pytest.raises(UpstreamUnavailable):
        await pool.renew(held)
    assert pool.stats.open == 0


async def test_check_asks_and_replaces_a_stale_connection(upstream):
    pool = Pool(upstream.target(), "gateway.test")
    await pool.check()
    assert upstream.commands[-1] == b"NOOP"
    upstream.on(At.NOOP, reply="421 4.4.2 Bye", close=True, times=1)
    await pool.check()
    assert upstream.connections == 2
    assert pool.stats.idle == 1
    upstream.on(At.NOOP, close=True)
    upstream.on(At.CONNECT, close=True)
    with pytest.raises(ConnectionFailed):
        await pool.check()
    assert pool.stats.open == 0
    await pool.aclose()
