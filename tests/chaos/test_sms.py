"""Text messages while processes are killed and the provider falls silent."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from gateway.contacts.digest import subject_of
from gateway.contacts.parse import parse_contact
from gateway.serve.keys import key_ring
from tests.peers.process import RunningGateway
from tests.peers.provider import Provider, hanging_up, silence
from tests.peers.standins import twilio

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(120)]

ACCOUNT = "AC00000000000000000000000000000000"
PATH = f"/tool/2010-04-01/Accounts/{ACCOUNT}/Messages.json"
AUTH = {"Authorization": aiohttp.encode_basic_auth(ACCOUNT, "token")}
ALLOWED = [f"+3584012345{n:02}" for n in range(20)]
BANNED = [f"+3584055555{n:02}" for n in range(5)]
KEY = "i-twilio-idempotency-token"


def tables(provider: Provider) -> dict[str, Any]:
    route = {
        "name": "tool",
        "provider": "twilio",
        "prefix": "/tool",
        "networks": ["127.0.0.0/8"],
        "kind": "marketing",
        "topic": "newsletter",
        "product_group": "broadband",
        "senders": ["LamisNET"],
        "base_url": provider.url,
        "region": "EEA",
        "connect_timeout": 1,
        "answer_timeout": 1,
    }
    return {"listen": ["127.0.0.1:0"], "routes": [route]}


class Tool:
    """Sends numbered texts, each until it hears something final, under one key each."""

    def __init__(self, gateway: RunningGateway, count: int) -> None:
        dice = random.Random(5)
        self.gateway = gateway
        self.to = {f"{n:04}": dice.choice(ALLOWED * 2 + BANNED) for n in range(count)}
        self.said: dict[str, list[int]] = {key: [] for key in self.to}
        """What was heard of each; 0: the connection was lost."""

    async def run(self, over: float) -> None:
        pauses = over / len(self.to)
        async with aiohttp.ClientSession() as http, asyncio.TaskGroup() as group:
            for key in self.to:
                group.create_task(self._send(http, key))
                await asyncio.sleep(pauses)

    async def _send(self, http: aiohttp.ClientSession, key: str) -> None:
        body = {"To": self.to[key], "From": "LamisNET", "Body": f"Ale {key}! Lopeta: STOP"}
        headers = AUTH | {KEY: key}
        while self._goes_on(key):
            try:
                url = f"http://127.0.0.1:{self.gateway.sms}{PATH}"
                async with http.post(url, data=body, headers=headers) as answer:
                    await answer.read()
                    self.said[key].append(answer.status)
            except (aiohttp.ClientError, OSError, IndexError):
                self.said[key].append(0)
            await asyncio.sleep(0.1)

    def _goes_on(self, key: str) -> bool:
        return not self.said[key] or self.said[key][-1] in (0, 503, 504)


async def faults(gateway: RunningGateway, provider: Provider) -> None:
    """Each of them twice, while messages are under way."""
    for turn in range(1, 3):
        await asyncio.sleep(0.7)
        for pid in gateway.workers:
            os.kill(pid, signal.SIGKILL)
        await asyncio.sleep(1)
        os.kill(gateway.register_pid, signal.SIGKILL)
        await gateway.line("register_restarted", count=turn, within=20)
        for fault in (hanging_up, silence):
            provider.answer = fault
            await asyncio.sleep(0.4)
            provider.answer = slowly
        await provider.stop()
        await asyncio.sleep(0.4)
        await provider.start()


async def slowly(request: web.Request, body: bytes) -> web.StreamResponse:
    await asyncio.sleep(0.05)
    return await twilio.answer(request, body)


def records(gateway: RunningGateway) -> list[tuple[str, str, str | None]]:
    """Number, outcome and result of each record."""
    settings = gateway.settings
    ring = key_ring(settings)
    people = {str(ring.digest(subject_of(parse_contact(one)))): one for one in ALLOWED + BANNED}
    path = settings.records.archive
    assert path is not None
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=20)) as database:
        rows = database.execute("SELECT digest, outcome, result FROM record").fetchall()
    return [(people[digest], outcome, result) for digest, outcome, result in rows]


async def test_nobody_banned_nothing_lost_nothing_unrecorded(tmp_path: Path):
    async with Provider(slowly) as provider:
        async with RunningGateway(tmp_path, sms=tables(provider), workers=2) as gateway:
            async with gateway.register() as register:
                await register.allow(*ALLOWED, *BANNED)
                await register.ban(*BANNED)
            tool = Tool(gateway, 150)
            async with asyncio.timeout(60):
                await asyncio.gather(tool.run(7), faults(gateway, provider))
            assert await gateway.stop(within=40) == 0, gateway.text
            assert "sms_request_failed" not in gateway.log.read_text()
            found = records(gateway)
    reached: dict[str, int] = {}
    for one in provider.sends:
        key = one.headers[KEY]
        to = tool.to[key].removeprefix("+").encode()
        assert to in one.body
        assert tool.to[key] not in BANNED, f"LEAK: {key}"
        reached[key] = reached.get(key, 0) + 1
    for key, said in tool.said.items():
        if tool.to[key] in BANNED:
            assert said[-1] == 400
        else:
            assert said[-1] == 201, (key, said)
            assert reached.get(key), f"LOST: {key}"
            # Once more only where the tool could not know: it was told, or heard nothing.
            unclear = sum(status in (0, 504) for status in said)
            assert reached[key] <= 1 + unclear, (key, said, reached[key])
    for number in ALLOWED:
        may_have_left = sum(
            outcome == "forward" and result in ("forwarded", "unknown", None, "failed")
            for person, outcome, result in found
            if person == number
        )
        assert may_have_left >= sum(n > 0 for key, n in reached.items() if tool.to[key] == number)
    for number, outcome, _ in found:
        assert number not in BANNED or outcome in ("suppress", "defer")
    print(len(provider.sends), "arrivals,", len(found), "records")
