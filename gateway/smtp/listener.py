"""What all connections of a worker share: site, bounds, hand-overs under way.

The listener owns every task that outlives a connection.  Draining: no new
transactions, idle connections are told 421, what has begun is finished.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

import structlog

from gateway.smtp.limit import Limits
from gateway.smtp.parking import Parking
from gateway.smtp.site import Site
from gateway.smtp.spool import Budget

if TYPE_CHECKING:
    from gateway.smtp.server import Server

log = structlog.get_logger(__name__)


class Listener:
    """The state of one worker's mail side."""

    def __init__(self, site: Site, tls_context: ssl.SSLContext | None, workers: int = 1) -> None:
        self.site = site
        self.tls_context = tls_context
        self.limits = Limits(site.settings.smtp.max_connections, workers)
        self.budget = Budget(site.settings.smtp.total_memory)
        self.parking = Parking()
        self.draining = False
        self.sessions: set[Server] = set()
        self._handovers: set[asyncio.Task[bytes]] = set()
        self._servers: list[asyncio.Server] = []

    def swap(self, site: Site, tls_context: ssl.SSLContext | None) -> None:
        """Take a new site; transactions under way keep theirs."""
        self.site = site
        self.tls_context = tls_context
        self.limits.max_connections = site.settings.smtp.max_connections
        self.budget.total = site.settings.smtp.total_memory

    def hand_over(self, work: Coroutine[Any, Any, bytes]) -> asyncio.Task[bytes]:
        """Start a hand-over; it is finished even if its client goes away."""
        task = asyncio.get_running_loop().create_task(work)
        self._handovers.add(task)
        task.add_done_callback(self._handed_over)
        return task

    def _handed_over(self, task: asyncio.Task[bytes]) -> None:
        self._handovers.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("handover_failed", exc_info=task.exception())

    def own(self, server: asyncio.Server) -> None:
        """Count a listening server among those that draining closes."""
        self._servers.append(server)

    async def drain(self, timeout: float) -> bool:
        """Finish what has begun, refuse what has not; False: time ran out."""
        self.draining = True
        for server in self._servers:
            server.close()
        for session in list(self.sessions):
            session.retire_if_idle()
        deadline = asyncio.get_running_loop().time() + timeout
        while self.sessions or self._handovers:
            if asyncio.get_running_loop().time() >= deadline:
                break
            await asyncio.sleep(0.02)
        finished = not self._handovers and not self.sessions
        for session in list(self.sessions):
            session.drop()
        for task in list(self._handovers):
            task.cancel()
        if self._handovers:
            await asyncio.wait(list(self._handovers), timeout=1)
        return finished
