"""The name of an entry of a foreign list, and which entry forbids all that another does.

Pure.  A contact has one channel, so that for one contact there are these entries alone:
``all`` (all of its channel), ``topic:news``, and ``delivery`` for what is suppressed for
delivery's sake.
"""

from __future__ import annotations

from typing import Final

from gateway.connector.suppression import Suppression
from gateway.entry.entry import Ban, Scope, normal_name

ALL: Final = "all"
DELIVERY: Final = "delivery"
_TOPIC: Final = "topic:"
_TOPIC_MOST: Final = 300
"""Characters of a topic's name, which is part of a key."""


def entry_of(suppression: Suppression) -> str:
    """The name of what a list says of a contact; raises ValueError where it says nothing."""
    return scope_of(suppression) if suppression.reason.legal else DELIVERY


def scope_of(suppression: Suppression) -> str:
    """The name of what an entry forbids, whatever its reason; raises ValueError."""
    if suppression.scope is Scope.ALL:
        return ALL
    if suppression.scope is Scope.CHANNEL:
        if suppression.channel is not suppression.contact.channel:
            raise ValueError("an entry of a channel that is not the contact's")
        return ALL
    topic = _keyed(normal_name(suppression.topic or ""))
    if suppression.scope is Scope.TOPIC and 0 < len(topic) <= _TOPIC_MOST:
        return _TOPIC + topic
    raise ValueError("an entry of no scope that a list has")


def ban_of(ban: Ban) -> str:
    """The name of the entry that a ban of marketing would be in its contact's channel."""
    return f"{_TOPIC}{_keyed(ban.topic or '')}" if ban.scope is Scope.TOPIC else ALL


def covers(wider: str, narrower: str) -> bool:
    """Whether one entry forbids all that the other does, bans and bounces apart."""
    return wider == narrower or (wider == ALL and narrower != DELIVERY)


def _keyed(topic: str) -> str:
    """A topic as part of a key: PostgreSQL takes no NUL in a text."""
    return topic.replace("\0", "\ufffd")
