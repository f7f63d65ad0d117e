"""How much memory a gateway's workers have, and room for many sockets."""

from __future__ import annotations

import asyncio
import resource
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

from tests.peers.process import RunningGateway

KIB, MIB = 1024, 1024 * 1024


def resident(pid: int) -> int:
    """Octets of a process in memory (VmRSS)."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * KIB
    raise AssertionError("no VmRSS")


class Watch:
    """``async with Watch(gateway) as watch``: the most that its one worker grows meanwhile."""

    def __init__(self, gateway: RunningGateway) -> None:
        [self._pid] = gateway.workers
        self.before = resident(self._pid)
        self.most = self.before

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._look())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._task.cancel()
        self.most = max(self.most, resident(self._pid))

    @property
    def growth(self) -> int:
        """Octets, at the worst moment so far."""
        self.most = max(self.most, resident(self._pid))
        return self.most - self.before

    async def _look(self) -> None:
        while True:
            self.most = max(self.most, resident(self._pid))
            await asyncio.sleep(0.02)


def need_files(count: int) -> None:
    """Raise the bound of open files; the test is skipped where that is not allowed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft >= count:
        return
    if hard != resource.RLIM_INFINITY and hard < count:
        pytest.skip(f"only {hard} open files are allowed, not {count}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))
