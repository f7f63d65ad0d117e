"""The shipped rule sets: total, as the law page's table says, and safe for every facts.

How the full product is covered.  There are five thousand million combinations of facts.
A rule set's tree splits them into a few hundred regions, each fixing some facts and
leaving the others open.  `test_regions_partition_the_product` shows that the regions do
not overlap and leave nothing out; `test_exactly_one_rule_fires` shows, without the tree's
help, that all facts of a region are decided by the same rule: in the rules as written
that rule holds by the fixed facts alone, and every earlier rule fails by them alone.  So
what is then shown for each region is shown for every combination.
"""

from itertools import product
from math import prod

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.decision.domain import DOMAINS, SIZE
from gateway.decision.engine import decide, explain
from gateway.decision.facts import (
    Age,
    Channel,
    Collected,
    ConsentState,
    Facts,
    Kind,
    Outcome,
    PersonClass,
    ProductMatch,
    Relationship,
)
from gateway.decision.load import find_rules, load_rules
from gateway.decision.promise import BANS
from gateway.decision.tree import paths, results, shares

SETS = {name: load_rules(find_rules(name)) for name in ("finland", "opt-out")}
FINLAND = SETS["finland"]
every_set = pytest.mark.parametrize("rules", SETS.values(), ids=SETS)
all_facts = st.builds(Facts, **{name: st.sampled_from(values) for name, values in DOMAINS.items()})
thorough = settings(deadline=None, max_examples=800)

TABLE = (
    "R01 R02 R03 R04 R10s R05 R06 R07 R08 R10 R11 R12 R13 R14 R15 R15d R16 R17 R18 R19 R20"
    " R30 R31 R32 R40 R41 R42 R43 R44 R45 R46 R47 R48 R49 R99 Q1"
)


def the_table(f: Facts) -> str:
    """The decision table of the law page, written out by hand: the rule before Q1."""
    soft = f.opt_out_offered and f.own_product
    active = f.relationship is Relationship.ACTIVE
    if f.kind is Kind.UNCLEAR:
        return "R01"
    if not f.sender_authorised:
        return "R02" if f.kind is Kind.MARKETING else "R03"
    if f.kind is Kind.NOTICE:
        return "R04"
    if f.kind is not Kind.MARKETING:
        if not f.register_reachable:
            return "R10s"
        if f.restricted:
            return "R05"
        if f.kind is Kind.TRANSACTIONAL:
            return "R06"
        return "R07" if not f.known or not active or f.ban_contact else "R08"
    rows = [
        ("R10", not f.register_reachable),
        ("R11", f.tombstone or f.ban_all or f.ban_contact),
        ("R12", f.ban_channel),
        ("R13", f.ban_topic),
        ("R14", f.ban_organisation),
        ("R15", f.restricted),
        ("R15d", f.undeliverable),
        ("R16", not f.opt_out_means),
        ("R17", not f.recognisable),
        ("R18", f.known and not f.source_known),
        ("R19", f.age is Age.UNDER_15 and not f.guardian_consent),
        ("R20", f.age is not Age.ADULT),
        ("R30", f.person_class is PersonClass.LEGAL),
        ("R31", f.person_class is PersonClass.WORK and f.channel is Channel.EMAIL),
        ("R32", f.person_class is PersonClass.WORK),
        ("R40", f.consent is ConsentState.GRANTED and f.consent_proven),
        (
            "R41",
            soft and active and f.collected is Collected.SALE and f.product is ProductMatch.SAME,
        ),
        ("R42", f.consent is ConsentState.GRANTED),
        (
            "R43",
            soft
            and active
            and (
                (f.collected is Collected.SALE and f.product is ProductMatch.UNKNOWN)
                or f.collected is Collected.FREE_ACCOUNT
            ),
        ),
        ("R44", f.relationship is Relationship.ENDED),
        ("R45", active and f.product is ProductMatch.DIFFERENT),
        ("R46", active),
        ("R47", f.consent is ConsentState.PENDING),
        ("R48", f.consent is ConsentState.EXPIRED),
        ("R49", not f.known),
    ]
    return next((row for row, holds in rows if holds), "R99")


def certain(conditions, region):
    """True or False where the region's fixed facts settle it, None where they do not."""
    answer = True
    for fact, allowed in conditions.items():
        if fact not in region:
            answer = None if answer and not allowed.issuperset(DOMAINS[fact]) else answer
        elif region[fact] not in allowed:
            return False
    return answer


def certain_rule(rule, region):
    answers = [certain(conditions, region) for conditions in rule.alternatives()]
    if True in answers:
        return True
    return None if None in answers else False


def some_facts(region):
    """Facts of a region, the open ones at each end of their domains."""
    for end in (0, -1):
        open_facts = {name: values[end] for name, values in DOMAINS.items()}
        yield Facts(**(open_facts | region))


