"""Requests that follow each other on one connection, without a wait for the answers."""

import asyncio
import re

from tests.sms.test_input import BASIC, FORM, PATH, YES


def posted(number: int, octets: int) -> bytes:
    text = f"Ale {number:03d} STOP " + "x" * octets
    body = f"To=%2B{YES[1:]}&From=LamisNET&Body={text}".replace(" ", "+").encode()
    lines = [
        f"POST /tool{PATH} HTTP/1.1",
        "Host: gateway",
        f"Authorization: {BASIC}",
        f"Content-Type: {FORM}",
        f"Content-Length: {len(body)}",
    ]
    return "\r\n".join([*lines, "", ""]).encode() + body


async def answers(house, octets: bytes, count: int, piece: int) -> list[bytes]:
    """The status lines of that many answers."""
    reader, writer = await asyncio.open_connection("127.0.0.1", house.sms_port)

    async def say() -> None:
        for at in range(0, len(octets), piece):
            writer.write(octets[at : at + piece])
            await writer.drain()

    saying = asyncio.create_task(say())
    heard = b""
    async with asyncio.timeout(20):
        while len(found := re.findall(rb"HTTP/1.1 (\d+)", heard)) < count:
            heard += await reader.read(65536)
        await saying
    writer.close()
    await writer.wait_closed()
    return found


async def test_many_requests_in_one_write_are_all_answered(sms):
    async with sms("twilio") as house:
        await house.allow(YES)
        octets = b"".join(posted(number, 10) for number in range(60))
        assert await answers(house, octets, 60, len(octets)) == [b"201"] * 60
        said = [re.search(rb"Ale.(\d+)", one.body)[1] for one in house.provider.sends]
        assert [int(one) for one in said] == list(range(60))


async def test_bodies_larger_than_what_is_read_at_once_are_read_whole(sms):
    """Reading is held up within a body, and goes on with the rest and the next request."""
    async with sms("twilio") as house:
        await house.allow(YES)
        octets = b"".join(posted(number, 600_000) for number in range(4))
        assert await answers(house, octets, 4, 30_000) == [b"201"] * 4
        assert [len(one.body) > 600_000 for one in house.provider.sends] == [True] * 4
