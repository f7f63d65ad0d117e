"""What a server may do to a trip; a server of our own does it, over real sockets."""

import asyncio
import contextlib
import time

import pytest

from gateway.failure import RegisterUnavailable
from gateway.register.batcher import Batcher
from gateway.register.connect import connect
from gateway.register.question import question

NOTHING = b"*2\r\n_\r\n_\r\n"


class Server:
    """Greets like Redis 7; questions are answered by ``answer(field)``, or not at all."""

    def __init__(self):
        self.answer = lambda field: b"*2\r\n$%d\r\n%b\r\n_\r\n" % (len(field), field)
        self.writers = []
        self.asked = []
        self.most = 0

    async def start(self):
        self.server = await asyncio.start_server(self.serve, "127.0.0.1", 0)
        return f"redis://127.0.0.1:{self.server.sockets[0].getsockname()[1]}"

    async def stop(self):
        self.server.close()
        for writer in self.writers:
            writer.close()
        await self.server.wait_closed()

    async def serve(self, reader, writer):
        self.writers.append(writer)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                count = int((await reader.readuntil(b"\r\n"))[1:])
                words = []
                for _ in range(count):
                    size = int((await reader.readuntil(b"\r\n"))[1:])
                    words.append((await reader.readexactly(size + 2))[:-2])
                if words[0] == b"HELLO":
                    writer.write(b"%1\r\n$5\r\nproto\r\n:3\r\n")
                elif words[0] != b"HMGET":
                    writer.write(b"+OK\r\n")
                else:
                    self.asked.append(words[2])
                    reply = self.answer(words[2])
                    if reply is None:
                        writer.transport.abort()
                        return
                    for piece in reply if isinstance(reply, list) else [reply]:
                        writer.write(piece)
                        await asyncio.sleep(0.002 if isinstance(reply, list) else 0)


@pytest.fixture
async def server():
    server = Server()
    server.url = await server.start()
    yield server
    await server.stop()


@contextlib.asynccontextmanager
async def batcher(server, timeout=1.0, **members):
    connections = connect(server.url, timeout=timeout)
    made = Batcher(connections.wire, timeout, **members)
    try:
        yield made
    finally:
        await made.aclose()
        await connections.aclose()


async def ask(batcher, *fields):
    packed = b"".join(question(b"bucket", field) for field in fields)
    return [entry for entry, _ in await batcher.ask(packed, len(fields))]


async def test_callers_of_one_trip_get_their_own_answers(server):
    async with batcher(server) as made:
        for _ in range(3):
            asks = [asyncio.create_task(ask(made, b"%d" % n, b"x%d" % n)) for n in range(50)]
            await asyncio.sleep(0)
            asks[7].cancel()
            for n, found in enumerate(asks):
                if n != 7:
                    assert await found == [b"%d" % n, b"x%d" % n]
        assert made.trips == 3
        assert len(server.writers) == 1


async def test_replies_in_pieces_and_what_is_said_unasked_between_them(server):
    server.answer = lambda field: [b"*2\r\n$1\r\n", field, b"\r\n_\r\n>2\r\n$3\r\nany\r\n:1\r\n"]
    async with batcher(server) as made:
        assert await ask(made, b"a", b"b", b"c") == [b"a", b"b", b"c"]


async def test_a_reply_too_many_never_answers_the_next_caller(server):
    plain = server.answer
    server.answer = lambda field: plain(field) + (plain(b"evil") if field == b"a" else b"")
    async with batcher(server) as made:
        assert await ask(made, b"a") == [b"a"]
        for field in (b"b", b"a", b"c"):
            await asyncio.sleep(0.01)
            assert await ask(made, field) == [field]
    assert len(server.writers) > 1


@pytest.mark.parametrize("error", [b"-ERR no\r\n", b"-LOADING busy\r\n", b"$1\r\nx\r\n", b"?\r\n"])
async def test_what_is_no_answer_is_refused_and_the_next_trip_is_well(server, error):
    plain = server.answer
    server.answer = lambda field: error if field == b"b" else plain(field)
    async with batcher(server) as made:
        for _ in range(2):
            with pytest.raises(RegisterUnavailable):
                await ask(made, b"a", b"b", b"c")
            await asyncio.sleep(0.01)
            assert await ask(made, b"a") == [b"a"]