@every_set
def test_regions_partition_the_product(rules):
    """The regions' sizes add up to the product's, and no two regions share facts."""
    regions = [region for region, _ in paths(rules.tree)]
    sizes = [
        prod(len(values) for name, values in DOMAINS.items() if name not in region)
        for region in regions
    ]
    assert sum(sizes) == SIZE
    assert sum(shares(rules.tree).values()) == 1
    for place, one in enumerate(regions):
        for other in regions[:place]:
            assert any(name in other and other[name] != one[name] for name in one)


@every_set
def test_exactly_one_rule_fires(rules):
    """In each region one rule is certain and every rule asked before it fails for certain."""
    for region, decision in paths(rules.tree):
        main = decision.replaced or decision.rule
        for rule in rules.rules:
            if rule.after is not None:
                continue
            if rule is main:
                # An `any` may hold by one alternative here and another there.
                assert all(
                    any(certain(c, region | more) for c in rule.alternatives())
                    for more in open_facts_of(rule, region)
                )
                break
            assert certain_rule(rule, region) is False, (region, rule.id)
        for rule in rules.rules:
            if rule.after is main.then:
                if rule is decision.rule:
                    assert certain_rule(rule, region) is True
                    break
                assert certain_rule(rule, region) is False


def open_facts_of(rule, region):
    names = [n for n in dict.fromkeys(n for c in rule.alternatives() for n in c) if n not in region]
    for values in product(*(DOMAINS[name] for name in names)):
        yield dict(zip(names, values, strict=True))


@every_set
def test_the_tree_and_the_explanation_agree_in_every_region(rules):
    for region, decision in paths(rules.tree):
        for facts in some_facts(region):
            steps = explain(facts, rules)
            assert decide(facts, rules) is decision
            assert steps[-1].rule is decision.rule
            assert steps[-1].matched
            assert [s.rule for s in steps if s.matched] == [
                rule for rule in (decision.replaced, decision.rule) if rule is not None
            ]


def test_finland_is_the_whole_table_in_order():
    assert " ".join(rule.id for rule in FINLAND.rules) == TABLE


def test_finland_decides_as_the_table_written_by_hand_in_every_region():
    for region, _ in paths(FINLAND.tree):
        for facts in some_facts(region):
            check_against_table(facts)


@thorough
@given(all_facts)
def test_finland_decides_as_the_table_written_by_hand(facts):
    check_against_table(facts)


@thorough
@given(
    st.builds(
        Facts,
        **{name: st.sampled_from(values) for name, values in DOMAINS.items()}
        | {
            "kind": st.just(Kind.MARKETING),
            "sender_authorised": st.just(True),
            "register_reachable": st.just(True),
            "opt_out_means": st.just(True),
            "recognisable": st.just(True),
            "source_known": st.just(True),
            "age": st.just(Age.ADULT),
        }
        | {ban: st.just(False) for ban in BANS},
    )
)
def test_finland_decides_marketing_without_bans_as_the_table(facts):
    check_against_table(facts)


def check_against_table(facts: Facts) -> None:
    decision = decide(facts, FINLAND)
    expected = the_table(facts)
    quiet = facts.channel is Channel.SMS and facts.quiet_hours and not facts.urgent
    if FINLAND.rule(expected).then is Outcome.FORWARD and quiet:
        assert decision.rule.id == "Q1"
        assert decision.replaced is not None
        assert decision.replaced.id == expected
    else:
        assert decision.rule.id == expected
        assert decision.replaced is None
    assert decision.outcome is decision.rule.then


def test_finland_keeps_its_doubts_visible():
    uncertain = {rule.id for rule in FINLAND.rules if rule.uncertain}
    assert uncertain == {"R07", "R19", "R20", "R31", "R32", "R43", "R44", "Q1"}
    above = ""
    for line in find_rules("finland").read_text().splitlines():
        if line.startswith("#"):
            above += line
        elif line.startswith("id = "):
            assert ("Uncertain:" in above) == (line.split('"')[1] in uncertain), line
            above = ""


@every_set
def test_every_rule_speaks_three_languages_and_names_its_source(rules):
    for rule in rules.rules:
        for words in (rule.title, rule.reason):
            assert len({words.fi, words.sv, words.en}) == 3
        assert rule.source
        assert rule.basis or rule.then is not Outcome.FORWARD
        assert not any(mark in rule.reason.fi for mark in ("\n", "  "))


@every_set
def test_every_worked_example_fires_its_rule(rules):
    for rule in rules.rules:
        assert rule.examples
        for example in rule.examples:
            assert decide(example.facts, rules).rule is rule, (rule.id, example.about)


RANK = {Outcome.SUPPRESS: 0, Outcome.HOLD: 1, Outcome.DEFER: 2, Outcome.FORWARD: 3}


