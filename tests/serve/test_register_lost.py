"""The register is emptied, or put back from an older copy, under a gateway that carries mail."""

import asyncio
import contextlib
import json
import shutil
import signal

import pytest
from redis.asyncio import Redis

from tests.peers.losing import LosingServer
from tests.peers.process import until

pytestmark = pytest.mark.slow

YES, NO, LATE = "yes@example.com", "no@example.com", "late@example.com"


@contextlib.asynccontextmanager
async def mailing(gateway, *recipients):
    """Mail to these in the background, over and over; yields the replies."""
    replies = []
    over = False

    async def send():
        while not over:
            replies.append(await gateway.send(*recipients))
            await asyncio.sleep(0.01)

    task = asyncio.create_task(send())
    try:
        yield replies
    finally:
        over = True
        await task


async def archived(gateway, count):
    """Wait until so many changes are in the archive."""
    async with asyncio.timeout(60):
        while count > await events(gateway):
            await asyncio.sleep(0.05)


async def shown(gateway, name, value):
    """Wait until a metric has this value; they are told once a second."""
    async with asyncio.timeout(60):
        while await metric(gateway, name) != value:
            await asyncio.sleep(0.1)


async def events(gateway) -> int:
    from sqlalchemy import func, select

    from gateway.records import schema
    from gateway.serve.stores import open_database

    database = await open_database(gateway.settings)
    try:

        async def work(connection):
            return await connection.scalar(select(func.count()).select_from(schema.event))

        return await database.read(work)
    finally:
        await database.aclose()


async def metric(gateway, name) -> float:
    status, text = await gateway.get("/metrics")
    assert status == 200
    return float(next(line for line in text.splitlines() if line.startswith(f"{name} ")).split()[1])


def got(upstream) -> set[str]:
    return {one for message in upstream.messages for one in message.recipients}


async def test_emptied_under_way_nobody_who_banned_is_written_to(gateway, upstream):
    await gateway.allow(YES, NO)
    await gateway.ban(NO)
    await archived(gateway, 5)
    async with mailing(gateway, NO, YES) as replies:
        await until(lambda: len(upstream.messages) > 2, 40, "no mail")
        socket = next(iter(gateway.folder.glob("data/register/register.sock")))
        async with Redis(unix_socket_path=str(socket)) as client:
            await client.flushall()
        await gateway.line("register_rebuilt")
        sent = len(upstream.messages)
        await until(lambda: len(upstream.messages) > sent + 2, 40, "no mail afterwards")
        await shown(gateway, "gateway_register_rebuilds", 1)
        assert (await gateway.get("/readyz"))[0] == 200
    assert got(upstream) == {YES}
    assert any(reply.startswith("451 4.3.0") for reply in replies)
    assert replies[-1].endswith("1 forwarded, 1 suppressed")
    whole = [line["event"] for line in gateway.lines if line["event"].startswith("register_")]
    assert "register_not_whole" in whole


async def test_what_waits_for_the_command_says_so(build, upstream):
    async with build(register={"rebuild": "manual"}) as gateway:
        await gateway.allow(YES, NO)
        await gateway.ban(NO)
        await archived(gateway, 5)
        socket = next(iter(gateway.folder.glob("data/register/register.sock")))
        async with Redis(unix_socket_path=str(socket)) as client:
            await client.flushall()
        for _ in range(5):
            assert (await gateway.send(NO)).startswith("451 4.3.0")
            assert (await gateway.send(YES)).startswith("451 4.3.0")
            await asyncio.sleep(0.1)
        status, text = await gateway.get("/readyz")
        assert status == 503
        assert "behind the archive" in json.loads(text)["checks"]["register"]
        await shown(gateway, "gateway_register_whole", 0)
        done = gateway.command("register", "show", NO)
        assert done.status == 2
        # A ban is taken all the same, and is in force with the rest.
        assert gateway.command("register", "ban", LATE, "--by", "x").status == 0
        done = gateway.command("register", "rebuild", "--by", "officer", "--json")
        assert done.status == 0, done
        assert done.rows[0]["contacts"] == 3
        await gateway.keep_sending(NO, LATE, YES)
        assert got(upstream) == {YES}


async def test_put_back_from_an_older_copy(build, upstream):
    async with LosingServer() as server:
        async with build(register={"url": server.url}) as gateway:
            await gateway.allow(YES, NO, LATE)
            await archived(gateway, 6)
            server.copy()
            await gateway.ban(NO)
            await archived(gateway, 7)
            async with mailing(gateway, NO, YES) as replies:
                await until(lambda: len(upstream.messages) > 2, 40, "no mail")
                await server.put_back()
                await gateway.line("register_rebuilt", within=60)
                sent = len(upstream.messages)
                await until(lambda: len(upstream.messages) > sent + 2, 40, "no mail afterwards")
            assert replies[-1].endswith("1 forwarded, 1 suppressed")
            # Stopped, put back and started: as an operator restores a backup.
            await gateway.stop()
            await server.put_back()
            await gateway.start()
            await gateway.keep_sending(NO, YES)
        assert got(upstream) == {YES}


async def test_an_embedded_register_restored_from_a_backup(gateway, upstream):
    await gateway.allow(YES, NO)
    await archived(gateway, 4)
    await gateway.stop()
    append = gateway.folder / "data" / "register" / "append"
    backup = gateway.folder / "backup"
    shutil.copytree(append, backup)
    await gateway.start()
    await gateway.ban(NO)
    await archived(gateway, 5)
    await gateway.stop()
    shutil.rmtree(append)
    shutil.copytree(backup, append)
    await gateway.start()
    await gateway.keep_sending(NO, YES)
    assert got(upstream) == {YES}
    await gateway.stop()
    shutil.rmtree(append)
    # A command notices as well, and without a gateway.
    done = gateway.command("check", NO, "--topic", "newsletter", "--json")
    assert (done.status, done.rows[0]["outcome"], done.rows[0]["rule"]) == (1, "defer", "R10")
    assert gateway.command("register", "rebuild", "--by", "officer").status == 0
    done = gateway.command("check", NO, "--topic", "newsletter", "--json")
    assert (done.rows[0]["outcome"], done.rows[0]["rule"]) == ("suppress", "R11")


async def test_a_gateway_killed_while_it_rebuilds_goes_on(build, upstream, tmp_path):
    many = tmp_path / "many.csv"
    many.write_text("email,ban\n" + "".join(f"p{n}@example.com,all\n" for n in range(20_000)))
    async with LosingServer() as server, build(register={"url": server.url}) as gateway:
        await gateway.allow(YES)
        assert gateway.command("register", "import", many, "--by", "x").status == 0
        await archived(gateway, 20_002)
        await gateway.stop()
        await server.flush()
        await gateway.start(ready=False)
        async with server.client() as client:
            async with asyncio.timeout(60):
                while len([k async for k in client.scan_iter("sg:*:ev:hold", count=10_000)]) < 12:
                    await asyncio.sleep(0.001)
        gateway.signal(signal.SIGKILL)
        await gateway.ended()
        await until(lambda: not gateway.processes(), 30, "workers outlive it")
        await gateway.start()
        assert (await gateway.line("register_rebuilt", within=30))["resumed"]
        await gateway.keep_sending(YES)
        sample = [f"p{n}@example.com" for n in range(0, 20_000, 400)]
        reply = await gateway.send(*sample)
        assert reply.endswith(f"{len(sample)} suppressed"), reply
        assert got(upstream) == {YES}
