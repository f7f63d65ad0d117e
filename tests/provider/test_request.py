"""Forms and JSON as all adapters read and write them: quick ways, and the same as the slow ones."""

from urllib.parse import parse_qsl, urlencode

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.provider.problem import Problem, Refusal
from gateway.provider.request import Answer, only_field, only_fields, pairs_of, written_form

thorough = settings(deadline=None, max_examples=400)
NAMES = st.sampled_from(["To", "to", "From", "Body", "To[]", "T o", "x" * 200, "Å"])
TEXTS = (
    st.text(max_size=30)
    .filter(lambda text: text.isprintable())
    .filter(lambda text: not any("\ud800" <= char <= "\udfff" for char in text))
)
NUMBERS = st.from_regex(r"\+?[0-9]{1,15}[ ]?", fullmatch=True)
PAIRS = st.lists(st.tuples(NAMES | TEXTS, TEXTS | NUMBERS), max_size=6).map(tuple)


def of_library(text: str):
    try:
        return tuple(parse_qsl(text, keep_blank_values=True, strict_parsing=True, errors="strict"))
    except ValueError:
        return None


def ours(text: str):
    try:
        return pairs_of(text)
    except Refusal as refusal:
        assert refusal.problem is Problem.MALFORMED
        return None


@thorough
@given(st.text("aT=&%+2B5é;\u0661", min_size=1, max_size=40))
@example("To=%2B358401234567&Body=a+b%20c&From=")
@example("a=%2B\u0661")
@example("a=%ff")
@example("a=%E4")
@example("a=%2b12&b=%2B&c=%2B1x")
@example("a")
@example("a=1&&b=2")
@example("a=b=c")
@example("&".join(f"n{place}={place}" for place in range(3000)))
def test_a_form_is_read_as_the_library_reads_it(text):
    """Whatever the text, the fields are the library's, or it is refused by both."""
    assert ours(text) == of_library(text)


@thorough
@given(PAIRS)
@example((("To", "+358401234567"), ("Body", "+1 2"), ("From", "+")))
def test_a_form_is_written_as_the_library_writes_it(pairs):
    """Whatever the fields, their octets are the library's, and read back they are the same."""
    body = written_form(pairs)
    assert body == urlencode(pairs).encode()
    assert pairs_of(body.decode()) == pairs


@thorough
@given(PAIRS, st.lists(NAMES, min_size=1, max_size=4, unique=True))
@example((("To", "1"), ("to", "2")), ["To"])
@example((("To", "1"), ("x" * 2000, "2")), ["To", "Body"])
def test_fields_read_together_are_those_read_one_by_one(pairs, wanted):
    """Each is what reading it alone gives, or all are refused where one alone would be."""
    try:
        alone = {name: only_field(pairs, name) for name in wanted}
    except Refusal:
        with pytest.raises(Refusal):
            only_fields(pairs, *wanted)
    else:
        assert only_fields(pairs, *wanted) == alone


def test_an_answer_with_another_body_is_not_taken_for_the_first():
    answer = Answer(200, b'{"a": 1}').read()
    assert answer.json() == {"a": 1}
    assert answer.with_body(b'{"a": 2}').json() == {"a": 2}
