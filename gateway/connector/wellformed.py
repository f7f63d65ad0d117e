"""What a tool's answer must be like before anything of it is believed."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import orjson

from gateway.connector.connector import HookRefused, Place, ToolRefused, ToolUnreadable
from gateway.contacts.contact import Contact, ContactError
from gateway.contacts.parse import parse_email, parse_phone
from gateway.failure import InputError
from gateway.provider.request import JSON, Answer, Request

_LONG: Final = 1000
"""Characters of what may be an address or a number, at the most."""


def setting(place: Place, name: str) -> str:
    """How the operator finds a setting of the tool."""
    return f"sync.tools {place.name}: {name}"


def need(place: Place, name: str, value: str, what: str) -> None:
    """Raise InputError where a setting that the tool cannot do without is empty."""
    if not value:
        raise InputError(f"{setting(place, name)} is not set; write {what}")


def refuse_wrong_settings(answer: Answer, place: Place, title: str) -> None:
    """Raise ToolRefused for the answers that only the operator can change: 401, 403, 404."""
    if answer.status == 401:
        raise ToolRefused(
            f"{title} does not take the credential (401); check {setting(place, 'username')} "
            f"and {setting(place, 'secret_file')}"
        )
    if answer.status == 403:
        raise ToolRefused(
            f"{title} refuses it to this account (403); check {setting(place, 'secret_file')}, "
            "and give its account the rights that the documentation names"
        )
    if answer.status == 404:
        raise ToolRefused(
            f"{title} knows no such path (404); check {setting(place, 'url')} "
            f"and {setting(place, 'place')}"
        )


def object_in(answer: Answer, place: Place, title: str) -> dict[str, Any]:
    """The JSON object of a 2xx answer; raises ToolRefused or ToolUnreadable."""
    refuse_wrong_settings(answer, place, title)
    if not 200 <= answer.status < 300:
        raise ToolUnreadable(f"{title} answers {answer.status}")
    try:
        document = orjson.loads(answer.body)
    except orjson.JSONDecodeError:
        raise ToolUnreadable(f"{title} answers {answer.status} with what is no JSON") from None
    if not isinstance(document, dict):
        raise ToolUnreadable(f"{title} answers JSON that is no object")
    return document


def object_at(document: Mapping[str, Any], name: str, title: str) -> dict[str, Any]:
    """A member that must be an object; raises ToolUnreadable."""
    value = document.get(name)
    if not isinstance(value, dict):
        raise ToolUnreadable(f"{title}: {name} is no object")
    return value


def list_at(document: Mapping[str, Any], name: str, title: str) -> list[dict[str, Any]]:
    """A member that must be a list of objects; raises ToolUnreadable."""
    value = document.get(name)
    if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
        raise ToolUnreadable(f"{title}: {name} is no list of objects")
    return value


def whole_at(document: Mapping[str, Any], name: str, title: str) -> int:
    """A member that must be a whole number, as such or as a text; raises ToolUnreadable."""
    value = document.get(name)
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) < 20:
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    raise ToolUnreadable(f"{title}: {name} is no whole number")


def text_at(document: Mapping[str, Any], name: str) -> str:
    """A member that is a text; "" where it is not there or is something else."""
    value = document.get(name)
    return value if isinstance(value, str) else ""


def email_of(value: object) -> Contact | None:
    """The contact of an address; None where it is none."""
    if not isinstance(value, str) or not 0 < len(value) <= _LONG:
        return None
    try:
        return parse_email(value)
    except ContactError:
        return None


def phone_of(value: object) -> Contact | None:
    """The contact of a number in international form; None where it is none."""
    if not isinstance(value, str) or not 0 < len(value) <= _LONG:
        return None
    try:
        return parse_phone(value)
    except ContactError:
        return None


def moment_of(value: object) -> int | None:
    """A time of ISO 8601 (UTC unless it says otherwise) in milliseconds; None: unreadable.

    Also None before 1970, as no list is that old.
    """
    if not isinstance(value, str):
        return None
    try:
        when = datetime.fromisoformat(value)
        if when.tzinfo is None:
            when = when.replace(tzinfo=UTC)
        at = round(when.timestamp() * 1000)
    except (ValueError, OverflowError):
        return None
    return at if at >= 0 else None


def json_call(method: str, path: str, document: object) -> Request:
    """A request with a JSON body."""
    return Request(method, path, "", (("Content-Type", JSON),), orjson.dumps(document))


def called(request: Request) -> dict[str, Any]:
    """The JSON object that a webhook brings; raises HookRefused.

    A member that stands twice is refused: which of them counts, nobody can say.
    """
    try:
        # The stricter reader first; the other one is there to see what stands twice.
        orjson.loads(request.body)
        document = json.loads(request.body, object_pairs_hook=_once)
    except (ValueError, RecursionError):
        raise HookRefused("the body is no JSON, or has a member twice") from None
    if not isinstance(document, dict):
        raise HookRefused("the body is no JSON object")
    return document


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError
    return members


def basic(username: str, secret: str) -> str:
    """The value of an ``Authorization`` header (RFC 7617)."""
    return "Basic " + base64.b64encode(f"{username}:{secret}".encode()).decode()


def numbers(texts: Sequence[str]) -> list[int]:
    """Whole numbers of a kept cursor; an empty list where one of them is none."""
    return (
        [int(text) for text in texts]
        if all(text.isascii() and text.isdecimal() and len(text) < 20 for text in texts)
        else []
    )
