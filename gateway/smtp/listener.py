"""What all connections of a worker share: site, bounds, sessions.

A session outlives its connection while a hand-over is under way.  Draining: no new
transactions, idle connections are told 421, what has begun is finished.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING

from gateway.smtp.limit import Limits
from gateway.smtp.parking import Parking
from gateway.smtp.site import Site
from gateway.smtp.spool import Budget

if TYPE_CHECKING:
    from gateway.smtp.server import Server


class Listener:
    """The state of one worker's mail side."""

    def __init__(self, site: Site, tls_context: ssl.SSLContext | None, workers: int = 1) -> None:
        self.site = site
        self.tls_context = tls_context
        self.limits = Limits(site.settings.smtp.max_connections, workers)
        self.budget = Budget(site.settings.smtp.total_memory)
        self.parking = Parking()
        self.spool_folder = site.settings.data_dir / "spool"
        self.draining = False
        self.sessions: set[Server] = set()
        self._servers: list[asyncio.Server] = []

    def swap(self, site: Site, tls_context: ssl.SSLContext | None) -> None:
        """Take a new site; transactions under way keep theirs."""
        self.site = site
        self.tls_context = tls_context
        self.limits.max_connections = site.settings.smtp.max_connections
        self.budget.limit(site.settings.smtp.total_memory)

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
        while self.sessions:
            if asyncio.get_running_loop().time() >= deadline:
                break
            await asyncio.sleep(0.02)
        finished = not self.sessions
        tasks = []
        for session in list(self.sessions):
            session.drop()
            tasks.append(session.cancel())
        running = [task for task in tasks if task is not None]
        if running:
            await asyncio.wait(running, timeout=1)
        return finished
