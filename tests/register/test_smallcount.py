"""No small count follows from what is published."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.register.smallcount import TooFew, withhold

LEASTS = st.integers(3, 6)
counts = st.lists(st.integers(0, 14), min_size=1, max_size=4).map(
    lambda numbers: dict(zip("abcd", numbers, strict=False))
)


def possible(total, number, most):
    """Every way to make a total of so many counts, each from one to the most."""
    for numbers in itertools.product(range(1, most + 1), repeat=number):
        if sum(numbers) == total:
            yield numbers


@settings(deadline=None)
@given(counts, LEASTS)
def test_every_withheld_count_could_be_another(table, least):
    """For who knows the total, and also for who takes all that is withheld for small."""
    try:
        told = withhold(table, least)
    except TooFew:
        return
    assert told.keys() == table.keys()
    for value, count in told.items():
        assert count is None or (count == table[value] and (count == 0 or count >= least))
    hidden = [value for value, count in told.items() if count is None]
    if not hidden:
        return
    left = sum(table[value] for value in hidden)
    assert left >= least
    guesses = [left, least - 1] if all(table[value] < least for value in hidden) else [left]
    for most in guesses:
        for column in zip(*possible(left, len(hidden), most), strict=True):
            assert len(set(column)) > 1


@given(counts, LEASTS)
def test_a_table_without_small_counts_is_told_whole(table, least):
    table = {value: count if count >= least else 0 for value, count in table.items()}
    assert withhold(table, least) == table


def test_the_total_does_not_give_a_small_count_away():
    told = withhold({"a": 3, "b": 100, "c": 9, "d": 0}, 5)
    assert told == {"a": None, "b": 100, "c": None, "d": 0}
    # 4 + 4: both small and their sum known, each would be 4 for certain.
    assert withhold({"a": 4, "b": 4, "c": 50}, 5) == {"a": None, "b": None, "c": None}
    # What is withheld elsewhere is withheld here.
    told = withhold({"a": 30, "b": 100, "c": 9}, 5, frozenset("a"))
    assert told == {"a": None, "b": 100, "c": None}


@pytest.mark.parametrize("table", [{"a": 4}, {"a": 1, "b": 1, "c": 1}, {"a": 2, "b": 1}])
def test_where_the_total_itself_tells_too_much(table):
    with pytest.raises(TooFew):
        withhold(table, 5)
