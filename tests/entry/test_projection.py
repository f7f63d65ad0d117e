"""The projection: strictest wins, an import never lifts, the latest word counts."""

from dataclasses import replace
from datetime import date

from hypothesis import given
from hypothesis import strategies as st

from gateway.clock import CLOCK_SKEW_MS
from gateway.contacts.contact import Channel
from gateway.decision.facts import Collected, PersonClass
from gateway.entry.codec import decode, encode
from gateway.entry.entry import (
    EMPTY,
    Ban,
    ConsentStatus,
    DeliveryReason,
    Entry,
    Scope,
    Undeliverable,
)
from gateway.entry.event import Attributes, Event, EventKind
from gateway.entry.merging import merge
from gateway.entry.projection import MAX_ORIGINS, project

NOW = 1_000_000_000
channels = st.sampled_from(Channel)
topics = st.sampled_from(["*", "news", "offers"])
scopes = st.sampled_from(Scope)
moments = st.integers(0, 30)


@st.composite
def events(draw, kinds=tuple(EventKind), imported=None):
    kind = draw(st.sampled_from(kinds))
    members = {
        "kind": kind,
        "at": draw(moments),
        "actor": "a",
        "channel": draw(channels),
        "topic": draw(topics),
        "imported": draw(st.booleans()) if imported is None else imported,
        "undated": draw(st.booleans()),
        "proven": draw(st.booleans()),
        "lifts": draw(st.booleans()),
        "origin": draw(st.sampled_from([b"", b"", b"aaaa", b"bbbb"])),
    }
    if kind in (EventKind.BAN, EventKind.UNBAN):
        members["scope"] = draw(scopes)
    if kind is EventKind.CONSENT:
        members["status"] = draw(st.sampled_from([ConsentStatus.GRANTED, ConsentStatus.PENDING]))
        members["expires"] = draw(st.none() | moments)
    if kind is EventKind.UNDELIVERABLE:
        members["delivery"] = draw(st.sampled_from(DeliveryReason))
        members["expires"] = draw(st.none() | moments)
    if kind is EventKind.DELIVERABLE:
        members["delivery"] = draw(st.none() | st.sampled_from(DeliveryReason))
    if kind is EventKind.DESCRIBE:
        members["attributes"] = Attributes(collected=draw(st.sampled_from(Collected)))
    return Event(**members)


def replayed(log, entry=EMPTY):
    for event in log:
        entry = project(entry, event)
    return entry


def blocked(entry, channel, topic, now=NOW):
    facts = merge([entry]).facts(channel, topic, None, now)
    return facts.ban_all or facts.ban_channel or facts.ban_topic or facts.ban_organisation


@given(st.lists(events(), max_size=12))
def test_every_projected_entry_has_one_form(log):
    entry = replayed(log)
    assert decode(encode(entry)) == entry
    keys = [ban.key for ban in entry.bans]
    assert keys == sorted(set(keys))
    keys = [consent.key for consent in entry.consents]
    assert keys == sorted(set(keys))
    reasons = [each.reason for each in entry.delivery]
    assert reasons == sorted(set(reasons))


@given(st.lists(events(), max_size=12), events())
def test_an_event_applied_twice_changes_nothing_more(log, event):
    once = project(replayed(log), event)
    assert project(once, event) == once


@given(st.lists(events(), max_size=10), st.lists(events(imported=True), max_size=6))
def test_an_import_never_lifts_a_ban(log, imported):
    before = replayed(log)
    after = replayed(imported, before)
    for channel in Channel:
        for topic in (None, "news", "offers", "other"):
            if blocked(before, channel, topic, now=20):
                assert blocked(after, channel, topic, now=20)
    assert {ban.key for ban in before.bans} <= {
        (*ban.key[:3], origin) for ban in after.bans for origin in (ban.origin, b"aaaa", b"bbbb")
    }


@given(st.lists(events(), max_size=10), channels, st.sampled_from(["news", "offers"]))
def test_a_withdrawn_consent_bans_until_a_later_lifting_one(log, channel, topic):
    entry = replayed(log)
    withdrawal = Event(kind=EventKind.WITHDRAW, at=40, actor="a", channel=channel, topic=topic)
    entry = project(entry, withdrawal)
    assert blocked(entry, channel, topic)
    grant = Event(
        kind=EventKind.CONSENT, at=41, actor="a", channel=channel, topic=topic, proven=True
    )
    assert blocked(project(entry, grant), channel, topic)


OBJECTIONS = st.sampled_from([EventKind.BAN, EventKind.WITHDRAW, EventKind.ERASE])


