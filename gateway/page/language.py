"""In which of the three languages a page is shown."""

from __future__ import annotations

from typing import Final

from gateway.settings.public import Language

LANGUAGES: Final[tuple[Language, ...]] = ("fi", "sv", "en")
NAMES: Final[dict[Language, str]] = {"fi": "Suomi", "sv": "Svenska", "en": "English"}
"""Each language in its own words."""
_WEIGHED: Final = 30
"""Languages of a header that are looked at."""


def language_of(asked: str, of_person: str, header: str) -> Language:
    """The language asked for, else the link's or person's, else the browser's, else Finnish.

    ``header`` is ``Accept-Language`` (RFC 9110 section 12.5.4).
    """
    return known(asked) or known(of_person) or preferred(header) or "fi"


def known(text: str) -> Language | None:
    """The language that a tag begins with (``sv-FI``), if the pages speak it."""
    primary = text.strip().partition("-")[0].lower()
    return next((one for one in LANGUAGES if one == primary), None)


def preferred(header: str) -> Language | None:
    """The language of an ``Accept-Language`` header with the greatest weight; None: none of ours.

    Of several with the same weight the first one named.
    """
    best: Language | None = None
    greatest = 0.0
    for item in header.split(",")[:_WEIGHED]:
        tag, *parameters = item.split(";")
        language = known(tag)
        weight = _weight(parameters)
        if language is not None and weight > greatest:
            best, greatest = language, weight
    return best


def _weight(parameters: list[str]) -> float:
    for one in parameters:
        name, _, value = one.partition("=")
        if name.strip().lower() == "q":
            try:
                weight = float(value)
            except ValueError:
                return 0.0
            return weight if 0 <= weight <= 1 else 0.0
    return 1.0
