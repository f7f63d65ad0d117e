"""Destinations of text messages: one handset, one contact; what is no number is said to be none."""

import phonenumbers
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from gateway.contacts import phone
from gateway.contacts.contact import Channel, Contact, ContactError
from gateway.contacts.destination import (
    Name,
    Notation,
    ShortCode,
    parse_destination,
    plain_destinations,
)

INTERNATIONAL, PLUS = Notation.INTERNATIONAL, Notation.PLUS
MAIJA = "+358401234567"
thorough = settings(deadline=None, max_examples=400)

REGIONS = sorted(phonenumbers.SUPPORTED_REGIONS)
MOBILES = {
    region: number
    for region in REGIONS
    if (number := phonenumbers.example_number_for_type(region, phonenumbers.PhoneNumberType.MOBILE))
}


def read(text: str, notation: Notation) -> Contact | None:
    try:
        return parse_destination(text, notation)
    except ContactError:
        return None


def e164(number: phonenumbers.PhoneNumber) -> str:
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)


def of_library(digits: str) -> str | None:
    """What the library makes of digits that begin with the country code."""
    try:
        number = phonenumbers.parse("+" + digits, None)
    except phonenumbers.NumberParseException:
        return None
    return e164(number) if phonenumbers.is_possible_number(number) else None


# -- one handset, one contact -------------------------------------------------------


@pytest.mark.parametrize("notation", Notation)
@pytest.mark.parametrize(
    "text",
    [
        MAIJA,
        "+3580401234567",
        "+358(0)401234567",
        "+358 (0)40 123 4567",
        "+358 0 40 1234567",
        "+358-40-123-4567",
        "(+358) 40 1234567",
        " +358401234567\r\n",
        "\t+358 40 1234567",
    ],
)
def test_with_a_plus(text, notation):
    assert parse_destination(text, notation) == Contact(Channel.SMS, MAIJA, MAIJA)


@pytest.mark.parametrize(
    "text",
    [
        "358401234567",
        "3580401234567",
        "358(0)401234567",
        "358 (0)40 123 4567",
        "358 40-123 4567",
        "(358) 40 1234567",
        "00358401234567",
        "003580401234567",
        "00358(0)401234567",
        "00 358 40 123 4567",
        "00-358-40-123-4567",
        "00(358)401234567",
        "(00358) 40 1234567",
        " 358401234567 ",
    ],
)
def test_without_a_plus(text):
    assert parse_destination(text, INTERNATIONAL) == Contact(Channel.SMS, MAIJA, MAIJA)
    with pytest.raises(ContactError, match="no region"):
        parse_destination(text, PLUS)


@pytest.mark.parametrize("text", ["0401234567", "040 123 4567", "(0)401234567", "0 401234567"])
def test_a_national_number_is_never_read(text):
    for notation in Notation:
        with pytest.raises(ContactError):
            parse_destination(text, notation)


@pytest.mark.parametrize("text", ["000358401234567", "0000358401234567", "+00358401234567"])
def test_more_zeros_than_an_international_prefix_has(text):
    for notation in Notation:
        assert read(text, notation) is None


def test_bare_digits_are_of_the_country_that_they_begin_with():
    assert parse_destination("358401234567", INTERNATIONAL).canonical == MAIJA
    assert parse_destination("46701234567", INTERNATIONAL).canonical == "+46701234567"
    # 070-123 45 67 in Sweden: digits that begin with no country code there.
    assert read("0701234567", INTERNATIONAL) is None
    # Ten digits of North America without their 1 begin with another country's code.
    assert parse_destination("12065550100", INTERNATIONAL).canonical == "+12065550100"
    assert read("2065550100", PLUS) is None


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("+390612345678", "+390612345678"),
        ("390612345678", "+390612345678"),
        ("00390612345678", "+390612345678"),
        ("+39 06 1234 5678", "+390612345678"),
        ("+393331234567", "+393331234567"),
        ("393331234567", "+393331234567"),
    ],
)
def test_italy_keeps_its_zero(text, canonical):
    assert parse_destination(text, INTERNATIONAL).canonical == canonical


