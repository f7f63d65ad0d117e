"""Until when a person's data is kept (the notice, section 8; S13).

Pure.  The relationship, the contract and the warranty, whichever ends last, and then a
number of years.  Nothing ends while one of them is open.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

from dateutil.relativedelta import relativedelta

from gateway.subject.person import Person


def retained_until(person: Person, created: int, years: int, now: int) -> int | None:
    """When retention ends, in ms since the epoch; None while anything is open.

    Kept to the end of the last day (UTC) and the years; of 29 February the 28th where
    the year has no other.  A person of whom no relationship, contract or warranty is
    known counts from the day that the data was taken in (``created``).  Of whom
    processing is restricted nothing is removed (GDPR 18).  Times are ms.
    """
    ended, still = person.ends(day_of(now))
    if still or person.hold is not None or person.restriction is not None:
        return None
    last = (ended or day_of(created)) + relativedelta(years=years) + timedelta(days=1)
    return int(datetime(last.year, last.month, last.day, tzinfo=UTC).timestamp() * 1000)


def day_of(moment: int) -> date:
    """The day (UTC) of a time in ms since the epoch."""
    return datetime.fromtimestamp(moment / 1000, UTC).date()
