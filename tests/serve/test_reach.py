"""Whoever says no, by whatever way: in force at the next recipient check, and in every tool."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import pytest
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.api.account import Role
from gateway.api.ledger import Ledger
from gateway.clock import now_ms
from gateway.contacts.parse import parse_contact
from gateway.entry.entry import Entry
from gateway.records import schema
from gateway.serve.stores import open_database
from gateway.unsubscribe.link import Link, Links, Purpose
from tests.bounce.samples import NOTIFICATIONS, M, feedback
from tests.peers.fleet import TOPIC, Fleet, Stands
from tests.peers.house import Client, client_table
from tests.peers.process import RunningGateway
from tests.peers.provider import Provider, says
from tests.peers.scripted import ScriptedUpstream
from tests.sms.calling import CALLS, PUBLIC, SECRET, said
from tests.sms.conftest import route_table
from tests.sms.test_proxy import AUTH, PATH, form

pytestmark = pytest.mark.slow

UNSUBSCRIBE, BOUNCES = "unsubscribe@mail.lamisnet.fi", "bounces@mail.lamisnet.fi"
PERSON = "+358401234567"
ONE_CLICK = {"List-Unsubscribe": "One-Click"}
WITHIN = 180.0
"""Seconds within which a tool has it; every tool is asked each second."""


class Source(NamedTuple):
    """One way in which somebody is heard."""

    tell: Callable[[str], Awaitable[None]]
    rule: str
    """By which the next mail is refused."""
    says: Stands
    """What the other tools are to hold."""
    by: str = ""
    """The tool that told it."""


ALL, TOPIC_ALONE = Stands(whole=True), Stands(topic=True)
BOUNCED, COMPLAINED = Stands(delivery="bounce"), Stands(delivery="complaint")


class World:
    """A gateway with all its listeners, and all tools."""

    def __init__(self, gateway: RunningGateway, fleet: Fleet, http: aiohttp.ClientSession) -> None:
        self.gateway, self.fleet, self.http = gateway, fleet, http
        self.links = Links.load_or_create(gateway.settings.unsubscribe.key_file)
        self.token = ""

    def link(self, address: str, topic: str | None = None) -> str:
        return self.links.seal(Link(parse_contact(address), Purpose.REFUSE, topic, now_ms()))

    def page(self, address: str, topic: str | None = None) -> str:
        return f"http://127.0.0.1:{self.gateway.public}/u/{self.link(address, topic)}"

    async def account(self) -> None:
        """An account of the API's, of a sending tool."""
        database = await open_database(self.gateway.settings)
        try:
            self.token = await Ledger(database).add("crm", Role.TOOL)
        finally:
            await database.aclose()

    async def next_mail(self, *addresses: str) -> list[str]:
        """What the next RCPT of each is answered; nothing is sent."""
        async with self.gateway.client() as client:
            return await client.begin(*addresses)

    async def post(self, url: str, **how: Any) -> str:
        async with self.http.post(url, allow_redirects=False, **how) as answer:
            assert answer.status in (200, 201, 204, 303), (answer.status, await answer.text())
            return await answer.text()

    async def brought(self, recipient: str, message: bytes) -> None:
        """By mail, to the inbound listener."""
        async with Client(self.gateway.inbound) as client:
            replies = await client.begin(recipient, sender="<>")
            assert replies == ["250 2.1.5 Ok"], replies
            reply = await client.data(message)
            assert reply.startswith("250"), reply

    async def hook(self, kind: str, what: str, address: str) -> None:
        """A webhook of a tool's, signed as it signs."""
        headers, body, query = self.fleet[kind].calls[what](address)
        url = f"http://127.0.0.1:{self.gateway.public}/hooks/{kind}?{query}"
        async with self.http.post(url, data=body, headers=headers) as answer:
            assert answer.status == 200, (kind, answer.status)

    async def stop(self, number: str) -> None:
        """A STOP, by the signed webhook of the SMS provider."""
        request = CALLS["twilio"](said("STOP", number))
        url = f"http://127.0.0.1:{self.gateway.sms}/incoming/tool"
        async with self.http.request(
            request.method, url, data=request.body, headers=dict(request.headers)
        ) as answer:
            assert answer.status == 200, await answer.text()

    async def text(self, number: str) -> tuple[int, Any]:
        """A tool's text message."""
        url = f"http://127.0.0.1:{self.gateway.sms}/tool{PATH}"
        async with self.http.post(url, data=form(number), headers=AUTH) as answer:
            return answer.status, await answer.json()

    async def command(self, *arguments: str) -> None:
        done = await asyncio.to_thread(self.gateway.command, *arguments)
        assert done.status == 0, done.err

    async def entries(self, *addresses: str) -> list[Entry]:
        """What the register knows of each."""
        async with self.gateway.register() as tongue:
            return [await tongue._register.show(parse_contact(one)) for one in addresses]

    async def kinds(self) -> set[str]:
        """The kinds of all events that are archived."""
        database = await open_database(self.gateway.settings)
        try:

            async def work(connection: AsyncConnection) -> set[str]:
                found = await connection.execute(select(schema.event.c.kind).distinct())
                return set(found.scalars())

            return await database.read(work)
        finally:
            await database.aclose()

    async def position(self) -> str:
        """Where the register is: its last event."""
        async with self.gateway.register() as tongue:
            return await tongue._register.position()


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    (tmp_path / "hook-secret").write_text(SECRET)
    provider = Provider(says(201, '{"sid": "SM1", "status": "queued", "to": "x"}'))
    async with (
        ScriptedUpstream() as upstream,
        provider,
        Fleet(tmp_path) as fleet,
        aiohttp.ClientSession() as http,
    ):
        incoming = {"public_url": PUBLIC, "secret_file": "hook-secret"}
        gateway = RunningGateway(
            tmp_path,
            upstream=upstream,
            clients=[client_table(on_suppress="reject")],
            public={"listen": ["127.0.0.1:0"], "url": "https://preferences.example"},
            unsubscribe={"address": UNSUBSCRIBE},
            inbound={"listen": ["127.0.0.1:0"], "bounces": [BOUNCES]},
            api={"listen": ["127.0.0.1:0"]},
            sms={
                "listen": ["127.0.0.1:0"],
                "routes": [
                    route_table("twilio", provider.url, incoming=incoming, on_suppress="reject")
                ],
            },
            sync={"every": 1, "tools": fleet.tables()},
        )
        async with gateway:
            yield World(gateway, fleet, http)


