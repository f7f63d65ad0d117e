"""The sandbox upstreams of a configuration, running."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from gateway.sandbox.server import SandboxServer
from gateway.settings import Settings
from gateway.unixpath import socket_path


def sandbox_socket(settings: Settings, name: str) -> Path:
    """The Unix socket that a sandbox upstream listens on."""
    return socket_path(settings.data_dir / "run", f"{name}.sock")


@asynccontextmanager
async def running_sandboxes(settings: Settings) -> AsyncIterator[None]:
    """Run the sandboxes that no other process runs already."""
    async with AsyncExitStack() as stack:
        for upstream in settings.smtp.upstreams:
            if upstream.sandbox is None:
                continue
            path = sandbox_socket(settings, upstream.name)
            if _answers(path):
                continue
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            path.unlink(missing_ok=True)
            await stack.enter_async_context(SandboxServer(upstream.sandbox, path=path))
        yield


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1)
        try:
            probe.connect(str(path))
        except OSError:
            return False
        return True
