"""Telephone numbers: one handset, one E.164 form, and nothing guessed."""

import phonenumbers
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.contacts import phone as module
from gateway.contacts.contact import Channel, Contact, ContactError
from gateway.contacts.parse import parse_contact
from gateway.contacts.phone import parse_phone

thorough = settings(deadline=None, max_examples=300)

MAIJA = "+358401234567"


def read(parse, text: str, region: str | None = None) -> Contact | None:
    try:
        return parse(text, region)
    except ContactError:
        return None


@pytest.mark.parametrize(
    "text",
    [
        "+358401234567",
        "+3580401234567",
        "+358(0)401234567",
        "+358 (0)40 123 4567",
        "+358 40-123 4567",
        "(+358) 40 1234567",
        "+358.40.1234567",
        "+358/40/1234567",
        " +358401234567\r\n",
    ],
)
def test_international_spellings_are_one_number(text):
    assert parse_phone(text) == Contact(Channel.SMS, MAIJA, MAIJA)
    assert parse_phone(text, "SE").canonical == MAIJA


@pytest.mark.parametrize(
    "text", ["0401234567", "040 123 4567", "(040) 1234567", "003580401234567", "358401234567"]
)
def test_national_spellings_need_the_region(text):
    assert parse_phone(text, "FI").canonical == MAIJA
    assert parse_phone(text, "fi").canonical == MAIJA
    with pytest.raises(ContactError, match="no region"):
        parse_phone(text)


def test_italy_keeps_its_zero():
    assert parse_phone("+39 06 1234567").canonical == "+39061234567"
    assert parse_phone("06 1234567", "IT").canonical == "+39061234567"


def test_digits_of_another_country_are_not_read_as_national():
    with pytest.raises(ContactError, match="not valid in the region"):
        parse_phone("358401234567", "SE")


@pytest.mark.parametrize("text", ["16400", "173322", "112", "1"])
def test_short_codes_are_no_numbers(text):
    with pytest.raises(ContactError):
        parse_phone(text)
    with pytest.raises(ContactError, match="short code"):
        parse_phone(text, "FI")


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("", "empty"),
        ("INFO123", "letters"),
        ("0800FLOWERS", "letters"),
        ("Kauppa", "letters"),
        ("+358401234567x5", "letters"),
        ("whatsapp:+358401234567", "scheme"),
        ("tel:+358401234567", "scheme"),
        ("sip:0401234567", "scheme"),
        ("+358401234567;ext=5", "letters"),
        ("+358401234567,+358401234568", "list"),
        ("<+358401234567>", "list"),
        ("+358401234567;+358401234568", "list"),
        ("+358401234567#5", "only"),
        ("*100#", "only"),
        ("++358401234567", "only"),
        ("358+401234567", "only"),
        ("+", "only"),
        ("-0401234567", "only"),
        ("+٣٥٨٤٠١٢٣٤٥٦٧", "not ASCII"),
        ("＋358401234567", "not ASCII"),
        ("+358401234567\u2011", "not ASCII"),
        ("+358\u00a0401234567", "U\\+00A0"),
        ("\u202a+358401234567\u202c", "U\\+202A"),
        ("\u200e+358401234567", "U\\+200E"),
        ("\ufeff+358401234567", "U\\+FEFF"),
        ("+358\t401234567", "U\\+0009"),
        ("+35800401234567", "trunk 0"),
        ("+5703211234567", "trunk 0"),
        ("+358", "country code|too short"),
        ("+4612345", "too short"),
        ("+46401234567890123", "too short or too long|country code"),
        ("+999123456789", "country code"),
        ("+0401234567", "country code"),
        ("0" * 41, "longer than 40"),
        ("1" * 1_000_000, "longer than 40"),
    ],
)
def test_what_is_refused_and_why(text, cause):
    with pytest.raises(ContactError, match=cause) as caught:
        parse_phone(text, "FI")
    assert caught.value.__cause__ is None
    assert "401234567" not in str(caught.value)
    assert read(parse_contact, text) is None


