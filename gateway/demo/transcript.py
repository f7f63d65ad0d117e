"""What the sending tools sent and heard: kept in a file, for the proof to read."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Self

from gateway.demo.site import DemoSite

_FILE = "transcript.json"
_RECORD = re.compile(r"\(record ([0-9A-Z]{26})\)")
_MESSAGE = re.compile(r"^250 2\.0\.0 Ok ([0-9A-Z]{26}): ")
_RULE = re.compile(r"^550 5\.7\.1 Suppressed by (\w+) ")


@dataclass(frozen=True, slots=True)
class Heard:
    """A recipient and the reply to its RCPT, as ``code text``."""

    address: str
    reply: str

    @property
    def accepted(self) -> bool:
        """Whether the tool was told 250."""
        return self.reply.startswith("25")


@dataclass(frozen=True, slots=True)
class Sent:
    """One SMTP transaction: its octets lie in ``sent/<file>``."""

    mailing: str
    client: str
    file: str
    recipients: tuple[Heard, ...]
    reply: str
    """The reply to the final dot, or to DATA; empty when every recipient was refused."""

    @property
    def accepted(self) -> bool:
        """Whether the message was taken."""
        return self.reply.startswith("250")

    @property
    def message_id(self) -> str:
        """The gateway's id of the message, from its reply; empty when it took none."""
        found = _MESSAGE.match(self.reply)
        return found[1] if found else ""

    def refusal(self, heard: Heard) -> str:
        """The 550 that a recipient of this message was refused with, or empty."""
        if not heard.accepted:
            return heard.reply
        return "" if self.accepted else self.reply

    @classmethod
    def of(cls, members: dict[str, object]) -> Self:
        """The transaction of its JSON object."""
        recipients = members.pop("recipients")
        if not isinstance(recipients, list):
            raise TypeError("recipients")
        texts = {name: str(value) for name, value in members.items()}
        return cls(recipients=tuple(Heard(**one) for one in recipients), **texts)


def rule_in(reply: str) -> str:
    """The rule that a refusal names, or empty."""
    found = _RULE.match(reply)
    return found[1] if found else ""


def record_in(reply: str) -> str:
    """The record that a refusal names, or empty."""
    found = _RECORD.search(reply)
    return found[1] if found else ""


def write_transcript(site: DemoSite, sent: Sequence[Sent]) -> None:
    """Keep the transcript in the demo's folder; blocks."""
    text = json.dumps([asdict(one) for one in sent], ensure_ascii=False, indent=1)
    (site.sent / _FILE).write_text(text, encoding="utf-8")


def read_transcript(site: DemoSite) -> tuple[Sent, ...]:
    """The transcript of the demo's folder; blocks."""
    members = json.loads((site.sent / _FILE).read_text(encoding="utf-8"))
    return tuple(Sent.of(one) for one in members)
