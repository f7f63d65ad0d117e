"""Decisions reached before: what is alike is decided once under a rule set.

Most recipients of most messages are alike to the register, and most messages of a
client are alike to the rules.  What depends on the time (a consent's expiry, the days
of a relationship) is settled in the register's facts, so equal facts have equal
decisions for as long as the rule set is in force.
"""

from __future__ import annotations

from collections.abc import Callable
from operator import itemgetter
from typing import Any

from gateway.contacts.contact import Tier
from gateway.decision.engine import Decision, decide
from gateway.decision.facts import Facts
from gateway.decision.rule import RuleSet
from gateway.entry.standing import RegisterFacts
from gateway.message.traits import Traits

Precedent = tuple[Decision, Facts, Tier | None]
"""The decision, the facts that it was reached by, and the tier of the ban that decides."""

_MOST = 8192
"""Precedents kept; a rule set meets some dozens.  When there are more, all are dropped."""

_NAMES = (
    "kind",
    "channel",
    "sender_authorised",
    "recognisable",
    "own_product",
    "quiet_hours",
    "urgent",
)
_of_message: Callable[[Traits], tuple[Any, ...]] = itemgetter(*map(Traits._fields.index, _NAMES))
_opt_out: Callable[[Traits], str] = itemgetter(Traits._fields.index("opt_out"))


def likeness(traits: Traits) -> tuple[Any, ...]:
    """What of a message's traits becomes facts."""
    return (*_of_message(traits), not _opt_out(traits))


def assemble(traits: Traits, known: RegisterFacts | None) -> Facts:
    """The facts of one contact and message; ``known`` None: register unreachable."""
    if known is None:
        return Facts(
            kind=traits.kind,
            channel=traits.channel,
            sender_authorised=traits.sender_authorised,
            register_reachable=False,
            opt_out_means=bool(traits.opt_out),
            recognisable=traits.recognisable,
            own_product=traits.own_product,
            quiet_hours=traits.quiet_hours,
            urgent=traits.urgent,
        )
    # By position: this is done for nearly every recipient of every message.
    return Facts(
        traits.kind,
        traits.channel,
        traits.sender_authorised,
        True,  # the register could be asked
        known.known,
        known.tombstone,
        known.ban_all,
        known.ban_channel,
        known.ban_topic,
        known.ban_organisation,
        known.ban_contact,
        known.restricted,
        known.undeliverable,
        bool(traits.opt_out),
        traits.recognisable,
        known.source_known,
        known.age,
        known.guardian_consent,
        known.person_class,
        known.consent,
        known.consent_proven,
        known.relationship,
        known.collected,
        known.opt_out_offered,
        traits.own_product,
        known.product,
        traits.quiet_hours,
        traits.urgent,
    )


class Precedents:
    """The decisions reached under one rule set so far; bounded."""

    __slots__ = ("_found", "rules")

    def __init__(self, rules: RuleSet) -> None:
        self.rules = rules
        self._found: dict[tuple[int, ...], Precedent] = {}

    def find(self, traits: Traits, known: RegisterFacts | None) -> Precedent:
        """The decision for a message and a contact; ``known`` None: register unreachable."""
        like = likeness(traits)
        # Every fact is a bool or a member of an enum: one object for each value, which
        # the precedent keeps alive.  An enum's own hash is a call in Python.
        alike = tuple(map(id, like if known is None else (*like, *known)))
        precedent = self._found.get(alike)
        if precedent is None:
            if len(self._found) >= _MOST:
                self._found.clear()
            facts = assemble(traits, known)
            tier = None if known is None else known.tier
            precedent = self._found[alike] = decide(facts, self.rules), facts, tier
        return precedent
