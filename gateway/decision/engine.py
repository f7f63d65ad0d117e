"""Decide, and explain what was decided."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gateway.decision.domain import Value
from gateway.decision.facts import Facts
from gateway.decision.rule import Decision, Rule, RuleSet, both, holds
from gateway.decision.tree import Conditions, Tree, grow, walk

__all__ = ["Decision", "Mismatch", "Step", "decide", "explain", "plant"]


@dataclass(frozen=True, slots=True)
class Mismatch:
    """A fact that kept a rule from firing, and the values that would not have."""

    fact: str
    value: Value
    wanted: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class Step:
    """One rule as it was asked."""

    rule: Rule
    matched: bool
    failed: tuple[Mismatch, ...] = ()
    """The first fact that did not fit; of a rule with alternatives, one for each."""


def decide(facts: Facts, rules: RuleSet) -> Decision:
    """The decision of the first rule that holds; it never fails, for a set is total."""
    return walk(rules.tree, facts)


def explain(facts: Facts, rules: RuleSet) -> tuple[Step, ...]:
    """Each rule as it was asked, in order, the last being the one that decided.

    A rule with ``after`` that replaced an outcome comes after the rule replaced.
    """
    steps: list[Step] = []
    for rule in rules.rules:
        if rule.after is None:
            steps.append(_step(rule, facts))
            if steps[-1].matched:
                break
    outcome = steps[-1].rule.then
    for rule in rules.rules:
        if rule.after is outcome:
            step = _step(rule, facts)
            if step.matched:
                return (*steps, step)
            # Asked in vain, so it stands before the rule that decided.
            steps.insert(-1, step)
    return tuple(steps)


def plant(rules: Sequence[Rule]) -> Tree[Decision]:
    """The decision tree of a table's rules.

    A rule with ``after`` becomes a narrower copy in front of each rule whose outcome
    it replaces, which is the same as asking it afterwards.

    Raises:
        Gap: for some facts no rule holds.
    """
    entries: list[tuple[Conditions, Decision]] = []
    for rule in rules:
        if rule.after is not None:
            continue
        for later in rules:
            if later.after is rule.then:
                decision = Decision(later.then, later, replaced=rule)
                entries += [
                    (both(conditions, more), decision)
                    for conditions in rule.alternatives()
                    for more in later.alternatives()
                ]
        decision = Decision(rule.then, rule)
        entries += [(conditions, decision) for conditions in rule.alternatives()]
    return grow(entries)


def _step(rule: Rule, facts: Facts) -> Step:
    if (failed := _mismatch(rule.when, facts)) is not None:
        return Step(rule, False, (failed,))
    if rule.any_of and not any(holds(other, facts) for other in rule.any_of):
        mismatches = (_mismatch(other, facts) for other in rule.any_of)
        return Step(rule, False, tuple(one for one in mismatches if one is not None))
    return Step(rule, True)


def _mismatch(conditions: Conditions, facts: Facts) -> Mismatch | None:
    for fact, allowed in conditions.items():
        value = getattr(facts, fact)
        if value not in allowed:
            return Mismatch(fact, value, tuple(sorted(allowed)))
    return None
