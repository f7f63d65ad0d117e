"""Quiet hours against real calendars: Finland's holidays, clock changes, wide countries."""

import subprocess
import sys
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest

from gateway.quiet.hours import QuietHours

FINLAND = "+358401234567"
SWEDEN = "+46701234567"
NEW_YORK = "+12125551234"
NIGHT = (time(21), time(8))


def at(local: str, zone: str = "Europe/Helsinki", fold: int = 0) -> int:
    """The moment of a local time such as ``2026-12-24 22:30``."""
    moment = datetime.fromisoformat(local).replace(tzinfo=ZoneInfo(zone), fold=fold)
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)


@pytest.fixture
def hours() -> QuietHours:
    return QuietHours(*NIGHT)


@pytest.mark.parametrize(
    ("now", "until"),
    [
        ("2026-09-15 22:30", "2026-09-16 08:00"),
        ("2026-09-16 03:00", "2026-09-16 08:00"),
        ("2026-09-16 07:59", "2026-09-16 08:00"),
        ("2026-09-16 07:59:59.999", "2026-09-16 08:00"),
        ("2026-09-16 08:00", None),
        ("2026-09-16 12:00", None),
        ("2026-09-16 20:59:59.999", None),
        ("2026-09-16 21:00", "2026-09-17 08:00"),
        # Independence Day 2027 is a Monday, in 2026 a Sunday.
        ("2027-12-06 10:00", "2027-12-07 08:00"),
        ("2026-12-05 23:00", "2026-12-07 08:00"),
        # Midsummer: the eve and the day.
        ("2026-06-18 20:59", None),
        ("2026-06-18 21:00", "2026-06-21 08:00"),
        ("2026-06-19 12:00", "2026-06-21 08:00"),
        ("2026-06-21 08:00", None),
        # Christmas: the eve, the day and the second day.
        ("2026-12-23 20:59", None),
        ("2026-12-23 21:00", "2026-12-27 08:00"),
        ("2026-12-24 22:00", "2026-12-27 08:00"),
        ("2026-12-26 23:59", "2026-12-27 08:00"),
        # Easter: Good Friday, an ordinary Saturday, Sunday and Monday; Ascension Day.
        ("2026-04-03 12:00", "2026-04-04 08:00"),
        ("2026-04-04 12:00", None),
        ("2026-04-05 12:00", "2026-04-07 08:00"),
        ("2026-05-14 12:00", "2026-05-15 08:00"),
        # The year's turn.
        ("2026-12-31 22:00", "2027-01-02 08:00"),
    ],
)
def test_finland(hours, now, until):
    assert hours.until(FINLAND, at(now)) == (until and at(until))


def test_each_country_has_its_own_calendar_and_clock(hours):
    eve = at("2025-12-24 12:00")
    assert hours.until(FINLAND, eve) == at("2025-12-27 08:00")
    assert hours.until(SWEDEN, eve) is None  # no public holiday by Swedish law
    evening = at("2026-09-15 21:30")  # 20.30 in Sweden
    assert hours.until(FINLAND, evening) == at("2026-09-16 08:00")
    assert hours.until(SWEDEN, evening) is None
    morning = at("2026-09-16 08:30")
    assert hours.until(FINLAND, morning) is None
    assert hours.until(SWEDEN, morning) == at("2026-09-16 08:00", "Europe/Stockholm")
    assert hours.until(SWEDEN, at("2026-06-06 12:00")) == at("2026-06-07 08:00", "Europe/Stockholm")
    assert hours.until(FINLAND, at("2026-06-06 12:00")) is None


def test_aland_has_a_day_of_its_own(hours):
    noon = at("2026-06-09 12:00")
    assert hours.until("+35818123456", noon) == at("2026-06-10 08:00")
    assert hours.until(FINLAND, noon) is None


