"""The demo's configuration: a folder that a real gateway runs in."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib import resources
from pathlib import Path
from zoneinfo import ZoneInfo

from gateway.demo.mailing import SHOP
from gateway.demo.texting import SENDER

TOOL = "campaigner"
"""The connected tool, whose suppression list is kept like the register."""

LOGINS = ("newsletter", "offers", "shop", "backoffice")
"""The sending tools, each with a login of its own."""

_CONFIG = f"""\
data_dir = "data"
drain_timeout = 5

[controller]
name = "Esimerkkikauppa Oy"
contact_email = "tietosuoja@{SHOP}"
domains = ["{SHOP}"]

[register]
url = "embedded"
timeout = 5                         # patient, for a busy laptop
settle = 0.5

[records]
timeout = 10

[rules]
set = "finland"
recognisable_marks = ["uutiskirje", "nyhetsbrev", "tarjous", "mainos"]

[topics.newsletter]
product_group = "bicycles"
title = {{ fi = "Uutiskirje", sv = "Nyhetsbrev", en = "Newsletter" }}

[topics.offers]
product_group = "skis"

[smtp]
listen = ["127.0.0.1:0"]
hostname = "gateway.{SHOP}"

[[smtp.clients]]                    # a newsletter tool: suppressed recipients get 250
name = "newsletter"
username = "newsletter"
password_file = "secrets/newsletter"
kind = "marketing"
topic = "newsletter"
on_suppress = "discard"
upstream = "sandbox"

[[smtp.clients]]                    # a campaign tool that wants to hear 550
name = "offers"
username = "offers"
password_file = "secrets/offers"
kind = "marketing"
topic = "offers"
on_suppress = "reject"
upstream = "sandbox"

[[smtp.clients]]                    # the web shop
name = "shop"
username = "shop"
password_file = "secrets/shop"
kind = "service"
upstream = "sandbox"

[[smtp.clients]]                    # says of each message what it is (X-Gateway-Kind)
name = "backoffice"
username = "backoffice"
password_file = "secrets/backoffice"
kind = "declared"
upstream = "sandbox"

[[smtp.upstreams]]                  # where allowed mail goes: into a Maildir
name = "sandbox"
sandbox = "sandbox"

[sms]
listen = ["127.0.0.1:0"]

[sms.quiet]                         # so that it is quiet in Sydney now, and not in Finland
begins = "QUIET_BEGINS"
ends = "QUIET_ENDS"
holidays = false

[[sms.routes]]                      # a tool that speaks Twilio's API
name = "texts"
provider = "twilio"
prefix = "/texts"
networks = ["127.0.0.0/8"]
kind = "marketing"
topic = "newsletter"
senders = ["{SENDER}"]
sandbox = "sandbox/sms.jsonl"

[[sms.routes]]                      # one that sends many in one request, Infobip's API
name = "batch"
provider = "infobip"
prefix = "/batch"
networks = ["127.0.0.0/8"]
kind = "marketing"
topic = "newsletter"
senders = ["{SENDER}"]
sandbox = "sandbox/sms.jsonl"

[[sms.routes]]                      # the workshop
name = "shop-texts"
provider = "twilio"
prefix = "/shop-texts"
networks = ["127.0.0.0/8"]
kind = "service"
senders = ["{SENDER}"]
sandbox = "sandbox/sms.jsonl"

[[sms.routes]]                      # says of each text what it is (X-Gateway-Kind)
name = "codes"
provider = "twilio"
prefix = "/codes"
networks = ["127.0.0.0/8"]
kind = "declared"
senders = ["{SENDER}"]
sandbox = "sandbox/sms.jsonl"

[http]
listen = ["127.0.0.1:0"]

[public]                            # links and pages; a web server in front has the name
listen = ["127.0.0.1:0"]
url = "https://asiakas.{SHOP}"

[unsubscribe]
add = true                          # marketing without a link gets the reader's own

[sync]
every = 1

[[sync.tools]]                      # another marketing tool, which has a list of its own
name = "{TOOL}"
kind = "http"
url = "TOOL_URL"
secret_file = "secrets/{TOOL}"
topics = {{ newsletter = "newsletter", offers = "offers" }}
requests_per_second = 100
"""
_QUIET_PLACE = "Australia/Sydney"
"""Where a number of the sample register is; far enough from Finland for other hours."""


def _config(now: datetime, tool_url: str) -> str:
    """The configuration; with quiet hours from an hour before now to two after, in Sydney."""
    there = now.astimezone(ZoneInfo(_QUIET_PLACE))
    begins, ends = there - timedelta(hours=1), there + timedelta(hours=2)
    filled = {
        "QUIET_BEGINS": f"{begins:%H:%M}",
        "QUIET_ENDS": f"{ends:%H:%M}",
        "TOOL_URL": tool_url,
    }
    text = _CONFIG
    for name, value in filled.items():
        text = text.replace(name, value)
    return text


@dataclass(frozen=True, slots=True)
class DemoSite:
    """Where the demo's parts lie below its folder."""

    folder: Path

    @property
    def config(self) -> Path:
        """The configuration that every command is given."""
        return self.folder / "config.toml"

    @property
    def log(self) -> Path:
        """What the gateway writes on standard error."""
        return self.folder / "gateway.log"

    @property
    def register_file(self) -> Path:
        """The sample register that is imported."""
        return self.folder / "register.csv"

    @property
    def sent(self) -> Path:
        """The octets of every message sent, and the transcript."""
        return self.folder / "sent"

    @property
    def sandbox(self) -> Path:
        """The Maildir that stands for all recipients' mail servers."""
        return self.folder / "data" / "sandbox"

    @property
    def text_sandbox(self) -> Path:
        """The file that stands for all recipients' telephones."""
        return self.sandbox / "sms.jsonl"

    def password(self, login: str) -> str:
        """The password of a login."""
        return (self.folder / "secrets" / login).read_text(encoding="ascii").strip()

    @property
    def tool_list(self) -> Path:
        """What the connected tool's list holds at the end."""
        return self.sent / "tool.json"

    def create(self, tool_url: str) -> None:
        """Write configuration, passwords and the sample register; blocks.

        ``tool_url`` is where the connected tool has its API.
        """
        self.sent.mkdir()
        (self.folder / "secrets").mkdir(mode=0o700)
        for login in (*LOGINS, TOOL):
            path = self.folder / "secrets" / login
            path.write_text(f"{secrets.token_urlsafe(12)}\n", encoding="ascii")
            path.chmod(0o600)
        self.config.write_text(_config(datetime.now(UTC), tool_url), encoding="utf-8")
        sample = resources.files(__package__).joinpath("register.csv")
        self.register_file.write_bytes(sample.read_bytes())
