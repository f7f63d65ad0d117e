"""Times as people write and read them on the command line."""

from __future__ import annotations

from datetime import UTC, date, datetime

from gateway.clock import now_ms, utc
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
    try:
        return int(at.astimezone(UTC).timestamp() * 1000)
    except OverflowError:
        raise InputError(f"{text}: a time before the year 1 or after 9999 in UTC") from None


def moment_or_now(text: str | None) -> int:
    """As :func:`moment`; now where none is told.  Raises InputError."""
    at = moment(text)
    return now_ms() if at is None else at


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
    return utc(milliseconds).isoformat(timespec="seconds")