# -- kinds of their own, and what is refused ----------------------------------------


@pytest.mark.parametrize("notation", Notation)
@pytest.mark.parametrize("text", ["16400", "173322", "112", "1", "0", "000000", " 16400 "])
def test_a_short_code_is_its_own_kind(text, notation):
    with pytest.raises(ShortCode):
        parse_destination(text, notation)


@pytest.mark.parametrize("notation", Notation)
@pytest.mark.parametrize("text", ["+16400", "+173322", "16 400", "16-400", "0016400", "(16400)"])
def test_a_short_code_in_another_dress_is_no_number(text, notation):
    with pytest.raises(ContactError):
        parse_destination(text, notation)


@pytest.mark.parametrize("notation", Notation)
@pytest.mark.parametrize(
    "text", ["INFO123", "Kauppa", "A", "0800FLOWERS", "Määttä", "ИНФО", "情報"]
)
def test_a_name_is_its_own_kind(text, notation):
    with pytest.raises(Name):
        parse_destination(text, notation)


@pytest.mark.parametrize("notation", Notation)
@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "+",
        "()",
        "+358401234567x5",
        "+358INFO12345",
        "358401234567 ext 5",
        "358401234567;ext=5",
        "whatsapp:+358401234567",
        "whatsapp:358401234567",
        "WhatsApp:00358401234567",
        "tel:+358401234567",
        "tel:358401234567",
        "sms:+358401234567",
        "rcs:358401234567",
        "viber:1:358401234567",
        "358401234567:1",
        "+358401234567,+358401234568",
        "358401234567,358401234568",
        "358401234567, 358401234568",
        "358401234567;358401234568",
        "358401234567<358401234568",
        "358401234567|358401234568",
        "358401234567\n358401234568",
        "358401234567 358401234568",
        "358401234567/358401234568",
        "00358401234567 00358401234568",
        "<+358401234567>",
        "+358401234567+358401234568",
        "358401234567+",
        "++358401234567",
        "00+358401234567",
        "+٣٥٨٤٠١٢٣٤٥٦٧",
        "٣٥٨٤٠١٢٣٤٥٦٧",
        "35840١234567",
        "＋358401234567",
        "３５８４０１２３４５６７",
        "³58401234567",
        "358\u00a0401234567",
        "\u00a0358401234567",
        "358401234567\u00a0",
        "+358\u00a0401234567",
        "\u202a+358401234567\u202c",
        "\u202d358401234567",
        "\u200e358401234567",
        "358401234567\u200b",
        "\ufeff358401234567",
        "358\t401234567",
        "358401234567\x00",
        "358401234567\x1f",
        "358_401234567",
        "358401234567#",
        "*100#",
        "358401234567%00",
        "-358401234567",
        ".358401234567",
        "999123456789",
        "0999123456789",
        "1" * 16,
        "9" * 1_000_000,
    ],
)
def test_what_is_refused(text, notation):
    with pytest.raises(ContactError) as caught:
        parse_destination(text, notation)
    assert "401234567" not in str(caught.value)


# -- whatever is written ------------------------------------------------------------


@pytest.mark.parametrize("region", MOBILES)
def test_every_countrys_mobile_number_in_every_notation(region):
    number = MOBILES[region]
    whole = e164(number)
    shown = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.INTERNATIONAL)
    spaced = shown.removeprefix("+")
    expected = Contact(Channel.SMS, whole, whole)
    for notation in Notation:
        assert parse_destination(whole, notation) == expected
        assert parse_destination(shown, notation) == expected
    for text in (whole[1:], "00" + whole[1:], spaced, "00" + spaced, "00 " + spaced):
        assert parse_destination(text, INTERNATIONAL) == expected, text
        assert read(text, PLUS) is None


