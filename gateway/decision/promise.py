"""What no rule set may break, whatever law it follows.

A rule file is edited by people; a rule moved above the bans would send marketing to
those who have banned it.  The loader refuses such a table.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gateway.decision.domain import Value
from gateway.decision.facts import Kind, Outcome

BANS = (
    "tombstone",
    "ban_all",
    "ban_channel",
    "ban_topic",
    "ban_organisation",
    "ban_contact",
    "restricted",
)
"""The facts of which any one alone keeps marketing from being forwarded."""


@dataclass(frozen=True, slots=True)
class Promise:
    """The outcomes that no facts of ``region`` may have."""

    region: Mapping[str, Value]
    never: frozenset[Outcome]
    text: str


PROMISES: tuple[Promise, ...] = (
    *(
        Promise(
            {"kind": Kind.MARKETING, ban: True},
            frozenset({Outcome.FORWARD}),
            "marketing is never forwarded against a ban, an erasure or a restriction",
        )
        for ban in BANS
    ),
    Promise(
        {"kind": Kind.MARKETING, "register_reachable": False},
        frozenset({Outcome.FORWARD}),
        "marketing is never forwarded while bans cannot be checked",
    ),
    Promise(
        {"kind": Kind.UNCLEAR},
        frozenset({Outcome.FORWARD, Outcome.SUPPRESS}),
        "a message of unclear kind waits for a person",
    ),
    *(
        Promise(
            {"kind": kind},
            frozenset({Outcome.SUPPRESS}),
            "only marketing is ever suppressed; other messages are held at worst",
        )
        for kind in (Kind.SERVICE, Kind.TRANSACTIONAL, Kind.NOTICE)
    ),
)
"""Every promise; each is checked over the full product of facts."""
