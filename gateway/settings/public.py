"""The settings of what people and foreign systems reach: links, pages, webhooks, inbound mail."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from gateway.settings.bound import Bound, Checked
from gateway.settings.value import (
    MIB,
    Certificate,
    Count,
    Domain,
    Listen,
    Name,
    Network,
    Seconds,
    Table,
    is_plain_address,
)

Language = Literal["fi", "sv", "en"]
CONTRAST = 4.5
"""What text needs against its ground."""

_is_colour = re.compile(r"#[0-9A-Fa-f]{6}").fullmatch


def _base_url(value: str) -> str:
    scheme, _, rest = value.partition("://")
    if value and (scheme not in ("http", "https") or not rest or "?" in rest or "#" in rest):
        raise ValueError("write it as https://host or https://host/path")
    return value.rstrip("/")


def _address(value: str) -> str:
    if value and (not is_plain_address(value) or "+" in value):
        raise ValueError("write a plain address without +, as unsubscribe@mail.example.com")
    return value


def _colour(value: str) -> str:
    if not _is_colour(value):
        raise ValueError("write a colour as #1a5fb4")
    if (found := contrast_with_white(value)) < CONTRAST:
        raise ValueError(
            f"its contrast with white is {found:.2f} and must be {CONTRAST} at least "
            "(WCAG 2.2, 1.4.3): take a darker one"
        )
    return value


def contrast_with_white(colour: str) -> float:
    """The contrast ratio of ``#rrggbb`` with white, 1 to 21 (WCAG 2.2, "contrast ratio")."""
    parts = (int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5))
    linear = [
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    ]
    luminance = sum(
        weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True)
    )
    return 1.05 / (luminance + 0.05)


BaseUrl = Annotated[str, Checked(_base_url)]
Address = Annotated[str, Checked(_address)]
Colour = Annotated[str, Checked(_colour)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Public(Table):
    """What is reached from the internet: unsubscribe links, people's pages, tools' webhooks."""

    listen: list[Listen] = field(default_factory=list)
    tls: Certificate | None = None
    url: BaseUrl = ""
    """Where people reach it: ``https://preferences.example.com``; links begin with it."""
    proxies: list[Network] = field(default_factory=list)
    """Proxies before it, whose ``X-Forwarded-For`` is believed."""
    requests_per_minute: Count = 120
    """Of one address; webhooks of tools and refusals by link are not counted."""
    max_connections: Count = 500
    max_requests: Count = 64
    """Under way at once."""
    max_body: Annotated[int, Bound(ge=1024, le=64 * MIB)] = 8 * MIB
    timeout: Seconds = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Unsubscribe(Table):
    """Links by which people refuse (RFC 2369, RFC 8058)."""

    add: bool = False
    """Whether marketing mail without one gets List-Unsubscribe and List-Unsubscribe-Post."""
    key_file: Path | None = None
    """The keys that seal links; default ``secrets/link-keys.json`` below ``data_dir``."""
    expire_after: Annotated[int, Bound(ge=60, le=36_500)] = 1825
    """Days that a link is good."""
    address: Address = ""
    """Where ``mailto:`` links go (``unsubscribe@mail.example.com``); needs ``inbound``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dkim(Table):
    """A key that the gateway signs mail with (RFC 6376)."""

    domain: Domain
    selector: Name
    key_file: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsentText(Table):
    """What people agree to by the pages, word by word."""

    version: str
    wording: dict[Language, str]

    def __post_init__(self) -> None:
        if not self.version.strip() or not self.wording:
            raise ValueError("give it a version and its wording in one language at least")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pages(Table):
    """How the person's pages look and what they offer."""

    logo: Path | None = None
    """A PNG, JPEG or SVG file."""
    colour: Colour = "#1a5fb4"
    """Of headings and buttons; its contrast with white must be 4.5 at least (WCAG 2.2 AA)."""
    notice: dict[Language, str] = field(default_factory=dict)
    """Where the privacy notice is, by language."""
    consents: dict[str, ConsentText] = field(default_factory=dict)
    """The consents that the pages offer, by topic; ``"*"`` for all of a channel."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Inbound(Table):
    """Mail that comes in: ``mailto:`` unsubscribes, bounces and complaints."""

    listen: list[Listen] = field(default_factory=list)
    hostname: str = ""
    """How it names itself; ``smtp.hostname`` if not set."""
    tls: Certificate | None = None
    bounces: list[Address] = field(default_factory=list)
    """Addresses whose mail is read as a bounce or a complaint."""
    networks: list[Network] = field(default_factory=lambda: ["127.0.0.0/8", "::1/128"])
    """From where bounces and complaints are believed: your own mail servers."""
    max_connections: Count = 100
    max_message_size: Annotated[int, Bound(ge=1024, le=64 * MIB)] = MIB
    timeout: Seconds = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery(Table):
    """How long an address stays suppressed since mail to it bounced or was complained of."""

    bounce_days: Annotated[int, Bound(ge=0, le=36_500)] = 365
    """Days; 0: until somebody lifts it."""
    complaint_days: Annotated[int, Bound(ge=0, le=36_500)] = 0
    """Days; 0: until somebody lifts it."""
