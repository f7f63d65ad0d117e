"""Whom an export is for, and who is left out of it.

The notice, section 9: nothing to suppliers against the person's ban, everything that
the law demands to authorities, to research only what tells nobody apart.  A ban of
disclosure is another than a ban of marketing: it stops no message, and a ban of
marketing stops no export.
"""

from __future__ import annotations

from enum import StrEnum

from gateway.entry.standing import Standing


class Purpose(StrEnum):
    """Whom an export is for."""

    OWN = "own"
    """The controller itself: everything."""
    PROCESSOR = "processor"
    """Who works for the controller, under a contract that is named (GDPR 28)."""
    AUTHORITY = "authority"
    """An authority that may demand it; bans and restrictions go along."""
    SUPPLIER = "supplier"
    """Anybody else who gets contacts: addresses and bans, nothing more."""
    RESEARCH = "research"
    """Counts only, and no small ones."""


class Excluded(StrEnum):
    """Why a contact is left out."""

    DISCLOSURE = "disclosure_ban"
    """The person has forbidden it; also by another spelling, the domain or a hashed list."""
    RESTRICTED = "restricted"
    """Processing is restricted (GDPR 18): it is kept, and not handed on."""
    ERASED = "erased"
    """The person was erased (GDPR 17), or nobody can tell the address any more."""
    HASHED = "hash_only"
    """Known by a hash; nobody knows the address."""


_BANS_ONLY = frozenset({"email", "phone", "organisation", "ban", "ban_topics", "ban_at"})


def excluded(purpose: Purpose, standing: Standing) -> Excluded | None:
    """Why this contact is left out of an export; None where it is not."""
    if purpose is Purpose.OWN:
        return None
    entries = (standing.exact, *standing.base)
    if standing.exact.tombstone:
        return Excluded.ERASED
    if purpose is Purpose.SUPPLIER and standing.disclosure_banned:
        return Excluded.DISCLOSURE
    if purpose in (Purpose.SUPPLIER, Purpose.RESEARCH) and any(e.restricted for e in entries):
        return Excluded.RESTRICTED
    return None


def columns_for(purpose: Purpose, columns: tuple[str, ...]) -> tuple[str, ...]:
    """The columns that an export may have."""
    if purpose is Purpose.SUPPLIER:
        return tuple(name for name in columns if name in _BANS_ONLY)
    return columns
