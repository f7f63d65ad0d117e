"""An entry in the words of the gateway's own: what its small protocol and CSV files have.

``contact`` is an e-mail address or a number in international form, ``scope`` is ``all``,
``channel`` or ``topic``, ``channel`` is ``email`` or ``sms``, ``topic`` is as the tool
calls it, ``reason`` is one of :class:`Reason`, ``at`` a time of ISO 8601, and ``removed``
says that the entry is gone there.  What is left out is read as the strictest: an entry
of a contact alone is an objection to all marketing.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final, TypeVar

from gateway.connector.saying import moment_of
from gateway.connector.suppression import Change, Reason, Said, Suppression
from gateway.connector.topics import Topics
from gateway.contacts.contact import Channel, ContactError
from gateway.contacts.parse import parse_contact
from gateway.entry.entry import Scope

COLUMNS: Final = ("contact", "scope", "channel", "topic", "reason", "at", "removed")
_SCOPES = {scope.value: scope for scope in (Scope.ALL, Scope.CHANNEL, Scope.TOPIC)}
_REASONS = {reason.value: reason for reason in Reason}
_CHANNELS = {channel.value: channel for channel in Channel}
_Value = TypeVar("_Value")
_YES = frozenset({"true", "yes", "1"})
_NO = frozenset({"", "false", "no", "0"})


class RowError(ValueError):
    """A member of an entry cannot be read; the text names it and never repeats it."""


def change_of(row: Mapping[str, object], topics: Topics) -> Change:
    """The entry that a row tells; raises RowError.  Members of other names are passed over."""
    text = row.get("contact")
    if not isinstance(text, str):
        raise RowError("contact is no text")
    try:
        contact = parse_contact(text)
    except ContactError:
        raise RowError("contact is no e-mail address or number in international form") from None
    scope = _one(row, "scope", _SCOPES) or Scope.ALL
    channel = _one(row, "channel", _CHANNELS)
    if channel not in (None, contact.channel):
        # Nothing can be sent to it in that channel: a mistake, not a ban.
        raise RowError("channel is not the contact's own")
    topic = _topic(row, topics) if scope is Scope.TOPIC else None
    if scope is Scope.ALL:
        channel = None
    elif scope is Scope.CHANNEL:
        channel = contact.channel
    reason = _one(row, "reason", _REASONS) or Reason.OBJECTION
    said = Said.REMOVED if _removed(row.get("removed")) else Said.ADDED
    return Change(said, Suppression(contact, scope, reason, channel, topic, _at(row.get("at"))))


def row_of(entry: Suppression, topics: Topics) -> dict[str, str]:
    """The same the other way round, empty texts where there is nothing to say.

    Raises RowError for a topic that the tool has no name for.
    """
    topic = ""
    if entry.scope is Scope.TOPIC:
        topic = topics.theirs(entry.topic) or ""
        if not topic:
            raise RowError("topic has no name there")
    at = "" if entry.at is None else datetime.fromtimestamp(entry.at / 1000, UTC).isoformat()
    return {
        "contact": entry.contact.canonical,
        "scope": entry.scope.value,
        "channel": "" if entry.channel is None else entry.channel.value,
        "topic": topic,
        "reason": entry.reason.value,
        "at": at.replace("+00:00", "Z"),
        "removed": "",
    }


def _one(row: Mapping[str, object], name: str, known: Mapping[str, _Value]) -> _Value | None:
    """A member that is one of these, in whatever case; None where it is left out."""
    value = row.get(name)
    if value in (None, ""):
        return None
    found = known.get(value.strip().lower()) if isinstance(value, str) else None
    if found is None:
        raise RowError(f"{name} is none of {', '.join(known)}")
    return found


def _topic(row: Mapping[str, object], topics: Topics) -> str:
    value = row.get("topic")
    found = topics.alike(value) if isinstance(value, str) else None
    if found is None:
        # Taken as it is it would forbid a topic that no message has.
        raise RowError("topic is none that sync.tools[].topics names")
    return found


def _at(value: object) -> int | None:
    if value in (None, ""):
        return None
    at = moment_of(value.strip()) if isinstance(value, str) else None
    if at is None:
        raise RowError("at is no time of ISO 8601 since 1970")
    return at


def _removed(value: object) -> bool:
    if value is None or isinstance(value, bool):
        return bool(value)
    if isinstance(value, str) and value.strip().lower() in _YES | _NO:
        return value.strip().lower() in _YES
    raise RowError("removed is neither true nor false")
