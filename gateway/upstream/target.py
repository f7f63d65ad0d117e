"""Where an upstream is, how to speak to it, and how long to wait for it."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import ip_address
from pathlib import Path

from gateway.failure import InputError


class Tls(StrEnum):
    """How a connection is protected; never "if it happens to be offered"."""

    NONE = "none"
    STARTTLS = "starttls"
    IMPLICIT = "implicit"


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds to wait (RFC 5321 § 4.5.3.2 gives minutes, a client waits behind us)."""

    connect: float = 5.0
    """Connection and TLS handshake, each."""
    greeting: float = 30.0
    command: float = 60.0
    data: float = 120.0
    """The answer to DATA, and each wait for the upstream to take more of a body."""
    final: float = 600.0
    """The answer to the final dot."""
    idle: float = 60.0
    """A pooled connection unused for so long is dropped."""
    age: float = 900.0
    """A connection so old is not used again (some servers end sessions at 20 minutes)."""


@dataclass(frozen=True, slots=True)
class Target:
    """One upstream.  Equal targets share a pool.

    Raises :class:`gateway.failure.InputError` for settings that cannot be meant:
    no place, both places, or a password that would cross a network in the clear.
    """

    name: str
    host: str = ""
    port: int = 25
    path: str = ""
    """A Unix socket instead of host and port."""
    tls: Tls = Tls.NONE
    ca_file: Path | None = None
    """Certificates to trust instead of the system's."""
    verify: bool = True
    server_name: str = ""
    """The name in the certificate, where it is not ``host``."""
    username: str = ""
    password: str = field(default="", repr=False)
    max_connections: int = 50
    max_waiting: int = 1000
    """Transactions that may wait for a connection; one more is told to come back."""
    max_messages: int = 1000
    """Messages over one connection."""
    timeouts: Timeouts = Timeouts()

    def __post_init__(self) -> None:
        if bool(self.host) == bool(self.path):
            raise InputError(f"upstream {self.name!r}: give either a host or a socket path")
        if self.tls is not Tls.NONE and self.path and not self.server_name:
            raise InputError(f"upstream {self.name!r}: TLS over a socket path needs server_name")
        if bool(self.username) != bool(self.password):
            raise InputError(f"upstream {self.name!r}: username and password belong together")
        if self.username and self.tls is Tls.NONE and not self.loopback:
            raise InputError(
                f"upstream {self.name!r}: a password needs tls = starttls or implicit, "
                "except on loopback"
            )
        if min(self.max_connections, self.max_waiting + 1, self.max_messages) < 1:
            raise InputError(f"upstream {self.name!r}: the limits must be at least 1")

    @property
    def loopback(self) -> bool:
        """Whether what is sent stays on this machine."""
        if self.path or self.host == "localhost":
            return True
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return False

    def context(self) -> ssl.SSLContext:
        """The TLS context for it (reads the certificate files, so: at start).

        Raises :class:`gateway.failure.InputError` when the files cannot be used.
        """
        try:
            context = ssl.create_default_context(cafile=self.ca_file)
        except (OSError, ssl.SSLError) as error:
            raise InputError(
                f"upstream {self.name!r}: cannot read ca_file {self.ca_file}: {error}"
            ) from None
        if not self.verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context
