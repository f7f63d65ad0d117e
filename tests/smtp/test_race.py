"""A ban that is acknowledged is in force for every hand-over that begins after it."""

import asyncio
import random
import threading
import time

from gateway.entry.entry import Scope
from gateway.entry.event import EventKind
from tests.peers.house import MAILING, client_table
from tests.peers.scripted import Stage

A, B = "a@example.com", "b@example.com"


async def test_a_ban_between_rcpt_and_final_dot_is_seen(house, upstream):
    await house.allow(A, B)
    async with house.client() as client:
        await client.begin(A, B)
        await house.tell(A, EventKind.BAN, scope=Scope.ALL, settled=True)
        assert (await client.data()).endswith("1 forwarded, 1 suppressed")
    assert [m.recipients for m in upstream.messages] == [[B]]


async def test_a_ban_between_rcpt_and_final_dot_is_told_to_who_wants_refusals(build, upstream):
    """One reply for two recipients could not be true for both; the retry's are."""
    async with build(clients=[client_table(on_suppress="reject")]) as house:
        await house.allow(A, B)
        async with house.client() as client:
            await client.begin(A, B)
            await house.tell(A, EventKind.BAN, scope=Scope.ALL, settled=True)
            assert (await client.data()).startswith("451 4.7.1")
            assert upstream.messages == []
            replies = await client.begin(A, B)
            assert replies[0].startswith("550 5.7.1 Suppressed by R11")
            assert (await client.data()).endswith("1 forwarded")
        assert [m.recipients for m in upstream.messages] == [[B]]


async def test_a_look_up_that_has_grown_old_is_repeated(build, upstream):
    """Between look-up and hand-over the upstream stalls, and the ban comes meanwhile."""
    async with build(clients=[client_table(kind="service", topic=None)]) as house:
        await house.allow(A, B)
        await house.customer(B)
        gate = asyncio.Event()
        async with house.client() as client:
            await client.begin(A, B)
            # Marked as marketing, so that the allowed set must be begun anew; RSET stalls.
            await house.tell(B, EventKind.BAN, scope=Scope.ALL, settled=True)
            stalled = upstream.on(Stage.RSET, gate=gate, times=1)
            upstream.on(Stage.MAIL, gate=gate)
            await client.say("DATA")
            client.writer.write(MAILING + b".\r\n")
            while not stalled.played:
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.3)
            await house.tell(A, EventKind.BAN, scope=Scope.ALL, settled=True)
            gate.set()
            assert (await client.reply()).startswith("451")
        assert upstream.messages == []


async def test_no_hand_over_begins_after_the_acknowledgement(build, upstream):
    """Bans fall at random into a stream of messages; none leaks past its acknowledgement.

    The upstream notes when the first octet of each message came: with that a hand-over
    begins.  It must not be later than the moment the ban was acknowledged.
    """
    people = [f"p{n}@example.com" for n in range(24)]
    acknowledged: dict[str, float] = {}
    rng = random.Random(3)
    # Some messages wait for their go-ahead for longer than a look-up may be used.
    upstream.on(Stage.DATA, delay=0.08, times=300)
    async with build(register={"settle": 0.05}) as house:
        await house.allow(*people)

        async def send(person: str) -> None:
            async with house.client() as client:
                while person not in acknowledged:
                    await client.mail(person)
                for _ in range(3):
                    assert (await client.mail(person)).endswith("1 suppressed")

        async def ban(person: str) -> None:
            await asyncio.sleep(rng.uniform(0.1, 1.5))
            while len(upstream.messages) <= len(people):  # a slow machine
                await asyncio.sleep(0.01)
            await house.tell(person, EventKind.BAN, scope=Scope.ALL, settled=True)
            acknowledged[person] = time.monotonic()

        async with asyncio.timeout(100), asyncio.TaskGroup() as tasks:
            for person in people:
                tasks.create_task(send(person))
                tasks.create_task(ban(person))
    assert len(upstream.messages) > len(people)
    for message in upstream.messages:
        (person,) = message.recipients
        assert message.body_at <= acknowledged[person], person


async def test_a_slow_disk_lets_a_message_begin_long_after_its_look_up(build, upstream):
    """What was confirmed waits for more octets; the ban is acknowledged before any has left."""
    message = MAILING + (b"x" * 78 + b"\r\n") * 4_000
    gate, disk = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()
    async with build(register={"settle": 0.5}) as house:
        await house.allow(A)
        # Other messages have all the memory: the whole body lies on the disk.
        house.listener.budget.limit(8_192)
        async with house.client() as client:
            await client.begin(A)
            upstream.on(Stage.DATA, gate=gate)
            await client.say("DATA")
            client.writer.write(MAILING)
            await asyncio.sleep(0.1)
            client.writer.write(message[len(MAILING) :] + b".\r\n")
            while b"DATA" not in upstream.commands:
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.1)
            # Every thread that could read the disk is busy.
            busy = [loop.run_in_executor(None, disk.wait, 10) for _ in range(64)]
            gate.set()
            await asyncio.sleep(0.1)
            await house.tell(A, EventKind.BAN, scope=Scope.ALL, settled=True)
            acknowledged = time.monotonic()
            disk.set()
            await client.reply()
            await asyncio.gather(*busy)
    for one in upstream.messages:
        assert one.body_at <= acknowledged