@pytest.mark.parametrize("region", [None, "FI", "US"])
def test_an_unknown_country_code_is_never_read_as_digits_dialled_in_the_region(region):
    # With a region, the library reads +999 123456789 as +1 23456789.
    with pytest.raises(ContactError, match="country code"):
        parse_phone("+999123456789", region)


def test_an_unknown_region_is_named():
    with pytest.raises(ContactError, match="region is unknown"):
        parse_phone("0401234567", "XX")


def check_paths(text: str) -> None:
    assert read(parse_phone, text) == read(module._parse_slowly, text)


plus_digits = st.from_regex(r"\+[0-9]{5,17}", fullmatch=True)
of_the_table = st.sampled_from(sorted(module._PLAIN)).flatmap(
    lambda code: st.from_regex(rf"\+{code}[0-9]{{4,13}}", fullmatch=True)
)


@given(st.one_of(of_the_table, plus_digits))
@example("+3580401234567")
@example("+441800201234")
@example("+37081234567")
@example("+116502530000")
@example("+358401234567\n")
@settings(thorough, max_examples=1000)
def test_the_fast_path_gives_what_the_slow_path_gives(text):
    """For every number both paths give the same contact or both refuse."""
    check_paths(text)


@given(st.from_regex(module._fast.__self__.pattern, fullmatch=True))
@settings(thorough, max_examples=500)
def test_what_the_fast_path_takes_the_library_leaves_as_it_is(text):
    assert module._parse_slowly(text, None).canonical == text


@pytest.mark.parametrize("code", sorted(module._PLAIN))
def test_every_first_digits_of_the_fast_path_are_left_as_they_are(code):
    """Every number plan prefix of four digits, at every length that the table has."""
    for prefix in range(10_000):
        for length in range(5, 13):
            text = f"+{code}{prefix:04}" + "5" * (length - 4)
            if prefix % 10 == 0 and module._fast(text):
                parsed = phonenumbers.parse(text, None)
                assert (
                    phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164) == text
                )
                assert phonenumbers.is_possible_number(parsed)


REGIONS = sorted(phonenumbers.SUPPORTED_REGIONS)


def test_example_numbers_of_every_country_keep_their_form():
    """A country's example mobile number is its own canonical form, however it is grouped."""
    for region in REGIONS:
        number = phonenumbers.example_number_for_type(region, phonenumbers.PhoneNumberType.MOBILE)
        if number is None:
            continue
        e164 = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
        shown = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.INTERNATIONAL)
        national = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.NATIONAL)
        assert parse_phone(e164).canonical == e164, region
        assert parse_phone(shown).canonical == e164, region
        if sum(map(str.isdigit, national)) > 6:
            assert parse_phone(national, region).canonical == e164, region


def test_a_trunk_zero_after_the_country_code_never_makes_another_number():
    """With a 0 put in where a country's trunk prefix is 0: the same number, or refused."""
    for region in REGIONS:
        number = phonenumbers.example_number_for_type(region, phonenumbers.PhoneNumberType.MOBILE)
        if (
            number is None
            or phonenumbers.PhoneMetadata.metadata_for_region(region).national_prefix != "0"
        ):
            continue
        e164 = phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)
        code = f"+{number.country_code}"
        rest = e164.removeprefix(code)
        for text in (f"{code}0{rest}", f"{code}(0){rest}"):
            contact = read(parse_phone, text)
            assert contact is None or contact.canonical == e164, region


@thorough
@given(
    st.text(alphabet="+0123456789 ()-./", max_size=20), st.sampled_from([None, "FI", "SE", "US"])
)
def test_the_canonical_form_is_its_own_canonical_form(text, region):
    """Parsing what parsing gave changes nothing."""
    contact = read(parse_phone, text, region)
    if contact is not None:
        assert parse_phone(contact.canonical) == contact
        assert contact.base == contact.canonical
        assert contact.organisations == ()


@thorough
@given(st.text(max_size=30))
def test_any_text_is_a_contact_or_refused(text):
    read(parse_contact, text, "FI")
