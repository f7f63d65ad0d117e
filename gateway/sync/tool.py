"""The tools of the settings with their connectors, and what is wrong with them."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b
from ipaddress import ip_address
from urllib.parse import urlsplit

from gateway.connector.connector import Connector, Holds, Place
from gateway.connector.registry import connector_of
from gateway.entry.entry import Scope
from gateway.failure import InputError
from gateway.settings import Settings
from gateway.settings.secret import read_secret
from gateway.settings.sync import SyncTool, ToolKind
from gateway.sync.store import Marks


@dataclass(frozen=True, slots=True)
class Tool:
    """One tool: what the settings say, and how its list is spoken to."""

    settings: SyncTool
    connector: Connector

    @property
    def name(self) -> str:
        """Its name in the settings."""
        return self.settings.name

    @property
    def holds(self) -> Holds:
        """What its list can hold."""
        return self.connector.holds

    @property
    def pulls(self) -> bool:
        """Whether its list is read."""
        return self.settings.pull and self.holds.reads

    @property
    def marks(self) -> Marks:
        """What tells these settings of it from others."""
        of = self.settings
        return Marks(
            _mark(of.kind.value, of.url, of.place, of.folder),
            _mark(*sorted(of.topics.items())),
            _mark(of.push, of.accept_wider),
        )


def _mark(*members: object) -> str:
    return blake2b(repr(members).encode(), digest_size=8).hexdigest()


def tools_of(settings: Settings) -> list[Tool]:
    """Every tool; raises InputError naming the setting that cannot be."""
    return [tool_of(each) for each in settings.sync.tools]


def tool_of(settings: SyncTool) -> Tool:
    """One tool; raises InputError naming the setting that cannot be."""
    where = f"sync.tools {settings.name}"
    secret = webhook_secret = ""
    if settings.secret_file is not None:
        secret = read_secret(settings.secret_file, f"{where}: secret_file")
    if settings.webhook_secret_file is not None:
        name = f"{where}: webhook_secret_file"
        webhook_secret = read_secret(settings.webhook_secret_file, name)
    place = Place(
        name=settings.name,
        client_id=settings.client_id,
        username=settings.username,
        secret=secret,
        place=settings.place,
        topics=tuple(sorted(settings.topics.items())),
        accept_wider=settings.accept_wider,
        webhook_secret=webhook_secret,
        webhook_source=settings.webhook_source,
        url=settings.url,
    )
    try:
        connector = connector_of(settings.kind.value, place)
    except InputError as error:
        text = str(error)
        raise InputError(text if text.startswith(where) else f"{where}: {text}") from None
    if settings.client_id and connector.signing_in() is None:
        raise InputError(
            f"{where}: client_id: {connector.title} knows no clients of OAuth 2; leave it out"
        )
    if settings.kind is ToolKind.FILE and settings.folder is None:
        raise InputError(
            f"{where}: folder is not set; write the folder in which in and out are to be"
        )
    tool = Tool(settings, connector)
    if settings.topics and Scope.TOPIC not in tool.holds.scopes and not settings.accept_wider:
        raise InputError(
            f"{where}: topics: {connector.title} cannot hold a ban of one topic; leave topics "
            "out, or set accept_wider, and such a ban stops every marketing mail there"
        )
    return tool


def warnings_of(tool: Tool) -> list[str]:
    """What the operator is to know of a tool's configuration, one line each."""
    found = list(tool.connector.warnings())
    holds = tool.holds
    if tool.settings.push:
        wider = tool.settings.accept_wider
        what = (
            "becomes one of the whole address there" if wider else "is not held there, and told of"
        )
        if Scope.TOPIC not in holds.scopes:
            found.append(f"holds no bans of one topic: such a ban {what}")
        else:
            named = ", ".join(sorted(holds.topics)) or "none"
            found.append(f"holds bans of these topics alone: {named}; any other {what}")
        if not holds.delivery:
            found.append(
                "its list has no bounces and complaints: a complaint is put there as a block of "
                "the whole address, a bounce that others tell of is not"
            )
    if tool.settings.pull and not holds.reads:
        found.append("its list cannot be read: what is told there comes by webhook or not at all")
    if _in_the_clear(tool.settings.url):
        found.append("url: http sends the credential in the clear; use https")
    return found


def _in_the_clear(url: str) -> bool:
    parts = urlsplit(url)
    if parts.scheme != "http":
        return False
    host = parts.hostname or ""
    try:
        return not ip_address(host).is_loopback
    except ValueError:
        return host != "localhost"
