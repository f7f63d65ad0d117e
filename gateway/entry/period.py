"""When the time of a contact's entry, or of a delivery suppression, is over.

Pure.  The notice, section 8: while the relationship lasts, and so many years after.  A
consent that is in force is a relationship too.  Bans have no end: they are kept so that
nobody who said no is written to again.
"""

from __future__ import annotations

from datetime import UTC, date, datetime

from gateway.clock import DAY_MS, years_later
from gateway.entry.entry import ConsentStatus, DeliveryReason, Entry


def kept_until(entry: Entry, last: int, years: int, now: int) -> int | None:
    """When what is known beyond bans may be kept no longer; None while anything is open.

    ``last`` is when the contact's latest event took effect.  Times are milliseconds
    since the epoch, days those of UTC and kept to their end.
    """
    if entry.restricted:
        return None  # what is contested is kept until that is settled (GDPR 18)
    ends = [last]
    if entry.relationship_end is not None:
        ends.append(_end_of(entry.relationship_end))
    elif entry.relationship_start is not None:
        return None
    for consent in entry.consents:
        if consent.status is ConsentStatus.WITHDRAWN:
            continue
        if consent.expires is None and consent.status is ConsentStatus.GRANTED:
            return None
        ends.append(consent.at if consent.expires is None else consent.expires)
    latest = max(ends)
    return None if latest > now else years_later(latest, years)


def delivery_expiry(
    reason: DeliveryReason, at_ms: int, bounce_days: int, complaint_days: int
) -> int | None:
    """When a delivery suppression that began ``at_ms`` ends; None: when somebody lifts it.

    The days are those of ``[delivery]``, 0 for "until lifted"; a service's refusal has the
    term of a bounce.  Times are milliseconds since the epoch.
    """
    days = complaint_days if reason is DeliveryReason.COMPLAINT else bounce_days
    return at_ms + days * DAY_MS if days else None


def _end_of(day: date) -> int:
    """The first moment after a day."""
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp() * 1000) + DAY_MS
