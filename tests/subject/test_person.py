"""What is known of a person: its JSON, and how it changes."""

from datetime import UTC, date, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.contacts.contact import Channel
from gateway.contacts.parse import parse_contact
from gateway.decision.facts import PersonClass
from gateway.entry.entry import Scope
from gateway.subject.person import (
    Bond,
    Commitment,
    ContactPoint,
    Hold,
    Language,
    Name,
    Objection,
    Person,
    PersonError,
    Product,
    Relationship,
    Restriction,
)
from gateway.subject.retention import retained_until

TEXT = st.text(st.characters(codec="utf-8"), max_size=30)
TIME = st.integers(0, 2**45)
DAY = st.dates(date(1970, 1, 1), date(2100, 1, 1))
MAYBE_DAY = st.none() | DAY
ADDRESS = st.sampled_from(["a@example.com", "b+x@example.fi", "+358401234567", "mäki@example.fi"])


@st.composite
def _relationships(draw):
    start, end = sorted([draw(DAY), draw(DAY)])
    return Relationship(
        start=draw(st.none() | st.just(start)),
        end=draw(st.none() | st.just(end)),
        start_manner=draw(TEXT),
        end_manner=draw(TEXT),
    )


def _many(part):
    return st.lists(part, max_size=3).map(tuple)


PEOPLE = st.builds(
    Person,
    id=st.text("ABC123", min_size=1, max_size=26),
    names=_many(st.builds(Name, text=TEXT, since=TIME, until=st.none() | TIME)),
    contacts=_many(
        st.builds(ContactPoint, address=ADDRESS, since=TIME, until=st.none() | TIME, source=TEXT)
    ),
    person_class=st.sampled_from(PersonClass),
    language=st.sampled_from(Language),
    relationships=_many(_relationships()),
    commitments=_many(
        st.builds(Commitment, bond=st.sampled_from(Bond), reference=TEXT, end=MAYBE_DAY)
    ),
    products=_many(st.builds(Product, name=TEXT, group=TEXT, day=MAYBE_DAY, state=TEXT)),
    objections=_many(
        st.builds(
            Objection,
            words=TEXT,
            received=TIME,
            scope=st.sampled_from(Scope),
            channel=st.none() | st.sampled_from(Channel),
            topic=st.none() | TEXT,
            how=TEXT,
        )
    ),
    restriction=st.none() | st.builds(Restriction, since=TIME, reason=TEXT),
    hold=st.none() | st.builds(Hold, since=TIME, reason=TEXT),
    note=TEXT,
)


@given(PEOPLE)
def test_a_person_comes_back_from_json_as_it_was(person):
    assert Person.from_json(person.to_json()) == person


@given(st.binary(max_size=60) | st.sampled_from([b'{"v":2}', b'{"v":1}', b"[]", b'{"v":1,"id":7}']))
def test_no_other_text_is_a_person(text):
    with pytest.raises(PersonError):
        Person.from_json(text)


def test_a_name_and_a_contact_that_change_stay_as_former_ones():
    old, new = parse_contact("virtanen@example.com"), parse_contact("korhonen@example.com")
    person = Person(id="P").renamed("Maija Virtanen", 10).linked(old, 10, "order form")
    person = person.renamed("Maija Korhonen", 20).linked(new, 20, "telephone").retired(old, 20)
    assert person.name == "Maija Korhonen"
    assert [(each.text, each.until) for each in person.names] == [
        ("Maija Virtanen", 20),
        ("Maija Korhonen", None),
    ]
    assert [each.address for each in person.current] == ["korhonen@example.com"]
    assert {each.canonical for each in person.every_contact} == {old.canonical, new.canonical}
    back = person.linked(old, 30, "telephone")
    assert back.point(old) == ContactPoint(
        address=old.canonical, since=10, until=None, source="order form"
    )


@given(PEOPLE, PEOPLE)
def test_a_merged_person_has_every_contact_and_objection_of_both(first, second):
    merged = first.merged(second)
    assert set(merged.every_contact) == {*first.every_contact, *second.every_contact}
    assert {*first.objections, *second.objections} == set(merged.objections)
    assert merged.id == first.id
    if first.name:
        assert merged.name == first.name


def test_what_does_not_fit_is_refused():
    with pytest.raises(PersonError, match="ends before it begins"):
        Person(id="P", relationships=(Relationship(start=date(2020, 1, 2), end=date(2020, 1, 1)),))
    with pytest.raises(PersonError, match="longer than"):
        Person(id="P", note="x" * 20_001)
    with pytest.raises(PersonError, match="no contact"):
        Person(id="P").retired(parse_contact("a@example.com"), 1)


def _ms(*moment: int) -> int:
    return int(datetime(*moment, tzinfo=UTC).timestamp() * 1000)


def test_retention_is_five_years_after_the_last_of_the_three_ends():
    now = _ms(2026, 11, 29)
    person = Person(
        id="P",
        relationships=(Relationship(start=date(2010, 1, 1), end=date(2019, 5, 1)),),
        commitments=(
            Commitment(bond=Bond.CONTRACT, reference="1", end=date(2018, 1, 1)),
            Commitment(bond=Bond.WARRANTY, reference="2", end=date(2020, 2, 29)),
        ),
    )
    assert retained_until(person, 0, 5, now) == _ms(2025, 3, 1)
    open_still = Person(id="P", commitments=(Commitment(bond=Bond.WARRANTY, reference="2"),))
    assert retained_until(open_still, 0, 5, now) is None
    assert retained_until(Person(id="P"), _ms(2021, 6, 1, 12), 5, now) == _ms(2026, 6, 2)
