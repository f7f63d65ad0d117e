"""A register whose line can be cut, and the files that routes name."""

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from gateway.register.server import EmbeddedRegister
from tests.peers.certificates import Certificate, self_signed

pytest.register_assert_rewrite("tests.sms.sdk.promises")


class Cable:
    """The line to the register: a link to its socket, and the connections through it."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket
        self.link = socket.with_name("cable")

    async def cut(self) -> None:
        """The register is away: what is open is closed, and nothing new is opened."""
        self.link.unlink()
        reader, writer = await asyncio.open_unix_connection(self._socket)
        writer.write(b"CLIENT KILL TYPE normal SKIPME yes\r\n")
        assert (await reader.readline()).startswith(b":")
        writer.close()

    def mend(self) -> None:
        """It is back."""
        self.link.unlink(missing_ok=True)
        self.link.symlink_to(self._socket)


@pytest.fixture
def cable(register_server: EmbeddedRegister) -> Iterator[Cable]:
    """The line that ``register_url`` goes by."""
    one = Cable(Path(register_server.socket))
    one.mend()
    yield one
    one.link.unlink(missing_ok=True)


@pytest.fixture
def register_url(register_url: str, cable: Cable) -> str:
    """The URL of an empty register, by a line that can be cut."""
    return f"unix://{cable.link}"


@pytest.fixture
def secret_file(tmp_path: Path) -> Callable[[str], str]:
    """Writes a secret into a file; its path."""

    def write(secret: str) -> str:
        path = tmp_path / f"{secret}.secret"
        path.write_text(secret)
        path.chmod(0o600)
        return str(path)

    return write


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """The gateway's, for SDKs that speak TLS alone."""
    return self_signed(tmp_path_factory.mktemp("tls"))
