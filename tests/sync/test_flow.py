"""The rules of flow, on a gateway as its users run it: processes, sockets, a real register."""

from __future__ import annotations

import asyncio
import base64
import os
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from gateway.clock import now_ms
from tests.peers.process import Done, RunningGateway
from tests.peers.provider import Provider
from tests.peers.scripted import ScriptedUpstream
from tests.peers.tools.sendgrid import SendGridLists

pytestmark = pytest.mark.slow

YES, NO = "yes@example.com", "no@example.com"
KEY = ec.generate_private_key(ec.SECP256R1())
PUBLIC = KEY.public_key().public_bytes(
    serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
)


class List(SendGridLists):
    """SendGrid as a stand-in, on a socket; ``down`` answers 503 to everything."""

    def __init__(self) -> None:
        super().__init__()
        self.down = False
        self.server = Provider(self.answer)

    @property
    def asked(self) -> Any:
        return self.server.asked

    async def answer(self, request: Any, body: bytes) -> Any:
        if self.down:
            self.coming = ["500"]
        return await super().answer(request, body)

    def has(self, address: str) -> bool:
        return any(each["email"] == address for each in self.lists["unsubscribes"])

    def count(self, address: str) -> int:
        return sum(each["email"] == address for each in self.lists["unsubscribes"])

    def take_out(self, address: str) -> None:
        kept = [each for each in self.lists["unsubscribes"] if each["email"] != address]
        self.lists["unsubscribes"] = kept


class Flow:
    """A gateway with two tools."""

    def __init__(self, gateway: RunningGateway, one: List, two: List) -> None:
        self.gateway, self.one, self.two = gateway, one, two

    async def hook(self, name: str, *events: dict[str, Any]) -> int:
        """A webhook of a tool; the status of its answer."""
        body = orjson.dumps(events)
        stamp = str(int(time.time()))
        signature = KEY.sign(stamp.encode() + body, ec.ECDSA(hashes.SHA256()))
        headers = {
            "X-Twilio-Email-Event-Webhook-Signature": base64.b64encode(signature).decode(),
            "X-Twilio-Email-Event-Webhook-Timestamp": stamp,
        }
        url = f"http://127.0.0.1:{self.gateway.public}/hooks/{name}"
        async with aiohttp.ClientSession() as session:
            async with session.post(url, data=body, headers=headers) as answer:
                return answer.status

    async def goes(self, address: str) -> bool:
        """Whether a mailing to it is let through."""
        reply = await self.gateway.send(address)
        assert reply.startswith("250"), reply
        return reply.endswith("1 forwarded")

    async def command(self, *arguments: str | Path) -> Done:
        """A command, while the tools go on answering."""
        return await asyncio.to_thread(self.gateway.command, *arguments)

    async def tasks(self) -> list[dict[str, Any]]:
        done = await self.command("sync", "tasks", "--by", "anna", "--json")
        assert done.status in (0, 1), done.err
        return done.rows


async def until(condition: Callable[[], object], within: float = 40) -> None:
    """Wait until a condition holds."""
    end = time.monotonic() + within
    while not condition():
        assert time.monotonic() < end, "it never came"
        await asyncio.sleep(0.1)


def unsubscribe(address: str, at: float | None = None, kind: str = "unsubscribe") -> dict[str, Any]:
    return {
        "email": address,
        "timestamp": int(at or time.time()),
        "event": kind,
        "sg_event_id": "e",
    }


@pytest.fixture
def build(tmp_path: Path) -> Callable[..., Any]:
    (tmp_path / "key").write_text("SG.key")
    (tmp_path / "public").write_text(base64.b64encode(PUBLIC).decode())

    @asynccontextmanager
    async def flow(**how: Any) -> AsyncIterator[Flow]:
        async with AsyncExitStack() as stack:
            one, two = List(), List()
            for each in (one, two):
                await each.server.start()
                stack.push_async_callback(each.server.stop)
            tools = [
                {
                    "name": name,
                    "kind": "sendgrid",
                    "url": each.server.url,
                    "secret_file": "key",
                    "webhook_secret_file": "public",
                    "requests_per_second": 200,
                }
                for name, each in (("one", one), ("two", two))
            ]
            upstream = await stack.enter_async_context(ScriptedUpstream())
            gateway = RunningGateway(
                tmp_path,
                upstream=upstream,
                public={"listen": ["127.0.0.1:0"]},
                sync={"every": 1, "tools": tools, **how},
            )
            await stack.enter_async_context(gateway)
            yield Flow(gateway, one, two)

    return flow


async def test_a_webhook_adds_a_ban_at_once_and_every_other_tool_gets_it(build):
    async with build() as flow:
        await flow.gateway.allow(YES, NO)
        assert await flow.goes(NO)
        assert await flow.hook("one", unsubscribe(NO)) == 200
        assert not await flow.goes(NO)
        assert await flow.goes(YES)
        await until(lambda: flow.two.has(NO))
        assert not flow.two.has(YES)
        assert await flow.hook("nobody", unsubscribe(YES)) == 404