codes = st.sampled_from(sorted(phonenumbers.COUNTRY_CODE_TO_REGION_CODE)).map(str)
of_the_table = st.sampled_from(sorted(phone._PLAIN))
plausible = st.builds(
    "".join, st.tuples(codes | of_the_table, st.text("0123456789", min_size=4, max_size=12))
)


@given(plausible)
@example("3580401234567")
@example("390612345678")
@example("441800201234")
@example("116502530000")
@example("5491123456789")
@example("525512345678")
@settings(thorough, max_examples=3000)
def test_a_plausible_number_is_what_the_library_makes_of_it(digits):
    """Fast path or slow, with ``+``, ``00`` or bare: E.164 as the library has it, or refused."""
    assume(6 < len(digits) <= 15)
    contact = read("+" + digits, PLUS)
    assert contact == read("+" + digits, INTERNATIONAL)
    assert contact == read(digits, INTERNATIONAL) == read("00" + digits, INTERNATIONAL)
    assert read(digits, PLUS) is None
    if contact is not None:
        assert contact.canonical == of_library(digits)
        assert read(contact.canonical, PLUS) == contact


@given(st.sampled_from(sorted(MOBILES)), st.integers(0, 9999))
@settings(thorough, max_examples=1000)
def test_no_valid_number_is_refused(region, tail):
    """A number of a country's plan in its canonical form can always be asked about."""
    whole = f"{e164(MOBILES[region])[:-4]}{tail:04}"
    assume(phonenumbers.is_valid_number(phonenumbers.parse(whole, None)))
    assume(of_library(whole[1:]) == whole)
    assert parse_destination(whole).canonical == whole


written = st.text("+0123456789 ()-./,;:aA\u00a0\u0661", max_size=18) | st.builds(
    "".join,
    st.tuples(
        st.sampled_from(["", "+", "00", "(", " ", "(+", "00 "]),
        st.sampled_from(["358", "46", "39", "1", "0"]),
        st.text("0123456789 ()-./", min_size=6, max_size=14),
    ),
)


@given(written)
@settings(thorough, max_examples=2000)
def test_no_notation_reads_another_number(text):
    """What is read is the library's reading of the digits after ``+`` or ``00``, in order."""
    for notation in Notation:
        contact = read(text, notation)
        if contact is None:
            continue
        digits = "".join(filter(str.isdigit, text))
        if "+" not in text:
            assert notation is INTERNATIONAL
            digits = digits.removeprefix("00")
        assert contact.canonical == of_library(digits)
        assert read(text, INTERNATIONAL) == contact
        assert contact.base == contact.canonical and not contact.organisations


@thorough
@given(st.text(max_size=20), st.sampled_from(Notation))
def test_any_text_is_a_contact_or_refused(text, notation):
    read(text, notation)


USUAL = st.from_regex(r"(358|46|47|1|39|420|44|999)[0-9]{4,12}", fullmatch=True)
WRITTEN = st.builds(str.__add__, st.sampled_from(["", "+", "00", " ", "++"]), USUAL) | st.text(
    "+0358 \n\u0661a", max_size=12
)


@thorough
@given(st.lists(USUAL | WRITTEN, max_size=5), st.sampled_from(Notation))
@example(["358401234567\n358401234568"], Notation.INTERNATIONAL)
@example(["+358401234567\n"], Notation.PLUS)
@example(["358401234567", "+46701234567"], Notation.INTERNATIONAL)
@example(["12025550123", "393331234567", "35480123"], Notation.INTERNATIONAL)
def test_destinations_read_together_are_those_read_one_by_one(texts, notation):
    """Where they can be read together, each is the contact that reading it alone gives."""
    together = plain_destinations(texts, notation)
    if together is not None:
        assert together == [read(text, notation) for text in texts]


def test_usual_numbers_are_read_together():
    numbers = [f"35840{number:07d}" for number in range(1000)]
    assert plain_destinations(numbers, INTERNATIONAL) == [read(n, INTERNATIONAL) for n in numbers]
    assert plain_destinations(["+" + n for n in numbers], PLUS) is not None
    assert plain_destinations(numbers, PLUS) is None