def own_sources(world: World) -> dict[str, Source]:
    """The gateway's own ways."""

    def one_click(topic: str | None, multipart: bool) -> Callable[[str], Awaitable[None]]:
        async def tell(address: str) -> None:
            body: Any = ONE_CLICK
            if multipart:
                body = aiohttp.FormData(ONE_CLICK, default_to_multipart=True)
            assert await world.post(world.page(address, topic), data=body) == "OK\n"

        return tell

    async def page(address: str) -> None:
        await world.post(world.page(address, TOPIC), data={"act": "all", "lang": "fi"})

    async def page_topic(address: str) -> None:
        await world.post(world.page(address, TOPIC), data={"act": "topic", "lang": "sv"})

    async def mailto(address: str) -> None:
        text = f"From: a@other.example\r\nSubject: {world.link(address)}\r\n\r\n"
        await world.brought(UNSUBSCRIBE, text.encode())

    async def bounce(address: str) -> None:
        notification = NOTIFICATIONS[0].octets.replace(M.encode(), address.encode())
        await world.brought(BOUNCES, notification)

    async def complaint(address: str) -> None:
        await world.brought(BOUNCES, feedback("abuse", f"Original-Rcpt-To: {address}"))

    async def api(address: str) -> None:
        url = f"http://127.0.0.1:{world.gateway.api}/v1/bans"
        headers = {"Authorization": f"Bearer {world.token}"}
        await world.post(url, json={"contact": address}, headers=headers)

    async def api_topic(address: str) -> None:
        url = f"http://127.0.0.1:{world.gateway.api}/v1/bans"
        headers = {"Authorization": f"Bearer {world.token}"}
        asked = {"contact": address, "scope": "topic", "topic": TOPIC}
        await world.post(url, json=asked, headers=headers)

    async def line(address: str) -> None:
        await world.command("register", "ban", address, "--by", "anna")

    return {
        "one-click": Source(one_click(None, False), "R12", ALL),
        "multipart": Source(one_click(None, True), "R12", ALL),
        "one-click-topic": Source(one_click(TOPIC, False), "R13", TOPIC_ALONE),
        "page": Source(page, "R11", ALL),
        "page-topic": Source(page_topic, "R13", TOPIC_ALONE),
        "mailto": Source(mailto, "R12", ALL),
        "bounce": Source(bounce, "R15d", BOUNCED),
        "complaint": Source(complaint, "R15d", COMPLAINED),
        "api": Source(api, "R11", ALL),
        "api-topic": Source(api_topic, "R13", TOPIC_ALONE),
        "line": Source(line, "R11", ALL),
    }


