"""Quiet hours against a reference that looks at a wall clock minute by minute."""

from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import holidays
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.quiet.hours import QuietHours

_MINUTE = 60_000
_FIRST = int(datetime(2024, 1, 1, tzinfo=UTC).timestamp() * 1000)
_LAST = int(datetime(2029, 1, 1, tzinfo=UTC).timestamp() * 1000)

# One time zone each, among them clocks that change at midnight (Havana), in Ramadan
# (Morocco) and, from 2024 on, no more (Paraguay).  Lord Howe's half hour is in the wide ones.
_COUNTRIES = {
    "+358401234567": ("FI", "Europe/Helsinki"),
    "+46701234567": ("SE", "Europe/Stockholm"),
    "+447400123456": ("GB", "Europe/London"),
    "+5351234567": ("CU", "America/Havana"),
    "+212650123456": ("MA", "Africa/Casablanca"),
    "+9779841234567": ("NP", "Asia/Kathmandu"),
    "+595961456789": ("PY", "America/Asuncion"),
}
_CALENDARS = {
    number: holidays.country_holidays(region) for number, (region, _) in _COUNTRIES.items()
}
_WIDE = ("+12125551234", "+19995551234", "+79161234567", "+61412345678", "+80012345678")

_walls = st.builds(time, st.integers(0, 23), st.sampled_from((0, 1, 30, 59)))
_days = st.sets(st.integers(0, 6), max_size=4)
_moments = st.integers(_FIRST, _LAST)


def _near_changes(zone: str) -> list[int]:
    """Moments near which a zone's clock is changed."""
    clock, found = ZoneInfo(zone), []
    day = datetime.fromtimestamp(_FIRST / 1000, UTC)
    while day.timestamp() * 1000 < _LAST:
        after = day + timedelta(days=1)
        if day.astimezone(clock).utcoffset() != after.astimezone(clock).utcoffset():
            found.append(int(day.timestamp() * 1000))
        day = after
    return found or [_FIRST]


_CHANGES = {number: _near_changes(zone) for number, (_, zone) in _COUNTRIES.items()}


@st.composite
def _asked(draw):
    """A number and a moment, every third one near a change of the clock."""
    number = draw(st.sampled_from(sorted(_COUNTRIES)))
    if draw(st.integers(0, 2)):
        return number, draw(_moments)
    near = draw(st.sampled_from(_CHANGES[number]))
    return number, near + draw(st.integers(-12 * 60, 36 * 60)) * _MINUTE


def _reference(number, now, begins, ends, days):
    _, zone = _COUNTRIES[number]
    clock = ZoneInfo(zone)

    def quiet(moment: int) -> bool:
        local = datetime.fromtimestamp(moment // 1000, clock)
        wall = local.time()
        night = begins <= wall < ends if begins <= ends else wall >= begins or wall < ends
        return night or local.weekday() in days or local.date() in _CALENDARS[number]

    moment = now
    while quiet(moment):
        moment = (moment // _MINUTE + 1) * _MINUTE
    return None if moment == now else moment


@settings(max_examples=150, deadline=None)
@given(_asked(), _walls, _walls, _days)
def test_one_zone_countries_equal_the_reference(asked, begins, ends, days):
    number, now = asked
    hours = QuietHours(begins, ends, days=days)
    assert hours.until(number, now) == _reference(number, now, begins, ends, days)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from((*_COUNTRIES, *_WIDE)), _moments, _walls, _walls, _days)
def test_at_the_end_of_a_quiet_time_it_is_quiet_no_more(number, now, begins, ends, days):
    hours = QuietHours(begins, ends, days=days)
    over = hours.until(number, now)
    if over is not None:
        assert over > now
        assert hours.until(number, over - 1) == over
        assert hours.until(number, over) is None
        # And so for one that has not been asked before.
        assert QuietHours(begins, ends, days=days).until(number, over) is None


@settings(max_examples=50, deadline=None)
@given(_asked(), st.lists(st.integers(0, 72 * 3_600_000), max_size=30), _walls, _walls)
def test_what_is_remembered_equals_what_is_reckoned_anew(asked, steps, begins, ends):
    number, now = asked
    hours = QuietHours(begins, ends)
    for step in steps:
        fresh = QuietHours(begins, ends)
        assert hours.until(number, now + step) == fresh.until(number, now + step)