async def test_a_removal_elsewhere_never_lifts_and_becomes_a_task(build):
    async with build() as flow:
        await flow.gateway.allow(NO)
        await flow.hook("one", unsubscribe(NO))
        await until(lambda: flow.two.has(NO))
        told = {**unsubscribe(NO, kind="group_resubscribe"), "asm_group_id": 7}
        assert await flow.hook("one", told) == 200
        assert not await flow.goes(NO)
        await until(lambda: flow.two.has(NO))
        # Gone from the whole list of a tool, without a word.
        store_clock_back(flow.gateway)
        flow.two.take_out(NO)
        done = await flow.command("sync", "run", "two", "--whole", "--json")
        assert done.status in (0, 1), done.err
        await until(lambda: flow.two.has(NO))
        assert not await flow.goes(NO)
        tasks = [task for task in await flow.tasks() if task["tool"] == "two"]
        assert [(task["why"], task["contact"]) for task in tasks] == [("removed", NO)]
        settle = ("sync", "settle", tasks[0]["task"], "--by", "anna")
        assert (await flow.command(*settle, "--reason", "asked her: stays")).status == 0
        assert (await flow.command(*settle, "--reason", "again")).status == 2


async def test_a_reimport_never_lifts(build):
    async with build() as flow:
        await flow.gateway.allow(NO)
        await flow.hook("one", unsubscribe(NO))
        table = flow.gateway.folder / "again.csv"
        table.write_text(
            "email,consent_email,consent_proof,consent_at,source\n"
            f"{NO},granted,form 12,2026-01-01,old list\n"
        )
        assert (await flow.command("register", "import", table, "--by", "anna")).status == 0
        assert not await flow.goes(NO)
        await asyncio.sleep(2)
        assert flow.one.has(NO) or flow.two.has(NO)


async def test_an_objection_outranks_what_comes_later(build):
    async with build() as flow:
        await flow.gateway.allow(NO)
        await flow.hook("one", unsubscribe(NO))
        # An unproven consent by hand, an import, and the tool's own allow-list.
        done = await flow.command("register", "consent", NO, "--by", "anna")
        assert "a ban stands and is stronger" in done.out
        table = flow.gateway.folder / "vip.csv"
        table.write_text(f"email,consent_email,consent_proof\n{NO},granted,vip\n")
        (await flow.command("register", "import", table, "--by", "anna"))
        flow.one.take_out(NO)
        assert not await flow.goes(NO)
        await until(lambda: flow.two.has(NO))
        assert not await flow.goes(NO)


async def test_only_a_later_specific_evidenced_consent_lifts_within_its_scope(build):
    async with build() as flow:
        await flow.gateway.allow(NO)
        flow.one.add("unsubscribes", NO)
        await until(lambda: flow.two.has(NO))
        assert not await flow.goes(NO)
        consent = ("register", "consent", NO, "--by", "anna", "--topic")
        proof = ("--wording", "v3", "--evidence", "form 12")
        assert (await flow.command(*consent, "another", *proof)).status == 0
        assert not await flow.goes(NO)
        assert (await flow.command(*consent, "newsletter", *proof)).status == 0
        assert await flow.goes(NO)
        # And the old entries of both tools do not ban anew.
        for _ in range(2):
            assert (await flow.command("sync", "run", "--whole")).status == 0
        assert await flow.goes(NO)
        # What is said after it does.
        assert await flow.hook("two", unsubscribe(NO, time.time() + 2)) == 200
        assert not await flow.goes(NO)


async def test_two_tools_with_opposite_states_end_in_the_stricter_in_both(build):
    async with build() as flow:
        flow.one.add("unsubscribes", NO)
        flow.two.add("unsubscribes", YES)
        await until(lambda: flow.two.has(NO) and flow.one.has(YES))
        plan = await flow.command("sync", "plan", "--json")
        assert plan.status == 0, plan.out
        assert [row["put"] for row in plan.rows] == [{}, {}]


