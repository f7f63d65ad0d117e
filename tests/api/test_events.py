"""`GET /v1/events` on a running gateway: nothing skipped, nobody waits for ever."""

import asyncio
import signal
import time
from base64 import urlsafe_b64encode

import aiohttp
import pytest

from gateway.api.account import Role
from gateway.clock import now_ms
from gateway.contacts.parse import parse_contact
from gateway.entry.entry import DeliveryReason, Scope
from gateway.entry.event import Event, EventKind
from gateway.serve.assembly import open_register, register_url
from gateway.serve.keys import key_ring, sealer

NO = "no.person@example.com"


async def read_all(caller, *, count, limit, within=60.0, wait=2):
    """Every event from the beginning on, until there are so many."""
    found, cursor = [], ""
    end = time.monotonic() + within
    while len(found) < count:
        status, page = await caller.get(
            f"/v1/events?limit={limit}&wait={wait}" + (f"&after={cursor}" if cursor else "")
        )
        assert status == 200, page
        found += page["events"]
        cursor = page["cursor"]
        assert time.monotonic() < end, len(found)
    return found, cursor


@pytest.mark.slow
async def test_a_change_is_heard_of_without_its_address(house):
    tool, officer = await house.caller(Role.TOOL), await house.caller(Role.OFFICER)
    ban = {"contact": NO, "scope": "topic", "topic": "news", "evidence": "no-person told us"}
    assert (await tool.post("/v1/bans", ban))[0] == 200
    async with house.gateway.register() as register:
        await register.undeliverable(DeliveryReason.HARD_BOUNCE, NO)
    (first, second), cursor = await read_all(tool, count=2, limit=10)
    assert (first["kind"], first["scope"], first["topic"]) == ("ban", "topic", "news")
    assert (second["kind"], second["delivery"]) == ("undeliverable", "hard_bounce")
    assert first["subject"] == second["subject"]
    assert first["source"] == "api"
    assert first["address"] is None
    text = str((first, second))
    assert NO not in text
    assert "told us" not in text

    # An address is told to whoever may read, and on record.
    assert (await tool.get("/v1/events?addresses=true"))[0] == 403
    _, page = await officer.get("/v1/events?addresses=true")
    assert [one["address"] for one in page["events"]] == [NO, NO]
    admin = await house.caller(Role.ADMIN)
    for _ in range(600):
        _, said = await admin.get("/v1/acts?actor=officer-1")
        if said["acts"]:
            break
        await asyncio.sleep(0.1)
    (act,) = said["acts"]
    assert (act["action"], act["detail"]["what"]) == ("read", "register events")

    # A cursor is good after a restart, and "latest" is behind all that is there.
    await house.gateway.stop()
    await house.gateway.start()
    house.base = tool.base = officer.base = f"http://127.0.0.1:{house.gateway.api}"
    assert (await tool.get(f"/v1/events?after={cursor}"))[1]["events"] == []
    _, page = await tool.get("/v1/events?after=latest")
    assert (await tool.post("/v1/bans", {"contact": NO}))[0] == 200
    _, page = await tool.get(f"/v1/events?after={page['cursor']}&wait=20")
    assert [one["scope"] for one in page["events"]] == ["all"]


async def test_a_cursor_of_elsewhere_is_refused(house):
    tool = await house.caller(Role.TOOL)
    assert (await tool.post("/v1/bans", {"contact": NO}))[0] == 200
    _, cursor = await read_all(tool, count=1, limit=10)
    other = urlsafe_b64encode((1).to_bytes(8, "big") + b"elsewher").decode().rstrip("=")
    beyond = urlsafe_b64encode((10**9).to_bytes(8, "big") + b"elsewher").decode().rstrip("=")
    for wrong in (other, beyond, "x", cursor[:-1], "_" * 22):
        status, problem = await tool.get(f"/v1/events?after={wrong}")
        assert status == 422, wrong
        assert problem["errors"][0]["pointer"] == "/after"
    assert (await tool.get(f"/v1/events?after={cursor}"))[0] == 200
    assert (await tool.get("/v1/events?wait=26"))[0] == 422


