"""Several entries of one contact as one, where several digest keys are live: the strictest word.

Bans and consents are joined as projection joins them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

from gateway.decision.facts import Age, Collected, PersonClass
from gateway.entry.entry import EMPTY, Entry
from gateway.entry.projection import with_ban, with_consent, with_delivery
from gateway.entry.standing import Standing

_Value = TypeVar("_Value")
_CLASS_ORDER = (PersonClass.NATURAL, PersonClass.WORK, PersonClass.LEGAL)
_AGE_ORDER = (Age.UNDER_15, Age.MINOR, Age.ADULT)
_COLLECTED_ORDER = (Collected.OTHERWISE, Collected.FREE_ACCOUNT, Collected.SALE)


def merge(
    exact: Sequence[Entry | None],
    base: Sequence[Entry | None] = (),
    organisations: Sequence[Entry | None] = (),
    position: str = "",
) -> Standing:
    """Return the standing of a contact from its entries, the current key's first.

    ``None`` stands for a look-up that found nothing.
    """
    merged, known = exact_of([entry for entry in exact if entry is not None])
    return Standing(
        merged,
        known,
        tuple([entry for entry in base if entry is not None]),
        tuple([entry for entry in organisations if entry is not None]),
        position,
    )


def exact_of(entries: Sequence[Entry]) -> tuple[Entry, bool]:
    """Return the contact's own entry, and whether it is known by more than other spellings."""
    return merge_exact(entries), any(entry.own for entry in entries)


def merge_exact(entries: Sequence[Entry]) -> Entry:
    """Return one entry out of those of the live keys, the current key's first.

    Bans and consents are joined as by projection, of attributes the strictest
    stated one counts; the relationship and the product groups are those of the
    first entry that states them.
    """
    if not entries:
        return EMPTY
    merged = entries[0]
    for entry in entries[1:]:
        merged = _merged(merged, entry)
    return merged


def _merged(first: Entry, second: Entry) -> Entry:
    joined = first
    for ban in second.bans:
        joined = with_ban(joined, ban)
    for consent in second.consents:
        joined = with_consent(joined, consent)
    for told in second.delivery:
        joined = with_delivery(joined, told)
    related = first if first.relationship_start or first.relationship_end else second
    groups = first.product_groups
    return replace(
        joined,
        person_class=_strictest(_CLASS_ORDER, first.person_class, second.person_class),
        age=_strictest(_AGE_ORDER, first.age, second.age),
        guardian_consent=_both(first.guardian_consent, second.guardian_consent),
        relationship_start=related.relationship_start,
        relationship_end=related.relationship_end,
        collected=_strictest(_COLLECTED_ORDER, first.collected, second.collected),
        opt_out_offered=_both(first.opt_out_offered, second.opt_out_offered),
        product_groups=second.product_groups if groups is None else groups,
        restricted=first.restricted or second.restricted,
        tombstone=first.tombstone or second.tombstone,
        source_known=first.source_known or second.source_known,
    )


def _strictest(order: tuple[_Value, ...], *stated: _Value | None) -> _Value | None:
    return next((value for value in order if value in stated), None)


def _both(first: bool | None, second: bool | None) -> bool | None:
    if first is None or second is None:
        return second if first is None else first
    return first and second
