import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stdnum.fi import hetu

from gateway.contacts.identity_code import (
    MASK,
    holds_identity_code,
    without_identity_codes,
    without_identity_codes_in,
)

SIGNS = "+-YXWVUABCDEF"
_CHECK = "0123456789ABCDEFHJKLMNPRSTUVWXY"


@st.composite
def codes(draw: st.DrawFn) -> str:
    """Valid codes of every century's signs, in either case."""
    day = f"{draw(st.integers(1, 28)):02}{draw(st.integers(1, 12)):02}{draw(st.integers(0, 99)):02}"
    number = f"{draw(st.integers(2, 899)):03}"
    code = day + draw(st.sampled_from(SIGNS)) + number + _CHECK[int(day + number) % 31]
    return code if draw(st.booleans()) else code.lower()


@given(codes(), st.text("abz äö:,()\n", max_size=5), st.text("abz äö:,()\n", max_size=5))
def test_every_code_that_stands_alone_is_masked(code: str, before: str, after: str):
    before, after = before + " ", " " + after
    masked = without_identity_codes(before + code + after)
    assert masked == before + MASK + after
    assert holds_identity_code(before + code)
    octets = (before + code + after).encode()
    assert without_identity_codes_in(octets) == masked.encode()


@given(st.text(max_size=40))
def test_a_text_without_a_code_stays_the_very_same(text: str):
    if not any(hetu.is_valid(each.upper()) for each in re.findall(r"\w{6}[^\s]\w{4}", text)):
        assert without_identity_codes(text) is text


@pytest.mark.parametrize("sign", SIGNS)
def test_all_signs_of_the_centuries(sign: str):
    assert without_identity_codes(f"HETU 131052{sign}308T.") == f"HETU {MASK}."


@pytest.mark.parametrize(
    "text",
    [
        "131052-308S",  # a wrong check character
        "311152-3087",  # no such day
        "order 2131052-308T",  # part of a longer number
        "131052-308TX",
        "131052 308T",
        "",
    ],
)
def test_what_is_no_code_stays(text: str):
    assert without_identity_codes(text) is text
    assert not holds_identity_code(text)
