"""Bounds: connections, rates, commands, idle clients, draining."""

import asyncio

from tests.peers.house import MAILING, Client, client_table
from tests.peers.scripted import Stage

A = "a@example.com"


async def test_more_connections_than_allowed_hear_421(build):
    async with build(smtp={"max_connections": 2}) as house:
        async with house.client(), house.client(), Client(house.port, greet=False) as third:
            assert (await third.reply()).startswith("421 4.7.0")
        await asyncio.sleep(0.05)
        async with house.client():
            pass


async def test_a_client_with_too_many_connections_hears_421(build):
    async with build(clients=[client_table(max_connections=1)]) as house:
        async with house.client(), Client(house.port, greet=False) as second:
            assert (await second.reply()).startswith("421 4.7.0")


async def test_a_client_over_its_rate_hears_451(build, upstream):
    async with build(clients=[client_table(messages_per_minute=3)]) as house:
        await house.allow(A)
        async with house.client() as client:
            for _ in range(3):
                assert (await client.mail(A)).endswith("1 forwarded")
            assert (await client.say("MAIL FROM:<a@lamisnet.fi>")).startswith("451 4.7.1")
    assert len(upstream.messages) == 3


async def test_an_idle_client_hears_421_and_is_closed(build):
    async with build(smtp={"idle_timeout": 0.3}) as house, house.client() as client:
        assert (await client.reply()).startswith("421 4.4.2")
        assert await client.reader.read() == b""


async def test_a_client_that_stops_in_its_message_hears_421(build, upstream):
    async with build(smtp={"data_timeout": 0.3}) as house:
        await house.allow(A)
        async with house.client() as client:
            await client.begin(A)
            await client.say("DATA")
            client.writer.write(b"From: x")
            assert (await client.reply()).startswith("421")
    assert upstream.messages == []


async def test_commands_without_end_are_cut_off(house):
    async with house.client() as client:
        replies = [await client.say("XYZZY") for _ in range(20)]
        assert replies[-1].startswith("421 4.7.0")


async def test_a_line_without_end_is_thrown_away_and_told(house):
    async with house.client() as client:
        client.writer.write(b"NOOP " + b"x" * 1_000_000 + b"\r\n")
        assert (await client.reply()).startswith("500 5.5.6")
        assert (await client.say("NOOP")).startswith("250")


async def test_ten_thousand_recipients_are_bounded(build):
    async with build(clients=[client_table(max_recipients=100)]) as house:
        async with house.client() as client:
            await client.say("MAIL FROM:<a@lamisnet.fi>")
            for number in range(10_000):
                client.send(f"RCPT TO:<p{number}@example.com>")
            codes = [(await client.reply())[:3] for _ in range(10_000)]
        assert codes.count("452") == 9_900


async def test_memory_of_bodies_is_bounded_over_all_connections(build, upstream):
    """With the budget spent every further body lies on the disk, and all arrive."""
    people = [f"p{n}@example.com" for n in range(8)]
    body = MAILING + (b"x" * 78 + b"\r\n") * 8_000
    smtp = {"total_memory": 1_048_576, "message_memory": 1_048_576}
    async with build(smtp=smtp) as house:
        await house.allow(*people)
        gate = asyncio.Event()
        upstream.on(Stage.DATA, gate=gate)

        async def send(person: str) -> str:
            async with house.client() as client:
                return await client.mail(person, message=body)

        tasks = [asyncio.create_task(send(person)) for person in people]
        while len(upstream.commands) < 8 * 4:
            assert house.listener.budget.used <= 1_048_576
            await asyncio.sleep(0.01)
        assert house.listener.budget.used <= 1_048_576
        gate.set()
        for reply in await asyncio.gather(*tasks):
            assert reply.endswith("1 forwarded")
        assert house.listener.budget.used == 0
    assert all(m.content.endswith(body[-1000:]) for m in upstream.messages)


async def test_draining_finishes_what_has_begun_and_refuses_the_rest(house, upstream):
    await house.allow(A)
    gate = asyncio.Event()
    upstream.on(Stage.END, gate=gate)
    async with house.client() as busy, house.client() as idle, house.client() as open_:
        await open_.begin(A)
        await busy.begin(A)
        await busy.say("DATA")
        busy.writer.write(MAILING + b".\r\n")
        while b"DATA" not in upstream.commands:
            await asyncio.sleep(0.01)
        drain = asyncio.create_task(house.listener.drain(5))
        assert (await idle.reply()).startswith("421 4.3.2")
        await asyncio.sleep(0.1)
        assert not drain.done()
        gate.set()
        assert (await busy.reply()).endswith("1 forwarded")
        assert (await busy.reply()).startswith("421 4.3.2")
        # A transaction that has begun may still be sent.
        assert (await open_.data()).endswith("1 forwarded")
        assert (await open_.reply()).startswith("421")
        assert await drain


async def test_draining_is_bounded(house, upstream):
    await house.allow(A)
    async with house.client() as client:
        await client.begin(A)
        assert not await house.listener.drain(0.2)
        assert await client.reader.read() == b""
