"""Where a text message is to go, as a provider's request writes it.

Providers differ in one thing: whether a number's digits alone are international.
Short codes and names are destinations of their own kind: they never match the register,
and are never taken for the telephone number that their digits or letters would make.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import Enum

from gateway.contacts.contact import Contact, ContactError
from gateway.contacts.phone import parse_phone, plain_phones

_DIGITS = re.compile("[0-9]+")
_digits = _DIGITS.fullmatch
_LETTER = re.compile(r"[^\W\d_]")
_SHORT_CODE = 6


class Notation(Enum):
    """How a provider writes numbers."""

    PLUS = "plus"
    """With ``+``; digits alone are national, and nobody knows of where."""
    INTERNATIONAL = "international"
    """``+`` may be left out or written ``00``: the digits begin with the country code."""


class ShortCode(ContactError):
    """A short code: a service, no person."""


class Name(ContactError):
    """An alphanumeric name, which can send and not receive."""


def parse_destination(text: str, notation: Notation = Notation.PLUS) -> Contact:
    """The contact that a destination stands for.

    Raises:
        ShortCode: six digits or fewer.
        Name: it has letters and no scheme.
        ContactError: it is nothing that anybody could be asked about.

    """
    if text[:1] == "+":
        return parse_phone(text)
    number = text.strip(" \t\r\n")
    if _digits(number):
        if len(number) <= _SHORT_CODE:
            raise ShortCode("a short code is no person's number")
        if notation is Notation.INTERNATIONAL:
            return parse_phone("+" + number.removeprefix("00"))
    elif _LETTER.search(number) and ":" not in number:
        raise Name("a name is no person's number")
    elif notation is Notation.INTERNATIONAL and "+" not in number:
        bare = number.lstrip("( ")
        if bare.startswith("00"):
            return parse_phone("+" + bare[2:].lstrip(" (-./"))
        if bare[:1].isdigit():
            return parse_phone("+" + bare)
    return parse_phone(number)


def plain_destinations(
    destinations: Sequence[str], notation: Notation = Notation.PLUS
) -> list[Contact] | None:
    """The contacts of all of them, where each is nothing but a usual number's digits.

    :func:`parse_destination` of each at once; None: at least one is written otherwise.
    """
    if notation is Notation.INTERNATIONAL:
        destinations = [text if text[:1] == "+" else "+" + text for text in destinations]
    return plain_phones(destinations)


def international_digits(text: str) -> str:
    """The digits of a number as providers write them that want no ``+``; "" for a name."""
    if _LETTER.search(text):
        return ""
    return "".join(_DIGITS.findall(text)).removeprefix("00")
