"""The scope of a ban as requests name it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from gateway.api.problem import BadMember, bad_request
from gateway.contacts.contact import Channel
from gateway.entry.entry import Scope

_SCOPES: Final[Mapping[str, tuple[Scope, Channel | None]]] = {
    "all": (Scope.ALL, None),
    "email": (Scope.CHANNEL, Channel.EMAIL),
    "sms": (Scope.CHANNEL, Channel.SMS),
    "topic": (Scope.TOPIC, None),
    "contact": (Scope.CONTACT, None),
    "disclosure": (Scope.DISCLOSURE, None),
}


def ban_scope(name: str, topic: str | None) -> tuple[Scope, Channel | None]:
    """The scope and channel of a name; raises Problem where the topic does not fit it."""
    if (name == "topic") != (topic is not None):
        raise bad_request(
            "scope topic and a topic go together",
            BadMember("/topic", 'name the topic with scope "topic", and only then'),
        )
    return _SCOPES[name]
