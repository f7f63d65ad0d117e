"""What no import takes in: credit and collection data, and personal identity codes.

The notice keeps them out of the customer register (sections 6 and 8).  They are
refused rather than left out, so that whoever made the file learns of it.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

from gateway.contacts.identity_code import holds_code

CODE = "a personal identity code stands in it; none is kept: take it out of the file"
"""Why a row with a code is refused; the code is not repeated."""

_IDENTITY = "personal identity codes, of which the register keeps none"
_CREDIT = "credit data, which never enters the register"
_COLLECTION = "data on debts and their collection, which never enters the register"

# Without marks, blanks and punctuation; a header that begins so is refused.
_BEGINNINGS = {
    **dict.fromkeys(
        (
            "hetu",
            "henkilotunnus",
            "sotu",
            "sosiaaliturvatunnus",
            "personalidentity",
            "personalidnumber",
            "personnummer",
            "personbeteckning",
            "fodselsnummer",
            "cprnummer",
            "isikukood",
            "nationalid",
            "ssn",
            "socialsecurity",
        ),
        _IDENTITY,
    ),
    **dict.fromkeys(
        (
            "luotto",
            "maksuhairio",
            "credit",
            "kredit",
            "betalningsanmarkning",
            "paymentdefault",
        ),
        _CREDIT,
    ),
    **dict.fromkeys(
        (
            "perinta",
            "perinna",
            "ulosotto",
            "velka",
            "velat",
            "velko",
            "inkasso",
            "indrivning",
            "utsokning",
            "skuld",
            "debt",
            "collectionagency",
            "collectioncase",
            "collectionstatus",
        ),
        _COLLECTION,
    ),
}
_LONGEST = max(map(len, _BEGINNINGS))


def refused(header: str) -> str | None:
    """What a column holds that is never imported, in words; None for any other column."""
    bare = unicodedata.normalize("NFKD", header.casefold())
    plain = "".join(filter(str.isalnum, bare))[:_LONGEST]
    for length in range(3, len(plain) + 1):
        if plain[:length] in _BEGINNINGS:
            return _BEGINNINGS[plain[:length]]
    return None


def code_column(headers: Sequence[str], cells: Sequence[str]) -> str | None:
    """The header of the first cell with a valid personal identity code; None without one."""
    if not holds_code("\n".join(cells)):
        return None
    for header, cell in zip(headers, cells, strict=True):
        if holds_code(cell):
            return header.strip()
    return None