def test_a_wide_country_is_quiet_while_any_of_its_zones_is(hours):
    # 09.00 in New York is 03.00 in Honolulu: it is over at 08.00 there.
    morning = at("2026-09-16 09:00", "America/New_York")
    over = at("2026-09-16 08:00", "Pacific/Honolulu")
    assert hours.until(NEW_YORK, morning) == over
    assert hours.until("+14155551234", morning) == over
    assert hours.until(NEW_YORK, over) is None
    assert hours.until(NEW_YORK, at("2026-09-16 20:59", "America/New_York")) is None
    assert hours.until(NEW_YORK, at("2026-09-16 21:00", "America/New_York")) == at(
        "2026-09-17 08:00", "Pacific/Honolulu"
    )
    # Thanksgiving begins in New York and is over in Honolulu.
    assert hours.until(NEW_YORK, at("2026-11-26 00:00", "America/New_York")) == at(
        "2026-11-27 08:00", "Pacific/Honolulu"
    )


def test_an_area_code_with_one_zone_is_that_zone(hours):
    """The Bahamas share +1 with the United States, and the library tells them apart."""
    bahamas = "+12425551234"
    assert hours.until(bahamas, at("2026-09-16 07:59", "America/Nassau")) == at(
        "2026-09-16 08:00", "America/Nassau"
    )
    assert hours.until(bahamas, at("2026-09-16 08:00", "America/Nassau")) is None


def test_a_number_of_no_country_of_the_plan_is_quiet_while_any_of_them_is(hours):
    unknown = "+19995551234"
    newfoundland = "America/St_Johns"
    assert hours.until(unknown, at("2026-09-09 20:59", newfoundland)) is None
    assert hours.until(unknown, at("2026-09-09 21:00", newfoundland)) == at(
        "2026-09-10 08:00", "Pacific/Pago_Pago"
    )
    # A holiday of one of them: Saint Kitts' heroes.
    assert hours.until(unknown, at("2026-09-16 15:00", newfoundland)) == at(
        "2026-09-17 08:00", "Pacific/Pago_Pago"
    )


def test_a_zone_that_would_leave_the_others_no_hour_counts_for_its_own_country_only(hours):
    night_in_guam = at("2026-09-10 07:00", "Pacific/Guam")  # 17.00 in New York
    assert hours.until("+19995551234", night_in_guam) is None
    assert hours.until("+16715551234", at("2026-09-16 09:00", "Pacific/Guam")) is None
    assert hours.until("+16715551234", at("2026-09-16 07:00", "Pacific/Guam")) == at(
        "2026-09-16 08:00", "Pacific/Guam"
    )


@pytest.mark.parametrize("number", ["+80012345678", "+883510012345", "+99912345678", "", "+", "x"])
def test_a_number_without_country_has_the_clock_given_and_no_holidays(number):
    hours = QuietHours(*NIGHT, time_zone="Asia/Tokyo")
    assert hours.until(number, at("2026-12-25 12:00", "Asia/Tokyo")) is None
    assert hours.until(number, at("2026-12-25 22:00", "Asia/Tokyo")) == at(
        "2026-12-26 08:00", "Asia/Tokyo"
    )


def test_what_is_no_number_changes_nothing_for_numbers():
    hours = QuietHours(*NIGHT, time_zone="Asia/Tokyo")
    evening = at("2026-09-15 22:30")
    for text in ("+372x", "+358", "+358x", "+46 70", "+4", "+00358401234567"):
        hours.until(text, evening)
    assert hours.until("+37251234567", evening) == at("2026-09-16 08:00")
    assert hours.until(FINLAND, evening) == at("2026-09-16 08:00")


def test_a_country_that_the_library_does_not_know_has_no_holidays(hours):
    ascension = "+24740123"
    assert hours.until(ascension, at("2026-12-25 12:00", "Atlantic/St_Helena")) is None
    assert hours.until(ascension, at("2026-12-25 22:00", "Atlantic/St_Helena")) == at(
        "2026-12-26 08:00", "Atlantic/St_Helena"
    )


