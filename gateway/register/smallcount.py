"""Tables of counts that give nobody away: small counts withheld, and others with them.

A count of 1 to ``least - 1`` is withheld (primary suppression).  A total from which the
published counts are taken away would still tell it; so more counts are withheld until
what is left of the total could be made in more than one way (complementary
suppression).  Zeros are published: they are about nobody.
"""

from __future__ import annotations

from collections.abc import Mapping

LEAST = 3
"""The smallest number that counts can be kept from falling below."""

Withheld = dict[str, int | None]
"""Counts by value; None is one that is not told."""


class TooFew(ValueError):
    """No part of a table can be told without its total telling a small count."""


def withhold(
    counts: Mapping[str, int], least: int, forced: frozenset[str] = frozenset()
) -> Withheld:
    """The counts of a partition whose total is published, as they may be told.

    ``forced`` names counts that are withheld whatever they are.  In the result either
    nothing is None, or at least two counts are, whose sum is at least ``least`` and
    neither of which follows from that sum.

    Raises:
        TooFew: the total must be withheld as well.
    """
    shown = {value: count for value, count in counts.items() if count}
    hidden = {value: count for value, count in shown.items() if count < least or value in forced}
    if not hidden:
        return dict(counts)
    rest = sorted(shown.keys() - hidden.keys(), key=lambda value: (shown[value], value))
    while not _open(list(hidden.values()), least):
        if not rest:
            raise TooFew
        value = rest.pop(0)
        hidden[value] = shown[value]
    return {value: None if value in hidden else count for value, count in counts.items()}


def _open(hidden: list[int], least: int) -> bool:
    """Whether each of the withheld counts could be another, for all that their sum says."""
    total, number = sum(hidden), len(hidden)
    if number < 2 or total < least:
        return False
    # Each is at least one; and if all are small, less than the least.
    return number < total and total != number * (least - 1)
