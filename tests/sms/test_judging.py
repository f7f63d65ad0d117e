"""Who is meant: destinations read together and one by one."""

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.contacts.destination import Notation
from gateway.provider.submission import Fate
from gateway.sms.judging import read_destinations

NUMBERS = st.sampled_from(
    ["358401234567", "+358401234567", "358401234568", "00358401234568", "12345", "Acme", ""]
)


@settings(deadline=None, max_examples=300)
@given(st.lists(NUMBERS, max_size=6), st.sampled_from(Notation))
def test_a_name_among_the_destinations_changes_nothing_for_the_others(texts, notation):
    """With one behind them that is no number, they are read one by one, to the same end."""
    together = read_destinations(texts, notation)
    contacts, places, fates, _ = read_destinations([*texts, "no number"], notation)
    assert (contacts, places, fates[:-1]) == together[:3]
    assert fates[-1] is Fate.INVALID
