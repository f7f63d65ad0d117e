"""Gateways in processes of their own, each with one scripted upstream."""

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.peers.preloaded import Preloaded
from tests.peers.process import ROOT, RunningGateway
from tests.peers.scripted import ScriptedUpstream


@pytest.fixture
async def upstream() -> AsyncIterator[ScriptedUpstream]:
    """An upstream that accepts everything until it is scripted."""
    async with ScriptedUpstream() as one:
        yield one


@pytest.fixture(scope="session")
def preloaded() -> Iterator[Preloaded]:
    """What runs commands without the time that an import takes."""
    server = Preloaded(ROOT)
    yield server
    server.close()


@pytest.fixture
def build(tmp_path: Path, upstream: ScriptedUpstream) -> Callable[..., RunningGateway]:
    """``async with build(records={…}, …) as gateway``; not started before that."""

    def make(**how: Any) -> RunningGateway:
        return RunningGateway(tmp_path, **{"upstream": upstream, **how})

    return make


@pytest.fixture
async def gateway(build: Callable[..., RunningGateway]) -> AsyncIterator[RunningGateway]:
    """The usual one, running."""
    async with build() as one:
        yield one
