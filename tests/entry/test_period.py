from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.clock import DAY_MS, years_later
from gateway.contacts.contact import Channel
from gateway.entry.entry import Ban, Consent, ConsentStatus, DeliveryReason, Entry, Scope
from gateway.entry.period import delivery_expiry, kept_until
from tests.retention.conftest import ms

days = st.dates(date(1990, 1, 1), date(2040, 12, 31))


@pytest.mark.parametrize(
    ("moment", "years", "later"),
    [
        (ms(2020, 3, 1, 12), 5, ms(2025, 3, 1, 12)),
        (ms(2020, 2, 29), 5, ms(2025, 2, 28)),
        (ms(2020, 2, 29), 4, ms(2024, 2, 29)),
        (ms(2019, 2, 28), 5, ms(2024, 2, 28)),
        (ms(2023, 12, 31, 23), 5, ms(2028, 12, 31, 23)),
        (ms(2026, 7, 1), -10, ms(2016, 7, 1)),
        (ms(1970), 0, ms(1970)),
    ],
)
def test_calendar_years(moment, years, later):
    assert years_later(moment, years) == later


@given(st.integers(0, ms(2060)), st.integers(0, 30))
def test_years_later_is_the_same_day_and_time_but_for_a_leap_day(moment, years):
    then = datetime.fromtimestamp(moment / 1000, UTC)
    later = datetime.fromtimestamp(years_later(moment, years) / 1000, UTC)
    assert later.year == then.year + years
    assert (later.month, later.day) in (
        (then.month, then.day),
        (2, 28 if (then.month, then.day) == (2, 29) else -1),
    )
    assert years_later(moment, years) % DAY_MS == moment % DAY_MS


def test_an_open_relationship_or_consent_has_no_end():
    now = ms(2026)
    assert kept_until(Entry(relationship_start=date(2001, 1, 1)), ms(2001), 5, now) is None
    contested = Entry(restricted=True, relationship_end=date(2001, 1, 1))
    assert kept_until(contested, ms(2001), 5, now) is None
    granted = Consent(Channel.EMAIL, "*", ConsentStatus.GRANTED, ms(2001))
    assert kept_until(Entry(consents=(granted,)), ms(2001), 5, now) is None


def test_the_last_day_of_a_relationship_counts_whole():
    entry = Entry(relationship_start=date(2001, 1, 1), relationship_end=date(2020, 2, 28))
    assert kept_until(entry, ms(2001), 5, ms(2026)) == ms(2025, 2, 28)
    leap = Entry(relationship_start=date(2001, 1, 1), relationship_end=date(2020, 2, 29))
    assert kept_until(leap, ms(2001), 5, ms(2026)) == ms(2025, 3, 1)


@given(days, st.none() | days, st.none() | days, st.integers(0, 10))
def test_nothing_is_forgotten_before_every_end_and_the_years_are_over(last, end, expires, years):
    """The end is the years after the latest of all ends, and never before any of them."""
    now = ms(2041)

    def at(day: date) -> int:
        return ms(day.year, day.month, day.day)

    consent = Consent(
        Channel.SMS, "news", ConsentStatus.GRANTED, ms(1990), at(expires) if expires else None
    )
    entry = Entry(
        bans=(Ban(Scope.ALL, ms(1990)),),
        consents=(consent,) if expires else (),
        relationship_start=date(1990, 1, 1) if end else None,
        relationship_end=end,
    )
    ends = [at(last)]
    ends += [at(end + timedelta(days=1))] if end else []
    ends += [at(expires)] if expires else []
    assert kept_until(entry, at(last), years, now) == years_later(max(ends), years)


def test_delivery_suppressions_end_by_the_settings_or_by_hand():
    at = ms(2024)
    bounce, complaint = DeliveryReason.HARD_BOUNCE, DeliveryReason.COMPLAINT
    assert delivery_expiry(bounce, at, 365, 0) == at + 365 * 86_400_000
    assert delivery_expiry(DeliveryReason.REJECTED, at, 1, 30) == at + 86_400_000
    assert delivery_expiry(complaint, at, 365, 0) is None
    assert delivery_expiry(complaint, at, 365, 30) == at + 30 * 86_400_000
    assert delivery_expiry(bounce, at, 0, 30) is None
