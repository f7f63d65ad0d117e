"""Slow and hostile clients: memory stays bounded, and everybody else is served.

In every test a healthy client sends all the while, and everything it sends must have
passed, whole, before the test ends.
"""

import asyncio
import contextlib
from itertools import count

import pytest

from tests.chaos.memory import KIB, MIB, Watch, need_files
from tests.peers.house import client_table

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(120)]

READER = "reader1@example.com"
HEALTHY = {"count": 40, "sessions": 4}


@contextlib.asynccontextmanager
async def connected(place, number=1):
    """Bare connections, their greetings read."""
    pairs = []
    try:
        for _ in range(number):
            pairs.append(await asyncio.open_connection("127.0.0.1", place.port))
            assert (await pairs[-1][0].readline()).startswith(b"220 ")
        yield pairs
    finally:
        for _, writer in pairs:
            writer.transport.abort()
        await asyncio.sleep(0)


async def say(reader, writer, line):
    writer.write(line + b"\r\n")
    while (answer := await reader.readline())[3:4] == b"-":
        pass
    return answer


async def begin(reader, writer, recipient=READER, mail=b""):
    """Up to the 354."""
    await say(reader, writer, b"EHLO hostile.example")
    assert (await say(reader, writer, b"MAIL FROM:<u@lamisnet.fi>" + mail)).startswith(b"250")
    assert (await say(reader, writer, f"RCPT TO:<{recipient}>".encode())).startswith(b"250")
    assert (await say(reader, writer, b"DATA")).startswith(b"354")


async def pour(writer, octets, within):
    """Write until it is all taken, the peer has had enough, or the time is up."""
    with contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(within):
            for piece in octets:
                writer.write(piece)
                await writer.drain()
    return writer.transport.is_closing()


