"""Where one contact stands: its entries of every tier merged into facts.

The law of it:

- bans of the exact entry, of the base spelling, of a hashed list and of the
  organisation all count;
- a consent lifts a ban only if it is of the exact entry, granted, proven, lifting,
  not expired, given strictly later than the ban, and at least as specific: an ALL
  or CHANNEL ban for the consent's channel (any topic, or the topic asked), a TOPIC
  ban only by that topic's name;
- bans of an organisation, of all contact and of disclosure are not lifted by it;
- attributes and consents come from the exact tier only;
- a delivery suppression is no ban: no consent lifts it, it ends with its term or by
  hand.  A bounce counts for its own spelling, a complaint for every one;
- of several exact entries (several live keys) the strictest word counts
  (:mod:`gateway.entry.merging`).

Made anew for every recipient of every message, so the results are named tuples,
which are built faster than frozen dataclasses, and enums are compared by identity.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, date, datetime
from functools import partial
from typing import Any, NamedTuple

from gateway.clock import CLOCK_SKEW_MS
from gateway.contacts.contact import Channel, Tier
from gateway.decision.facts import (
    Age,
    Collected,
    ConsentState,
    PersonClass,
    ProductMatch,
    Relationship,
)
from gateway.entry.entry import (
    ANY_TOPIC,
    EMPTY,
    Ban,
    Consent,
    ConsentStatus,
    DeliveryReason,
    Entry,
    Scope,
    Undeliverable,
    normal_name,
)

_DAY = 86_400_000
_LIFTABLE = frozenset({Scope.ALL, Scope.CHANNEL, Scope.TOPIC})


class RegisterFacts(NamedTuple):
    """The facts of a decision that the register bears, as in ``decision.facts``."""

    known: bool = False
    tombstone: bool = False
    ban_all: bool = False
    ban_channel: bool = False
    ban_topic: bool = False
    ban_organisation: bool = False
    ban_contact: bool = False
    restricted: bool = False
    undeliverable: bool = False
    source_known: bool = False
    age: Age = Age.ADULT
    guardian_consent: bool = False
    person_class: PersonClass = PersonClass.NATURAL
    consent: ConsentState = ConsentState.NONE
    consent_proven: bool = False
    relationship: Relationship = Relationship.NONE
    collected: Collected = Collected.OTHERWISE
    opt_out_offered: bool = False
    product: ProductMatch = ProductMatch.UNKNOWN
    tier: Tier | None = None
    """By which spelling the ban that decides was matched; None without a ban."""


NOTHING_KNOWN = RegisterFacts()
"""The facts of a contact that the register has never heard of."""


class Standing(NamedTuple):
    """What the register says of one contact, before a channel and topic are asked.

    ``exact`` is the contact's own entry, merged over the live keys; ``base``,
    ``organisations`` and ``hashed`` are empty where nothing is known.
    """

    exact: Entry = EMPTY
    known: bool = False
    base: tuple[Entry, ...] = ()
    organisations: tuple[Entry, ...] = ()
    position: str = ""
    """The last event of the register that could bear on the contact."""
    digest: str = ""
    """The contact's digest under the current key, ``key_id:hex``."""
    hashed: tuple[Entry, ...] = ()
    """Entries of hashed lists that name the contact; they hold nothing but bans."""

    @property
    def disclosure_banned(self) -> bool:
        """Whether handing the contact on to others is forbidden."""
        entries = (self.exact, *self.base, *self.hashed, *self.organisations)
        return any(ban.scope is Scope.DISCLOSURE for entry in entries for ban in entry.bans)

    def facts(
        self, channel: Channel, topic: str | None, product_group: str | None, now_ms: int
    ) -> RegisterFacts:
        """Return the facts for a message of this channel, topic and product group.

        ``now_ms`` is milliseconds since the epoch; days are those of UTC.  A message
        without a topic may belong to any: every TOPIC ban of its channel counts.
        """
        if self.exact is EMPTY and not self.base and not self.organisations and not self.hashed:
            return NOTHING_KNOWN
        topic = (normal_name(topic) or None) if topic else None
        exact = self.exact
        # By which tier each kind of ban was matched first, the closest tier first.
        by_all: Tier | None = None
        by_channel: Tier | None = None
        by_topic: Tier | None = None
        by_organisation: Tier | None = None
        by_contact: Tier | None = None
        for tier, ban in self._bans():
            if not ban.covers(channel, topic):
                continue
            scope = ban.scope
            if scope is Scope.CONTACT:
                by_contact = by_contact or tier
            if tier is Tier.ORGANISATION:
                by_organisation = tier
            elif exact.consents and self._lifted(ban, channel, topic, now_ms):
                continue
            elif scope is Scope.ALL:
                by_all = by_all or tier
            elif scope is Scope.CHANNEL:
                by_channel = by_channel or tier
            elif scope is Scope.TOPIC:
                by_topic = by_topic or tier
            elif scope is Scope.ORGANISATION:
                by_organisation = by_organisation or tier
        tombstone = by_all is not None and self._tombstone(channel, topic, now_ms)
        by_all = by_all or by_contact
        consent, proven = self._consent(channel, topic, now_ms)
        return RegisterFacts(
            self.known,
            tombstone,
            by_all is not None,
            by_channel is not None,
            by_topic is not None,
            by_organisation is not None,
            by_contact is not None,
            exact.restricted or (bool(self.base) and any(e.restricted for e in self.base)),
            bool(exact.delivery or self.base) and any(self.undeliverable(now_ms)),
            exact.source_known,
            exact.age or Age.ADULT,
            bool(exact.guardian_consent),
            exact.person_class or PersonClass.NATURAL,
            consent,
            proven,
            _relationship(exact, now_ms),
            exact.collected or Collected.OTHERWISE,
            bool(exact.opt_out_offered),
            _product(exact.product_groups, product_group),
            by_all or by_channel or by_topic or by_organisation,
        )

    def undeliverable(self, now_ms: int) -> Iterator[Undeliverable]:
        """Yield the delivery suppressions that hold at ``now_ms`` (ms since the epoch)."""
        for each in (*self.exact.delivery, *self.wider_complaints()):
            if not each.expired(now_ms):
                yield each

    def wider_complaints(self) -> Iterator[Undeliverable]:
        """Yield the complaints that came by another spelling of the mailbox, expired ones too."""
        told = (each for entry in self.base for each in entry.delivery)
        yield from (each for each in told if each.reason is DeliveryReason.COMPLAINT)

    def standing_bans(self, channel: Channel, now_ms: int, *, lifted: bool = False) -> list[Ban]:
        """The contact's own bans of marketing in a channel, but for an organisation's.

        One that a consent lifts wholly (all that it forbids in the channel) is left out,
        unless ``lifted``; one that it lifts in part stays.
        """
        return [
            ban
            for tier, ban in self._bans()
            if tier is not Tier.ORGANISATION
            and ban.scope not in (Scope.ORGANISATION, Scope.DISCLOSURE)
            and ban.channel in (None, channel)
            and (lifted or not self._lifted(ban, channel, ban.topic, now_ms))
        ]

    def stricter_at(self, channel: Channel, now_ms: int) -> int | None:
        """When a consent that lifts may end next, so that bans of a channel stand again.

        None where there is no such ban or no such time.  Milliseconds since the epoch.
        """
        ends = [
            consent.expires
            for consent in self.exact.consents
            if consent.lifts and consent.channel is channel and not consent.expired(now_ms)
        ]
        times = [end for end in ends if end is not None]
        lifted = times and self.standing_bans(channel, now_ms, lifted=True)
        return min(times) if lifted else None

    def topic_may_lift(self, channel: Channel, now_ms: int) -> bool:
        """Whether a consent for a single topic could lift some ban of this channel."""
        return any(
            consent.channel is channel
            and consent.topic != ANY_TOPIC
            and consent.lifts
            and not consent.expired(now_ms)
            for consent in self.exact.consents
        )

    def _bans(self) -> Iterable[tuple[Tier, Ban]]:
        for ban in _all_bans(self.exact):
            yield (Tier.BASE if ban.inherited else Tier.EXACT), ban
        for entry in self.base:
            yield from ((Tier.BASE, ban) for ban in _all_bans(entry))
        for entry in self.hashed:
            yield from ((Tier.HASHED, ban) for ban in _all_bans(entry))
        for entry in self.organisations:
            yield from ((Tier.ORGANISATION, ban) for ban in _all_bans(entry))

    def _lifted(self, ban: Ban, channel: Channel, topic: str | None, now: int) -> bool:
        if ban.scope not in _LIFTABLE:
            return False
        return any(
            _lifts(consent, ban, channel, topic)
            for consent in self.exact.consents
            # One of a later time than any clock may show has not been given yet.
            if not consent.expired(now) and consent.at <= now + CLOCK_SKEW_MS
        )

    def _tombstone(self, channel: Channel, topic: str | None, now: int) -> bool:
        if not self.exact.tombstone and not any(entry.tombstone for entry in self.base):
            return False
        return any(
            entry.tombstone
            and any(
                ban.scope is Scope.ALL
                and not ban.inherited
                and not self._lifted(ban, channel, topic, now)
                for ban in entry.bans
            )
            for entry in (self.exact, *self.base)
        )

    def _consent(self, channel: Channel, topic: str | None, now: int) -> tuple[ConsentState, bool]:
        best, proven = ConsentState.NONE, False
        if not self.exact.consents:
            return best, proven
        for consent in self.exact.consents:
            if consent.channel is not channel or consent.topic not in (ANY_TOPIC, topic):
                continue
            if consent.status is ConsentStatus.WITHDRAWN or consent.at > now + CLOCK_SKEW_MS:
                continue
            state = (
                ConsentState.EXPIRED
                if consent.expired(now)
                else ConsentState.GRANTED
                if consent.status is ConsentStatus.GRANTED
                else ConsentState.PENDING
            )
            if _CONSENT_ORDER[state] > _CONSENT_ORDER[best]:
                best, proven = state, False
            if state is best:
                proven = proven or consent.proven
        return best, proven and best is ConsentState.GRANTED