@every_set
@pytest.mark.parametrize("ban", BANS)
def test_adding_a_ban_never_moves_marketing_towards_forward(rules, ban):
    """For all facts: with the ban the outcome is no nearer to forward than without.

    Every pair of a region without the ban and one with it that share the other facts is
    compared, so every combination is.
    """
    without = [(r, d) for r, d in paths(rules.tree) if marketing(r) and not r.get(ban, False)]
    banned = [(r, d) for r, d in paths(rules.tree) if marketing(r) and r.get(ban, True)]
    pairs = 0
    for region, before in without:
        for other, after in banned:
            if all(other.get(n, v) == v for n, v in region.items() if n != ban):
                pairs += 1
                assert RANK[after.outcome] <= RANK[before.outcome], (before.rule.id, after.rule.id)
    assert pairs > 0


def marketing(region) -> bool:
    return region.get("kind", Kind.MARKETING) is Kind.MARKETING


@every_set
@pytest.mark.parametrize("ban", BANS)
def test_marketing_with_a_ban_is_never_forwarded(rules, ban):
    for decision in results(rules.tree, {"kind": Kind.MARKETING, ban: True}):
        assert decision.outcome is not Outcome.FORWARD
    unreachable = {"kind": Kind.MARKETING, "register_reachable": False}
    for decision in results(rules.tree, unreachable):
        assert decision.outcome in (Outcome.DEFER, Outcome.SUPPRESS)


MARKETING_BANS = [ban for ban in BANS if ban != "restricted"]


@every_set
@pytest.mark.parametrize("kind", [Kind.NOTICE, Kind.TRANSACTIONAL])
def test_bans_never_stop_notices_or_transactional_messages(rules, kind):
    """No rule that such messages can meet asks for a ban at all, so none changes anything."""
    for region, decision in paths(rules.tree):
        if region.get("kind") is kind:
            assert not set(region) & set(MARKETING_BANS)
            assert decision.outcome is not Outcome.SUPPRESS


@thorough
@given(
    all_facts,
    st.sampled_from([Kind.NOTICE, Kind.TRANSACTIONAL]),
    st.sampled_from(["finland", "opt-out"]),
)
def test_bans_change_nothing_for_them(facts, kind, name):
    facts = facts._replace(kind=kind)
    banned = facts._replace(**dict.fromkeys(MARKETING_BANS, True))
    assert decide(facts, SETS[name]) is decide(banned, SETS[name])


def test_an_unreachable_register_leaves_no_untrue_reason():
    """Without the register only notices pass; nothing is held or suppressed on its account."""
    unknown = Facts(sender_authorised=True, register_reachable=False, opt_out_means=True)
    outcome = {kind: decide(unknown._replace(kind=kind), FINLAND).rule.id for kind in Kind}
    assert outcome == {
        Kind.UNCLEAR: "R01",
        Kind.MARKETING: "R10",
        Kind.SERVICE: "R10s",
        Kind.TRANSACTIONAL: "R10s",
        Kind.NOTICE: "R04",
    }


def test_opt_out_stops_marketing_by_bans_and_failed_delivery_alone():
    rules = SETS["opt-out"]
    facts = Facts(kind=Kind.MARKETING)
    assert decide(facts, rules).outcome is Outcome.FORWARD
    for ban in BANS:
        assert decide(facts._replace(**{ban: True}), rules).outcome is Outcome.SUPPRESS
    assert decide(facts._replace(undeliverable=True), rules).rule.id == "O25"
    asked = {name for region, _ in paths(rules.tree) for name in region}
    assert asked == {"kind", "register_reachable", "undeliverable", *BANS}


@every_set
def test_undeliverable_stops_marketing_and_nothing_else(rules):
    """Over every region: marketing is suppressed, and what no ban stops is not stopped by it."""
    for decision in results(rules.tree, {"kind": Kind.MARKETING, "undeliverable": True}):
        assert decision.outcome in (Outcome.SUPPRESS, Outcome.DEFER)
    for region, _ in paths(rules.tree):
        if region.get("kind") is not Kind.MARKETING:
            assert "undeliverable" not in region


@thorough
@given(all_facts, st.sampled_from(["finland", "opt-out"]))
def test_a_legal_ban_is_named_before_a_failed_delivery(facts, name):
    """Where a ban or a restriction decides, that mail bounced changes nothing."""
    facts = facts._replace(undeliverable=False)
    bounced = facts._replace(undeliverable=True)
    banned = any(getattr(facts, ban) for ban in BANS) or not facts.register_reachable
    if banned or facts.kind is not Kind.MARKETING:
        assert decide(facts, SETS[name]) is decide(bounced, SETS[name])
    else:
        assert decide(bounced, SETS[name]).rule.id in ("R02", "R15d", "O25")
