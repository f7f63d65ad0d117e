"""A circle of cursors is found soon, and none where there is none."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.connector.connector import ToolUnreadable
from gateway.sync.trail import Trail


def steps_to_notice(before: int, around: int) -> int:
    """Pages that are read of a list that leads into a circle of so many behind so many."""
    trail, at = Trail(), 0
    for step in range(1, 1_000_000):
        try:
            trail = trail.on(f"page {at}")
        except ToolUnreadable:
            return step
        at = at + 1 if at + 1 < before + around else before
    raise AssertionError


@given(before=st.integers(0, 300), around=st.integers(1, 300))
def test_a_circle_is_found_after_three_times_as_many_pages(before, around):
    steps = steps_to_notice(before, around)
    assert before + around < steps <= 3 * max(before + 1, around) + 1


@given(st.lists(st.text(), unique=True, max_size=200))
def test_cursors_that_differ_are_no_circle(cursors):
    trail = Trail()
    for cursor in cursors:
        trail = trail.on(cursor)
        assert Trail(*trail) == trail


def test_what_is_kept_is_small_however_long_the_list_and_its_cursors():
    trail = Trail()
    for number in range(10_000):
        trail = trail.on(f"{number}" + "x" * 4000)
    assert len(repr(trail)) < 100


@pytest.mark.parametrize("times", [1, 2])
def test_the_same_cursor_again_is_a_circle_of_one(times):
    trail = Trail()
    for number in range(times):
        trail = trail.on(f"page {number}")
    again = f"page {times - 1}"
    with pytest.raises(ToolUnreadable, match="circle"):
        for _ in range(3):
            trail = trail.on(again)
