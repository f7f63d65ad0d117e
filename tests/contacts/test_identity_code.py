"""Personal identity codes are found and masked; nothing else is touched."""

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.contacts.identity_code import holds_code, mask, mask_octets, spans

CHECK = "0123456789ABCDEFHJKLMNPRSTUVWXY"
SIGNS = {1800: "+", 1900: "-YXWVU", 2000: "ABCDEF"}


@st.composite
def codes(draw):
    """Valid codes of every century and sign (the act of 2023), temporary ones too."""
    century = draw(st.sampled_from(sorted(SIGNS)))
    born = draw(st.dates(date(century, 1, 1), date(century + 99, 12, 31)))
    number = draw(st.integers(2, 999))
    digits = f"{born:%d%m}{born.year % 100:02}{number:03}"
    sign = draw(st.sampled_from(SIGNS[century]))
    code = f"{digits[:6]}{sign}{digits[6:]}{CHECK[int(digits) % 31]}"
    return draw(st.sampled_from([code, code.lower(), code.replace("-", "\u2013")]))


around = st.text(alphabet="aä .,:;()\n", max_size=6).map(lambda text: f" {text} ")


@given(st.lists(st.tuples(around, codes()), min_size=1, max_size=4), around)
def test_every_code_is_found_and_no_letter_beside_it_lost(parts, end):
    text = "".join(before + code for before, code in parts) + " " + end
    assert holds_code(text)
    found = [text[begin:stop] for begin, stop in spans(text)]
    assert found == [code for _, code in parts]
    masked = mask(text)
    assert masked == "".join(before + "*" * 11 for before, _ in parts) + " " + end
    octets = text.encode()
    assert len(mask_octets(octets)) == len(octets)
    assert mask_octets(octets).replace(b"*", b"") == masked.replace("*", "").encode()
    assert not holds_code(masked)


@given(codes(), st.integers(0, 30))
def test_a_wrong_check_character_is_no_code(code, other):
    changed = code[:-1] + CHECK[other]
    assert holds_code(changed) == (CHECK[other] == code[-1].upper())


@pytest.mark.parametrize(
    "text",
    [
        "310252-308Y",  # no such day
        "131052-001U",  # numbers begin at 002
        "9131052-308T",
        "131052-308T5",
        "x131052A308T",
        "131052A308Tx",
        "+358401234567",
        "2024-05-01T12:00:00+03:00",
        "d1f0131052a308e1b2",
        "",
    ],
)
def test_what_only_looks_like_one_is_left_alone(text):
    assert not holds_code(text)
    assert mask(text) == text
    assert mask_octets(text.encode()) == text.encode()


@given(st.binary(max_size=60))
def test_any_octets_can_be_masked(octets):
    assert len(mask_octets(octets)) == len(octets)


@given(st.text(alphabet="0123456789-+ABCDEFTUVWXYabt \n", max_size=60))
def test_masked_is_exactly_what_is_found(text):
    marked = list(text)
    for begin, stop in spans(text):
        marked[begin:stop] = "*" * (stop - begin)
    assert mask(text) == "".join(marked)
    assert holds_code(text) == ("*" in marked)
