"""Who is left out of an export: by each purpose, and by whichever spelling it was banned."""

from dataclasses import replace

import pytest

from gateway.entry.entry import Ban, Entry, Scope
from gateway.entry.standing import merge
from gateway.register.disclosure import Excluded, Purpose, columns_for, excluded
from gateway.register.rows import COLUMNS

FREE = Entry(source_known=True)
CLOSED = Entry((Ban(Scope.DISCLOSURE, 1),))
BANNED = Entry((Ban(Scope.ALL, 1), Ban(Scope.CONTACT, 1)))
STILL = Entry(restricted=True)
ERASED = Entry((Ban(Scope.ALL, 1),), tombstone=True)
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
