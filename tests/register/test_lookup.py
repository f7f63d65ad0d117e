"""However a contact is asked about, alone or among many, the answer is the same."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.contacts.contact import Channel
from gateway.contacts.digest import Digest, KeyRing, subject_of
from gateway.contacts.parse import parse_email, parse_phone
from gateway.entry.entry import Scope
from gateway.entry.event import Event, EventKind
from gateway.register.layout import Layout
from gateway.register.question import Questions, question
from gateway.register.register import Register

OLD, NEW = bytes(range(32)), b"\x02" * 32
ONE = KeyRing({"k1": OLD}, "k1")
TWO = KeyRing({"k1": OLD, "k2": NEW}, "k2")


def ban(scope=Scope.ALL):
    channel = Channel.SMS if scope is Scope.CHANNEL else None
    return Event(kind=EventKind.BAN, at=7, actor="test", scope=scope, channel=channel)


names_of_any_kind = st.lists(
    st.text(alphabet=st.characters(codec="utf-8"), max_size=20), min_size=1, max_size=40
)


@given(
    names_of_any_kind,
    st.sampled_from([6, 7, 8, 12, 16, 20, 24]),
    st.sampled_from(["e:", "p:", "d:"]),
)
def test_a_question_names_the_place_of_the_digest(names, bits, prefix):
    layout = Layout(bits)
    (key_id, begun), _ = TWO.begun
    questions = Questions(key_id, begun, layout)
    packed = []
    digests = [Digest("k2", value) for value in questions.ask_all(prefix, names, packed)]
    assert digests == [TWO.digest(prefix + name) for name in names]
    places = [layout.place(digest) for digest in digests]
    wanted = [question(place.bucket, place.field) for place in places]
    assert b"".join(packed) == b"".join(wanted)
    for name, digest, alone in zip(names, digests, wanted, strict=True):
        assert questions.ask(prefix, name, b"more") == (digest.value, alone + b"more")


@pytest.mark.parametrize("ring", [ONE, TWO], ids=["one key", "two keys"])
async def test_a_contact_stands_the_same_alone_and_among_many(register_url, ring):
    texts = ["a@example.com", "b+x@example.com", "b@example.com", "c@mail.firm.org", "d@firm.org",
             "e.f@gmail.com", "g@example.com", "h+y@firm.org"]  # fmt: skip
    people = [parse_email(text) for text in texts]
    phone = parse_phone("+358401234567")
    async with await Register.open(register_url, ONE) as old:
        await old.apply(ban(), people[0])
        await old.apply(ban(), people[5])
    async with await Register.open(register_url, ring) as register:
        await register.apply_many([(ban(), people[1]), (ban(Scope.CHANNEL), phone)])
        await register.apply_organisation(ban(), "firm.org")
        for contacts in (people, [phone], [*people, phone, people[1]], [phone, *people]):
            standings = await register.look_up(contacts)
            assert len(standings) == len(contacts)
            for contact, standing in zip(contacts, standings, strict=True):
                assert [standing] == await register.look_up([contact])
                assert standing.digest == ring.text(subject_of(contact))
        asked = [*people, phone]
        banned = {
            contact.canonical
            for contact, standing in zip(asked, await register.look_up(asked), strict=True)
            if standing.facts(contact.channel, None, None, 10).tier is not None
        }
    told = {"a@example.com", "b+x@example.com", "b@example.com", "c@mail.firm.org", "d@firm.org"}
    assert banned == told | {"e.f@gmail.com", "h+y@firm.org", "+358401234567"}
