"""Who is left out of an export: by each purpose, and by whichever spelling it was banned."""

import csv
import io
from dataclasses import replace

import pytest

from gateway.contacts.contact import Channel
from gateway.contacts.parse import parse_email
from gateway.entry.entry import ANY_TOPIC, Ban, Consent, ConsentStatus, Entry, Scope
from gateway.entry.event import Event, EventKind
from gateway.entry.merging import merge
from gateway.register.disclosure import Excluded, Purpose, columns_for, excluded
from gateway.register.export import Known, One, export
from gateway.register.register import Register
from gateway.register.rows import COLUMNS
from gateway.register.rowsink import RowSink

FREE = Entry(source_known=True)
CLOSED = Entry((Ban(Scope.DISCLOSURE, 1),))
BANNED = Entry((Ban(Scope.ALL, 1), Ban(Scope.CONTACT, 1)))
STILL = Entry(restricted=True)
ERASED = Entry((Ban(Scope.ALL, 1),), tombstone=True)
WITHDRAWN = Consent(Channel.EMAIL, ANY_TOPIC, ConsentStatus.WITHDRAWN, 5, None)
OTHERS = [purpose for purpose in Purpose if purpose is not Purpose.OWN]


def standings(entry):
    """The entry in every place that it can be found in."""
    return [
        merge([entry]),
        merge([FREE], [entry]),
        merge([FREE], [], [entry]),
        merge([FREE])._replace(hashed=(entry,)),
    ]


@pytest.mark.parametrize("purpose", list(Purpose))
def test_a_ban_of_disclosure_keeps_a_contact_from_suppliers_alone(purpose):
    wanted = Excluded.DISCLOSURE if purpose is Purpose.SUPPLIER else None
    for standing in standings(CLOSED):
        assert excluded(purpose, standing) is wanted


@pytest.mark.parametrize("purpose", list(Purpose))
def test_a_ban_of_marketing_or_contact_leaves_nobody_out(purpose):
    for standing in standings(BANNED):
        assert excluded(purpose, standing) is None


def test_the_restricted_are_kept_and_not_handed_on():
    for standing in (merge([STILL]), merge([FREE], [STILL])):
        for purpose in (Purpose.SUPPLIER, Purpose.RESEARCH):
            assert excluded(purpose, standing) is Excluded.RESTRICTED
        for purpose in (Purpose.OWN, Purpose.PROCESSOR, Purpose.AUTHORITY):
            assert excluded(purpose, standing) is None


def test_the_erased_are_in_our_own_export_only():
    for entry in (ERASED, replace(ERASED, restricted=True)):
        assert excluded(Purpose.OWN, merge([entry])) is None
        for purpose in OTHERS:
            assert excluded(purpose, merge([entry])) is Excluded.ERASED


def test_a_supplier_sees_addresses_and_bans_only():
    told = {"email", "phone", "organisation", "ban", "ban_topics", "ban_at"}
    assert set(columns_for(Purpose.SUPPLIER, COLUMNS)) == told
    for purpose in (Purpose.OWN, Purpose.PROCESSOR, Purpose.AUTHORITY):
        assert columns_for(purpose, COLUMNS) == COLUMNS


@pytest.mark.parametrize(
    ("standing", "ban", "topics"),
    [
        (merge([Entry(consents=(WITHDRAWN,))]), "email", ""),
        (merge([Entry(consents=(replace(WITHDRAWN, topic="news"),))]), "", "news"),
        (merge([Entry((Ban(Scope.ALL, 5, origin=b"1234"),))]), "all", ""),
        (merge([FREE], [BANNED]), "all;contact", ""),
        (merge([FREE])._replace(hashed=(BANNED,)), "all;contact", ""),
        (merge([FREE]), "", ""),
    ],
    ids=["withdrawal", "of a topic", "inherited", "other spelling", "hashed list", "none"],
)
async def test_a_supplier_is_told_every_ban_of_an_address_in_one_row(standing, ban, topics):
    """A supplier gets no consents, and cannot know what is one person's other spelling."""
    contact = parse_email("a+x@example.com")
    one = One(Known(("k1:00",), contact.canonical), contact.canonical, contact, standing)
    file = io.StringIO()
    assert await RowSink(file, Purpose.SUPPLIER, ndjson=False).take([one]) == 1
    (row,) = csv.DictReader(io.StringIO(file.getvalue()))
    assert (row["email"], row["ban"], row["ban_topics"]) == ("a+x@example.com", ban, topics)


async def test_a_domain_s_ban_of_disclosure_keeps_the_domains_below_it_from_suppliers(
    register_url, ring
):
    domains = ("example.com", "sub.example.com", "a.sub.example.com", "example.org")

    async def known():
        for domain in domains:
            yield Known(("k1:00",), f"@{domain}")

    async with await Register.open(register_url, ring) as register:
        for domain in domains:
            ban = Event(kind=EventKind.BAN, at=1, actor="test", scope=Scope.ORGANISATION)
            await register.apply_organisation(ban, domain)
        await register.apply_organisation(replace(ban, scope=Scope.DISCLOSURE), "example.com")
        file = io.StringIO()
        sink = RowSink(file, Purpose.SUPPLIER, ndjson=False)
        done = await export(register, known(), Purpose.SUPPLIER, sink)
    assert done.excluded == {Excluded.DISCLOSURE: 3}
    assert [row["organisation"] for row in csv.DictReader(io.StringIO(file.getvalue()))] == [
        "example.org"
    ]
