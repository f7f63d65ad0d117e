"""Telephone numbers in E.164 form.

A number is written with ``+`` and its country code, or in a country's own way
when the region is given.  Only ASCII digits and the separators space ``- . / ( )``
are read; everything else is refused with its cause and nothing is guessed:
letters (keypad letters would become digits), other scripts' digits, NBSP, bidi
marks, schemes (``tel:``, ``whatsapp:``), extensions and lists.

Short codes and alphanumeric names are no telephone numbers: they never match the
register, so they are refused too.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import repeat

from gateway.contacts.contact import Channel, Contact, ContactError, make_contact
from gateway.contacts.invisible import refuse_invisible

# Where the fast path may take ``+`` and digits as they are: the country code, the
# first digits that no trunk prefix of the country begins with (+358 followed by 0
# is another spelling, so it goes the slow way) and the lengths of a national
# number.  Written out, for loading the library's tables of every country takes
# seconds; the tests hold this table against the library.
_PLAIN = {
    "1": "[2-9][0-9]{9}",
    "31": "[1-9][0-9]{8}",
    "32": "[1-9][0-9]{7,8}",
    "33": "[1-9][0-9]{8}",
    "34": "[1-9][0-9]{8}",
    "351": "[1-9][0-9]{8}",
    "353": "[1-9][0-9]{6,8}",
    "354": "[1-9][0-9]{6}",
    "358": "[1-9][0-9]{5,10}",
    "370": "[1-79][0-9]{7}",
    "371": "[1-9][0-9]{7}",
    "372": "[1-9][0-9]{6,7}",
    "39": "3[0-9]{8,9}",
    "41": "[1-9][0-9]{8}",
    "420": "[1-9][0-9]{8}",
    "43": "[1-9][0-9]{6,11}",
    "44": "[2-9][0-9]{9}",
    "45": "[1-9][0-9]{7}",
    "46": "[1-9][0-9]{6,9}",
    "47": "[1-9][0-9]{7}",
    "48": "[1-9][0-9]{8}",
    "49": "[1-9][0-9]{6,12}",
}


def _branches(plain: Mapping[str, str]) -> str:
    """The table as a pattern that goes by one digit of the country code after the other."""
    by_digit: dict[str, dict[str, str]] = {}
    for code, national in plain.items():
        by_digit.setdefault(code[0], {})[code[1:]] = national
    return "|".join(
        digit + (rest[""] if "" in rest else f"(?:{_branches(rest)})")
        for digit, rest in by_digit.items()
    )


_USUAL = rf"\+(?:{_branches(_PLAIN)})"
_fast = re.compile(_USUAL).fullmatch
# One match for many: possessive, for no number's digits can be divided otherwise.
_all_fast = re.compile(rf"(?:{_USUAL}\n)*+").fullmatch

_written = re.compile(r"[ (]*\+?[0-9][0-9 ()./-]*").fullmatch
_e164 = re.compile(r"\+[1-9][0-9]{6,14}").fullmatch

_SMS = Channel.SMS
_LONGEST = 40  # characters; E.164 has 15 digits, the rest are separators
_SHORT_CODE = 6  # digits; national numbers are longer, short codes are not


def parse_phone(text: str, region: str | None = None) -> Contact:
    """The contact that ``text``, one telephone number, stands for.

    ``region`` (ISO 3166-1 alpha-2, such as ``FI``) is where a number without ``+``
    is dialled; then it must also be valid there, so that ``358401234567`` is never
    read as a Swedish number.  A number with ``+`` needs only a possible length:
    number ranges open faster than libraries learn of them.

    Raises:
        ContactError: the text is not one number; the cause does not repeat it.
    """
    if _fast(text):
        return make_contact((_SMS, text, text, ()))
    return _parse_slowly(text, region)


def plain_phones(texts: Sequence[str]) -> list[Contact] | None:
    """:func:`parse_phone` of each, where all take the fast path; else None."""
    lines = "\n".join(texts) + "\n"
    if lines.count("\n") != len(texts) or not _all_fast(lines):
        return None
    return list(map(make_contact, zip(repeat(_SMS), texts, texts, repeat(()))))


def _parse_slowly(text: str, region: str | None) -> Contact:
    number = text.strip(" \t\r\n")
    _refuse_other_kinds(number)
    international = "+" in number
    digits = sum(char.isdigit() for char in number)
    if not international:
        if region is None:
            raise ContactError(
                "the number has no + and no region is set; write it with + and country code"
            )
        if digits <= _SHORT_CODE:
            raise ContactError(
                "six digits or fewer are a short code, no telephone number;"
                " write a short telephone number with + and country code"
            )
    # With a region the library reads an unknown country code (+999…) as digits dialled
    # there, and finds another country's number; so it hears of the region only when needed.
    canonical, valid = _e164_of(number, None if international else region)
    if not (valid or international):
        raise ContactError(
            "the number is not valid in the region set; write it with + and country code"
        )
    # What is left of a trunk prefix written twice would make a second canonical form
    # of one handset's number.
    if _e164_of(canonical, None)[0] != canonical:
        raise ContactError("the number has a trunk prefix after its country code; write it without")
    return Contact(Channel.SMS, canonical, canonical)


def _refuse_other_kinds(number: str) -> None:
    if not number:
        raise ContactError("the number is empty")
    if len(number) > _LONGEST:
        raise ContactError(f"the number is longer than {_LONGEST} characters")
    refuse_invisible(number)
    if not number.isascii():
        raise ContactError("the number has characters that are not ASCII; write digits 0-9")
    if ":" in number:
        raise ContactError("the number has a scheme before it; write the bare number")
    if any(char.isalpha() for char in number):
        raise ContactError("the number has letters; names and keypad letters are no number")
    if any(char in ",;<>" for char in number):
        raise ContactError("one bare number is asked for, not a list or angle brackets")
    if not _written(number):
        raise ContactError("the number may have + in front, digits, spaces and - . / ( ) only")


def _e164_of(number: str, region: str | None) -> tuple[str, bool]:
    """The number in E.164 form, and whether the country's numbering plan has it."""
    # Late: who carries mail alone reads no numbers.
    import phonenumbers

    if region is not None and region.upper() not in phonenumbers.SUPPORTED_REGIONS:
        raise ContactError("the region is unknown; write an ISO 3166-1 code such as FI")
    try:
        parsed = phonenumbers.parse(number, region.upper() if region is not None else None)
    except phonenumbers.NumberParseException:
        raise ContactError("the number has no country code in use, or too few digits") from None
    canonical = phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164)
    if not phonenumbers.is_possible_number(parsed) or not _e164(canonical):
        raise ContactError("the number is too short or too long for its country")
    valid = phonenumbers.is_valid_number(parsed)
    # A zero that stays is either the number's own (Italy) or a trunk prefix that the
    # library's tables do not strip (Colombia); only a numbering plan tells them apart.
    if parsed.italian_leading_zero and not valid:
        raise ContactError("the number has a trunk 0 after its country code; write it without")
    return canonical, valid
