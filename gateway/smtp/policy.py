"""What the settings say of every message of a client, read once.

Settings are made to be checked and explained; what is asked of them for each message
is kept here as plain values, for as long as the site they belong to.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from gateway.decision.facts import Kind
from gateway.message.traits import Traits, favourable
from gateway.settings import Settings
from gateway.settings.smtp import BareNewlines, OnSuppress, SmtpClient
from gateway.settings.value import CLIENT_KINDS, ClientKind


class Policy(NamedTuple):
    """The fixed part of a client's messages, and the bounds that they keep."""

    client: SmtpClient
    name: str
    kind: Kind | None
    """The client's fixed kind; None where each message declares its own."""
    topic: str | None
    """The client's fixed topic; None where the headers may name one."""
    rejects: bool
    """Whether the client wants to hear of suppressed recipients."""
    max_recipients: int
    messages_per_minute: int | None
    upstreams: tuple[str, ...]
    """The upstreams to try, in order."""
    group: str | None
    """The product group of messages whose topic names none."""
    groups: Mapping[str, str]
    """The product groups that topics name."""
    favourable: Traits
    """The traits before the headers: everything not known yet is taken as good."""
    recognisable_marks: tuple[str, ...]
    """Words of which marketing must show one in its Subject; empty: not asked."""
    max_message_size: int
    max_header_size: int
    message_memory: int
    data_timeout: float
    """Seconds to wait for the next octets of a message."""
    message_timeout: float
    """Seconds in which all of a message must come."""
    normalises: bool
    """Whether bare CR and LF become CRLF; otherwise they are refused."""

    @classmethod
    def of(cls, settings: Settings, client: SmtpClient) -> Policy:
        """The policy for a client of these settings."""
        smtp = settings.smtp
        kind = None if client.kind is ClientKind.DECLARED else CLIENT_KINDS[client.kind]
        groups = {
            topic: named.product_group
            for topic, named in settings.topics.items()
            if named.product_group is not None
        }
        return cls(
            client=client,
            name=client.name,
            kind=kind,
            topic=client.topic,
            rejects=client.on_suppress is OnSuppress.REJECT,
            max_recipients=client.max_recipients,
            messages_per_minute=client.messages_per_minute,
            upstreams=client.upstreams,
            group=client.product_group,
            groups=groups,
            favourable=favourable(
                kind or Kind.UNCLEAR,
                client.topic,
                settings.product_group(client, client.topic),
            ),
            recognisable_marks=tuple(settings.rules.recognisable_marks),
            max_message_size=smtp.max_message_size,
            max_header_size=smtp.max_header_size,
            message_memory=smtp.message_memory,
            data_timeout=min(smtp.data_timeout, smtp.message_timeout),
            message_timeout=smtp.message_timeout,
            normalises=smtp.bare_newlines is BareNewlines.NORMALISE,
        )

    def product_group(self, topic: str | None) -> str | None:
        """The product group that a message of this topic markets."""
        return self.groups.get(topic, self.group) if topic else self.group