async def test_a_tool_that_is_down_catches_up_by_itself(build):
    async with build() as flow:
        await until(lambda: flow.one.called and flow.two.called)
        flow.two.down = True
        for number in range(5):
            assert await flow.hook("one", unsubscribe(f"p{number}@example.com")) == 200
        await flow.gateway.line("sync_failing", tool="two", within=60)
        status = await flow.command("sync", "status", "--json")
        assert status.status == 1
        two = next(row for row in status.rows if row.get("tool") == "two")
        assert two["owed"] == 5
        assert two["failing_since"]
        for sample in (
            'gateway_sync_failing{tool="two"} 1.0',
            'gateway_sync_owed{tool="two"} 5.0',
            'gateway_sync_failing{tool="one"} 0.0',
        ):
            # They are read from the archive every two seconds.
            end = time.monotonic() + 30
            while sample not in (metrics := (await flow.gateway.get("/metrics"))[1]):
                assert time.monotonic() < end, metrics
                await asyncio.sleep(0.2)
        # It is told by its name, and the plan of the other is shown all the same.
        plan = await flow.command("sync", "plan", "--json")
        assert plan.status == 2
        assert [(row["tool"], "failed" in row) for row in plan.rows] == [
            ("one", False),
            ("two", True),
        ]
        flow.two.down = False
        await until(lambda: all(flow.two.has(f"p{number}@example.com") for number in range(5)), 90)
        await flow.gateway.line("sync_recovered", tool="two", within=60)


async def test_a_tool_that_is_new_by_reload_gets_all_and_one_that_is_gone_nothing(build):
    async with build() as flow:
        tools = flow.gateway.how["sync"]["tools"]
        await until(lambda: flow.one.asked and flow.two.asked)
        flow.gateway.configure(sync={"every": 1, "tools": tools[:1]})
        flow.gateway.signal(signal.SIGHUP)
        await flow.gateway.line("public_reloaded")
        assert await flow.hook("one", unsubscribe(NO)) == 200
        assert await flow.hook("two", unsubscribe(YES)) == 404
        await asyncio.sleep(3)
        assert not flow.two.has(NO)
        flow.gateway.configure(sync={"every": 1, "tools": tools})
        flow.gateway.signal(signal.SIGHUP)
        await until(lambda: flow.two.has(NO))
        assert await flow.hook("two", unsubscribe(YES)) == 200
        # What cannot be is refused, and the tools that are go on.
        wrong = [{**tools[0], "secret_file": "nowhere"}]
        flow.gateway.configure(sync={"every": 1, "tools": wrong})
        flow.gateway.signal(signal.SIGHUP)
        await flow.gateway.line("reload_refused")
        await until(lambda: flow.one.has(YES))


def fronts(gateway: RunningGateway) -> list[int]:
    """The process that does the work; none between a killed one and the next."""
    return [
        pid
        for pid, line in gateway.processes().items()
        if "gateway.serve.worker" in line and '"front":true' in line.replace(" ", "")
    ]


async def test_killed_halfway_it_loses_nothing_and_doubles_nothing(build):
    async with build() as flow:
        count = 1200
        for number in range(count):
            flow.one.add("unsubscribes", f"a{number}@example.com", time.time() - 9000)
            flow.two.add("unsubscribes", f"b{number}@example.com", time.time() - 9000)
        for _ in range(3):
            seen = len(flow.one.lists["unsubscribes"])
            await until(lambda: len(flow.one.lists["unsubscribes"]) > seen, 60)  # noqa: B023
            # What the killed one had asked for may still have been done: is there a new one?
            await until(lambda: fronts(flow.gateway))
            [front] = fronts(flow.gateway)
            os.kill(front, signal.SIGKILL)
            if len(flow.one.lists["unsubscribes"]) >= 2 * count:
                break
        everybody = [f"{side}{number}@example.com" for side in "ab" for number in range(count)]
        for each in (flow.one, flow.two):
            await until(lambda: all(map(each.has, everybody)), 90)  # noqa: B023
            assert len(each.lists["unsubscribes"]) == 2 * count
        await asyncio.sleep(2)
        for address in (everybody[0], everybody[-1], everybody[count]):
            history = await flow.command("register", "history", address, "--json")
            assert [row["kind"] for row in history.rows] == ["ban"]


async def test_what_is_owed_for_too_long_is_told(build):
    async with build(alarm_after=0.0005) as flow:
        flow.two.down = True
        assert await flow.hook("one", unsubscribe(NO)) == 200
        late = await flow.gateway.line("sync_late", tool="two", within=60)
        assert (late["late"], late["owed"]) == (1, 1)
        for _ in range(300):
            if 'gateway_sync_late{tool="two"} 1.0' in (await flow.gateway.get("/metrics"))[1]:
                break
            await asyncio.sleep(0.1)
        else:
            raise AssertionError("it is not told in the metrics")
        assert (await flow.gateway.get("/readyz"))[0] == 200
        assert (await flow.command("sync", "status")).status == 1


def store_clock_back(gateway: RunningGateway) -> None:
    """What was put just now is not expected in a list for ten minutes: let them be over."""
    import sqlite3

    with sqlite3.connect(gateway.settings.records.archive, timeout=10) as database:
        database.execute("UPDATE sync_known SET seen = seen - 1200000 WHERE seen > 0")
        database.execute("UPDATE sync_known SET put = put - 1200000 WHERE put IS NOT NULL")
    assert now_ms()
