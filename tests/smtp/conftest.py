"""A house with one scripted upstream, and ways to change it; on uvloop, as in service."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import uvloop

from tests.peers.house import House
from tests.peers.scripted import ScriptedUpstream


def pytest_asyncio_loop_factories(
    config, item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture
async def upstream() -> AsyncIterator[ScriptedUpstream]:
    """An upstream that accepts everything until it is scripted."""
    async with ScriptedUpstream() as one:
        yield one


@pytest.fixture
def build(tmp_path: Path, register_url: str, upstream: ScriptedUpstream) -> Callable[..., Any]:
    """``async with build(clients=[…], …) as house``."""

    @asynccontextmanager
    async def make(*, spares: int = 0, **settings: Any) -> AsyncIterator[House]:
        async with AsyncExitStack() as stack:
            more = [await stack.enter_async_context(ScriptedUpstream()) for _ in range(spares)]
            house = House(tmp_path, register_url, [upstream, *more], **settings)
            house.spares = more
            yield await stack.enter_async_context(house)

    return make


@pytest.fixture
async def house(build: Callable[..., Any]) -> AsyncIterator[House]:
    """The usual house: one marketing client that discards."""
    async with build() as one:
        yield one
