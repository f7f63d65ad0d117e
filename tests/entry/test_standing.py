"""The law of standing, against a small model of its own."""

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.contacts.contact import Channel, Tier
from gateway.decision.facts import ConsentState, PersonClass, ProductMatch, Relationship
from gateway.entry.entry import (
    ANY_TOPIC,
    Ban,
    Consent,
    ConsentStatus,
    DeliveryReason,
    Entry,
    Scope,
    Undeliverable,
)
from gateway.entry.merging import merge
from gateway.entry.standing import RegisterFacts

DAY = 86_400_000
times = st.integers(0, 12)
topics = st.sampled_from(["news", "offers"])
channels = st.sampled_from(Channel)


@st.composite
def one_ban(draw):
    scope = draw(st.sampled_from([Scope.ALL, Scope.CHANNEL, Scope.TOPIC, Scope.CONTACT]))
    channel = draw(channels) if scope is Scope.CHANNEL else None
    if scope is Scope.TOPIC:
        channel = draw(st.none() | channels)
    return Ban(scope, draw(times), channel, draw(topics) if scope is Scope.TOPIC else None)


consents = st.builds(
    Consent,
    channels,
    st.just(ANY_TOPIC) | topics,
    st.sampled_from(ConsentStatus),
    times,
    st.none() | st.integers(5, 20),
    st.booleans(),
    st.booleans(),
)
lists = st.lists(one_ban(), max_size=3)


def model_blocked(exact_bans, base_bans, given_consents, channel, topic, now):
    """Whether some ban of the person forbids the message, in the plainest words."""
    bans = [*exact_bans, *base_bans]
    for consent in given_consents:
        if consent.status is ConsentStatus.WITHDRAWN:
            scope = Scope.CHANNEL if consent.topic == "*" else Scope.TOPIC
            name = None if consent.topic == "*" else consent.topic
            bans.append(Ban(scope, consent.at, consent.channel, name))
    for ban in bans:
        if ban.channel not in (None, channel):
            continue
        if ban.scope is Scope.TOPIC and topic is not None and ban.topic != topic:
            continue
        lifted = False
        for consent in given_consents:
            good = consent.status is ConsentStatus.GRANTED and consent.proven and consent.lifts
            live = consent.expires is None or now < consent.expires
            if good and live and consent.at > ban.at and consent.channel is channel:
                if ban.scope is Scope.TOPIC:
                    lifted = lifted or consent.topic == ban.topic
                elif ban.scope is not Scope.CONTACT:
                    lifted = lifted or consent.topic in ("*", topic)
        if not lifted:
            return True
    return False


@given(lists, lists, st.lists(consents, max_size=4), channels, st.none() | topics,
       st.integers(0, 25))  # fmt: skip
def test_a_message_is_banned_exactly_when_the_model_says_so(
    exact_bans, base_bans, given_consents, channel, topic, now
):
    exact = Entry(bans=tuple(exact_bans), consents=tuple(given_consents))
    standing = merge([exact], [Entry(bans=tuple(base_bans))])
    facts = standing.facts(channel, topic, None, now)
    blocked = facts.ban_all or facts.ban_channel or facts.ban_topic
    expected = model_blocked(exact_bans, base_bans, given_consents, channel, topic, now)
    assert blocked == expected
    assert (facts.tier is not None) == blocked


@given(lists, st.lists(consents, max_size=3), one_ban(), channels, st.none() | topics)
def test_adding_a_ban_never_loosens(bans, given_consents, more, channel, topic):
    before = merge([Entry(tuple(bans), tuple(given_consents))]).facts(channel, topic, None, 30)
    after = merge([Entry((*bans, more), tuple(given_consents))]).facts(channel, topic, None, 30)
    for name in ("ban_all", "ban_channel", "ban_topic", "ban_contact", "ban_organisation"):
        assert getattr(after, name) >= getattr(before, name)


@given(lists, lists, st.lists(consents, max_size=3), channels, st.none() | topics)
def test_a_second_key_never_loosens_a_ban(first, second, given_consents, channel, topic):
    one = Entry(bans=tuple(first), consents=())
    two = Entry(bans=tuple(second), consents=tuple(given_consents))
    both = merge([one, two]).facts(channel, topic, None, 30)
    alone = merge([Entry(tuple(first), tuple(given_consents))]).facts(channel, topic, None, 30)
    assert both.ban_all >= alone.ban_all
    assert both.ban_channel >= alone.ban_channel
    assert both.ban_topic >= alone.ban_topic


def test_an_unknown_contact_has_the_strictest_facts():
    standing = merge([None], (), [None], "p")
    assert standing.facts(Channel.EMAIL, None, None, 0) == RegisterFacts()
    assert standing.position == "p"


def test_an_organisation_ban_is_not_lifted_by_a_persons_consent():
    consent = Consent(Channel.EMAIL, ANY_TOPIC, ConsentStatus.GRANTED, 10, proven=True, lifts=True)
    standing = merge([Entry(consents=(consent,))], (), [Entry(bans=(Ban(Scope.ORGANISATION, 1),))])
    facts = standing.facts(Channel.EMAIL, None, None, 20)
    assert facts.ban_organisation
    assert not facts.ban_all
    assert facts.tier is Tier.ORGANISATION
    assert facts.consent is ConsentState.GRANTED


def test_a_base_ban_is_told_from_an_exact_one():
    inherited = Entry(bans=(Ban(Scope.ALL, 1, origin=b"aaaa"),))
    standing = merge([inherited])
    assert not standing.known
    assert standing.facts(Channel.EMAIL, None, None, 2).tier is Tier.BASE


