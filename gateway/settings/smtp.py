"""The settings of the mail side: who sends, by which mail servers, within what bounds."""

from __future__ import annotations

import socket
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Annotated

from gateway.settings.bound import Bound
from gateway.settings.value import (
    MIB,
    Certificate,
    ClientKind,
    Count,
    Listen,
    Name,
    Network,
    Seconds,
    Table,
)


class OnSuppress(StrEnum):
    """How a suppressed recipient is answered: ``250`` and left out, or ``550``."""

    DISCARD = "discard"
    REJECT = "reject"


class Tls(StrEnum):
    """How a connection to an upstream is protected."""

    NONE = "none"
    STARTTLS = "starttls"
    IMPLICIT = "implicit"


class BareNewlines(StrEnum):
    """What becomes of a message with a CR or LF that is not part of CRLF."""

    REJECT = "reject"
    NORMALISE = "normalise"


@dataclass(frozen=True, slots=True, kw_only=True)
class SmtpClient(Table):
    """A sending tool: how it is known and what its messages are."""

    name: Name
    username: str | None = None
    password_file: Path | None = None
    password_hash: str | None = None
    networks: list[Network] = field(default_factory=list)
    kind: ClientKind
    topic: str | None = None
    product_group: str | None = None
    on_suppress: OnSuppress = OnSuppress.DISCARD
    upstream: str | list[str]
    campaign_header: str = "X-Campaign-Id"
    max_connections: Count = 200
    max_recipients: Annotated[int, Bound(ge=1, le=100_000)] = 1000
    messages_per_minute: Count | None = None

    @property
    def upstreams(self) -> tuple[str, ...]:
        """The upstreams to try, in order."""
        return (self.upstream,) if isinstance(self.upstream, str) else tuple(self.upstream)

    def __post_init__(self) -> None:
        secrets = [s for s in (self.password_file, self.password_hash) if s is not None]
        if self.username is None and not self.networks:
            raise ValueError("give it a username with password_file or password_hash, or networks")
        if self.username is not None and len(secrets) != 1:
            raise ValueError("a username needs exactly one of password_file and password_hash")
        if self.username is None and secrets:
            raise ValueError("password_file and password_hash need a username")
        if self.password_hash is not None and not self.password_hash.startswith("$argon2"):
            raise ValueError("password_hash must be an argon2 hash ($argon2id$…)")
        if not self.upstreams:
            raise ValueError("upstream must name at least one entry of smtp.upstreams")


@dataclass(frozen=True, slots=True, kw_only=True)
class SmtpUpstream(Table):
    """A mail server that allowed messages are handed to."""

    name: Name
    host: str = ""
    port: Annotated[int, Bound(ge=1, le=65535)] = 25
    sandbox: Path | None = None
    """Deliver into this Maildir instead of to a server (relative to ``data_dir``)."""
    tls: Tls = Tls.STARTTLS
    ca_file: Path | None = None
    server_name: str | None = None
    username: str | None = None
    password_file: Path | None = None
    region: str = ""
    """Where the messages are processed: ``EEA`` or a country outside it."""
    processor_contract: str = ""
    transfer_basis: str = ""
    """Why a transfer outside the EEA is lawful (GDPR 46, 49); needed there."""
    max_connections: Annotated[int, Bound(ge=1, le=10_000)] = 50
    connect_timeout: Seconds = 5
    command_timeout: Seconds = 60
    data_timeout: Seconds = 120
    final_timeout: Seconds = 600

    def __post_init__(self) -> None:
        if (self.sandbox is None) == (not self.host):
            raise ValueError("give it either a host or a sandbox folder")
        if self.sandbox is None:
            if not self.region:
                raise ValueError('region is missing: "EEA", or the country outside it')
            if self.region != "EEA" and not self.transfer_basis:
                raise ValueError(
                    "an upstream outside the EEA needs transfer_basis "
                    "(GDPR 44-49; for instance 'SCC 2021/914, signed 2026-01-15')"
                )
        if (self.username is None) != (self.password_file is None):
            raise ValueError("username and password_file go together")


@dataclass(frozen=True, slots=True, kw_only=True)
class Smtp(Table):
    """The mail side."""

    listen: list[Listen] = field(default_factory=lambda: ["127.0.0.1:2525"])
    listen_tls: list[Listen] = field(default_factory=list)
    """Addresses where TLS begins at once (RFC 8314)."""
    hostname: str = field(default_factory=socket.getfqdn)
    tls: Certificate | None = None
    clients: Annotated[list[SmtpClient], Bound(min_length=1)]
    upstreams: Annotated[list[SmtpUpstream], Bound(min_length=1)]
    max_message_size: Annotated[int, Bound(ge=1024, le=1024 * MIB)] = 50 * MIB
    max_header_size: Annotated[int, Bound(ge=1024, le=4 * MIB)] = 256 * 1024
    max_connections: Count = 2000
    message_memory: Annotated[int, Bound(ge=64 * 1024)] = MIB
    """Bytes of one message kept in memory; the rest goes to ``data_dir/spool``."""
    total_memory: Annotated[int, Bound(ge=MIB)] = 128 * MIB
    """Bytes of message bodies kept in memory by one worker, over all connections."""
    idle_timeout: Seconds = 300
    data_timeout: Seconds = 180
    message_timeout: Seconds = 1800
    bare_newlines: BareNewlines = BareNewlines.REJECT

    def __post_init__(self) -> None:
        for what, names in (
            ("clients", [c.name for c in self.clients]),
            ("upstreams", [u.name for u in self.upstreams]),
            ("clients' usernames", [c.username for c in self.clients if c.username]),
        ):
            twice = {n for n in names if names.count(n) > 1}
            if twice:
                raise ValueError(f"{what} named twice: {', '.join(sorted(twice))}")
        known = {u.name for u in self.upstreams}
        for client in self.clients:
            for name in client.upstreams:
                if name not in known:
                    raise ValueError(
                        f"client {client.name!r} names upstream {name!r}, "
                        f"which is not among smtp.upstreams ({', '.join(sorted(known))})"
                    )
        if self.listen_tls and self.tls is None:
            raise ValueError("listen_tls needs smtp.tls with certificate and key")
