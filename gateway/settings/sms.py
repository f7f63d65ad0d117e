"""The settings of the text message side: routes, what comes back, quiet hours."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

from gateway.provider.table import TableShape
from gateway.settings.bound import Bound, Checked
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

_OPT_OUT_WORDS = (
    "stop",
    "lopeta",
    "stopp",
    "sluta",
    "kiellä",
    "peru tilaus",
    "peruuta tilaus",
    "unsubscribe",
    "opt out",
    "opt-out",
    "optout",
    "avregistrera",
    "avbeställ",
)


class SmsOnSuppress(StrEnum):
    """How a suppressed recipient is answered."""

    NATIVE = "native"
    """As the provider itself answers for a number that has opted out."""
    REJECT = "reject"
    """Refused in the answer, in the provider's form."""
    DISCARD = "discard"
    """Accepted and not sent; nothing is said of it later."""


class OnQuiet(StrEnum):
    """What becomes of a message that would be sent in quiet hours."""

    REFUSE = "refuse"
    """The tool is told to try later."""
    KEEP = "keep"
    """The gateway keeps it and decides anew when the quiet hours are over."""


class OnSchedule(StrEnum):
    """What becomes of a message that the provider is asked to send later."""

    REFUSE = "refuse"
    NOW = "now"
    """Decided now and handed over: a ban that comes meanwhile does not stop it."""


class StopScope(StrEnum):
    """What a STOP forbids."""

    SENDER = "sender"
    """This route's topic, by text message."""
    CHANNEL = "channel"
    ALL = "all"


def _prefix(value: str) -> str:
    if value and (not value.startswith("/") or value.endswith("/") or "?" in value):
        raise ValueError('write it as "/name", with no slash at its end')
    return value


def _url(value: str) -> str:
    scheme, _, rest = value.partition("://")
    if value and (scheme not in ("http", "https") or not rest or "?" in rest or "#" in rest):
        raise ValueError("write it as https://host or https://host/path")
    return value.rstrip("/")


def _hook_url(value: str) -> str:
    scheme, _, rest = value.partition("://")
    if value and (scheme not in ("http", "https") or not rest):
        raise ValueError("write it as https://host/path")
    return value


def _public_url(value: str) -> str:
    if "?" in value or "#" in value:
        raise ValueError("write it without a query: the key behind it is secret_file's")
    return _hook_url(value)


def _time(value: str) -> str:
    hours, colon, minutes = value.partition(":")
    digits = len(hours) == len(minutes) == 2 and hours.isdigit() and minutes.isdigit()
    if not (colon and digits and int(hours) < 24 and int(minutes) < 60):
        raise ValueError("write a time as 21:00")
    return value