@given(OBJECTIONS, st.integers(0, CLOCK_SKEW_MS), st.integers(1, CLOCK_SKEW_MS))
def test_an_objection_outranks_a_consent_that_its_clock_has_not_reached(kind, late, ahead):
    grant = Event(
        kind=EventKind.CONSENT,
        at=NOW + ahead,
        actor="a",
        channel=Channel.EMAIL,
        topic="news",
        proven=True,
        lifts=True,
    )
    entry = project(EMPTY, grant)
    assert not blocked(entry, Channel.EMAIL, "news", now=NOW)
    objection = Event(
        kind=kind,
        at=NOW - late,
        recorded=NOW,
        actor="a",
        channel=Channel.EMAIL,
        topic="news",
    )
    objected = project(entry, objection)
    assert blocked(objected, Channel.EMAIL, "news", now=NOW)
    # One that tells of long ago does not, and neither does a list's.
    for old in (
        replace(objection, at=NOW - CLOCK_SKEW_MS - 1),
        replace(objection, imported=True),
    ):
        if kind is EventKind.BAN:
            assert not blocked(project(entry, old), Channel.EMAIL, "news", now=NOW)


@given(st.lists(events(kinds=(EventKind.BAN, EventKind.UNBAN)), max_size=10), scopes)
def test_a_ban_after_an_unban_stands(log, scope):
    entry = replayed(log)
    what = {"actor": "a", "scope": scope, "channel": Channel.EMAIL, "topic": "news"}
    entry = project(entry, Event(kind=EventKind.UNBAN, at=50, **what))
    entry = project(entry, Event(kind=EventKind.BAN, at=51, **what))
    assert any(ban.scope is scope and ban.at == 51 for ban in entry.bans)
    entry = project(entry, Event(kind=EventKind.UNBAN, at=51, **what))
    assert not any(ban.scope is scope and ban.at == 51 for ban in entry.bans)


def test_a_stale_unban_leaves_a_newer_ban():
    entry = Entry(bans=(Ban(Scope.ALL, 10),))
    assert project(entry, Event(kind=EventKind.UNBAN, at=9, actor="a", scope=Scope.ALL)) == entry


def test_erasing_forgets_all_but_the_bans():
    entry = Entry(
        bans=(Ban(Scope.TOPIC, 1, None, "news"),),
        person_class=PersonClass.LEGAL,
        relationship_start=date(2020, 1, 1),
        product_groups=frozenset({"x"}),
        source_known=True,
    )
    erased = project(entry, Event(kind=EventKind.ERASE, at=9, actor="a"))
    assert erased == Entry(
        bans=(Ban(Scope.ALL, 9), Ban(Scope.TOPIC, 1, None, "news")), tombstone=True
    )
    describe = Event(
        kind=EventKind.DESCRIBE,
        at=10,
        actor="a",
        imported=True,
        attributes=Attributes(person_class=PersonClass.LEGAL),
    )
    assert project(erased, describe) == erased
    unban = Event(kind=EventKind.UNBAN, at=11, actor="a", scope=Scope.ALL)
    assert not project(erased, unban).tombstone


def test_an_undated_ban_refreshes_nothing():
    entry = Entry(bans=(Ban(Scope.ALL, 10),))
    again = Event(kind=EventKind.BAN, at=20, actor="a", imported=True, undated=True)
    assert project(entry, again) is entry
    assert project(entry, replace(again, undated=False)).bans == (Ban(Scope.ALL, 20),)


def test_a_new_relationship_ends_the_ended_one():
    entry = Entry(relationship_start=date(2020, 1, 1), relationship_end=date(2021, 1, 1))
    event = Event(
        kind=EventKind.RELATIONSHIP,
        at=1,
        actor="a",
        attributes=Attributes(relationship_start=date(2022, 1, 1)),
    )
    assert project(entry, event).relationship_end is None


def test_many_inherited_bans_are_joined_and_stay_a_ban():
    entry = EMPTY
    for number in range(MAX_ORIGINS + 5):
        origin = number.to_bytes(4, "big")
        entry = project(entry, Event(kind=EventKind.BAN, at=number, actor="a", origin=origin))
    assert len(entry.bans) == 1
    assert entry.bans[0].inherited
    assert not entry.own


