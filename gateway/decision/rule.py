"""What a rule set is made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from gateway.decision.domain import Value
from gateway.decision.facts import Facts, Outcome
from gateway.decision.tree import Conditions, Tree


@dataclass(frozen=True, slots=True)
class Reasons:
    """One sentence in the three languages that the register's people read."""

    fi: str
    sv: str
    en: str

    def get(self, language: str) -> str:
        """The sentence in ``language`` (fi, sv or en), in English where it is another."""
        return {"fi": self.fi, "sv": self.sv}.get(language, self.en)


@dataclass(frozen=True, slots=True)
class Example:
    """A worked example: the facts for which its rule must be the one that fires."""

    facts: Facts
    about: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Rule:
    """One row of the decision table.

    It holds when every fact named in ``when`` has one of the values named there
    and, where ``any_of`` is not empty, every fact of at least one of its
    alternatives has too.  A rule with ``after`` is asked only of what another
    rule would give that outcome, and replaces the outcome.
    """

    id: str
    title: Reasons
    reason: Reasons
    """What the person is told who asks why."""
    source: str
    """The law, ruling or policy it comes from."""
    then: Outcome
    when: Conditions = field(default_factory=dict)
    any_of: tuple[Conditions, ...] = ()
    after: Outcome | None = None
    uncertain: bool = False
    """The law can be read otherwise; the rule set's comment says how."""
    basis: str = ""
    """The legal basis on which a message is forwarded; every forward has one."""
    examples: tuple[Example, ...] = ()

    def alternatives(self) -> tuple[Conditions, ...]:
        """The rule's conditions as plain conjunctions, of which one must hold."""
        if not self.any_of:
            return (self.when,)
        return tuple(both(self.when, other) for other in self.any_of)


@dataclass(frozen=True, slots=True, eq=False)
class Decision:
    """What becomes of a message for one recipient, and by which rule."""

    outcome: Outcome
    rule: Rule
    replaced: Rule | None = None
    """The rule whose outcome this one replaced (a rule with ``after``)."""


@dataclass(frozen=True, slots=True)
class RuleSet:
    """A whole decision table, total over all facts."""

    name: str
    version: str
    hash: str
    """SHA-256 of the file's bytes, in hex: which text a decision was made by."""
    rules: tuple[Rule, ...] = field(repr=False)
    tree: Tree[Decision] = field(repr=False, compare=False)

    def rule(self, rule_id: str) -> Rule:
        """The rule of this id.

        Raises:
            KeyError: there is none.
        """
        for rule in self.rules:
            if rule.id == rule_id:
                return rule
        raise KeyError(rule_id)


def both(one: Conditions, other: Conditions) -> Conditions:
    """The conditions that hold when both hold."""
    joined: dict[str, frozenset[Value]] = dict(one)
    for fact, allowed in other.items():
        joined[fact] = joined.get(fact, allowed) & allowed
    return joined


def holds(conditions: Mapping[str, frozenset[Value]], facts: Facts) -> bool:
    """Whether every fact named in ``conditions`` has one of the values named."""
    return all(getattr(facts, fact) in allowed for fact, allowed in conditions.items())