Prefix = Annotated[str, Checked(_prefix)]
Url = Annotated[str, Checked(_url)]
HookUrl = Annotated[str, Checked(_hook_url)]
PublicUrl = Annotated[str, Checked(_public_url)]
TimeOfDay = Annotated[str, Checked(_time)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Quiet(Table):
    """When text messages rest, by the recipient's own clock and calendar."""

    begins: TimeOfDay = "21:00"
    ends: TimeOfDay = "08:00"
    """The same as ``begins``: no nightly quiet time."""
    days: list[
        Literal["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]
    ] = field(default_factory=list)
    """Days of the week that are quiet as a whole."""
    holidays: bool = True
    """Whether public holidays of the number's country are quiet as a whole."""
    time_zone: str = "Europe/Helsinki"
    """For numbers that belong to no country."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SmsIncoming(Table):
    """What a provider tells of messages that people send."""

    public_url: PublicUrl
    """The URL that the provider calls, as it is written in its settings, without a key.

    It leads to the path ``/incoming/`` and the route's name on the gateway."""
    secret_file: Path
    """What the provider signs with; where it signs nothing, the key in the URL."""
    forward_to: HookUrl = ""
    """The tool's own URL, which hears everything next; empty: nobody does."""
    forward_secret_file: Path | None = None
    """What the tool checks the signature with; default: the same secret.  Where the
    provider signs nothing: the key in the tool's URL; default: none."""
    account: str = ""
    """The account's id, where the path of the provider's API names it; default: the
    route's ``username``.  Of Amazon SNS the ARN of the topic, which is needed."""
    stop: StopScope = StopScope.ALL
    confirm: str = ""
    """The text that confirms a STOP, once; empty: none is sent."""
    restart: str = ""
    """The text that confirms a START; empty: none."""
    help: str = ""
    """The text that answers HELP; empty: none."""
    topics: dict[str, str] = field(default_factory=dict)
    """What may follow a word (``STOP 12345``) and the topic that it stands for."""
    timeout: Seconds = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class SmsRoute(Table):
    """One tool's way to one provider."""

    name: Name
    provider: str
    prefix: Prefix = ""
    """The tool's base URL is the gateway's with this path behind it."""
    host: str = ""
    """Or the gateway's own name for it, in the Host header."""
    listen: Listen | None = None
    """Or an address of its own, for tools of which only host and port can be set."""
    networks: list[Network] = field(default_factory=list)
    """Who may use it; empty: whoever has the token."""
    token_file: Path | None = None
    """The tool's token, shown where the provider's secret would be."""
    token_name: str = ""
    """The user name or key id that goes with it; empty: any."""
    username: str = ""
    """The name that goes with the provider's secret; empty: the tool's own is kept."""
    password_file: Path | None = None
    """The provider's secret, put in the place of the tool's token."""
    kind: ClientKind
    topic: str | None = None
    product_group: str | None = None
    senders: list[str] = field(default_factory=list)
    """Sender IDs, numbers and messaging services of the controller; ``default`` stands
    for a request that names none."""
    on_suppress: SmsOnSuppress = SmsOnSuppress.NATIVE
    on_quiet: OnQuiet = OnQuiet.REFUSE
    on_schedule: OnSchedule = OnSchedule.REFUSE
    urgent: bool | None = None
    """Whether its messages may come at any hour; default: all but marketing may."""
    opt_out_added: bool = False
    """Whether the provider puts the means to refuse into each message."""
    base_url: Url = ""
    """Where the provider is; default: its public address."""
    sandbox: Path | None = None
    """Write what would be sent into this file instead (relative to ``data_dir``)."""
    ca_file: Path | None = None
    region: str = ""
    """Where the messages are processed: ``EEA`` or a country outside it."""
    processor_contract: str = ""
    transfer_basis: str = ""
    """Why a transfer outside the EEA is lawful (GDPR 46, 49); needed there."""
    connect_timeout: Seconds = 5
    answer_timeout: Seconds = 30
    max_connections: Annotated[int, Bound(ge=1, le=10_000)] = 100
    max_recipients: Annotated[int, Bound(ge=1, le=100_000)] = 10_000
    messages_per_minute: Count | None = None
    campaign_header: str = "X-Campaign-Id"
    report_hosts: list[str] = field(default_factory=list)
    """Hosts that may hear delivery reports of suppressed messages (``host`` or
    ``host:port``)."""
    report_secret_file: Path | None = None
    """What those reports are signed with."""
    incoming: SmsIncoming | None = None

    @property
    def upstreams(self) -> tuple[str, ...]:
        """Where its messages go, for the records."""
        return (self.provider if self.sandbox is None else "sandbox",)

    def __post_init__(self) -> None:
        if sum(map(bool, (self.prefix, self.host, self.listen))) != 1:
            raise ValueError(
                "give it exactly one of prefix, host and listen: how its tool reaches it"
            )
        if not self.networks and self.token_file is None:
            raise ValueError("give it networks or a token_file: who may use it")
        if (self.password_file is None) != (self.token_file is None):
            raise ValueError(
                "token_file (the tool's) and password_file (the provider's) go together; "
                "without both the tool's own credentials go through"
            )
        if self.sandbox is not None and self.base_url:
            raise ValueError("give it either a base_url or a sandbox file")
        if self.sandbox is None:
            if not self.region:
                raise ValueError('region is missing: "EEA", or the country outside it')
            if self.region != "EEA" and not self.transfer_basis:
                raise ValueError(
                    "a provider outside the EEA needs transfer_basis "
                    "(GDPR 44-49; for instance 'SCC 2021/914, signed 2026-01-15')"
                )
        if (
            self.incoming is not None
            and self.incoming.stop is StopScope.SENDER
            and self.topic is None
        ):
            raise ValueError('incoming.stop = "sender" needs the route\'s topic')


@dataclass(frozen=True, slots=True, kw_only=True)
class Sms(Table):
    """The text message side; without routes there is none."""

    listen: list[Listen] = field(default_factory=lambda: ["127.0.0.1:8081"])
    tls: Certificate | None = None
    """With it every address of this side speaks TLS."""
    routes: list[SmsRoute] = field(default_factory=list)
    providers: list[TableShape] = field(default_factory=list)
    """Providers of one's own, which routes may name."""
    opt_out_words: list[str] = field(default_factory=lambda: list(_OPT_OUT_WORDS))
    """Words in the text that count as a means to refuse."""
    quiet: Quiet | None = None
    """Quiet hours; without them text messages go at any hour."""
    stop_words: dict[str, list[str]] = field(default_factory=dict)
    """What people write to refuse, by language; a language named here replaces its own."""
    start_words: list[str] = field(default_factory=list)
    help_words: list[str] = field(default_factory=list)
    max_body: Annotated[int, Bound(ge=1024, le=64 * MIB)] = 4 * MIB
    """Octets of one request; each request under way may hold some multiple of it."""
    max_connections: Count = 1000
    max_requests: Count = 500
    """Requests under way in one worker; one more hears 503."""
    read_timeout: Seconds = 15
    """Seconds in which a request must have come, from its first octet."""
    idle_timeout: Seconds = 75

    def __post_init__(self) -> None:
        own = [shape.name for shape in self.providers]
        if len(own) > len(set(own)):
            raise ValueError("two providers of the same name")
        for what in ("name", "prefix", "host"):
            values = [getattr(route, what) for route in self.routes if getattr(route, what)]
            twice = {one for one in values if values.count(one) > 1}
            if twice:
                raise ValueError(f"routes with the same {what}: {', '.join(sorted(twice))}")
