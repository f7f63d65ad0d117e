"""Two workers on one port: both serve, and one that dies is replaced."""

import asyncio
import json
import os
import signal
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from tests.peers.process import RunningGateway, until

pytestmark = pytest.mark.slow

YES = [f"yes{n}@example.com" for n in range(40)]


def serving(gateway: RunningGateway) -> set[int]:
    """The workers that hold a connection of a client, by the kernel's account."""
    port = f":{gateway.smtp:04X}"
    theirs = set()
    for line in Path("/proc/net/tcp").read_text().splitlines():
        parts = line.split()
        # Established connections whose near end is the listening port.
        if parts[1].endswith(port) and parts[3] == "01":
            theirs.add(parts[9])
    holders = set()
    for pid in gateway.workers:
        for name in os.listdir(f"/proc/{pid}/fd"):
            try:
                link = os.readlink(f"/proc/{pid}/fd/{name}")
            except OSError:
                continue
            if link.removeprefix("socket:[").removesuffix("]") in theirs:
                holders.add(pid)
    return holders


async def test_both_serve_and_a_killed_one_is_replaced_while_traffic_goes_on(build, upstream):
    gateway = build(workers=2)
    async with gateway:
        assert (await gateway.line("ready"))["workers"] == 2
        await gateway.allow(*YES)
        async with AsyncExitStack() as stack:
            clients = [await stack.enter_async_context(gateway.client()) for _ in range(16)]
            assert serving(gateway) == set(gateway.workers)
            replies = await asyncio.gather(*(c.mail(y) for c, y in zip(clients, YES, strict=False)))
            assert all(reply.endswith("1 forwarded") for reply in replies)
        first = gateway.workers
        victim = first[0]

        answered = 0

        async def send(address: str) -> None:
            """As a sending tool does: what was not answered is sent again."""
            nonlocal answered
            while True:
                try:
                    async with gateway.client() as client:
                        reply = await client.mail(address)
                except (ConnectionError, AssertionError):
                    await asyncio.sleep(0.02)
                    continue
                if reply.startswith("250"):
                    answered += 1
                    return

        mails = [asyncio.create_task(send(address)) for address in YES]
        await until(lambda: answered > 5)
        os.kill(victim, signal.SIGKILL)
        async with asyncio.timeout(60):
            await asyncio.gather(*mails)
        await gateway.line("worker_ended", status=-signal.SIGKILL)
        await gateway.line("worker_started", count=3)
        await until(lambda: len(gateway.workers) == 2)
        assert victim not in gateway.workers
        assert first[1] in gateway.workers

        status, body = await gateway.get("/healthz")
        assert status == 200, body
        assert "gateway_worker_restarts 1.0" in (await gateway.get("/metrics"))[1]
        async with AsyncExitStack() as stack:
            clients = [await stack.enter_async_context(gateway.client()) for _ in range(16)]
            assert serving(gateway) == set(gateway.workers)
        # Everyone was mailed; what the dead worker had in hand may have been twice.
        reached = {address for message in upstream.messages for address in message.recipients}
        assert reached == set(YES)
        assert await gateway.stop() == 0


async def test_health_tells_of_a_worker_that_is_gone(build):
    async with build(workers=2) as gateway:
        # Stopped supervisors replace nobody; the probe is a task of the same one, so
        # the worker is killed and the answer taken before its successor is ready.
        os.kill(gateway.workers[0], signal.SIGKILL)
        await gateway.line("worker_ended")
        status, body = await gateway.get("/healthz")
        assert status == 503
        assert "is not running" in json.loads(body)["problem"]
        assert (await gateway.get("/readyz"))[0] == 503
        await gateway.line("worker_started", count=3)
        assert (await gateway.get("/healthz"))[0] == 200
