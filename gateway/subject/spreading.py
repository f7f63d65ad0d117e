"""Which bans of one contact reach the other contacts of the same person.

Pure.  Whoever forbids something by one address has forbidden it for themselves: a
change of name or address, a second number or a merged duplicate must not lose it
(Finland 9209/157/2019; GDPR 16, 21).  So each contact of a person also carries the bans
of the person's others, as inherited bans whose origin is the contact that they were
made on.  They go when the ban itself is lifted there, and not otherwise.

- A ban of all marketing, of all contact, of disclosure, or of a topic in every channel
  reaches every contact.
- A ban of a channel, or of a topic in one channel, reaches the contacts of that channel.
- A withdrawn consent is such a ban.  A consent itself reaches no other contact.
- What came from another contact is not passed on: each contact passes on its own.
- A tombstone reaches others as the ban that it is.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from gateway.contacts.contact import Channel, Contact
from gateway.entry.entry import ANY_ORIGIN, Ban, ConsentStatus, Entry, Scope

Key = tuple[str, str, str]
"""Scope, channel and topic of a ban: what it forbids."""


@dataclass(frozen=True, slots=True)
class Stand:
    """One contact of a person with its entries.

    ``origins`` are the beginnings of its digest under every live key, the current
    key's first.  ``base`` is the entry of the wider spelling, where there is one that
    is no contact of the person itself.
    """

    contact: Contact
    origins: tuple[bytes, ...]
    exact: Entry
    base: Entry | None = None

    @property
    def restricted(self) -> bool:
        """Whether processing is restricted for it."""
        return self.exact.restricted


@dataclass(frozen=True, slots=True)
class Copy:
    """A ban of one contact (by its place) that another carries, or is to carry."""

    source: int
    target: int
    ban: Ban
    """With the source as its origin."""


def reaches(ban: Ban, channel: Channel) -> bool:
    """Whether a ban of a person holds for the contacts of a channel."""
    if ban.scope is Scope.ORGANISATION:
        return False
    return ban.channel is None or ban.channel is channel


def own_bans(stand: Stand, from_others: Collection[bytes]) -> dict[Key, Ban]:
    """The bans that a contact is under by itself or by another spelling, the latest of each.

    ``from_others`` are the origins of bans that came from other contacts of a person.
    """
    found: dict[Key, Ban] = {}
    entries = (stand.exact,) if stand.base is None else (stand.exact, stand.base)
    for entry in entries:
        for ban in _bans_of(entry):
            if ban.inherited and ban.origin in from_others:
                continue
            key = ban.key[:3]
            if key not in found or found[key].at < ban.at:
                found[key] = replace(ban, origin=b"")
    return found


def missing(stands: Sequence[Stand], from_others: Collection[bytes] = ()) -> list[Copy]:
    """The bans that contacts lack though another contact of the person has them.

    ``from_others`` adds origins to those of ``stands``: of contacts of another person
    who shares one of these.
    """
    known = _origins(stands, from_others)
    return [
        Copy(source, target, replace(ban, origin=stands[source].origins[0]))
        for source, target in _pairs(stands)
        for ban in own_bans(stands[source], known).values()
        if reaches(ban, stands[target].contact.channel)
        and not _carries(stands[target].exact, ban, stands[source].origins)
    ]


def surplus(stands: Sequence[Stand], from_others: Collection[bytes] = ()) -> list[Copy]:
    """The bans that contacts carry of another that has them no more.

    Only a lifting on record makes them go: an entry that was lost looks the same.
    """
    known = _origins(stands, from_others)
    owned = [own_bans(stand, known) for stand in stands]
    return [
        Copy(source, target, ban)
        for source, target in _pairs(stands)
        for ban in stands[target].exact.bans
        if ban.origin in stands[source].origins and ban.key[:3] not in owned[source]
    ]


def _pairs(stands: Sequence[Stand]) -> Iterator[tuple[int, int]]:
    for source in range(len(stands)):
        for target in range(len(stands)):
            if source != target:
                yield source, target


def _origins(stands: Iterable[Stand], others: Collection[bytes]) -> frozenset[bytes]:
    return frozenset(others).union(*(stand.origins for stand in stands))


def _bans_of(entry: Entry) -> Iterator[Ban]:
    yield from entry.bans
    for consent in entry.consents:
        if consent.status is ConsentStatus.WITHDRAWN:
            yield consent.as_ban()


def _carries(entry: Entry, ban: Ban, origins: tuple[bytes, ...]) -> bool:
    """Whether an entry has the copy of a ban; one of many joined origins counts."""
    return any(
        known.key[:3] == ban.key[:3]
        and known.at >= ban.at
        and (known.origin in origins or known.origin == ANY_ORIGIN)
        for known in entry.bans
    )
