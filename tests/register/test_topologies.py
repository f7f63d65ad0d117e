"""The register on a Cluster of two nodes and behind Sentinel, with real servers."""

import asyncio
import contextlib
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

from gateway.contacts.hashed import Algorithm, Normalisation, Salting, Scheme
from gateway.contacts.parse import parse_email
from gateway.entry.event import Event, EventKind
from gateway.failure import InputError, RegisterUnavailable
from gateway.register.connect import connect
from gateway.register.register import Register
from tests.peers.port import free_port

PROGRAM = shutil.which("redis-server")
needs_server = pytest.mark.skipif(PROGRAM is None, reason="redis-server is needed")


async def command(port, *words):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write((" ".join(map(str, words)) + "\r\n").encode())
        async with asyncio.timeout(5):
            line = await reader.readline()
            if line.startswith(b"$"):
                line = await reader.readexactly(int(line[1:]) + 2)
            return line.decode()
    finally:
        writer.close()
        await writer.wait_closed()


async def until(check, within=60):
    async with asyncio.timeout(within):
        while True:
            with contextlib.suppress(OSError):
                if await check():
                    return
            await asyncio.sleep(0.05)


@pytest.fixture
def spawn():
    """Starts server processes that end with the test."""
    folder = Path(tempfile.mkdtemp(prefix="sg-"))
    running = []

    def start(port, *settings):
        home = folder / str(port)
        home.mkdir()
        (home / "server.conf").write_text(
            f'port {port}\nbind 127.0.0.1\ndir "{home}"\nsave ""\nlogfile server.log\n'
            + "\n".join(settings)
        )
        arguments = [PROGRAM, str(home / "server.conf")]
        if any(line.startswith("sentinel ") for line in settings):
            arguments.append("--sentinel")
        running.append(subprocess.Popen(arguments, stdin=subprocess.DEVNULL))
        return running[-1]

    yield start
    for process in running:
        process.kill()
        process.wait()
    shutil.rmtree(folder, ignore_errors=True)


async def exercise(register):
    people = [parse_email(f"p{number}+x@example.com") for number in range(100)]
    event = Event(kind=EventKind.BAN, at=7, actor="test")
    await register.apply_many([(event, who) for who in people])
    for standing in await register.look_up(people):
        assert standing.exact.bans[0].at == 7
        assert standing.base
    (logged,) = await register.history(people[0])
    assert logged.kind is EventKind.BAN
    assert await register.position() != "0-0"
    unban = Event(kind=EventKind.UNBAN, at=8, actor="test", scope="all")
    await register.apply(unban, people[0])
    (standing,) = await register.look_up(people[:1])
    assert not standing.exact.bans
    assert not standing.base


@needs_server
async def test_a_cluster(spawn, ring):
    first, second, bus, other_bus = (free_port() for _ in range(4))
    for port, line in ((first, bus), (second, other_bus)):
        spawn(port, "cluster-enabled yes", f"cluster-port {line}", "cluster-node-timeout 2000")
    for port, slots in ((first, "0 8191"), (second, "8192 16383")):

        async def added(port=port, slots=slots):
            return await command(port, "CLUSTER", "ADDSLOTSRANGE", slots) == "+OK\r\n"

        await until(added)
    await command(first, "CLUSTER", "MEET", "127.0.0.1", second, other_bus)
    for port in (first, second):

        async def joined(port=port):
            info = await command(port, "CLUSTER", "INFO")
            return "cluster_state:ok" in info and "cluster_slots_ok:16384" in info

        await until(joined)
    url = f"cluster://127.0.0.1:{first},127.0.0.1:{second}"
    async with await Register.open(url, ring, timeout=5) as register:
        await exercise(register)
        asks = [asyncio.create_task(register.look_up([parse_email(f"p{number}+x@example.com")]))
                for number in range(1, 40)]  # fmt: skip
        await asyncio.sleep(0)
        for ask in asks[::2]:
            ask.cancel()
        for standings in await asyncio.gather(*asks[1::2]):
            assert standings[0].exact.bans
        scheme = await register.schemes.add(
            Scheme(Algorithm.SHA256, Normalisation.TRIM_LOWER, Salting.HMAC, b"a salt")
        )
        people = [parse_email(f"h{number}@example.com") for number in range(300)]
        hashes = [value for person in people[::2] for value in scheme.hashes(person)]
        ban = Event(kind=EventKind.BAN, at=5, actor="test")
        assert await register.hashed.ban(ban, scheme, hashes) == 150
        assert await register.hashed.ban(ban, scheme, hashes) == 0
        banned = [bool(one.hashed) for one in await register.look_up(people)]
        assert banned == [True, False] * 150


@pytest.mark.slow
@needs_server
async def test_sentinel_names_the_master_and_its_successor(spawn, ring):
    first, second, watch = (free_port() for _ in range(3))
    master = spawn(first)
    await until(lambda: command(first, "PING"))
    spawn(second, f"replicaof 127.0.0.1 {first}")

    async def follows():
        return "master_link_status:up" in await command(second, "INFO", "replication")

    await until(follows)
    spawn(
        watch,
        f"sentinel monitor sg 127.0.0.1 {first} 1",
        "sentinel down-after-milliseconds sg 500",
        "sentinel failover-timeout sg 3000",
    )
    await until(lambda: command(watch, "PING"))
    url = f"sentinel://127.0.0.1:{watch}/sg"
    async with await Register.open(url, ring) as register:
        await exercise(register)

        async def known():
            return "slave0:name=" in await command(watch, "INFO") or (
                "slaves=1" in await command(watch, "INFO", "sentinel")
            )

        await until(known)
        master.kill()
        contact = parse_email("p5+x@example.com")

        async def seen():
            try:
                (standing,) = await register.look_up([contact])
                await register.apply(Event(kind=EventKind.BAN, at=9, actor="test"), contact)
            except RegisterUnavailable:
                return False
            return bool(standing.exact.bans)

        await until(seen, 25)


@pytest.mark.parametrize(
    "url",
    ["", "http://x", "sentinel://h:1", "sentinel://h:x/n", "cluster://h?what=1", "cluster://",
     "redis://h:x", "redis://u:secret@h/x?socket_timeout=y"],
)  # fmt: skip
def test_an_unusable_url_is_refused_without_repeating_it(url):
    with pytest.raises(InputError) as refused:
        connect(url)
    assert "secret" not in str(refused.value)
