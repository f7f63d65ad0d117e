"""A decision that is looked up is the decision that the rules would reach anew."""

import asyncio

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.contacts.contact import Channel, Tier
from gateway.contacts.digest import subject_of
from gateway.contacts.parse import parse_email
from gateway.decision.domain import DOMAINS
from gateway.decision.engine import decide
from gateway.decision.facts import Kind
from gateway.decision.load import find_rules, load_rules
from gateway.entry.event import Event, EventKind
from gateway.entry.standing import RegisterFacts
from gateway.gate import Gate
from gateway.gate import precedent as module
from gateway.gate.precedent import Precedents, assemble
from gateway.message.traits import Traits, favourable
from gateway.register.register import Register

SETS = [load_rules(find_rules(name)) for name in ("finland", "opt-out")]
some = st.booleans()
traits = st.builds(
    Traits,
    kind=st.sampled_from(Kind),
    channel=st.sampled_from(Channel),
    topic=st.none() | st.just("news"),
    sender_authorised=some,
    opt_out=st.sampled_from(["", "assumed", "List-Unsubscribe"]),
    recognisable=some,
    own_product=some,
    quiet_hours=some,
    urgent=some,
    kind_declared=st.sampled_from(["", "marketing"]),
)
known = st.builds(
    RegisterFacts,
    **{
        name: st.sampled_from(DOMAINS[name])
        if name != "tier"
        else st.none() | st.sampled_from(Tier)
        for name in RegisterFacts._fields
    },
)
SHARED = [Precedents(rules) for rules in SETS]


@settings(deadline=None, max_examples=400)
@given(traits, st.none() | known, st.sampled_from(SHARED))
def test_a_precedent_is_what_the_rules_decide(message, heard, precedents):
    """In a store that is shared by all examples, so that each could find another's."""
    for _ in range(2):
        decision, facts, tier = precedents.find(message, heard)
        assert facts == assemble(message, heard)
        assert decision is decide(facts, precedents.rules)
        assert tier is (None if heard is None else heard.tier)


def test_precedents_are_bounded(monkeypatch):
    monkeypatch.setattr(module, "_MOST", 3)
    precedents = Precedents(SETS[0])
    for kind in Kind:
        for heard in (None, RegisterFacts(), RegisterFacts(ban_all=True)):
            message = Traits(kind)
            decision, _, _ = precedents.find(message, heard)
            assert decision is decide(assemble(message, heard), SETS[0])
            assert len(precedents._found) <= 3


async def test_precedents_end_with_their_rule_set(register_url, ring):
    """After a reload every message is judged by the new rules, by those alone."""
    message = favourable(Kind.SERVICE, "news", None)
    contact = parse_email("a@example.com")
    async with await Register.open(register_url, ring) as register:
        gate = Gate(register)
        for rules in (SETS[0], SETS[1], SETS[0]):
            (verdict,) = await gate.judge(message, [contact], rules)
            assert verdict.decision.rule in rules.rules


async def test_a_verdict_is_the_same_alone_and_among_many(register_url, ring):
    rules = SETS[0]
    message = favourable(Kind.MARKETING, "news", None)
    texts = ["a@example.com", "b+x@example.com", "c@firm.example.org", "d@example.com", "a+y@b.fi"]
    people = [parse_email(text) for text in texts]
    ban = Event(kind=EventKind.BAN, at=7, actor="test")
    async with await Register.open(register_url, ring, settle=5) as register:
        await register.apply_many([(ban, people[0]), (ban, people[1])], settled=False)
        await register.apply_organisation(ban, "example.org", settled=False)
        gate = Gate(register, lambda: 1_795_379_602_872)
        many = await gate.judge(message, people, rules)
        for verdict, person in zip(many, people, strict=True):
            (alone,) = await gate.judge(message, [person], rules)
            assert alone._replace(asked_at=0.0) == verdict._replace(asked_at=0.0)
            assert verdict.contact is person
            assert verdict.digest == ring.text(subject_of(person))
        assert [verdict.outcome.value for verdict in many[:3]] == ["suppress"] * 3
        before = asyncio.get_running_loop().time()
        again = await gate.judge(message, people, rules, many)
        assert again == many
        assert all(verdict.asked_at < before for verdict in again)


async def test_verdicts_say_that_the_register_could_not_be_asked(register_url, ring):
    register = await Register.open(register_url, ring)
    gate = Gate(register)
    await register.aclose()
    people = [parse_email("a@example.com"), parse_email("b@example.com")]
    message = favourable(Kind.MARKETING, "news", None)
    for verdict in await gate.judge(message, people, SETS[0]):
        assert not verdict.facts.register_reachable
        assert verdict.standing is None
        assert verdict.digest == ""
        assert verdict.outcome.value == "defer"
    assert await gate.judge(message, [], SETS[0]) == []
