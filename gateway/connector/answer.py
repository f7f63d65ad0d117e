"""What tools answer, read: which status means what, and JSON of the shape that is expected.

Every failure's text is fixed words and numbers: what a tool writes may name a person.
"""

from __future__ import annotations

from typing import Any

from gateway.connector.connector import Connector, ToolRefused, ToolUnreadable
from gateway.connector.setting import setting
from gateway.provider.request import Answer


def document(answer: Answer, tool: Connector) -> Any:  # noqa: ANN401 - JSON is of any type
    """The JSON of an answer of success; raises ToolRefused and ToolUnreadable."""
    if not answer.good:
        raise refused(answer, tool)
    try:
        return answer.json()
    except ValueError:
        raise unreadable(tool, f"a body that is not JSON (HTTP {answer.status})") from None


def object_in(answer: Answer, tool: Connector) -> dict[str, Any]:
    """The JSON object of an answer of success; raises as :func:`document`."""
    found = document(answer, tool)
    if not isinstance(found, dict):
        raise unreadable(tool, "JSON that is no object")
    return found


def refused(answer: Answer, tool: Connector) -> ToolRefused | ToolUnreadable:
    """What a status that is not of success means."""
    status = answer.status
    if status in (401, 403):
        beside = "client_id" if tool.place.client_id else "username" if tool.place.username else ""
        named = f"secret_file and {beside}" if beside else "secret_file"
        return ToolRefused(
            f"{tool.title} refuses the credential (HTTP {status}): {setting(tool.place, named)}: "
            f"write one with the rights that docs/sync/{tool.kind}.md names"
        )
    if status == 404:
        return ToolRefused(
            f"{tool.title} knows no such list (HTTP 404): "
            f"check {setting(tool.place, 'place, topics and url')}"
        )
    if 300 <= status < 400:
        return ToolRefused(
            f"{tool.title} is elsewhere (HTTP {status}): check {setting(tool.place, 'url')}"
        )
    return unreadable(tool, f"HTTP {status}")


def refuse_wrong_settings(answer: Answer, tool: Connector) -> None:
    """Raise ToolRefused for the answers that only the operator can change: 401, 403, 404."""
    if answer.status in (401, 403, 404):
        raise refused(answer, tool)


def unreadable(tool: Connector, what: str) -> ToolUnreadable:
    """The failure of an answer that nothing in the tool's documents explains."""
    return ToolUnreadable(f"{tool.title} answered with {what}")


def objects(value: object, tool: Connector, name: str = "the answer") -> list[dict[str, Any]]:
    """A list of objects; raises ToolUnreadable."""
    if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
        raise ToolUnreadable(f"{tool.title}: {name} is no list of objects")
    return value


def objects_at(value: object, name: str, tool: Connector) -> list[dict[str, Any]]:
    """The member of an object that must be a list of objects; raises ToolUnreadable."""
    return objects(_member(value, name), tool, name)


def list_at(value: object, name: str, tool: Connector) -> list[Any]:
    """The member of an object that must be a list; raises ToolUnreadable."""
    found = _member(value, name)
    if not isinstance(found, list):
        raise ToolUnreadable(f"{tool.title}: {name} is no list")
    return found


def object_at(value: object, name: str, tool: Connector) -> dict[str, Any]:
    """The member of an object that must be an object; raises ToolUnreadable."""
    found = _member(value, name)
    if not isinstance(found, dict):
        raise ToolUnreadable(f"{tool.title}: {name} is no object")
    return found


def whole_at(value: object, name: str, tool: Connector) -> int:
    """A member that must be a whole number, as such or as a text; raises ToolUnreadable."""
    found = _member(value, name)
    if isinstance(found, str) and found.isascii() and found.isdecimal() and len(found) < 20:
        return int(found)
    if isinstance(found, int) and not isinstance(found, bool) and found >= 0:
        return found
    raise ToolUnreadable(f"{tool.title}: {name} is no whole number")


def _member(value: object, name: str) -> object:
    return value.get(name) if isinstance(value, dict) else None
