"""What tools say in webhooks and entries: texts and times, read without trust."""

from __future__ import annotations

import math
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any, Final

import orjson

from gateway.connector.connector import HookRefused, Place
from gateway.failure import InputError

_LATEST: Final = 253_402_300_799
"""The last second of the year 9999."""


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


def seconds_ms(value: object) -> int | None:
    """Milliseconds of a number of seconds since the epoch; None where it is none."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    if not math.isfinite(value) or not 0 < value <= _LATEST:
        return None
    return round(value * 1000)


def mail_ms(value: object) -> int | None:
    """Milliseconds of a time of RFC 5322; None: unreadable, or before 1970 (none at all)."""
    if not isinstance(value, str) or len(value) > 64:
        return None
    try:
        moment = parsedate_to_datetime(value)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        found = round(moment.timestamp() * 1000)
    except (ValueError, OverflowError, TypeError):
        return None
    return found if found > 0 else None


def lacking(place: Place, name: str, what: str) -> InputError:
    """The error of a setting that is missing or wrong."""
    return InputError(f"sync.tools {place.name}: {name}: {what}")


def lacking_secret(place: Place) -> HookRefused:
    """The refusal of every webhook while none can be known."""
    return HookRefused(f"sync.tools {place.name}: webhook_secret_file is not set", http=401)
