"""A message of a submission with the verdicts on its recipients."""

from __future__ import annotations

from operator import attrgetter
from typing import NamedTuple

from gateway.contacts.contact import Contact
from gateway.decision.facts import Outcome
from gateway.gate import Verdict
from gateway.message.traits import Traits
from gateway.provider.submission import Fate, Message

_outcome = attrgetter("decision.outcome")


class Addressees(NamedTuple):
    """A message's destinations, read."""

    contacts: list[Contact]
    """Each number once."""
    places: list[int]
    """Of each contact, where its destination stands."""
    fates: list[Fate]
    """Of each destination; those that were asked about stand as SENT until then."""
    cause: str
    """What is wrong with the first that is no number; never the number itself."""


class Judged(NamedTuple):
    """One message, judged."""

    message: Message
    traits: Traits
    addressees: Addressees
    verdicts: list[Verdict]
    """One for each contact."""
    groups: list[tuple[Traits, list[int]]]
    """The contacts' places in ``verdicts`` by the traits that they were judged with."""
    until: list[int | None]
    """Of each contact, when its quiet hours are over (ms); None: it has none now."""


def outcomes_of(judged: Judged) -> list[Outcome]:
    """What was decided for each contact, in order."""
    return list(map(_outcome, judged.verdicts))


def resting(judged: Judged, place: int) -> bool:
    """Whether a contact's message waits for nothing but the end of its quiet hours."""
    verdict = judged.verdicts[place]
    return (
        verdict.outcome is Outcome.DEFER
        and judged.until[place] is not None
        and verdict.standing is not None
    )
