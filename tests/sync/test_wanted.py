"""What a tool must hold: never narrower than the register, bans and delivery kept apart."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.connector.connector import Holds
from gateway.connector.suppression import DELIVERY as REASONS
from gateway.connector.suppression import Reason
from gateway.contacts.contact import Channel
from gateway.contacts.parse import parse_contact
from gateway.entry.entry import Ban, DeliveryReason, Entry, Scope, Undeliverable
from gateway.entry.standing import Standing
from gateway.sync.entry import ALL, DELIVERY, ban_of, covers, entry_of, scope_of
from gateway.sync.wanted import as_held, wanted

CONTACT = parse_contact("maija@example.com")
NOW = 1_000_000
TOPICS = ("news", "offers")

bans = st.builds(
    lambda scope, at, channel, topic, origin: Ban(
        scope,
        at,
        channel if scope is Scope.CHANNEL else None,
        topic if scope is Scope.TOPIC else None,
        origin,
    ),
    st.sampled_from([Scope.ALL, Scope.CHANNEL, Scope.TOPIC, Scope.CONTACT, Scope.DISCLOSURE]),
    st.integers(1, NOW),
    st.sampled_from(Channel),
    st.sampled_from(TOPICS),
    st.sampled_from([b"", b"abcd"]),
)
told = st.builds(
    Undeliverable,
    st.sampled_from(DeliveryReason),
    st.integers(1, NOW),
    st.none() | st.integers(1, 2 * NOW),
)
entries = st.builds(
    Entry,
    bans=st.lists(bans, max_size=4, unique_by=lambda ban: ban.key).map(tuple),
    delivery=st.lists(told, max_size=3, unique_by=lambda each: each.reason).map(tuple),
)
standings = st.builds(
    Standing, exact=entries, known=st.just(True), base=st.lists(entries, max_size=1).map(tuple)
)
scopes = st.sampled_from(
    [
        {Scope.ALL, Scope.CHANNEL},
        {Scope.ALL, Scope.CHANNEL, Scope.TOPIC},
        {Scope.ALL},
        {Scope.CHANNEL},
        {Scope.CHANNEL, Scope.TOPIC},
    ]
)
holding = st.builds(
    Holds,
    scopes.map(frozenset),
    st.sampled_from([{Channel.EMAIL}, set(Channel)]).map(frozenset),
    st.sets(st.sampled_from(TOPICS)).map(frozenset),
    delivery=st.sets(st.sampled_from(sorted(REASONS))).map(frozenset),
)
there = st.sets(st.sampled_from([ALL, DELIVERY, "topic:news", "topic:offers"]))


@given(standings, holding, st.booleans(), there)
def test_every_ban_has_an_entry_or_is_told_as_left(standing, holds, wider, stands):
    found = wanted(CONTACT, standing, holds, wider, NOW, there=stands)
    left = {ban_of(ban) for ban in found.left}
    for ban in standing.standing_bans(Channel.EMAIL, NOW):
        name = ban_of(ban)
        held = found.covers(name) or any(covers(one, name) for one in stands)
        assert held or name in left
        if name == ALL and not ({Scope.ALL} == holds.scopes and holds.channels != {Channel.EMAIL}):
            assert held
    assert all(each.scope in holds.scopes for each in found.entries)


@given(standings, holding, st.booleans(), there)
def test_delivery_is_an_entry_of_its_own_and_no_ban_is_one(standing, holds, wider, stands):
    found = wanted(CONTACT, standing, holds, wider, NOW, there=stands)
    legal = [each for each in found.entries if each.reason.legal]
    delivery = [each for each in found.entries if not each.reason.legal]
    assert bool(delivery) == found.delivery
    without = standing._replace(exact=_bare(standing.exact), base=tuple(map(_bare, standing.base)))
    # Bounces and complaints change nothing of what is held by law.
    alone = wanted(CONTACT, without, holds, wider, NOW, there=stands)
    assert legal == list(alone.entries)
    assert found.left == alone.left
    assert len(delivery) <= 1
    for each in delivery:
        assert entry_of(each) == DELIVERY
        assert scope_of(each) == ALL
        assert ALL not in stands
        assert DELIVERY not in stands
        assert ALL not in map(entry_of, legal)
        assert not found.covers(ALL) or alone.covers(ALL)


@given(standings, holding, st.booleans())
def test_what_is_suppressed_now_is_there_as_far_as_the_tool_can(standing, holds, wider):
    found = wanted(CONTACT, standing, holds, wider, NOW)
    reasons = {each.reason for each in standing.undeliverable(NOW)}
    banned = any(entry_of(each) == ALL for each in found.entries)
    complained = DeliveryReason.COMPLAINT in reasons
    bounced = DeliveryReason.HARD_BOUNCE in reasons and Reason.BOUNCE in holds.delivery
    assert found.delivery == ((complained or bounced) and not banned)
    for each in found.entries:
        if entry_of(each) == DELIVERY:
            assert each.reason is (Reason.COMPLAINT if complained else Reason.BOUNCE)


@given(standings, holding, st.booleans())
def test_a_list_is_given_reasons_that_it_has_and_a_bounce_never_as_a_refusal(
    standing, holds, wider
):
    for each in wanted(CONTACT, standing, holds, wider, NOW).entries:
        held = as_held(each, holds)
        assert held.reason.legal or held.reason in holds.delivery
        assert (held.contact, held.scope, held.at) == (each.contact, each.scope, each.at)
        if each.reason is Reason.BOUNCE:
            assert held.reason is Reason.BOUNCE
        if each.reason.legal:
            assert held == each


def test_a_refusal_of_one_service_is_not_told_to_others():
    refused = Entry(delivery=(Undeliverable(DeliveryReason.REJECTED, 1),))
    holds = Holds(frozenset({Scope.CHANNEL}), frozenset({Channel.EMAIL}), delivery=REASONS)
    assert wanted(CONTACT, Standing(refused), holds, False, NOW).entries == ()


def _bare(entry: Entry) -> Entry:
    return Entry(bans=entry.bans, consents=entry.consents)
