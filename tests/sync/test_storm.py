"""Webhooks while the process that hears them is killed: what was answered 200 is in force."""

from __future__ import annotations

import asyncio
import base64
import os
import signal
import time

import aiohttp
import orjson
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from tests.sync.test_flow import KEY, build, unsubscribe, until

__all__ = ["build"]
pytestmark = pytest.mark.slow


def signed(*events):
    """The body and headers of a call, as the tool repeats them."""
    body, stamp = orjson.dumps(events), str(int(time.time()))
    signature = KEY.sign(stamp.encode() + body, ec.ECDSA(hashes.SHA256()))
    return body, {
        "X-Twilio-Email-Event-Webhook-Signature": base64.b64encode(signature).decode(),
        "X-Twilio-Email-Event-Webhook-Timestamp": stamp,
    }


def front_of(gateway):
    """The process of the public server."""
    for pid, line in gateway.processes().items():
        if "gateway.serve.worker" in line and '"front":true' in line.replace(" ", ""):
            return pid
    return None


async def test_what_a_killed_process_was_told_is_heard_when_the_tool_repeats_it(build):
    async with build() as flow:
        url = f"http://127.0.0.1:{flow.gateway.public}/hooks/one"
        everybody = [f"storm{number}@example.com" for number in range(60)]
        statuses: list[int] = []

        async def tell(session, address):
            """Call with the same until it is taken, as tools do."""
            body, headers = signed(unsubscribe(address, time.time()))
            end = time.monotonic() + 150
            while time.monotonic() < end:
                try:
                    async with session.post(url, data=body, headers=headers) as answer:
                        statuses.append(answer.status)
                        if answer.status == 200:
                            return
                except aiohttp.ClientError:
                    statuses.append(0)
                await asyncio.sleep(0.5)
            raise AssertionError("it was never taken")

        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=20)) as session:
            calls = [asyncio.create_task(tell(session, one)) for one in everybody]
            await until(lambda: statuses)
            if pid := front_of(flow.gateway):
                os.kill(pid, signal.SIGKILL)
            await asyncio.gather(*calls)
        assert 0 in statuses, "nothing was cut off"
        await until(lambda: all(map(flow.two.has, everybody)), 60)
        for address in everybody[::20]:
            history = await flow.command("register", "history", address, "--json")
            assert [row["kind"] for row in history.rows] == ["ban"]