async def test_one_octet_a_second(build):
    """A message that trickles is cut off after `message_timeout`."""
    async with build(smtp={"message_timeout": 6, "idle_timeout": 6}) as place:
        async with connected(place, 30) as pairs:
            for reader, writer in pairs[::2]:
                await begin(reader, writer)

            async def trickle():
                last = [asyncio.create_task(reader.readline()) for reader, _ in pairs[::2]]
                for _ in range(9):
                    for number, (_, writer) in enumerate(pairs):
                        if number % 2 or not last[number // 2].done():
                            writer.write(b"x")
                    await asyncio.sleep(1)
                for line in last:
                    assert (await line).startswith(b"421 4.4.2 ")

            await place.send(HEALTHY["count"], trickle(), over=8, sessions=4, within=30)
        await place.end()


async def test_2000_idle_connections(build):
    """At most 60 kB of memory each; past `max_connections` a client hears 421."""
    need_files(4500)
    most = 2050
    clients = [client_table(max_connections=most)]
    async with build(smtp={"max_connections": most}, clients=clients) as place:
        await place.send(20, over=0.5)
        async with Watch(place.gateway) as watch, connected(place, 2000) as pairs:
            for reader, writer in pairs[::2]:
                await say(reader, writer, b"EHLO idle.example")
            each = watch.growth / len(pairs)
            print(f"{each / KIB:.1f} KiB for an idle connection")
            assert each < 60_000
            await place.send(HEALTHY["count"], over=2, sessions=4)
            async with connected(place, most - len(pairs) - 4):
                over = [await asyncio.open_connection("127.0.0.1", place.port) for _ in range(10)]
                answers = [await reader.readline() for reader, _ in over]
                for _, writer in over:
                    writer.transport.abort()
                assert answers[-1].startswith(b"421 4.7.0 "), answers
        await place.end()


async def test_10000_recipients_in_one_transaction(build):
    """One message with 10,000 recipients; the 10,001st hears 452; at most 10 kB each."""
    clients = [client_table(max_recipients=10_000)]
    async with build(
        clients=clients,
        delay=0,
        rules={"set": "opt-out"},
        upstream={"command_timeout": 20},
    ) as place:
        many = [f"somebody{number}@example.net" for number in range(10_000)]
        async with Watch(place.gateway) as watch, connected(place) as [(reader, writer)]:

            async def campaign():
                await say(reader, writer, b"EHLO big.example")
                await say(reader, writer, b"MAIL FROM:<u@lamisnet.fi>")
                lines = "".join(f"RCPT TO:<{one}>\r\n" for one in [*many, "over@example.net"])
                writer.write(lines.encode() + b"DATA\r\n")
                answers = [await reader.readline() for _ in range(10_002)]
                assert all(answer.startswith(b"250") for answer in answers[:10_000])
                assert answers[10_000].startswith(b"452 4.5.3 ")
                assert answers[10_001].startswith(b"354 ")
                writer.write(
                    b"From: u@lamisnet.fi\r\nX-Campaign-Id: big\r\n"
                    b"List-Unsubscribe: <https://x.example>\r\n\r\nHei\r\n.\r\n"
                )
                answer = await reader.readline()
                assert answer.endswith(b"10000 forwarded\r\n"), answer

            # `opt-out` knows no consents, only bans: strangers may be written to.
            await place.send(HEALTHY["count"], campaign(), over=3, sessions=4)
            print(f"{watch.growth / MIB:.1f} MiB for 10,000 recipients")
            assert watch.growth < 10_000 * len(many)
        [big] = [arrival for arrival in place.sink.arrivals if arrival.letter == "big"]
        assert sorted(big.recipients) == sorted(many)
        place.sink.arrivals.remove(big)
        await place.end(but={big.gateway_id})


async def test_200_connections_a_second(build):
    """Every one is greeted, served and forgotten."""
    need_files(4500)
    async with build() as place:
        done = count()

        async def once(wait):
            await asyncio.sleep(wait)
            async with connected(place) as [(reader, writer)]:
                assert (await say(reader, writer, b"QUIT")).startswith(b"221")
            next(done)

        async def storm():
            await asyncio.gather(*(once(number / 200) for number in range(1000)))

        await place.send(HEALTHY["count"], storm(), over=5, sessions=4)
        assert next(done) == 1000
        await place.end()


async def test_messages_over_the_limit(build):
    """552 for a declared SIZE and for an undeclared one; what is too much is not kept."""
    async with build(smtp={"max_message_size": MIB, "data_timeout": 5}) as place:
        async with connected(place, 12) as pairs:
            reader, writer = pairs[0]
            await say(reader, writer, b"EHLO big.example")
            answer = await say(reader, writer, b"MAIL FROM:<u@lamisnet.fi> SIZE=1048577")
            assert answer.startswith(b"552 5.3.4 "), answer
            for reader, writer in pairs[1:]:
                await begin(reader, writer, mail=b" SIZE=100")
            async with Watch(place.gateway) as watch:
                line = b"x" * 998 + b"\r\n"

                async def flood():
                    async with asyncio.TaskGroup() as group:
                        for _, writer in pairs[1:]:
                            group.create_task(pour(writer, [line * 1000] * 30, 20))

                await place.send(HEALTHY["count"], flood(), over=3, sessions=4)
                for reader, writer in pairs[1:]:
                    writer.write(b".\r\n")
                    async with asyncio.timeout(20):
                        assert (await reader.readline()).startswith(b"552 5.3.4 ")
                print(f"{watch.growth / MIB:.1f} MiB for 11 x 30 MB that nobody wants")
                assert watch.growth < (11 + 20) * MIB
        await place.end()


async def test_a_message_that_never_ends(build):
    """It is cut off after `message_timeout`, however fast it comes."""
    async with build(smtp={"max_message_size": MIB, "message_timeout": 3}) as place:
        async with connected(place) as [(reader, writer)]:
            await begin(reader, writer)
            line = (b"x" * 998 + b"\r\n") * 50

            async def flood():
                await pour(writer, (line for _ in count()), 15)
                assert writer.transport.is_closing() or reader.at_eof()

            await place.send(HEALTHY["count"], flood(), over=3, sessions=4)
        await place.end()


async def test_a_command_that_never_ends(build):
    """100 MB without a line end cost nothing to keep, and are one 500."""
    async with build() as place:
        async with connected(place, 4) as pairs, Watch(place.gateway) as watch:

            async def flood():
                async with asyncio.TaskGroup() as group:
                    for _, writer in pairs:
                        group.create_task(pour(writer, [b"A" * 100_000] * 250, 30))

            await place.send(HEALTHY["count"], flood(), over=2, sessions=4)
            for reader, writer in pairs:
                answer = await say(reader, writer, b"")
                assert answer.startswith(b"500 5.5.6 "), answer
                assert (await say(reader, writer, b"NOOP")).startswith(b"250")
            print(f"{watch.growth / MIB:.1f} MiB for 4 x 25 MB of a command")
            assert watch.growth < 16 * MIB
        await place.end()


async def test_a_flood_of_commands(build):
    """A million pipelined NOOPs are answered in turn and starve nobody."""
    async with build() as place:
        async with connected(place, 2) as pairs, Watch(place.gateway) as watch:

            async def swallow(reader, seen):
                while seen < 500_000 and (data := await reader.read(1 << 16)):
                    seen += data.count(b"\n")
                return seen

            async def flood():
                async with asyncio.TaskGroup() as group:
                    for reader, writer in pairs:
                        group.create_task(pour(writer, [b"NOOP\r\n" * 5000] * 100, 60))
                        group.create_task(swallow(reader, 0))

            await place.send(HEALTHY["count"], flood(), over=3, sessions=4)
            print(f"{watch.growth / MIB:.1f} MiB for a million commands")
            assert watch.growth < 16 * MIB
        await place.end()


async def test_clients_that_never_read(build):
    """Their replies wait in bounded buffers, and after `idle_timeout` they are cut off."""
    async with build(smtp={"idle_timeout": 3}) as place:
        async with connected(place, 20) as pairs, Watch(place.gateway) as watch:
            for reader, _ in pairs:
                reader._transport.pause_reading()

            async def flood():
                async with asyncio.TaskGroup() as group:
                    tasks = [
                        group.create_task(pour(writer, (b"HELP\r\n" * 5000 for _ in count()), 25))
                        for _, writer in pairs
                    ]
                assert all(task.result() for task in tasks), "not all were cut off"

            await place.send(HEALTHY["count"], flood(), over=3, sessions=4)
            print(f"{watch.growth / MIB:.1f} MiB for 20 that never read")
            assert watch.growth < 40 * MIB
        await place.end()


async def test_many_big_messages_at_once(build):
    """`total_memory` bounds what messages take, whatever number of them comes at once."""
    total = 16 * MIB
    clients = [client_table(max_connections=100)]
    smtp = {"total_memory": total, "message_memory": 2 * MIB}
    upstream = {"final_timeout": 20, "data_timeout": 20, "command_timeout": 10}
    async with build(clients=clients, smtp=smtp, upstream=upstream, delay=0) as place:
        place.sink.keep_content = False
        body = b"From: u@lamisnet.fi\r\nX-Campaign-Id: big\r\n" + (
            b"List-Unsubscribe: <https://x.example>\r\n\r\n" + (b"y" * 998 + b"\r\n") * 8000
        )
        async with connected(place, 30) as pairs, Watch(place.gateway) as watch:
            for reader, writer in pairs:
                await begin(reader, writer)

            async def one(reader, writer):
                await pour(writer, [body[at : at + 65536] for at in range(0, len(body), 65536)], 60)
                writer.write(b".\r\n")
                async with asyncio.timeout(60):
                    answer = await reader.readline()
                assert answer.endswith(b"1 forwarded\r\n"), answer

            await asyncio.gather(*(one(*pair) for pair in pairs))
            print(f"{watch.growth / MIB:.1f} MiB for 30 x 8 MB, {total / MIB:.0f} of them bodies")
            assert watch.growth < total + len(pairs) * MIB + 32 * MIB
        assert len(place.sink.arrivals) == 30
        assert await place.gateway.stop() == 0
