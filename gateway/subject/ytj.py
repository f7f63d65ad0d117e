"""A snapshot of the Finnish business register (YTJ open data, version 3), read as a stream.

The file is JSON as the register gives it, ``{"companies": [...]}``, an array, or one
object after the other.  At most a piece of 1 MiB and one company (4 MiB at the most) are
in memory, whatever the file's size.

It holds companies and no sole traders, no addresses and no numbers.  What is not in the
allow-list of legal forms, or not in the file, is not known to be a legal person.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

from stdnum.exceptions import ValidationError
from stdnum.fi import ytunnus

from gateway.failure import InputError

_PIECE: Final = 1 << 20
_COMPANY_MOST: Final = 4 << 20
_HEAD: Final = re.compile(r'\s*(?:\{(?:[^\[\]{}]*,)?\s*"companies"\s*:\s*\[|\[)')
_BETWEEN: Final = re.compile(r"[\s,]*")

LEGAL_FORMS: Final[Mapping[str, str]] = {
    "AOY": "2",
    "ASY": "4",
    "AY": "5",
    "AYH": "6",
    "ETY": "8",
    "HY": "9",
    "KOY": "10",
    "KVJ": "11",
    "KVY": "12",
    "KY": "13",
    "OK": "14",
    "OP": "15",
    "OY": "16",
    "OYJ": "17",
    "SÄÄ": "18",
    "SP": "20",
    "TYH": "21",
    "VALTLL": "22",
    "SE": "80",
    "SCE": "83",
    "SCP": "84",
    "VOJ": "VOJ",
    "VOY": "VOY",
    "VY": "VY",
}
"""Forms that are legal persons for certain, by letters and by the register's number.

Left out, and so natural until proven: branches of foreign traders (SL, ETS), which may be
one person's, and areas under residents' rule (ASH).
"""
_BY_CODE: Final = {code: form for form, code in LEGAL_FORMS.items()} | {
    form: form for form in LEGAL_FORMS
}


@dataclass(frozen=True, slots=True)
class Company:
    """One company of the snapshot."""

    business_id: str
    name: str
    form: str
    """Its current legal form, in letters where it is in the allow-list."""
    legal_person: bool


def business_id_of(text: str) -> str:
    """A Y-tunnus as it is written, ``1234567-1``; raises InputError for any other text."""
    try:
        return str(ytunnus.format(ytunnus.validate(text)))
    except ValidationError:
        raise InputError(f"{text}: not a Y-tunnus (seven digits, a dash, a check digit)") from None


def read(path: Path) -> Iterator[Company]:
    """Every company of a snapshot, in the file's order; blocking.

    Raises InputError naming the file and what is wrong.
    """
    number = 0
    try:
        with path.open(encoding="utf-8-sig") as file:
            for found in _objects(path, file):
                number += 1
                yield _company(found)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise InputError(f"{path}: not UTF-8") from None
    except ValidationError:
        raise InputError(f"{path}: company {number} has a business ID that is none") from None
    except (KeyError, TypeError, AttributeError) as error:
        lacks = f" (no {error.args[0]})" if isinstance(error, KeyError) else ""
        raise InputError(
            f"{path}: company {number}{lacks} is not as YTJ open data, version 3, has them"
        ) from None
    if not number:
        raise InputError(f"{path}: there is no company in it")


def _objects(path: Path, file: IO[str]) -> Iterator[Mapping[str, Any]]:
    decoder = json.JSONDecoder()
    text = file.read(_PIECE)
    head = _HEAD.match(text)
    at = 0 if head is None else head.end()
    number = 0
    while True:
        found = _BETWEEN.match(text, at)
        at = at if found is None else found.end()
        if at < len(text) and text[at] in "]}":
            return
        try:
            value, at = decoder.raw_decode(text, at)
        except ValueError:  # also where nothing is left
            if len(text) - at > _COMPANY_MOST:
                raise InputError(f"{path}: company {number + 1} is not JSON") from None
            more = file.read(_PIECE)
            if not more:
                if text[at:].strip():
                    raise InputError(
                        f"{path}: ends in the middle of company {number + 1}"
                    ) from None
                if head is not None:
                    raise InputError(f"{path}: its list of companies has no end") from None
                return
            text, at = text[at:] + more, 0
            continue
        number += 1
        yield value


def _company(found: Mapping[str, Any]) -> Company:
    stated = found["businessId"]
    business_id = ytunnus.format(
        ytunnus.validate(stated["value"] if isinstance(stated, dict) else stated)
    )
    names = [each for each in found["names"] if not each.get("endDate")]
    # Type 1 is the company's own name, the others are names beside it.
    name = next((each["name"] for each in names if str(each.get("type")) == "1"), "")
    forms = [str(each["type"]) for each in found["companyForms"] if not each.get("endDate")]
    form = forms[0] if len(forms) == 1 else ""
    legal = form in _BY_CODE and not found.get("endDate")
    return Company(
        str(business_id),
        name or (names[0]["name"] if names else ""),
        _BY_CODE.get(form, form),
        legal,
    )
