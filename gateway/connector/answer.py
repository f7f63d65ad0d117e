"""What tools answer, read: which status means what, and JSON of the shape that is expected.

Every failure's text is fixed words and numbers: what a tool writes may name a person.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from gateway.connector.connector import Connector, ToolRefused, ToolUnreadable
from gateway.contacts.contact import Contact, ContactError
from gateway.contacts.email import parse_email
from gateway.provider.request import Answer

__all__ = ["address", "canonical", "document", "listed", "moment", "refused", "stamp", "unreadable"]


def document(answer: Answer, tool: Connector) -> Any:  # noqa: ANN401 - JSON is of any type
    """The JSON of an answer of success; raises ToolRefused and ToolUnreadable."""
    if not answer.good:
        raise refused(answer, tool)
    try:
        return answer.json()
    except ValueError:
        raise unreadable(tool, "a body that is not JSON") from None


def refused(answer: Answer, tool: Connector) -> ToolRefused | ToolUnreadable:
    """What a status that is not of success means."""
    settings, status = f"sync.tools {tool.place.name}", answer.status
    if status in (401, 403):
        return ToolRefused(
            f"{tool.title} refuses the key (HTTP {status}): {settings}: secret_file: write "
            f"one with the rights that docs/sync/{tool.kind}.md names"
        )
    if status == 404:
        return ToolRefused(
            f"{tool.title} knows no such list (HTTP 404): check {settings}: place, topics and url"
        )
    if 300 <= status < 400:
        return ToolRefused(f"{tool.title} is elsewhere (HTTP {status}): check {settings}: url")
    return unreadable(tool, f"HTTP {status}")


def unreadable(tool: Connector, what: str) -> ToolUnreadable:
    """The failure of an answer that nothing in the tool's documents explains."""
    return ToolUnreadable(f"{tool.title} answered with {what}")


def listed(value: object, name: str, tool: Connector) -> list[Any]:
    """The list that stands in an object under a name; raises ToolUnreadable."""
    found = value.get(name) if isinstance(value, dict) else None
    if not isinstance(found, list):
        raise unreadable(tool, f"no list {name}")
    return found


def address(value: object) -> Contact | None:
    """The contact of an e-mail address; None: it is none."""
    try:
        return parse_email(value) if isinstance(value, str) else None
    except ContactError:
        return None


def canonical(value: object) -> str:
    """The form of an address in which the register has it, however the tool writes it; else ""."""
    found = address(value)
    return "" if found is None else found.canonical


def moment(value: object) -> int | None:
    """A time of ISO 8601 in milliseconds since the epoch, UTC unless it says otherwise.

    None: it is none, or before 1970.
    """
    if not isinstance(value, str):
        return None
    try:
        when = datetime.fromisoformat(value)
        if when.tzinfo is None:
            when = when.replace(tzinfo=UTC)
        found = round(when.timestamp() * 1000)
    except (ValueError, OverflowError):
        return None
    return found if found >= 0 else None


def stamp(at: int) -> str:
    """The other way round, in whole seconds (cut): ``2026-02-01T10:53:34+00:00``."""
    return datetime.fromtimestamp(at // 1000, UTC).isoformat()
