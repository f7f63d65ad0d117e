"""The decision tree decides what asking rule by rule decides, for any rules."""

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.decision.domain import DOMAINS, SIZE
from gateway.decision.engine import Mismatch, decide, explain, plant
from gateway.decision.facts import Channel, Facts, Kind, Outcome
from gateway.decision.load import find_rules, load_rules
from gateway.decision.rule import Reasons, Rule, RuleSet
from gateway.decision.tree import Branch, Gap, paths, shares

thorough = settings(deadline=None, max_examples=150)
WORDS = Reasons("fi", "sv", "en")

all_facts = st.builds(Facts, **{name: st.sampled_from(values) for name, values in DOMAINS.items()})
# Few facts, so that the rules meet.
FEW = ["kind", "channel", "known", "ban_all", "age", "consent"]


def values_of(fact):
    return st.frozensets(st.sampled_from(DOMAINS[fact]), min_size=1)


conditions = st.lists(st.sampled_from(FEW), unique=True, max_size=4).flatmap(
    lambda names: st.fixed_dictionaries({name: values_of(name) for name in names})
)


@st.composite
def rule_sets(draw):
    rules = []
    for place in range(draw(st.integers(0, 7))):
        rules.append(
            Rule(
                id=f"R{place}",
                title=WORDS,
                reason=WORDS,
                source="",
                then=draw(st.sampled_from(Outcome)),
                when=draw(conditions),
                any_of=tuple(draw(st.lists(conditions, max_size=3))),
                after=draw(st.sampled_from([None, None, *Outcome])),
            )
        )
    rules.append(Rule("R99", WORDS, WORDS, "", Outcome.SUPPRESS))
    return RuleSet("drawn", "1", "", tuple(rules), plant(rules))


def naive(facts, rules):
    """The first rule that holds, then the first that replaces its outcome."""

    def fits(wanted):
        return all(getattr(facts, name) in allowed for name, allowed in wanted.items())

    def fires(rule):
        return fits(rule.when) and (not rule.any_of or any(map(fits, rule.any_of)))

    main = next(rule for rule in rules.rules if rule.after is None and fires(rule))
    for rule in rules.rules:
        if rule.after is main.then and fires(rule):
            return rule, main
    return main, None


@thorough
@given(rule_sets(), st.lists(all_facts, min_size=1, max_size=8))
def test_the_tree_decides_as_the_rules_asked_one_by_one(rules, several):
    """For any rules and facts the tree, the explanation and the naive reading agree."""
    for facts in several:
        rule, replaced = naive(facts, rules)
        decision = decide(facts, rules)
        assert (decision.rule, decision.replaced) == (rule, replaced)
        assert decision.outcome is rule.then
        steps = explain(facts, rules)
        assert steps[-1].rule is rule
        assert [step.rule for step in steps if step.matched] == [
            one for one in (replaced, rule) if one is not None
        ]
        for step in steps:
            assert step.matched == (not step.failed)
            for failed in step.failed:
                assert getattr(facts, failed.fact) is failed.value
                assert failed.value not in failed.wanted


@thorough
@given(rule_sets())
def test_every_path_asks_a_fact_once_and_branches_over_its_whole_domain(rules):
    def check(node, asked):
        if isinstance(node, Branch):
            assert node.fact not in asked
            assert set(node.children) == set(DOMAINS[node.fact])
            for child in node.children.values():
                check(child, asked | {node.fact})

    check(rules.tree, frozenset())
    assert sum(shares(rules.tree).values()) == 1
    assert sum(1 for _ in paths(rules.tree)) >= 1


@thorough
@given(st.lists(conditions, max_size=5), all_facts)
def test_a_gap_is_a_region_that_no_rule_decides(several, facts):
    rules = [
        Rule(f"R{place}", WORDS, WORDS, "", Outcome.HOLD, when=when)
        for place, when in enumerate(several)
    ]
    try:
        plant(rules)
    except Gap as gap:
        inside = Facts(**(facts._asdict() | gap.region))
        for rule in rules:
            assert any(getattr(inside, name) not in want for name, want in rule.when.items())


def test_the_domains_are_those_of_the_facts():
    assert set(DOMAINS) == set(Facts._fields)
    assert DOMAINS["kind"] == tuple(Kind)
    assert DOMAINS["known"] == (False, True)
    assert SIZE > 10**9


def test_explain_names_what_kept_a_rule_from_firing():
    rules = load_rules(find_rules("finland"))
    facts = Facts(
        kind=Kind.MARKETING,
        channel=Channel.SMS,
        sender_authorised=True,
        opt_out_means=True,
        known=True,
        source_known=True,
        ban_channel=True,
    )
    steps = {step.rule.id: step for step in explain(facts, rules)}
    assert list(steps) == [rule.id for rule in rules.rules[:12]]
    assert steps["R12"].matched
    assert steps["R01"].failed == (Mismatch("kind", Kind.MARKETING, (Kind.UNCLEAR,)),)
    assert [failed.fact for failed in steps["R11"].failed] == [
        "tombstone",
        "ban_all",
        "ban_contact",
    ]


def test_reasons_come_in_the_language_asked_for():
    assert [WORDS.get(language) for language in ("fi", "sv", "en", "de")] == [
        "fi",
        "sv",
        "en",
        "en",
    ]
