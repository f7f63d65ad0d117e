"""What libraries know of a telephone number: its regions, their clocks, their holidays.

The libraries are imported inside the functions: a worker that carries mail alone
never asks for a clock or a calendar, and must not hold their tables.  What they do
not know is answered with nothing (no region, no clock, no holiday), never with a
failure: a gap in a table of one country must not stop a message to another.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import date
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable
    from zoneinfo import ZoneInfo

# Regions with a country code of their own that the time zone database, which follows
# ISO 3166, does not list: Kosovo, Ascension, Tristan da Cunha.
_UNLISTED: dict[str, tuple[str, ...]] = {
    "XK": ("Europe/Belgrade",),
    "AC": ("Atlantic/St_Helena",),
    "TA": ("Atlantic/St_Helena",),
}

# The library's mark of codes that belong to no country (UN M.49: the world).
_NO_COUNTRY = "001"

# Characters of a number that settle its region where several share a country code: the
# North American plan goes by area code (and one digit for the Dominican 1 800 1), Jersey
# and Vatican City sit five digits deep in the plans of Britain and Italy; the deepest
# are Christmas and Cocos in Australia's.  The tests hold this against the library.
_DEEPEST = 10
_DEEP = {"+1": 6, "+3": 8, "+4": 8}


def leading(number: str) -> str:
    """The number with zeros for the digits that do not tell its region.

    All numbers of a range share it, which is what lets a small cache serve a list
    of ten thousand recipients.
    """
    return number[: _DEEP.get(number[:2], _DEEPEST)].ljust(len(number), "0")


def sharing(number: str) -> tuple[str, ...]:
    """The regions that share the country code of an E.164 number, the main one first.

    The first four characters settle it.  None for a code that belongs to no country
    (+800, +883) and for what is no number.
    """
    return _regions_of_code(_code(number))


def regions(number: str) -> tuple[str, ...]:
    """The regions where the holder of an E.164 number may be: one, where the plan tells.

    All that share the country code where it does not: a range that the library has
    not heard of, or a number that belongs to no single country of the plan.
    """
    code = _code(number)
    shared = _regions_of_code(code)
    national = number[1 + len(code) :]
    if len(shared) <= 1 or not (national.isascii() and national.isdigit()):
        return shared
    from phonenumbers import PhoneNumber, region_code_for_number

    # Built instead of parsed, which would take five times as long: the digits of an
    # E.164 number need no reading.
    zeros = len(national) - len(national.lstrip("0"))
    parts = PhoneNumber(
        country_code=int(code),
        national_number=int(national),
        italian_leading_zero=zeros > 0,
        number_of_leading_zeros=zeros or None,
    )
    region = region_code_for_number(parts)
    return shared if region is None else (region,)


def _code(number: str) -> str:
    """The country code of an E.164 number, from its first four characters; empty if unknown."""
    from phonenumbers import COUNTRY_CODE_TO_REGION_CODE

    digits = number[1:4]
    if number[:1] == "+" and digits.isascii() and digits.isdigit() and digits[0] != "0":
        for length in (1, 2, 3):
            if int(digits[:length]) in COUNTRY_CODE_TO_REGION_CODE:
                return digits[:length]
    return ""


def _regions_of_code(code: str) -> tuple[str, ...]:
    from phonenumbers import COUNTRY_CODE_TO_REGION_CODE

    shared = COUNTRY_CODE_TO_REGION_CODE.get(int(code)) if code else None
    return () if shared is None or _NO_COUNTRY in shared else shared


def clocks(region: str) -> tuple[ZoneInfo, ...]:
    """The time zones of a region, in the order of the time zone database."""
    from zoneinfo import ZoneInfo

    found = []
    for name in _zone_names().get(region, _UNLISTED.get(region, ())):
        try:
            found.append(ZoneInfo(name))
        except (KeyError, ValueError, OSError):
            # The table may be newer than the zones beside it.
            continue
    return tuple(found)


@lru_cache(maxsize=1)
def _zone_names() -> dict[str, tuple[str, ...]]:
    """The names of each region's time zones: the database's own ``zone.tab``.

    Read from where ``zoneinfo`` takes the zones: the system's folders, else the
    package ``tzdata``.
    """
    from importlib.resources import files
    from zoneinfo import TZPATH

    tables: list[Traversable] = [Path(folder, "zone.tab") for folder in TZPATH]
    # Without the package either the system has the table or no region has a clock.
    with suppress(ModuleNotFoundError):
        tables.append(files("tzdata") / "zoneinfo" / "zone.tab")
    for table in tables:
        try:
            lines = table.read_text(encoding="utf-8").splitlines()
        except OSError:
            continue
        names: dict[str, tuple[str, ...]] = {}
        for line in lines:
            if not line.startswith("#"):
                region, _, name, *_ = line.split("\t")
                names[region] = (*names.get(region, ()), name)
        return names
    return {}


# A year of one country is some 2 kB, and a worker meets few countries and two years.
@lru_cache(maxsize=512)
def public_holidays(region: str, year: int) -> frozenset[date]:
    """The days of a year that are public holidays in the whole of a region.

    Empty for a region that the library does not know.
    """
    import holidays

    try:
        days = holidays.country_holidays(
            region, years=year, expand=False, categories=(holidays.PUBLIC,)
        )
        # Some countries' rules add days of the neighbouring year (observed on 31.12.).
        return frozenset(day for day in days if day.year == year)
    except Exception:
        # Each country is a program of its own in there, so any fault may come; a
        # message that could go on a holiday is better than a country that gets none.
        return frozenset()