def test_each_spelling_lifts_only_its_own_inherited_ban():
    ban = Event(kind=EventKind.BAN, at=1, actor="a", origin=b"aaaa")
    entry = replayed([ban, replace(ban, origin=b"bbbb")])
    unban = Event(kind=EventKind.UNBAN, at=2, actor="a", scope=Scope.ALL, origin=b"aaaa")
    assert project(entry, unban).bans == (Ban(Scope.ALL, 1, origin=b"bbbb"),)


# -- delivery

BOUNCE, COMPLAINT = DeliveryReason.HARD_BOUNCE, DeliveryReason.COMPLAINT


def undeliverable(at, reason=BOUNCE, expires=None, **members):
    kind = EventKind.UNDELIVERABLE
    return Event(kind=kind, at=at, actor="a", delivery=reason, expires=expires, **members)


def deliverable(at, reason=None, **members):
    return Event(kind=EventKind.DELIVERABLE, at=at, actor="a", delivery=reason, **members)


def reasons(entry):
    return [each.reason for each in entry.delivery]


@given(
    st.lists(events(kinds=(EventKind.UNDELIVERABLE,), imported=False), max_size=6),
    st.randoms(use_true_random=False),
)
def test_delivery_suppressions_are_the_same_in_whatever_order_they_come(log, random):
    log = [replace(event, undated=False) for event in log]
    shuffled = [*log]
    random.shuffle(shuffled)
    assert replayed(log) == replayed(shuffled)


@given(st.lists(events(), max_size=10), st.lists(events(imported=True), max_size=6))
def test_an_import_never_lifts_a_delivery_suppression(log, imported):
    """Nor does it shorten one.  An erasure does, which no import is."""
    before = replayed(log)
    imported = [each for each in imported if each.kind not in (EventKind.ERASE, EventKind.FORGET)]
    after = {each.reason: each for each in replayed(imported, before).delivery}
    for each in before.delivery:
        kept = after[each.reason]
        assert kept.at >= each.at
        assert kept.expires is None or (each.expires is not None and kept.expires >= each.expires)


@given(
    st.lists(events(), max_size=10),
    events(
        kinds=tuple(set(EventKind) - {EventKind.DELIVERABLE, EventKind.ERASE, EventKind.FORGET})
    ),
)
def test_only_a_hand_lifts_a_delivery_suppression(log, event):
    before = replayed(log)
    assert set(reasons(before)) <= set(reasons(project(before, event)))


@given(st.lists(events(), max_size=10), events(kinds=(EventKind.UNDELIVERABLE,)))
def test_a_delivery_suppression_changes_no_ban_and_no_consent(log, event):
    before = replayed(log)
    for each in (event, deliverable(99), deliverable(99, origin=b"aaaa")):
        assert replace(project(before, each), delivery=()) == replace(before, delivery=())


def test_the_longest_term_stands():
    entry = replayed([undeliverable(5, expires=50), undeliverable(9, expires=40)])
    assert entry.delivery == (Undeliverable(BOUNCE, 9, 50),)
    entry = project(entry, undeliverable(3))
    assert entry.delivery == (Undeliverable(BOUNCE, 9),)
    assert not entry.own


def test_a_hand_lifts_the_reason_it_names_or_all_unless_told_again_later():
    entry = replayed([undeliverable(5), undeliverable(6, COMPLAINT)])
    assert reasons(project(entry, deliverable(7, BOUNCE))) == [COMPLAINT]
    assert reasons(project(entry, deliverable(7))) == []
    assert reasons(project(entry, deliverable(5))) == [COMPLAINT]
    unban = Event(kind=EventKind.UNBAN, at=9, actor="a", scope=Scope.ALL)
    assert project(entry, unban) is entry


def test_of_another_spelling_only_complaints_count_and_are_lifted():
    assert project(EMPTY, undeliverable(5, origin=b"aaaa")) is EMPTY
    assert project(EMPTY, undeliverable(5, DeliveryReason.REJECTED, origin=b"aaaa")) is EMPTY
    entry = replayed([undeliverable(5, COMPLAINT, origin=b"aaaa"), undeliverable(5)])
    assert reasons(entry) == [COMPLAINT, BOUNCE]
    assert reasons(project(entry, deliverable(9, origin=b"bbbb"))) == [BOUNCE]


def test_erasing_and_forgetting_take_delivery_suppressions_and_leave_bans():
    entry = replayed([undeliverable(5), undeliverable(6, COMPLAINT)])
    entry = project(entry, Event(kind=EventKind.BAN, at=7, actor="a"))
    for kind in (EventKind.ERASE, EventKind.FORGET):
        after = project(entry, Event(kind=kind, at=9, actor="a"))
        assert after.delivery == ()
        assert after.bans