def tools_sources(world: World) -> dict[str, Source]:
    """Every tool's webhook, for all that it tells; and a file that is dropped."""
    rules = {
        "objection": ("R12", ALL),
        "bounce": ("R15d", BOUNCED),
        "complaint": ("R15d", COMPLAINED),
        "topic": ("R13", TOPIC_ALONE),
    }

    def hook(kind: str, what: str) -> Callable[[str], Awaitable[None]]:
        return lambda address: world.hook(kind, what, address)

    async def dropped(address: str) -> None:
        await world.fleet["file"].stand_in.drop("export", f"contact\n{address}\n")

    hooks = {
        f"{kind}-{what}": Source(hook(kind, what), *rules[what], by=kind)
        for kind, one in world.fleet.tools.items()
        for what in one.calls
    }
    return hooks | {"file": Source(dropped, "R11", ALL, by="file")}


async def test_every_way_is_in_force_at_the_next_check_and_reaches_every_other_tool(world):
    await world.account()
    sources = own_sources(world) | tools_sources(world)
    address = {name: f"{name}@example.com" for name in sources}
    await world.gateway.allow(*address.values(), "yes@example.com")
    assert {reply[:3] for reply in await world.next_mail(*address.values())} == {"250"}
    for name, source in sources.items():
        await source.tell(address[name])
        [reply, other] = await world.next_mail(address[name], "yes@example.com")
        assert reply.startswith(f"550 5.7.1 Suppressed by {source.rule} "), (name, reply)
        assert other.startswith("250"), (name, other)
    lacking = await settled(lambda: lacking_of(world, sources, address))
    assert lacking == []
    # Nothing of it lifts anything, or asks a person, once all have read each other's lists.
    await asyncio.sleep(3)
    assert lacking_of(world, sources, address) == []
    replies = await world.next_mail(*address.values())
    for (name, source), reply in zip(sources.items(), replies, strict=True):
        assert reply.startswith(f"550 5.7.1 Suppressed by {source.rule} "), (name, reply)
    for kind, one in world.fleet.tools.items():
        assert one.stands("yes@example.com") == Stands(), kind
    # What a list made of a bounce or a complaint has not come back as a ban, nor a ban as those.
    entries = await world.entries(*address.values())
    for (name, source), entry in zip(sources.items(), entries, strict=True):
        assert bool(entry.bans) != bool(entry.delivery), name
        assert bool(entry.delivery) == bool(source.says.delivery), name
        assert len(entry.bans) == (not source.says.delivery), name
    assert await world.kinds() == {"describe", "consent", "ban", "undeliverable"}
    done = await asyncio.to_thread(world.gateway.command, "sync", "tasks", "--by", "anna", "--json")
    assert done.rows == []