def test_holidays_can_be_left_out():
    hours = QuietHours(*NIGHT, holidays=False)
    assert hours.until(FINLAND, at("2026-12-25 12:00")) is None
    assert hours.until(FINLAND, at("2026-12-25 22:00")) == at("2026-12-26 08:00")


def test_quiet_days_join_the_nights_and_holidays_beside_them():
    weekends = QuietHours(*NIGHT, days=(5, 6))
    assert weekends.until(FINLAND, at("2026-09-18 21:00")) == at("2026-09-21 08:00")
    assert weekends.until(FINLAND, at("2026-09-20 12:00")) == at("2026-09-21 08:00")
    # Good Friday to Easter Monday; Christmas Eve 2026 is a Thursday.
    assert weekends.until(FINLAND, at("2026-04-02 21:00")) == at("2026-04-07 08:00")
    assert weekends.until(FINLAND, at("2026-12-24 12:00")) == at("2026-12-28 08:00")


def test_equal_times_mean_no_quiet_night():
    hours = QuietHours(time(8), time(8), days=(6,))
    assert hours.until(FINLAND, at("2026-09-16 03:00")) is None
    assert hours.until(FINLAND, at("2026-12-24 22:00")) == at("2026-12-28 00:00")


def test_a_quiet_time_within_a_day():
    hours = QuietHours(time(12), time(14, 30))
    assert hours.until(FINLAND, at("2026-09-16 11:59")) is None
    assert hours.until(FINLAND, at("2026-09-16 12:00")) == at("2026-09-16 14:30")
    assert hours.until(FINLAND, at("2026-12-26 12:00")) == at("2026-12-27 00:00")


@pytest.mark.parametrize(
    ("night", "now", "until"),
    [
        # 29.3.2026 03:00 becomes 04:00; 25.10.2026 04:00 becomes 03:00.
        (NIGHT, ("2026-03-28 22:00", 0), ("2026-03-29 08:00", 0)),
        (NIGHT, ("2026-10-24 22:00", 0), ("2026-10-25 08:00", 0)),
        (NIGHT, ("2026-10-25 03:30", 0), ("2026-10-25 08:00", 0)),
        (NIGHT, ("2026-10-25 03:30", 1), ("2026-10-25 08:00", 0)),
        # The quiet time would end within the hour that is skipped.
        ((time(21), time(3, 30)), ("2026-03-29 02:59", 0), ("2026-03-29 04:00", 0)),
        # It would begin there.
        ((time(3, 30), time(6)), ("2026-03-29 02:59", 0), None),
        ((time(3, 30), time(6)), ("2026-03-29 04:00", 0), ("2026-03-29 06:00", 0)),
        # All of it lies there.
        ((time(3, 10), time(3, 50)), ("2026-03-29 04:00", 0), None),
        # The hour that comes twice is judged by what the clock shows, both times.
        ((time(21), time(3, 30)), ("2026-10-25 03:10", 0), ("2026-10-25 03:30", 0)),
        ((time(21), time(3, 30)), ("2026-10-25 03:40", 0), None),
        ((time(21), time(3, 30)), ("2026-10-25 03:10", 1), ("2026-10-25 03:30", 1)),
        ((time(3, 30), time(6)), ("2026-10-25 03:40", 0), ("2026-10-25 03:00", 1)),
        ((time(3, 30), time(6)), ("2026-10-25 03:40", 1), ("2026-10-25 06:00", 0)),
        ((time(2), time(4)), ("2026-10-25 02:30", 0), ("2026-10-25 04:00", 0)),
    ],
)
def test_nights_in_which_the_clock_is_changed(night, now, until):
    hours = QuietHours(*night, holidays=False)
    (local, fold) = now
    expected = until and at(until[0], fold=until[1])
    assert hours.until(FINLAND, at(local, fold=fold)) == expected


