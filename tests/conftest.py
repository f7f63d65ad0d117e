"""Parts that many tests share: a real register server, a key ring."""

import asyncio
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from gateway.contacts.digest import KeyRing
from gateway.register.server import EmbeddedRegister
from tests.peers.postgresql import Cluster

# Tests start hundreds of processes, and each would compile the gateway anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# How fast a machine is says nothing of what is tested.
hypothesis.settings.register_profile(
    "any-machine", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("any-machine")


@pytest.fixture(scope="session")
def register_server() -> Iterator[EmbeddedRegister]:
    """An embedded register server on a Unix socket; each xdist worker has its own."""
    folder = Path(tempfile.mkdtemp(prefix="sg-"))
    server = EmbeddedRegister(folder, start_timeout=60)
    asyncio.run(server.start())
    try:
        yield server
    finally:
        asyncio.run(server.stop(wait_for_users=0))
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def register_url(register_server: EmbeddedRegister) -> str:
    """The URL of an empty register."""

    async def flush() -> None:
        reader, writer = await asyncio.open_unix_connection(register_server.socket)
        writer.write(b"FLUSHALL SYNC\r\n")
        assert await reader.readline() == b"+OK\r\n"
        writer.close()
        await writer.wait_closed()

    asyncio.run(flush())
    return register_server.url


@pytest.fixture
def ring() -> KeyRing:
    """A key ring of one key."""
    return KeyRing({"k1": bytes(range(32))}, "k1")


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Cluster]:
    """A PostgreSQL server; each xdist worker has its own."""
    cluster = Cluster()
    try:
        yield cluster
    finally:
        cluster.remove()


@pytest.fixture(params=["sqlite", "postgresql"])
def archive_place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path | str]:
    """Where a new archive goes: a file, and again a database of a real server."""
    if request.param == "sqlite":
        yield tmp_path / "archive.sqlite"
        return
    with request.getfixturevalue("postgresql").lent() as url:
        yield url
