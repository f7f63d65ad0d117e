"""Webhooks while the process that hears them is killed: what was answered 200 is in force."""

from __future__ import annotations

import asyncio
import base64
import contextlib
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
        everybody: list[str] = []
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
            # A quick machine may have answered all before the process is killed: then again.
            for wave in range(10):
                told = [f"storm{wave}-{number}@example.com" for number in range(60)]
                everybody += told
                await until(lambda: front_of(flow.gateway))
                pid = front_of(flow.gateway)
                calls = [asyncio.create_task(tell(session, one)) for one in told]
                await asyncio.sleep(0.01 * (wave + 1))
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                await asyncio.gather(*calls)
                if 0 in statuses:
                    break
        assert 0 in statuses, "nothing was cut off"
        await until(lambda: all(map(flow.two.has, everybody)), 60)
        for address in everybody[::20]:
            history = await flow.command("register", "history", address, "--json")
            assert [row["kind"] for row in history.rows] == ["ban"]