def test_a_day_whose_midnight_is_skipped():
    """Havana's clocks go from 24.00 to 1.00 in March."""
    hours = QuietHours(time(21), time(0, 30), holidays=False)
    assert hours.until("+5351234567", at("2026-03-07 23:00", "America/Havana")) == at(
        "2026-03-08 01:00", "America/Havana"
    )


def test_a_night_too_long_for_a_wide_country_leaves_it_some_hour():
    """Russia has eleven zones: with this night it would be quiet in one of them always."""
    hours = QuietHours(time(18), time(10), holidays=False)
    start = at("2026-09-16 00:00", "Europe/Moscow")
    minutes = [start + minute * 60_000 for minute in range(0, 1440, 10)]
    free = [now for now in minutes if hours.until("+79161234567", now) is None]
    assert 60 <= len(free) * 10 < 8 * 60


def test_a_search_without_end_ends():
    """Every Friday is free, and in a made-up calendar each of them a holiday."""
    hours = QuietHours(*NIGHT, days=(0, 1, 2, 3, 5, 6))
    hours._quiet = lambda local, region: True
    now = at("2026-09-16 12:00")
    assert hours.until(FINLAND, now) > now + 399 * 24 * 3600 * 1000


@pytest.mark.parametrize(
    "wrong",
    [
        {"days": range(7)},
        {"days": (7,)},
        {"days": (-1,)},
        {"time_zone": "Europe/Nowhere"},
        {"time_zone": "../etc/passwd"},
        {"begins": time(21, tzinfo=UTC)},
        {"ends": time(8, tzinfo=UTC)},
    ],
)
def test_what_would_mean_nothing_is_refused(wrong):
    with pytest.raises(ValueError, match=r"quiet|time zone"):
        QuietHours(**{"begins": time(21), "ends": time(8), **wrong})


def test_the_order_of_asking_changes_nothing():
    moments = [at("2026-12-20 00:00") + hour * 3_600_000 for hour in range(200)]
    numbers = (FINLAND, "+358501111111", SWEDEN, NEW_YORK, "+35818123456")
    asked, backwards = QuietHours(*NIGHT), QuietHours(*NIGHT)
    forward = {(one, now): asked.until(one, now) for now in moments for one in numbers}
    for (one, now), over in reversed(forward.items()):
        assert backwards.until(one, now) == over


def test_many_ranges_are_not_remembered_for_ever(monkeypatch):
    monkeypatch.setattr("gateway.quiet.hours._RANGES", 50)
    hours = QuietHours(*NIGHT)
    now = at("2026-09-15 22:30")
    for operator in range(1000):
        assert hours.until(f"+35840{operator:04}567", now) == at("2026-09-16 08:00")
    assert len(hours._known) <= 50


def test_a_holiday_that_is_observed_in_the_year_before(hours):
    """New Year 2022 was a Saturday; the United States observed it on 31.12.2021."""
    noon = at("2021-12-31 15:00", "America/New_York")
    assert hours.until(NEW_YORK, noon) == at("2022-01-02 08:00", "Pacific/Honolulu")


def test_the_libraries_are_not_loaded_before_a_number_is_asked_for():
    program = (
        "import sys; from datetime import time; import gateway.quiet.hours as quiet;"
        "first = [n for n in ('holidays', 'phonenumbers', 'zoneinfo') if n in sys.modules];"
        "hours = quiet.QuietHours(time(21), time(8));"
        "then = [n for n in ('holidays', 'phonenumbers') if n in sys.modules];"
        "print(first, then)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[] []"


def test_easter_is_not_a_fixed_day(hours):
    for easter in (date(2024, 3, 31), date(2025, 4, 20), date(2027, 3, 28), date(2028, 4, 16)):
        noon = at(f"{easter} 12:00")
        assert hours.until(FINLAND, noon) == at(f"{easter + timedelta(days=2)} 08:00")