@pytest.mark.slow
async def test_no_event_is_skipped_whoever_writes_and_reads(house):
    """Five thousand by four writers at once, while two readers page, at different paces."""
    one, two = await house.caller(Role.TOOL), await house.caller(Role.VIEWER)
    settings = house.gateway.settings
    each, writers = 1250, 4

    async def write(number):
        async with register_url(settings) as url:
            register = await open_register(settings, url, key_ring(settings), sealer(settings))
            async with register:
                for start in range(0, each, 50):
                    logged = await register.apply_many(
                        [
                            (
                                Event(
                                    kind=EventKind.BAN,
                                    at=now_ms(),
                                    actor=f"writer-{number}",
                                    scope=Scope.ALL,
                                    source=f"w{number}",
                                ),
                                parse_contact(f"w{number}.{at}@example.com"),
                            )
                            for at in range(start, start + 50)
                        ]
                    )
                    written.update(event.id for event in logged)

    written: set[str] = set()
    reading = asyncio.gather(
        read_all(one, count=each * writers, limit=37, within=120),
        read_all(two, count=each * writers, limit=1000, within=120),
    )
    await asyncio.gather(*(write(number) for number in range(writers)))
    (first, _), (second, _) = await reading
    assert len(written) == each * writers
    for found in (first, second):
        ids = [event["id"] for event in found]
        assert len(ids) == len(set(ids))
        assert set(ids) == written
    assert [event["id"] for event in first] == [event["id"] for event in second]


@pytest.mark.slow
async def test_whoever_waits_is_bounded_and_let_go(house):
    """Of those under way half may wait; the others are served; SIGTERM ends all at once."""
    house.gateway.configure(
        api={
            "listen": ["127.0.0.1:0"],
            "requests_per_minute": 1_000_000,
            "max_requests": 6,
        }
    )
    await house.gateway.stop()
    await house.gateway.start()
    house.base = f"http://127.0.0.1:{house.gateway.api}"
    tool = await house.caller(Role.TOOL)
    waiting = [asyncio.create_task(tool.get("/v1/events?after=latest&wait=25")) for _ in range(3)]

    async def one_more():
        return (await tool.get("/v1/events?after=latest&wait=25"))[0]

    end = time.monotonic() + 60
    while True:
        extra = asyncio.create_task(one_more())
        done, _ = await asyncio.wait({extra}, timeout=2)
        if done and extra.result() == 503:
            break
        waiting.append(extra)
        assert time.monotonic() < end
    assert (await tool.post("/v1/decisions", {"contacts": [NO]}))[0] == 200
    # Those who leave make room.
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    end = time.monotonic() + 60
    while True:
        last = asyncio.create_task(tool.get("/v1/events?after=latest&wait=25"))
        done, _ = await asyncio.wait({last}, timeout=2)
        if not done:
            break
        assert time.monotonic() < end
    began = time.monotonic()
    house.gateway.signal(signal.SIGTERM)
    try:
        status, page = await last
        assert (status, page["events"]) == (200, [])
    except aiohttp.ClientError:
        pytest.fail("whoever waits hears an answer when the process ends")
    assert time.monotonic() - began < 15
    assert await house.gateway.ended() == 0


@pytest.mark.slow
async def test_one_account_keeps_no_other_from_waiting_nor_from_asking(house):
    house.gateway.configure(
        api={
            "listen": ["127.0.0.1:0"],
            "requests_per_minute": 1_000_000,
            "max_requests": 8,
        }
    )
    await house.gateway.stop()
    await house.gateway.start()
    house.base = f"http://127.0.0.1:{house.gateway.api}"
    greedy, other = await house.caller(Role.TOOL, "greedy"), await house.caller(Role.TOOL, "other")
    poll = "/v1/events?after=latest&wait=20"

    async def waits():
        """It waits as long as it is let."""
        while (await greedy.get(poll))[0] == 200:
            pass

    async def sends():
        """A body that never ends."""

        async def slowly():
            yield b'{"contacts": ['
            await asyncio.sleep(600)

        headers = {
            "Authorization": f"Bearer {greedy.token}",
            "Content-Type": "application/json",
        }
        url = f"{house.base}/v1/decisions"
        async with house.session.post(url, data=slowly(), headers=headers) as answer:
            await answer.read()

    held = [asyncio.create_task(waits()) for _ in range(4)]
    try:
        # Once its places are taken, no more of it wait.
        end = time.monotonic() + 60
        while (await asyncio.wait({last := asyncio.create_task(greedy.get(poll))}, timeout=2))[1]:
            held.append(last)
            assert time.monotonic() < end
        assert last.result()[0] == 503
        held += [asyncio.create_task(sends()) for _ in range(8)]
        end = time.monotonic() + 60
        while (await greedy.get("/v1/me"))[0] != 429:
            assert time.monotonic() < end
            await asyncio.sleep(0.1)
        assert (await other.post("/v1/bans", {"contact": NO}))[0] == 200
        assert (await other.get(poll))[0] == 200
    finally:
        for task in held:
            task.cancel()
        await asyncio.gather(*held, return_exceptions=True)
