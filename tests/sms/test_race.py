"""A ban that is acknowledged is in force for every hand-over that begins after it."""

import asyncio
import random
import socket
import time

import aiohttp
from aiohttp import web

from gateway.entry.entry import Scope
from gateway.entry.event import EventKind

PATH = "/2010-04-01/Accounts/AC00000000000000000000000000000000/Messages.json"
YES, NO = "+358401111111", "+358402222222"
TEXT = "Syysale! Lopeta: vastaa STOP"
AUTH = {"Authorization": aiohttp.encode_basic_auth("AC00000000000000000000000000000000", "token")}
APP = {"Authorization": "App 0123456789abcdef"}


def form(to: str) -> dict[str, str]:
    return {"To": to, "From": "LamisNET", "Body": TEXT}


def message(*numbers: str) -> dict:
    return {
        "sender": "LamisNET",
        "destinations": [{"to": number} for number in numbers],
        "content": {"text": TEXT},
    }


async def settled_ban(house, number: str) -> None:
    await house.tell(number, EventKind.BAN, scope=Scope.ALL, settled=True)


def looked_up(house, number: str) -> asyncio.Event:
    """Set once the register has answered of this number."""
    register, usual = house.parts.register, house.parts.register.look_up
    answered = asyncio.Event()

    async def look_up(contacts):
        found = await usual(contacts)
        if any(contact.canonical == number for contact in contacts):
            answered.set()
        return found

    register.look_up = look_up
    return answered


async def test_a_ban_while_the_only_connection_is_busy(sms):
    """The look-up is done; then the pool has no connection, and the ban comes meanwhile."""
    async with sms("twilio", max_connections=1, answer_timeout=10) as house:
        await house.allow(YES, NO)
        free = house.provider.stall()
        first = asyncio.create_task(house.post(PATH, data=form(YES), headers=AUTH))
        while not house.provider.sends:
            await asyncio.sleep(0.01)
        judged = looked_up(house, NO)
        second = asyncio.create_task(house.post(PATH, data=form(NO), headers=AUTH))
        await judged.wait()
        await asyncio.sleep(0.3)
        await settled_ban(house, NO)
        free.set()
        assert (await first)[0] == 201
        status, answer = await second
        assert (status, answer["status"]) == (503, 503)
        assert [one for one in house.provider.sends if NO[1:].encode() in one.body] == []
        assert await house.fate(NO) == [("forward", "R40", "failed")]
        # Said again it is the provider's own refusal.
        status, answer = await house.post(PATH, data=form(NO), headers=AUTH)
        assert (status, answer["code"]) == (400, 21610)


async def test_a_ban_while_the_provider_is_slow_to_take_the_connection(sms):
    """Its backlog is full: the connection stands only after the ban was acknowledged."""
    seen = bytearray()
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        port = full.getsockname()[1]
        stuffing = []
        for _ in range(2):
            one = socket.socket()
            one.setblocking(False)
            one.connect_ex(("127.0.0.1", port))
            stuffing.append(one)
        base = f"http://127.0.0.1:{port}"
        async with sms("twilio", base_url=base, connect_timeout=10, answer_timeout=10) as house:
            await house.allow(NO)
            judged = looked_up(house, NO)
            asked = asyncio.create_task(house.post(PATH, data=form(NO), headers=AUTH))
            await judged.wait()
            await asyncio.sleep(0.3)
            await settled_ban(house, NO)

            async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
                while b"STOP" not in seen and (piece := await reader.read(4096)):
                    seen.extend(piece)
                writer.close()

            server = await asyncio.start_server(take, sock=full.dup())
            status, _ = await asked
            server.close()
            for one in stuffing:
                one.close()
            assert status == 503
    assert NO[1:].encode() not in seen


async def test_messages_of_one_request_are_fresh_all_at_once(sms):
    """The second message's look-up is repeated for so long that the first's grows old."""
    async with sms("infobip", max_connections=1, answer_timeout=10) as house:
        await house.allow(YES, NO)
        register, usual = house.parts.register, house.parts.register.look_up
        calls = 0
        begun = asyncio.Event()

        async def look_up(contacts):
            nonlocal calls
            found = await usual(contacts)
            calls += 1
            # From the repeated ones on: it was found, and is told late.
            if calls > 2 and any(contact.canonical == YES for contact in contacts):
                begun.set()
                await asyncio.sleep(register.settling * 1.2)
            return found

        register.look_up = look_up
        free = house.provider.stall()
        await house.allow("+358403333333")
        body = {"messages": [message("+358403333333")]}
        first = asyncio.create_task(house.post("/sms/3/messages", json=body, headers=APP))
        while not house.provider.sends:
            await asyncio.sleep(0.01)
        calls = 0
        body = {"messages": [message(NO), message(YES)]}
        second = asyncio.create_task(house.post("/sms/3/messages", json=body, headers=APP))
        while calls < 2:
            await asyncio.sleep(0.01)
        await asyncio.sleep(register.settling + 0.1)
        free.set()
        async with asyncio.timeout(30):
            await begun.wait()
        asked = time.monotonic()
        await settled_ban(house, NO)
        acknowledged = time.monotonic()
        await asyncio.gather(first, second)
        for at, one in zip(house.provider.times, house.provider.asked, strict=True):
            assert NO[1:].encode() not in one.body or at <= acknowledged, at - asked


async def test_no_hand_over_begins_after_the_acknowledgement(sms):
    """Bans fall at random into a stream of messages through a pool that is too small."""
    people = [f"+3584012345{n:02}" for n in range(16)]
    acknowledged: dict[str, float] = {}
    rng = random.Random(3)
    async with sms("twilio", max_connections=2, answer_timeout=10, settle=0.05) as house:
        await house.allow(*people)
        usual = house.provider.answer

        async def slowly(request: web.Request, body: bytes) -> web.StreamResponse:
            await asyncio.sleep(0.01)
            return await usual(request, body)

        house.provider.answer = slowly

        async def send(person: str) -> None:
            while person not in acknowledged:
                await house.post(PATH, data=form(person), headers=AUTH)
            for _ in range(2):
                status, answer = await house.post(PATH, data=form(person), headers=AUTH)
                assert (status, answer["code"]) == (400, 21610)

        async def ban(person: str) -> None:
            await asyncio.sleep(rng.uniform(0.1, 1.5))
            while len(house.provider.sends) <= len(people):  # a slow machine
                await asyncio.sleep(0.01)
            await settled_ban(house, person)
            acknowledged[person] = time.monotonic()

        async with asyncio.timeout(100), asyncio.TaskGroup() as tasks:
            for person in people:
                tasks.create_task(send(person))
                tasks.create_task(ban(person))
        sends = list(zip(house.provider.times, house.provider.asked, strict=True))
    assert len(sends) > len(people)
    for at, one in sends:
        (person,) = [one_ for one_ in people if one_[1:].encode() in one.body]
        assert at <= acknowledged[person], person
