"""What tools say: answers, addresses and times, read without trust."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final

import orjson

from gateway.connector.connector import HookRefused, Place, ToolRefused, ToolUnreadable
from gateway.contacts.contact import Contact, ContactError
from gateway.contacts.email import parse_email
from gateway.failure import InputError
from gateway.provider.request import Answer

_ADDRESS: Final = 1000
"""Characters of what may be an address."""
_LATEST: Final = 253_402_300_799
"""The last second of the year 9999."""


def document_of(answer: Answer, title: str, place: Place) -> Any:  # noqa: ANN401 - JSON
    """The JSON of an answer of success.

    Raises ToolRefused where the settings must be wrong, ToolUnreadable for all else.
    """
    tool = f"sync.tools {place.name}"
    if answer.status in (401, 403):
        raise ToolRefused(
            f"{title} answers {answer.status}: see that {tool}: secret_file holds a key that "
            "is valid and has the rights"
        )
    if answer.status == 404:
        raise ToolRefused(f"{title} answers 404: look at {tool}: place and url")
    if not answer.good:
        raise ToolUnreadable(f"{title} answers {answer.status}")
    try:
        return answer.json()
    except ValueError:
        raise ToolUnreadable(f"{title} answers with no JSON") from None


def member(value: Any, name: str, kind: type, title: str) -> Any:  # noqa: ANN401 - JSON
    """A member of a JSON object that must be there; raises ToolUnreadable."""
    found = value.get(name) if isinstance(value, dict) else None
    if not isinstance(found, kind):
        raise ToolUnreadable(f"{title} answers without {name}, or with another kind of it")
    return found


def hook_document(body: bytes, http: int = 400) -> Any:  # noqa: ANN401 - JSON
    """The JSON of a webhook; raises HookRefused."""
    try:
        return orjson.loads(body)
    except ValueError:
        raise HookRefused("the body is not JSON", http=http) from None


def text(value: object, name: str) -> str:
    """A member of a JSON object that is a text; "" where it is not there, or is none."""
    found = value.get(name) if isinstance(value, dict) else None
    return found if isinstance(found, str) else ""


def email_of(value: object) -> Contact | None:
    """The contact of an address that stands in a list; None where it is none."""
    if not isinstance(value, str) or len(value) > _ADDRESS:
        return None
    try:
        return parse_email(value)
    except ContactError:
        return None


def seconds_ms(value: object) -> int | None:
    """Milliseconds of a number of seconds since the epoch; None where it is none."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    if not math.isfinite(value) or not 0 < value <= _LATEST:
        return None
    return round(value * 1000)


def iso_ms(value: object) -> int | None:
    """Milliseconds of a time of ISO 8601, UTC unless it says otherwise; None: unreadable."""
    if not isinstance(value, str) or len(value) > 64:
        return None
    try:
        return _ms(datetime.fromisoformat(value))
    except (ValueError, OverflowError):
        return None


def mail_ms(value: object) -> int | None:
    """Milliseconds of a time of RFC 5322; None: unreadable, or before 1970 (none at all)."""
    if not isinstance(value, str) or len(value) > 64:
        return None
    try:
        return _ms(parsedate_to_datetime(value))
    except (ValueError, OverflowError, TypeError):
        return None


def _ms(moment: datetime) -> int | None:
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    found = round(moment.timestamp() * 1000)
    return found if found > 0 else None


def lacking(place: Place, name: str, what: str) -> InputError:
    """The error of a setting that is missing or wrong."""
    return InputError(f"sync.tools {place.name}: {name}: {what}")


def lacking_secret(place: Place) -> HookRefused:
    """The refusal of every webhook while none can be known."""
    return HookRefused(f"sync.tools {place.name}: webhook_secret_file is not set", http=401)
