"""Times at the ends of the calendar: refused where they are given, told where they are kept."""

from datetime import UTC, datetime

import pytest

from gateway.cli.moment import moment, moment_or_now, told
from gateway.clock import LATEST_MS
from gateway.failure import InputError
from gateway.page.paint import day_of
from gateway.register import rows
from gateway.subject import row
from gateway.subject.request import local

FOR_EVER = "9999-12-31T23:59:59Z"
BEHIND = "9999-12-31T23:59:59-12:00"


def test_a_time_that_has_no_day_in_utc_is_refused():
    for text in (BEHIND, "0001-01-01T00:00:00+14:00"):
        with pytest.raises(InputError, match="after 9999"):
            moment(text)
        with pytest.raises(ValueError):
            rows.moment(text)


def test_the_last_day_is_taken_and_told_in_finland_too():
    last = moment(FOR_EVER)
    assert last == rows.moment(FOR_EVER) == LATEST_MS - 999
    assert last is not None
    assert told(last) == row.told(last) == "9999-12-31T23:59:59+00:00"
    assert day_of(last, "fi") == "31.12.9999"
    assert local(datetime.fromisoformat(FOR_EVER)).year == 9999


def test_a_time_behind_all_is_told_as_the_last():
    for kept in (LATEST_MS + 1, 2**62):
        assert told(kept) == row.told(kept) == "9999-12-31T23:59:59+00:00"
        assert day_of(kept, "en") == "31 December 9999"


def test_the_epoch_is_a_time_as_any():
    assert moment_or_now("1970-01-01") == 0
    assert abs(moment_or_now(None) - datetime.now(UTC).timestamp() * 1000) < 60_000
