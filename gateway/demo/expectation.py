"""What should become of each sample mailing for each recipient, written by hand.

Nothing here asks the rules: the file beside this module is the yardstick.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from enum import StrEnum
from importlib import resources

_FILE = "expectation.csv"
_TEXT_FILE = "text-expectation.csv"


class Fate(StrEnum):
    """What becomes of a message for one recipient, as the world outside sees it."""

    ARRIVES = "arrives"
    """It lies in the recipient's mail server, unchanged."""
    SUPPRESSED = "suppressed"
    """It does not arrive; the sending tool hears 250."""
    REJECTED = "rejected"
    """It does not arrive; the sending tool hears 550 and the rule, or of a text message
    what the provider says of a number that has opted out."""
    HELD = "held"
    """It waits for a person; the sending tool hears 250."""
    LATER = "later"
    """It is not decided; the sending tool is told to try later, and the record says so."""


@dataclass(frozen=True, slots=True)
class Expected:
    """One recipient of one mailing; ``about`` says who that is."""

    mailing: str
    address: str
    fate: Fate
    rule: str
    about: str


def load_expectation() -> tuple[Expected, ...]:
    """Every expectation of mail, in the order of the file."""
    return _load(_FILE)


def load_text_expectation() -> tuple[Expected, ...]:
    """Every expectation of text messages, in the order of the file."""
    return _load(_TEXT_FILE)


def _load(name: str) -> tuple[Expected, ...]:
    text = resources.files(__package__).joinpath(name).read_text(encoding="utf-8")
    return tuple(
        Expected(row["mailing"], row["address"], Fate(row["fate"]), row["rule"], row["about"])
        for row in csv.DictReader(text.splitlines())
    )
