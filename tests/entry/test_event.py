"""Events survive JSON and are complete for their kind."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.contacts.contact import Channel
from gateway.decision.facts import Age, Collected, PersonClass
from gateway.entry.entry import ANY_TOPIC, ConsentStatus, DeliveryReason, Scope
from gateway.entry.event import Attributes, Event, EventError, EventKind

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
truth = st.none() | st.booleans()
attributes = st.builds(
    Attributes,
    person_class=st.none() | st.sampled_from(PersonClass),
    age=st.none() | st.sampled_from(Age),
    guardian_consent=truth,
    relationship_start=st.none() | st.dates(),
    relationship_end=st.none() | st.dates(),
    collected=st.none() | st.sampled_from(Collected),
    opt_out_offered=truth,
    product_groups=st.none() | st.frozensets(text, max_size=3),
    source_known=truth,
)
common = {
    "at": st.integers(0, 2**45),
    "actor": text,
    "source": text,
    "evidence": text,
    "id": text,
    "recorded": st.integers(0, 2**45),
    "subject": text,
    "origin": st.just(b"") | st.binary(min_size=4, max_size=4),
    "topic": text.map(lambda name: name + "x"),
    "channel": st.sampled_from(Channel),
    "expires": st.none() | st.integers(0, 2**45),
    "proven": st.booleans(),
    "lifts": st.booleans(),
    "imported": st.booleans(),
    "undated": st.booleans(),
    "attributes": attributes,
    "sealed": st.none() | st.binary(max_size=40),
}
events = st.one_of(
    st.builds(
        Event,
        kind=st.sampled_from([EventKind.BAN, EventKind.UNBAN]),
        scope=st.sampled_from(Scope),
        **common,
    ),
    st.builds(Event, kind=st.just(EventKind.WITHDRAW), **common),
    st.builds(
        Event,
        kind=st.sampled_from([EventKind.UNDELIVERABLE, EventKind.DELIVERABLE]),
        delivery=st.sampled_from(DeliveryReason),
        **common,
    ),
    st.builds(
        Event,
        kind=st.just(EventKind.CONSENT),
        status=st.sampled_from([ConsentStatus.GRANTED, ConsentStatus.PENDING]),
        **common,
    ),
    st.builds(
        Event,
        kind=st.sampled_from(
            [EventKind.DESCRIBE, EventKind.CLASSIFY, EventKind.ERASE, EventKind.RESTRICT]
        ),
        **common,
    ),
)


@given(events)
def test_every_event_is_what_its_json_says(event):
    assert Event.from_json(event.to_json()) == event


@pytest.mark.parametrize(
    "text",
    [b"", b"[]", b"{}", b'{"kind":"ban"}', b'{"kind":"what","at":1,"actor":"a"}',
     b'{"kind":"ban","at":1,"actor":"a","new":1}', b'{"kind":"ban","at":"1","actor":"a"}'],
)  # fmt: skip
def test_what_is_not_an_event_is_refused(text):
    with pytest.raises(EventError):
        Event.from_json(text)


def test_an_unclear_ban_is_the_widest():
    assert Event(kind=EventKind.BAN, at=1, actor="a").scope is Scope.ALL


def test_a_consent_without_a_topic_is_for_every_topic():
    event = Event(kind=EventKind.CONSENT, at=1, actor="a", channel=Channel.SMS)
    assert (event.topic, event.status) == (ANY_TOPIC, ConsentStatus.GRANTED)


@pytest.mark.parametrize(
    "members",
    [
        {"kind": EventKind.UNBAN},
        {"kind": EventKind.BAN, "scope": Scope.CHANNEL},
        {"kind": EventKind.BAN, "scope": Scope.TOPIC, "topic": " "},
        {"kind": EventKind.CONSENT},
        {"kind": EventKind.CONSENT, "channel": Channel.SMS, "status": ConsentStatus.WITHDRAWN},
        {"kind": EventKind.ERASE, "at": -1},
    ],
)
def test_an_incomplete_event_is_refused(members):
    with pytest.raises(EventError):
        Event(**{"at": 1, "actor": "a", **members})


def test_an_undeliverable_address_has_a_reason():
    with pytest.raises(EventError, match="reason"):
        Event(kind=EventKind.UNDELIVERABLE, at=1, actor="a")
    assert Event(kind=EventKind.DELIVERABLE, at=1, actor="a").delivery is None