def test_a_disclosure_ban_forbids_disclosure_only():
    standing = merge([Entry(bans=(Ban(Scope.DISCLOSURE, 1),))])
    facts = standing.facts(Channel.EMAIL, None, None, 2)
    assert not (facts.ban_all or facts.ban_channel or facts.ban_topic)
    assert standing.disclosure_banned


def test_a_contact_ban_is_also_a_ban_of_all_marketing_and_no_tombstone():
    facts = merge([Entry(bans=(Ban(Scope.CONTACT, 1),))]).facts(Channel.SMS, None, None, 2)
    assert facts.ban_contact
    assert facts.ban_all
    assert not facts.tombstone


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        (None, None, Relationship.NONE),
        (date(1970, 1, 11), None, Relationship.NONE),
        (date(1970, 1, 10), None, Relationship.ACTIVE),
        (date(1970, 1, 1), date(1970, 1, 10), Relationship.ACTIVE),
        (date(1970, 1, 1), date(1970, 1, 9), Relationship.ENDED),
        (None, date(1970, 1, 20), Relationship.NONE),
    ],
)
def test_a_relationship_lasts_to_the_end_of_its_last_day(start, end, expected):
    entry = Entry(relationship_start=start, relationship_end=end)
    now = 9 * DAY + DAY - 1
    assert merge([entry]).facts(Channel.EMAIL, None, None, now).relationship is expected


def test_product_groups_are_compared_folded():
    standing = merge([Entry(product_groups=frozenset({"heating"}))])
    assert standing.facts(Channel.EMAIL, None, " Heating", 0).product is ProductMatch.SAME
    assert standing.facts(Channel.EMAIL, None, "solar", 0).product is ProductMatch.DIFFERENT
    assert standing.facts(Channel.EMAIL, None, None, 0).product is ProductMatch.UNKNOWN


def test_of_two_keys_the_strictest_stated_class_counts():
    legal, natural = Entry(person_class=PersonClass.LEGAL), Entry(person_class=PersonClass.NATURAL)
    for pair in ([legal, natural], [natural, legal]):
        facts = merge(pair).facts(Channel.EMAIL, None, None, 0)
        assert facts.person_class is PersonClass.NATURAL
    assert (
        merge([Entry(restricted=True), legal]).facts(Channel.EMAIL, None, None, 0).person_class
        is PersonClass.LEGAL
    )


def test_a_consent_of_the_future_has_not_been_given():
    """A mistyped year outranked every later ban and withdrawal, and mail left."""
    future = Consent(
        Channel.EMAIL, "*", ConsentStatus.GRANTED, at=1_795_086_400_000, proven=True, lifts=True
    )
    entry = Entry(bans=(Ban(Scope.ALL, 1_794_999_999_999),), consents=(future,), source_known=True)
    facts = merge([entry], (), (), "").facts(Channel.EMAIL, "news", None, 1_795_000_000_000)
    assert facts.ban_all
    assert facts.consent is ConsentState.NONE


def test_a_bounce_counts_for_its_own_spelling_and_a_complaint_for_every_one():
    bounce = Entry(delivery=(Undeliverable(DeliveryReason.HARD_BOUNCE, 1, 50),))
    complaint = Entry(delivery=(Undeliverable(DeliveryReason.COMPLAINT, 1),))

    def fact(standing, now):
        return standing.facts(Channel.EMAIL, None, None, now).undeliverable

    assert fact(merge([bounce]), 49)
    assert not fact(merge([bounce]), 50)
    assert not fact(merge([], [bounce]), 10)
    assert fact(merge([complaint]), 10)
    assert fact(merge([], [complaint]), 10)
    for_a_while = Entry(delivery=(Undeliverable(DeliveryReason.COMPLAINT, 1, 50),))
    assert fact(merge([], [for_a_while]), 49)
    assert not fact(merge([], [for_a_while]), 50)
    assert not merge([bounce]).known
    found = merge([bounce, complaint], [complaint])
    assert {each.reason for each in found.undeliverable(10)} == set(DeliveryReason) - {
        DeliveryReason.REJECTED
    }


def test_no_consent_lifts_a_delivery_suppression():
    consent = Consent(Channel.EMAIL, "*", ConsentStatus.GRANTED, 40, None, True, True)
    bounced = Entry((), (consent,), delivery=(Undeliverable(DeliveryReason.COMPLAINT, 1),))
    facts = merge([bounced]).facts(Channel.EMAIL, None, None, 50)
    assert facts.undeliverable
    assert not facts.ban_all


@given(
    st.lists(
        st.builds(Undeliverable, st.sampled_from(DeliveryReason), times, st.none() | times),
        max_size=3,
        unique_by=lambda each: each.reason,
    ),
    st.lists(
        st.builds(Undeliverable, st.sampled_from(DeliveryReason), times, st.none() | times),
        max_size=3,
        unique_by=lambda each: each.reason,
    ),
    times,
)
def test_of_several_keys_the_strictest_delivery_suppression_counts(first, second, now):
    one, two = (
        Entry(delivery=tuple(sorted(each, key=lambda e: e.reason))) for each in (first, second)
    )
    alone = [
        merge([each]).facts(Channel.EMAIL, None, None, now).undeliverable for each in (one, two)
    ]
    assert merge([one, two]).facts(Channel.EMAIL, None, None, now).undeliverable == any(alone)
    assert merge([one, two]) == merge([two, one])
