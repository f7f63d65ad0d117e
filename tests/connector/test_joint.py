"""Pages of a list that moves join without a skip."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.connector.bookmark import OVERLAP_MS, Bookmark
from gateway.connector.connector import Put, ToolUnreadable
from gateway.connector.halving import put_halving
from gateway.connector.joint import OVERLAP, joint_of, marks_of

PAGE = 50


def keys(first, last):
    return [f"{number} n{number}@example.com" for number in range(first, last)]


def test_marks_are_of_the_last_entries_alone():
    assert len(marks_of(keys(0, PAGE))) == OVERLAP
    assert marks_of(keys(0, PAGE)) == marks_of(keys(PAGE - OVERLAP, PAGE))
    assert {len(mark) for mark in marks_of(keys(0, PAGE))} == {4}
    assert marks_of([]) == ()


def test_without_a_page_before_nothing_was_read():
    assert joint_of((), keys(0, PAGE)) == 0
    assert joint_of(marks_of(keys(0, PAGE)), []) is None


@given(st.integers(0, OVERLAP - 4), st.integers(0, PAGE))
def test_a_page_joins_wherever_the_list_has_moved_to(removed, added):
    tail = marks_of(keys(0, PAGE))
    begin = PAGE - OVERLAP
    # What was taken out before moves the list forwards, what came in moves it back.
    page = [*keys(1000, 1000 + added), *keys(begin + removed, begin + removed + PAGE)]
    joint = joint_of(tail, page)
    assert joint is not None
    assert page[joint:][:3] == keys(PAGE, PAGE + 3)


@given(st.integers(PAGE - OVERLAP, PAGE - 5))
def test_what_is_taken_out_of_the_overlap_itself_does_no_harm(gone):
    tail = marks_of(keys(0, PAGE))
    page = [key for key in keys(PAGE - OVERLAP, 2 * PAGE) if key not in keys(gone, gone + 1)]
    joint = joint_of(tail, page)
    assert page[joint:] == keys(PAGE, 2 * PAGE)


@given(st.integers(OVERLAP - 3, 3 * PAGE))
def test_a_page_that_has_moved_past_the_overlap_does_not_join(removed):
    tail = marks_of(keys(0, PAGE))
    begin = PAGE - OVERLAP + removed
    assert joint_of(tail, keys(begin, begin + PAGE)) is None


# -- cursors --------------------------------------------------------------------------------

_marks = st.lists(st.text("0123456789abcdef", min_size=4, max_size=4), max_size=OVERLAP)


@given(st.integers(0, 9), st.text(), st.integers(0, 2**50), st.integers(0, 2**50), _marks)
def test_a_cursor_is_read_as_it_was_written(part, after, since, began, tail):
    place = Bookmark(part, after, since, began, tuple(tail))
    try:
        cursor = place.cursor
    except TypeError:
        return  # half a character, which no tool can have said
    assert Bookmark.read(cursor) == place


def test_rounds_overlap_and_begin_when_they_begin():
    first = Bookmark.resume("", 10**12)
    assert first.since == 10**12 - 86_400_000
    assert Bookmark.resume(first.follow("x").cursor, 10**12 + 5) == first.follow("x")
    second = Bookmark.resume(first.follow("x").turn().close().cursor, 10**12 + 60_000)
    assert second.since == 10**12 - OVERLAP_MS
    assert second.began == 10**12 + 60_000
    assert (second.part, second.next) == (0, "")


def test_a_clock_that_was_ahead_leaves_nothing_out():
    ahead = Bookmark.resume("", 10**12 + 10**9).close().cursor
    assert Bookmark.resume(ahead, 10**12).since == 10**12 - OVERLAP_MS


@pytest.mark.parametrize(
    "cursor",
    ["x", "5", "[]", "{}", '[0,"",0,0]', '["",0,0,0,[]]', '[-1,"",0,0,[]]', '[true,"",0,0,[]]'],
)
def test_other_cursors_are_refused(cursor):
    with pytest.raises(ToolUnreadable):
        Bookmark.read(cursor)


# -- halving --------------------------------------------------------------------------------


def halved(items, bad):
    asked = []

    def ask(part):
        asked.append(len(part))
        yield from ()
        return None if any(one in bad for one in part) else [Put(True)] * len(part)

    exchange = put_halving(items, ask, "not this one")
    with pytest.raises(StopIteration) as done:
        next(exchange)
    return done.value.value, asked


@given(st.integers(1, 300), st.sets(st.integers(0, 299), max_size=40))
def test_only_the_bad_ones_are_left_out(size, bad):
    results, _ = halved(range(size), bad)
    assert [one.done for one in results] == [number not in bad for number in range(size)]
    assert all(one.final for one in results if not one.done)


def test_one_bad_of_a_thousand_costs_some_twenty_requests():
    results, asked = halved(range(1000), {777})
    assert sum(not one.done for one in results) == 1
    assert len(asked) <= 21


def test_a_tool_that_refuses_everything_is_not_asked_for_ever():
    results, asked = halved(range(1000), set(range(1000)))
    assert not any(one.done for one in results)
    assert len(asked) < 120
    assert not results[-1].final


def test_nothing_is_put_of_nothing():
    assert halved([], set()) == ([], [])
