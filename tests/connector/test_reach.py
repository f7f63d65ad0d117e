"""How far a list has been read."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.connector.connector import ToolUnreadable
from gateway.connector.reach import OVERLAP, Reach

NOW = 1_800_000_000_000
DAY = 86_400_000
LISTS = ("one", "two")


def test_an_empty_cursor_begins_where_it_is_told():
    reach = Reach.read("", LISTS, NOW - DAY)
    assert reach.since == (NOW - DAY, NOW - DAY)
    assert (reach.name, reach.asked, reach.offset) == ("one", NOW - DAY, 0)


def test_lists_are_read_one_after_the_other_each_since_its_own_time():
    reach = Reach.read("", LISTS, NOW - DAY)
    reach = Reach.read(reach.done(NOW, NOW - 1000).text, LISTS, 0)
    assert reach.name == "two"
    assert reach.asked == NOW - DAY
    reach = Reach.read(reach.done(NOW + 5000, 0).text, LISTS, 0)
    assert (reach.name, reach.asked) == ("one", NOW - 1000 - OVERLAP)
    assert reach.since[1] == NOW - DAY


def test_what_came_while_a_list_was_read_is_asked_for_again():
    reach = Reach.read("", ("one",), NOW - DAY)
    further, _ = reach.counted(NOW, NOW - 5, [str(number) for number in range(50)], 50)
    # An hour later the last page is read, with an entry that came in the meantime.
    reach = Reach.read(further.text, ("one",), 0).done(NOW + 3_600_000, NOW + 3_500_000)
    assert reach.asked == NOW - OVERLAP


def test_a_clock_that_is_ahead_does_not_move_the_time_on():
    reach = Reach.read("", ("one",), NOW - DAY).done(NOW, NOW + 30 * DAY)
    assert reach.asked == NOW - OVERLAP
    assert reach.done(NOW + 1000, 0).asked == NOW - OVERLAP


def test_a_list_that_the_settings_name_anew_begins_at_the_start():
    text = Reach.read("", LISTS, NOW).done(NOW, NOW).text
    reach = Reach.read(text, ("three", "two"), NOW - DAY)
    assert reach.name == "two"
    assert reach.since == (NOW - DAY, NOW)
    gone = Reach.read(text, ("one",), 0)
    assert (gone.name, gone.offset, gone.began) == ("one", 0, 0)


class Moving:
    """A list whose first entries go after each page."""

    def __init__(self, size, page, gone):
        self.entries = [f"e{number}" for number in range(size)]
        self.page, self.gone, self.asked = page, gone, 0

    def read(self):
        reach, found = Reach.read("", ("one",), 0), []
        while True:
            keys = self.entries[reach.offset : reach.offset + self.page]
            further, before = reach.counted(NOW, 0, keys, self.page)
            found += keys[before:]
            self.asked += 1
            if further is None:
                return found
            reach = Reach.read(further.text, ("one",), 0)
            del self.entries[: self.gone]


@pytest.mark.parametrize("gone", [0, 1, 16, 19, 20, 21, 50, 75])
def test_a_list_that_moves_while_it_is_read_hides_nothing(gone):
    moving = Moving(1000, 100, gone)
    found = moving.read()
    assert set(moving.entries) <= set(found)
    assert len(found) == len(set(found))
    if gone <= 16:
        assert moving.asked <= 13


def test_a_list_of_no_order_is_read_all_the_same():
    class Shuffled(Moving):
        def read(self):
            self.entries = [f"e{number}" for number in range(1000)]
            reach = Reach.read("", ("one",), 0)
            while True:
                self.asked += 1
                keys = [f"{self.asked} {key}" for key in self.entries[reach.offset :][: self.page]]
                further, _ = reach.counted(NOW, 0, keys, self.page)
                if further is None:
                    return []
                reach = Reach.read(further.text, ("one",), 0)

    shuffled = Shuffled(1000, 100, 0)
    shuffled.read()
    assert shuffled.asked < 50


def test_a_list_that_heeds_no_offset_is_found_out_and_does_not_end_as_if_it_were_read():
    keys = [f"e{number}" for number in range(100)]
    reach, told = Reach.read("", ("one",), 0), 0
    with pytest.raises(ToolUnreadable, match="whatever the offset"):
        for _ in range(50):
            further, before = reach.counted(NOW, 0, keys, 100)
            assert further is not None
            told += len(keys) - before
            reach = Reach.read(further.text, ("one",), 0)
    assert told == 100


@pytest.mark.parametrize(
    "text", ["x", "[]", "{}", "null", '{"since": 1}', '{"since": {}}', '{"since":{"one":"x"}}']
)
def test_a_cursor_that_is_none_begins_anew(text):
    assert Reach.read(text, LISTS, NOW).since == (NOW, NOW)


@settings(deadline=None)
@given(
    steps=st.lists(
        st.tuples(
            st.sampled_from(["on", "counted", "done"]), st.integers(0, NOW), st.integers(0, 90)
        ),
        max_size=6,
    )
)
def test_a_cursor_is_read_as_it_was_written(steps):
    reach = Reach.read("", LISTS, 0)
    for step, newest, size in steps:
        if step == "on":
            reach = reach.on(NOW, newest, newest)
        elif step == "done":
            reach = reach.done(NOW, newest)
        else:
            keys = [str(number) for number in range(size)]
            reach = reach.counted(NOW, newest, keys, 50)[0] or reach
        assert Reach.read(reach.text, LISTS, 7) == reach