def lacking_of(
    world: World, sources: dict[str, Source], address: dict[str, str]
) -> list[tuple[str, str, Stands]]:
    """What a tool holds of somebody otherwise than it is to."""
    found = []
    for name, source in sources.items():
        for kind, one in world.fleet.tools.items():
            if kind == source.by:
                continue
            held = one.stands(address[name])
            if not one.holds(address[name]):
                if held != Stands():
                    found.append((name, kind, held))
            elif not right(source.says, held, kind, one.topics, one.delivery):
                found.append((name, kind, held))
    return found


def right(says: Stands, held: Stands, kind: str, topics: bool, delivery: bool) -> bool:
    """Whether a tool holds what it can of it, and nothing beyond."""
    if says.whole:
        return held.whole
    if says.topic:
        # Whoever refused one newsletter gets the others.
        return held == (TOPIC_ALONE if topics else Stands())
    if not delivery:
        return held.whole == (says.delivery == "complaint")
    if kind == "mautic":
        return held.delivery == "bounce"  # which has no word for complaints
    return held.delivery == says.delivery and (kind == "ses" or not held.whole)


async def settled(wrong: Callable[[], list[Any]], within: float = WITHIN) -> list[Any]:
    """What is still wrong at the end."""
    end = time.monotonic() + within
    while (found := wrong()) and time.monotonic() < end:
        await asyncio.sleep(0.2)
    return found


async def test_a_stop_is_in_force_at_the_next_text_and_reaches_what_holds_numbers(world):
    await world.gateway.allow(PERSON)
    assert (await world.text(PERSON))[0] == 201
    await world.stop(PERSON)
    status, answer = await world.text(PERSON)
    assert (status, answer["code"]) == (400, 21610)
    holding = [kind for kind, one in world.fleet.tools.items() if one.holds(PERSON)]
    assert sorted(holding) == ["brevo", "file", "http", "mautic", "twilio"]

    def lacking() -> list[str]:
        return [kind for kind in holding if not world.fleet[kind].stands(PERSON).whole]

    assert await settled(lacking) == []
    for kind, one in world.fleet.tools.items():
        if kind not in holding:
            assert one.stands(PERSON) == Stands(), kind


async def test_a_scanner_that_opens_a_thousand_links_moves_nothing(world):
    names = [f"reader{number}@example.com" for number in range(1000)]
    before = await world.position()
    free = asyncio.Semaphore(8)

    async def opened(name: str, method: str) -> None:
        async with free, world.http.request(method, world.page(name, TOPIC)) as answer:
            assert answer.status == 200
            assert (await answer.read() != b"") == (method == "GET")

    for method in ("HEAD", "GET"):
        for at in range(0, len(names), 100):
            await asyncio.gather(*(opened(name, method) for name in names[at : at + 100]))
    assert await world.position() == before
    await asyncio.sleep(2)
    for kind, one in world.fleet.tools.items():
        assert not any(any(one.stands(name)) for name in names), kind
    await world.post(world.page(names[0]), data=ONE_CLICK)
    assert await world.position() != before


async def test_tools_that_differ_end_in_the_stricter_state_in_both(world):
    """One has subscribed somebody again, the other holds the refusal."""
    fleet = world.fleet
    both = "both@example.com"
    await world.gateway.allow(both)
    fleet["sendgrid"].stand_in.add("unsubscribes", both)
    fleet["listmonk"].stand_in.add(both, lists=(5,))
    wanted = ("sendgrid", "listmonk", "http", "mailgun")
    assert await settled(lambda: [one for one in wanted if not fleet[one].stands(both).whole]) == []
    [reply] = await world.next_mail(both)
    assert reply.startswith("550 5.7.1 Suppressed by R12 "), reply
