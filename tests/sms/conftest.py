"""A house with a text message side and a provider behind it; on uvloop, as in service."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import uvloop
from prometheus_client import CollectorRegistry

from gateway.evidence.metric import Metrics
from gateway.serve.assembly import build_parts
from gateway.sms.server import Door
from tests.peers.house import House
from tests.peers.provider import Provider
from tests.peers.scripted import ScriptedUpstream

MODULES = {"46elks": "elks"}


def pytest_asyncio_loop_factories(
    config, item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"uvloop": uvloop.new_event_loop}


class SmsHouse(House):
    """A house whose text messages go to ``provider``."""

    provider: Provider
    http: aiohttp.ClientSession

    @property
    def url(self) -> str:
        """The base URL that a tool is pointed at."""
        scheme = "http" if self.settings.sms.tls is None else "https"
        return f"{scheme}://127.0.0.1:{self.sms_port}/tool"

    async def post(self, path: str, **how: Any) -> tuple[int, Any]:
        """A tool's POST; status and JSON, or text where it is none."""
        async with self.http.post(self.url + path, **how) as response:
            if "json" in response.headers.get("Content-Type", ""):
                return response.status, await response.json()
            return response.status, await response.text()

    @asynccontextmanager
    async def beside(self) -> AsyncIterator[str]:
        """Another worker on the same stores; the base URL of its socket."""
        parts = await build_parts(self.settings, Metrics(CollectorRegistry()))
        door = Door(parts.plane.site)
        loop = asyncio.get_running_loop()
        server = await loop.create_server(door.server(), "127.0.0.1", 0)
        try:
            yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/tool"
        finally:
            server.close()
            await door.drain(1)
            await parts.aclose()


def route_table(provider: str, base_url: str, **changes: Any) -> dict[str, Any]:
    """One route's settings: marketing from this machine, answered as the provider does."""
    table: dict[str, Any] = {
        "name": "tool",
        "provider": provider,
        "prefix": "/tool",
        "networks": ["127.0.0.0/8"],
        "kind": "marketing",
        "topic": "newsletter",
        "product_group": "broadband",
        "senders": ["LamisNET", "+358401000000"],
        "base_url": base_url,
        "region": "EEA",
        "connect_timeout": 1,
        "answer_timeout": 2,
    }
    table.update(changes)
    return {name: value for name, value in table.items() if value is not None}


@pytest.fixture
def sms(tmp_path: Path, register_url: str) -> Callable[..., Any]:
    """``async with sms("twilio", on_suppress="reject") as house``.

    ``table``: more of ``[sms]``; ``settle``: the register's.
    """

    @asynccontextmanager
    async def make(
        name: str,
        *,
        table: dict[str, Any] | None = None,
        settle: float | None = None,
        **route: Any,
    ) -> AsyncIterator[SmsHouse]:
        async with AsyncExitStack() as stack:
            enter = stack.enter_async_context
            standin = import_module(f"tests.peers.standins.{MODULES.get(name, name)}")
            provider = await enter(Provider(standin.answer))
            upstream = await enter(ScriptedUpstream())
            routes = [route_table(name, **{"base_url": provider.url, **route})]
            house = SmsHouse(
                tmp_path,
                register_url,
                [upstream],
                sms={"routes": routes, **(table or {})},
                register={} if settle is None else {"settle": settle},
            )
            await enter(house)
            house.provider = provider
            house.http = await enter(aiohttp.ClientSession())
            yield house

    return make
