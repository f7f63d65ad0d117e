"""What tools say in entries and webhooks: texts, contacts and times, read without trust."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

from gateway.contacts.contact import Contact, ContactError
from gateway.contacts.parse import parse_email, parse_phone

_LATEST: Final = 253_402_300_799
"""The last second of the year 9999."""
_LONG: Final = 1000
"""Characters of what may be an address or a number, at the most."""


def text(value: object, name: str) -> str:
    """A member of a JSON object that is a text; "" where it is not there, or is none."""
    found = value.get(name) if isinstance(value, dict) else None
    return found if isinstance(found, str) else ""


def email_of(value: object) -> Contact | None:
    """The contact of an e-mail address; None where it is none."""
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


def canonical(value: object) -> str:
    """The form of an address in which the register has it, however the tool writes it; else ""."""
    found = email_of(value)
    return "" if found is None else found.canonical


def moment_of(value: object) -> int | None:
    """A time of ISO 8601 in milliseconds since the epoch, UTC unless it says otherwise.

    None: it is none, or before 1970, as no list is that old.
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


def stamp(at: int) -> str:
    """The other way round, in whole seconds (cut): ``2026-02-01T10:53:34+00:00``."""
    return datetime.fromtimestamp(at // 1000, UTC).isoformat()


def day(at: int) -> str:
    """The day of a time (UTC): ``2026-02-01``."""
    return datetime.fromtimestamp(at // 1000, UTC).date().isoformat()


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
