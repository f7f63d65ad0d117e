"""The settings of the tools whose suppression lists are kept alike."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Annotated

from gateway.settings.bound import Bound
from gateway.settings.public import BaseUrl
from gateway.settings.value import Name, Seconds, Table


class ToolKind(StrEnum):
    """Which system a tool is."""

    SES = "ses"
    SENDGRID = "sendgrid"
    MAILGUN = "mailgun"
    POSTMARK = "postmark"
    MAILCHIMP = "mailchimp"
    MANDRILL = "mandrill"
    BREVO = "brevo"
    LISTMONK = "listmonk"
    MAUTIC = "mautic"
    TWILIO = "twilio"
    HTTP = "http"
    """Any system that speaks the small protocol of ``docs/sync.md``."""
    FILE = "file"
    """CSV files in two folders."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncTool(Table):
    """One tool: where its list is, and what of the register it can hold."""

    name: Name
    kind: ToolKind
    url: BaseUrl = ""
    """Its API; the vendor's own if not set."""
    client_id: str = ""
    """The id of a client of OAuth 2 that the secret belongs to, in place of ``username``
    (Mautic)."""
    username: str = ""
    """The account, key id or user that the secret belongs to, where the tool has one."""
    secret_file: Path | None = None
    """A file with its API key, token, password or client's secret."""
    place: str = ""
    """Which list of it: SES region, Mailgun domain, Postmark stream, Mailchimp audience,
    Mandrill subaccount, Twilio sender."""
    topics: dict[str, str] = field(default_factory=dict)
    """What the tool calls a topic: a group, a list, a stream, a tag."""
    accept_wider: bool = False
    """Whether a ban of one topic may become one of the whole address where the tool can
    hold nothing narrower."""
    pull: bool = True
    push: bool = True
    webhook_secret_file: Path | None = None
    """The secret or public key by which its webhooks are known."""
    webhook_source: str = ""
    """What signs beside it: the SNS topic's ARN, or the URL that the tool is told to call."""
    folder: Path | None = None
    """Of a ``file`` tool: ``in`` and ``out`` lie below it."""
    requests_per_second: Annotated[float, Bound(gt=0, le=1000)] = 5
    timeout: Seconds = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Sync(Table):
    """When lists are compared, and the tools."""

    every: Annotated[float, Bound(gt=0, le=86_400)] = 60
    """Seconds between looks for what is new in a tool."""
    full_every: Annotated[float, Bound(gt=0, le=744)] = 24
    """Hours between full listings."""
    alarm_after: Annotated[float, Bound(gt=0, le=744)] = 48
    """Hours from an objection until a tool that lacks it is told as late."""
    tools: list[SyncTool] = field(default_factory=list)

    def __post_init__(self) -> None:
        names = [tool.name for tool in self.tools]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"tools named twice: {', '.join(twice)}")
