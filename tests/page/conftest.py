"""The pages beside a mail side whose upstream a test may script."""

from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.peers.front import Front, front
from tests.peers.scripted import ScriptedUpstream


@pytest.fixture
async def upstream() -> AsyncIterator[ScriptedUpstream]:
    """An upstream that accepts everything until it is scripted."""
    async with ScriptedUpstream() as one:
        yield one


@pytest.fixture
def open_pages(tmp_path: Path, register_url: str, upstream: ScriptedUpstream) -> Callable[..., Any]:
    """``async with open_pages(pages={…}) as pages``."""
    return partial(front, tmp_path, register_url, upstream)


@pytest.fixture
async def pages(open_pages: Callable[..., Any]) -> AsyncIterator[Front]:
    """The usual ones."""
    async with open_pages() as one:
        yield one
