"""Times as people write and read them on the command line."""

from __future__ import annotations

from datetime import UTC, date, datetime

from gateway.failure import InputError


def moment(text: str | None) -> int | None:
    """A time in ISO 8601 as milliseconds since the epoch; without a zone it is UTC.

    Raises:
        InputError: it is not a time.

    """
    if text is None:
        return None
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise InputError(
            f"{text}: not a time; write 2026-11-22 or 2026-11-22T14:00+02:00"
        ) from None
    if at.tzinfo is None:
        at = at.replace(tzinfo=UTC)
    return int(at.timestamp() * 1000)


def day(text: str | None) -> date | None:
    """A day in ISO 8601.

    Raises:
        InputError: it is not a day.

    """
    if text is None:
        return None
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise InputError(f"{text}: not a date; write 2026-11-22") from None


def told(milliseconds: int) -> str:
    """A moment to the second, in UTC."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="seconds")