async def test_a_connection_that_was_closed_while_idle_is_tried_again_once(server):
    plain = server.answer
    async with batcher(server) as made:
        assert await ask(made, b"a") == [b"a"]
        closing = iter([None])
        server.answer = lambda field: next(closing, plain(field))
        assert await ask(made, b"b") == [b"b"]
        assert server.asked == [b"a", b"b", b"b"]
        server.answer = lambda field: None
        with pytest.raises(RegisterUnavailable):
            await ask(made, b"c")
        assert server.asked.count(b"c") == 2
        server.answer = plain
        assert await ask(made, b"d") == [b"d"]


async def test_a_silent_server_is_unavailable_in_time_and_lanes_come_back(server):
    plain = server.answer
    async with batcher(server, timeout=0.5, lanes=2, limit=1) as made:
        assert await ask(made, b"a") == [b"a"]
        server.answer = lambda field: b""
        for _ in range(3):
            began = time.monotonic()
            asks = []
            for n in range(40):
                asks.append(asyncio.create_task(ask(made, b"%d" % n)))
                await asyncio.sleep(0.005)
            for found in await asyncio.gather(*asks, return_exceptions=True):
                assert isinstance(found, RegisterUnavailable)
            assert time.monotonic() - began < 5  # and not two after two
        server.answer = plain
        assert await ask(made, b"b") == [b"b"]


async def test_at_most_so_many_trips_of_so_many_questions_run_at_once(server):
    gate = asyncio.Event()
    under_way = []

    async def serve(reader, writer):
        server.writers.append(writer)
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                if b"HMGET" not in data:
                    greeting = b"%1\r\n$5\r\nproto\r\n:3\r\n" if b"HELLO" in data else b""
                    writer.write(greeting + b"+OK\r\n" * data.count(b"CLIENT"))
                    continue
                under_way.append(data.count(b"HMGET"))
                server.most = max(server.most, len(under_way))
                await gate.wait()
                writer.write(NOTHING * under_way.pop())

    server.serve = serve
    await server.stop()
    server.url = await server.start()
    async with batcher(server, timeout=30, lanes=2, limit=10) as made:
        asks = [asyncio.create_task(ask(made, b"a", b"b")) for _ in range(40)]
        while len(under_way) < 2:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.3)
        assert under_way == [10, 10]
        gate.set()
        assert await asyncio.gather(*asks) == [[None, None]] * 40
    assert server.most == 2
    assert made.trips == 8


async def test_closing_ends_the_trips_under_way(server):
    async with batcher(server, timeout=5) as made:
        assert await ask(made, b"a") == [b"a"]
        server.answer = lambda field: b""
        first = asyncio.create_task(ask(made, b"b"))
        await asyncio.sleep(0.05)
        second = asyncio.create_task(ask(made, b"c"))
        await asyncio.sleep(0.05)
        third = asyncio.create_task(ask(made, b"d"))
        await asyncio.sleep(0)
        await made.aclose()
        for caller in (first, second, third):
            with pytest.raises(RegisterUnavailable, match="closed"):
                await caller
        with pytest.raises(RegisterUnavailable, match="closed"):
            await ask(made, b"e")


async def test_exchanges_beyond_the_connections_wait_their_turn(server):
    """One that is cancelled while it waits takes no turn with it."""
    connections = connect(server.url, timeout=30, connections=2)
    wire = connections.wire
    command = [(b"HMGET", b"bucket", b"a", b"@")]
    server.answer = lambda field: b""
    try:
        tasks = [asyncio.create_task(wire.exchange(command, 30)) for _ in range(8)]
        while len(server.asked) < 2:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)
        assert len(server.asked) == 2
        for task in tasks[2:5]:
            task.cancel()
        await asyncio.sleep(0.01)
        tasks[5].cancel()
        tasks[0].cancel()
        server.answer = lambda field: NOTHING
        await asyncio.sleep(0.1)
        assert [await task for task in tasks[6:]] == [[[None, None]]] * 2
        tasks[1].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        found = await asyncio.gather(*(wire.exchange(command, 30) for _ in range(6)))
        assert found == [[[None, None]]] * 6
        assert wire._room == 2
    finally:
        await connections.aclose()