_CONSENT_ORDER = {
    ConsentState.NONE: 0,
    ConsentState.EXPIRED: 1,
    ConsentState.PENDING: 2,
    ConsentState.GRANTED: 3,
}


def _all_bans(entry: Entry) -> tuple[Ban, ...]:
    if not entry.consents:
        return entry.bans
    withdrawn = (each for each in entry.consents if each.status is ConsentStatus.WITHDRAWN)
    return (*entry.bans, *(each.as_ban() for each in withdrawn))


def _lifts(consent: Consent, ban: Ban, channel: Channel, topic: str | None) -> bool:
    if (
        consent.status is not ConsentStatus.GRANTED
        or not consent.proven
        or not consent.lifts
        or consent.channel is not channel
        or consent.at <= ban.at
    ):
        return False
    if ban.scope is Scope.TOPIC:
        return consent.topic == ban.topic
    return consent.topic in (ANY_TOPIC, topic)


def _day(now_ms: int) -> date:
    return datetime.fromtimestamp(now_ms // _DAY * _DAY / 1000, UTC).date()


def _relationship(entry: Entry, now_ms: int) -> Relationship:
    start, end = entry.relationship_start, entry.relationship_end
    if start is None and end is None:
        return Relationship.NONE
    today = _day(now_ms)
    if end is not None and end < today:
        return Relationship.ENDED
    if start is not None and start <= today:
        return Relationship.ACTIVE
    return Relationship.NONE


def _product(groups: frozenset[str] | None, asked: str | None) -> ProductMatch:
    name = normal_name(asked) if asked else ""
    if not groups or not name:
        return ProductMatch.UNKNOWN
    return ProductMatch.SAME if name in groups else ProductMatch.DIFFERENT


make_standing: Callable[[Iterable[Any]], Standing] = partial(tuple.__new__, Standing)
"""Makes a standing of all its members in order, without a call in Python."""
