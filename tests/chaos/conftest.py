"""Scenarios are places of their own; every one prints what it counted."""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import uvloop

from tests.chaos.place import Place
from tests.peers.preloaded import Preloaded
from tests.peers.process import ROOT

IN_PROCESS = ("test_smuggling.py", "test_injection.py")
"""Here the gateway's mail side runs on the test's own loop: uvloop, as in service."""


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    if item.path.name in IN_PROCESS:
        return {"uvloop": uvloop.new_event_loop}
    return {"asyncio": asyncio.new_event_loop}


@pytest.fixture(scope="session")
def commands() -> Iterator[Preloaded]:
    """What runs the gateway's commands without the time that an import takes."""
    server = Preloaded(ROOT)
    yield server
    server.close()


@pytest.fixture
def build(tmp_path: Path, commands: Preloaded) -> Callable[..., Place]:
    """``async with build(workers=3) as place``."""

    def make(**how: Any) -> Place:
        return Place(tmp_path, commands=commands, **how)

    return make
