"""Entries survive their octets, and other octets are refused."""

from contextlib import suppress
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.contacts.contact import Channel
from gateway.decision.facts import Age, Collected, PersonClass
from gateway.entry.codec import CodecError, decode, encode
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
from gateway.failure import RegisterUnavailable

times = st.integers(0, 2**45)
names = st.text(max_size=30)
channels = st.sampled_from(Channel)
bans = st.builds(
    Ban,
    st.sampled_from(Scope),
    times,
    st.none() | channels,
    st.none() | names,
    st.just(b"") | st.binary(min_size=4, max_size=4),
)
consents = st.builds(
    Consent,
    channels,
    st.just(ANY_TOPIC) | names,
    st.sampled_from(ConsentStatus),
    times,
    st.none() | times,
    st.booleans(),
    st.booleans(),
)
delivery = st.builds(Undeliverable, st.sampled_from(DeliveryReason), times, st.none() | times)
truth = st.none() | st.booleans()
entries = st.builds(
    Entry,
    bans=st.lists(bans, max_size=5).map(tuple),
    consents=st.lists(consents, max_size=5).map(tuple),
    person_class=st.none() | st.sampled_from(PersonClass),
    age=st.none() | st.sampled_from(Age),
    guardian_consent=truth,
    relationship_start=st.none() | st.dates(),
    relationship_end=st.none() | st.dates(),
    collected=st.none() | st.sampled_from(Collected),
    opt_out_offered=truth,
    product_groups=st.none() | st.frozensets(names, max_size=4),
    restricted=st.booleans(),
    tombstone=st.booleans(),
    source_known=st.booleans(),
    delivery=st.lists(delivery, max_size=3).map(tuple),
)


@given(entries)
def test_every_entry_is_what_its_octets_say(entry):
    octets = encode(entry)
    assert decode(octets) == entry
    assert encode(decode(octets)) == octets


@given(entries, st.data())
def test_a_cut_entry_is_refused(entry, data):
    octets = encode(entry)
    cut = data.draw(st.integers(0, len(octets) - 1))
    with pytest.raises(CodecError):
        decode(octets[:cut])


@given(st.binary(max_size=40))
def test_any_octets_are_an_entry_or_a_codec_error(octets):
    with suppress(CodecError):
        decode(octets)


CUSTOMER = Entry(
    bans=(
        Ban(Scope.CHANNEL, 5, Channel.SMS),
        Ban(Scope.TOPIC, 7, None, "news", b"abcd"),
    ),
    consents=(
        Consent(
            *(Channel.EMAIL, ANY_TOPIC, ConsentStatus.GRANTED),
            *(1_795_379_602_872, 1_895_379_602_872, True, True),
        ),
    ),
    person_class=PersonClass.NATURAL,
    relationship_start=date(2020, 1, 1),
    product_groups=frozenset({"heating"}),
    restricted=True,
    source_known=True,
)


@pytest.mark.parametrize(
    ("octets", "entry"),
    [
        ("10", Entry()),
        ("1100b8cbdaa7a034", Entry(bans=(Ban(Scope.ALL, 1_795_379_602_872),))),
        (
            "1791056207046e6577736162636470b8cbdaa7a034b89bb6eb943701b491812d010768656174696e67",
            CUSTOMER,
        ),
    ],
)
def test_entries_of_earlier_versions_read_and_write_the_same_octets(octets, entry):
    """Written down from the first release: a register of it stays readable, octet by octet."""
    assert decode(bytes.fromhex(octets)) == entry
    assert encode(entry).hex() == octets


def test_delivery_suppressions_have_octets_of_their_own():
    entry = Entry(
        delivery=(
            Undeliverable(DeliveryReason.COMPLAINT, 5),
            Undeliverable(DeliveryReason.HARD_BOUNCE, 7, 300),
        )
    )
    assert encode(entry).hex() == "1881050807ac02"
    with pytest.raises(CodecError):
        decode(bytes.fromhex("180705"))  # a reason that there is not
    with pytest.raises(CodecError):
        decode(bytes.fromhex("181005"))  # a bit that means nothing


def test_a_plain_ban_takes_eight_octets():
    assert len(encode(Entry(bans=(Ban(Scope.ALL, 1_795_379_602_872),)))) == 8


def test_a_customer_fits_the_compact_encoding():
    customer = Entry(
        consents=(
            Consent(Channel.EMAIL, ANY_TOPIC, ConsentStatus.GRANTED, 1_795_379_602_872, None, True),
        ),
        person_class=PersonClass.NATURAL,
        relationship_start=date(2020, 1, 1),
        product_groups=frozenset({"heating", "solar"}),
        source_known=True,
    )
    assert len(encode(customer)) <= 64


def test_another_version_is_named_and_means_an_unusable_register():
    octets = bytes([0x20]) + encode(Entry(restricted=True))[1:]
    with pytest.raises(CodecError, match="version 2"):
        decode(octets)
    assert issubclass(CodecError, RegisterUnavailable)
