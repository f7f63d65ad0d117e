"""Long messages in parts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.hook.part import Part, joined, part_of, part_of_header


@given(st.lists(st.text(max_size=3), min_size=1, max_size=8), st.randoms())
def test_parts_in_any_order_make_the_text_and_a_missing_one_makes_none(texts, random):
    total = len(texts)
    numbers = list(range(1, total + 1))
    random.shuffle(numbers)
    parts = {}
    for number in numbers:
        assert joined(parts, total) is None
        parts[number] = texts[number - 1]
    assert joined(parts, total) == "".join(texts)
    assert joined(parts | {0: "x", total + 1: "y"}, total) == "".join(texts)


def test_no_parts_make_no_text():
    assert joined({}, 0) is joined({1: "x"}, -1) is None


def test_a_part_is_within_its_total():
    assert part_of("r", "2", "3") == Part("r", 2, 3)
    assert part_of("r", "1", "1") is None
    for number, total in (("0", "2"), ("3", "2"), ("1", "256"), ("x", "2"), ("1", ""), ("-1", "1")):
        with pytest.raises(ValueError):
            part_of("r", number, total)


@pytest.mark.parametrize(
    ("header", "part"),
    [
        ("0500033A0201", Part("3a", 1, 2)),
        ("060804123403ff", None),
        ("06080412340302", Part("1234", 2, 3)),
        ("0A03011122 00033A0202 00".replace(" ", ""), None),
        ("0803011122" + "000300", None),
        ("0A" + "2403" + "010203" + "00033A0202", Part("3a", 2, 2)),
        ("0500033A0101", None),
        ("0500033A0200", None),
        ("0500033A0203", None),
        ("05", None),
        ("", None),
        ("0", None),
        ("udh string", None),
    ],
)
def test_a_header_in_hex_says_which_part_it_is(header, part):
    assert part_of_header(header) == part


@given(st.binary(max_size=24))
def test_any_header_is_read(octets):
    part = part_of_header(octets.hex())
    assert part is None or 1 <= part.number <= part.total <= 255
