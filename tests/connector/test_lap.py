"""Laps through numbered rows: each begins before the one before it began."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.connector.lap import OVERLAP, Lap

NOW = 1_700_000_000_000
whole = st.integers(0, 2**60)


@given(whole, st.integers(1, 2**60), whole, whole)
def test_a_cursor_is_read_as_it_was_written(since, start, row, page):
    lap = Lap(since, start, row, page)
    assert Lap.read(str(lap), 7, NOW) == lap


def test_laps_overlap_and_begin_when_they_begin():
    first = Lap.read("", NOW - 5, NOW)
    assert first == Lap(NOW - OVERLAP, NOW)
    second = Lap.read(str(first._replace(row=9, page=2).next()), 0, NOW + 60_000)
    assert second == Lap(NOW - OVERLAP, NOW + 60_000)


def test_a_clock_that_was_ahead_leaves_nothing_out():
    ahead = str(Lap.read("", 0, NOW + 10**9).next())
    assert Lap.read(ahead, 0, NOW) == Lap(NOW - OVERLAP, NOW)


@pytest.mark.parametrize("text", ["x", "1.2", "1.2.3.4.5", "1.-2.3", "1.2.3.", "\u0661.2.3.4"])
def test_another_cursor_begins_anew(text):
    assert Lap.read(text, 0, NOW) == Lap(0, NOW)
