"""What a person says."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.failure import InputError
from gateway.hook.word import (
    ALL_WORDS,
    HELP_WORDS,
    OTHER,
    START_WORDS,
    STOP_WORDS,
    Meaning,
    Said,
    Words,
)

WORDS = Words()
LISTS = {Said.STOP: STOP_WORDS, Said.START: START_WORDS, Said.HELP: HELP_WORDS}
ALL = [(said, word) for said, lists in LISTS.items() for one in lists.values() for word in one]


@pytest.mark.parametrize(
    ("text", "said", "argument"),
    [
        ("STOP", Said.STOP, None),
        ("stop!!", Said.STOP, None),
        (" “Stop.” ", Said.STOP, None),
        ("STOP\r\n", Said.STOP, None),
        ("🛑 Stop 🛑\ufe0f", Said.STOP, None),
        ("ＳＴＯＰ", Said.STOP, None),
        ("\u200bST\u200dOP\ufeff", Said.STOP, None),
        ("lopeta", Said.STOP, None),
        ("STOPP", Said.STOP, None),
        ("Sluta!", Said.STOP, None),
        ("stopall", Said.STOP, None),
        ("Stop all", Said.STOP, None),
        ("STOP KAIKKI", Said.STOP, None),
        ("stop, allt.", Said.STOP, None),
        ("Stop STOP", Said.STOP, None),
        ("opt out", Said.STOP, None),
        ("OPT-OUT", Said.STOP, None),
        ("STOP 12345", Said.STOP, "12345"),
        ("STOP12345", Said.STOP, "12345"),
        ("STOP: Uutiset!", Said.STOP, "uutiset"),
        ("stop weekly-news", Said.STOP, "weekly-news"),
        ("stop sending me these", Said.STOP, None),
        ("STOP\nSent from my telephone", Said.STOP, None),
        ("Lopettakaa", Said.OTHER, None),
        ("please don't stop", Said.OTHER, None),
        ("stopping by at 5", Said.OTHER, None),
        ("bus stop", Said.OTHER, None),
        ("end2end testing", Said.OTHER, None),
        ("", Said.OTHER, None),
        ("?!", Said.OTHER, None),
        ("start", Said.START, None),
        ("Yes!", Said.START, None),
        ("START 12345", Said.START, "12345"),
        ("start all", Said.START, None),
        ("START12345", Said.OTHER, None),
        ("yes I did get it", Said.OTHER, None),
        ("Start sending again", Said.OTHER, None),
        ("HELP", Said.HELP, None),
        ("info?", Said.HELP, None),
        ("help me", Said.OTHER, None),
    ],
)
def test_what_a_text_means(text, said, argument):
    meaning = WORDS.meaning(text)
    assert (meaning.said, meaning.argument) == (said, argument)
    assert bool(meaning.word) is (said is not Said.OTHER)


def test_a_known_argument_may_have_several_words():
    words = Words(arguments=("New products",))
    assert words.meaning("STOP new  PRODUCTS.") == Meaning(Said.STOP, "stop", "new products")
    assert words.meaning("START new products") == Meaning(Said.START, "start", "new products")
    assert words.meaning("STOP old products") == Meaning(Said.STOP, "stop", None)
    assert words.meaning("START old products") == OTHER


def test_a_keyword_that_brought_the_message_is_no_word_of_the_persons():
    assert WORDS.meaning("ACME stop", "Acme") == Meaning(Said.STOP, "stop")
    assert WORDS.meaning("ACME stop 5", "Acme") == Meaning(Said.STOP, "stop", "5")
    assert WORDS.meaning("ACME", "Acme") == OTHER
    assert WORDS.meaning("acmestop", "Acme") == OTHER
    assert WORDS.meaning("ACME hello stop", "Acme") == OTHER
    # A keyword that is a stop word, where the provider took another word for it.
    assert WORDS.meaning("BASTA", "STOP") == Meaning(Said.STOP, "stop")
    # Never for a start: what is registered for a number need not have been said.
    assert WORDS.meaning("no", "START") == WORDS.meaning("no", "YES") == OTHER
    assert WORDS.meaning("STOP", "START") == Meaning(Said.STOP, "stop")


def test_the_lists_are_the_markets_own():
    words = Words({"et": ("Lõpeta", "ei soovi")}, {"et": ("jah",)}, {}, {"et": ("kõik",)})
    assert words.meaning("LÕPETA kõik").said is Said.STOP
    assert words.meaning("Lo\u0303peta").said is Said.STOP
    assert words.meaning("ei, soovi 5") == Meaning(Said.STOP, "ei soovi", "5")
    assert words.meaning("jah").said is Said.START
    for text in ("STOP", "ei", "HELP"):
        assert words.meaning(text) == OTHER
    assert Words({}, {}, {}).meaning("STOP") == OTHER


def test_a_word_has_one_meaning():
    with pytest.raises(InputError, match="'stop' is in the lists of stop and of start"):
        Words(start={"en": ("Stop!",)})
    with pytest.raises(InputError, match="of the language 'xx' has no letter"):
        Words(stop={"xx": ("!",)})


# Punctuation, white space, quotes, emoji, invisible characters: no letters, no digits.
around = st.text(
    st.sampled_from(" \t\r\n.,:;!?-_*'\"“”«»()[]<>/\\…¡¿🛑👍\ufe0f\u200b\u200d\u2060\ufeff\u00a0")
)


@given(st.sampled_from(ALL), around, around, st.randoms())
def test_case_and_surroundings_make_no_difference(pair, before, after, random):
    said, word = pair
    cased = "".join(random.choice((char.upper(), char.lower())) for char in word)
    wide = "".join(chr(ord(char) + 0xFEE0) if char.isalnum() else char for char in cased)
    for one in (cased, wide):
        assert WORDS.meaning(before + one + after) == WORDS.meaning(word)
        assert WORDS.meaning(one).said is said
        assert WORDS.meaning(one).argument is None


firsts = {word.casefold().split("-")[0] for _, word in ALL}


@given(st.text(st.characters(categories=["Ll", "Lu", "Nd"]), min_size=1), st.text())
def test_a_text_that_begins_with_no_word_is_other(first, rest):
    import unicodedata

    normal = unicodedata.normalize("NFKC", first).casefold()
    if any(normal.startswith(word) for word in firsts):
        return
    # What follows at once could belong to the first word.
    assert WORDS.meaning(f"{first} {rest}") == OTHER


@given(st.text(), st.text(max_size=5))
def test_any_text_has_a_meaning(text, keyword):
    meaning = WORDS.meaning(text, keyword)
    assert (meaning == OTHER) is (meaning.said is Said.OTHER)
    assert meaning.argument != ""


@given(st.text())
def test_whatever_follows_a_stop_it_is_a_stop(rest):
    assert WORDS.meaning(f"STOP {rest}").said is Said.STOP


@given(st.sampled_from([word for one in ALL_WORDS.values() for word in one]), around)
def test_a_stop_of_everything_is_a_stop_alone(word, between):
    assert WORDS.meaning(f"STOP{between} {word}") == WORDS.meaning("STOP")
