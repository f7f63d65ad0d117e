"""How an event changes an entry: the projection of the log, event by event.

Strictest wins.  A later word replaces an earlier one of the same key; on a tie the
stricter stands.  Nothing but an unban removes a ban: a later consent is kept beside
it and lifts it when facts are made (see :mod:`gateway.entry.standing`), so that
the ban stands again when the consent expires.
"""

from __future__ import annotations

from dataclasses import replace

from gateway.clock import CLOCK_SKEW_MS
from gateway.entry.entry import (
    ANY_ORIGIN,
    ANY_TOPIC,
    EMPTY,
    ORIGIN_SIZE,
    Ban,
    Consent,
    ConsentStatus,
    DeliveryReason,
    Entry,
    Scope,
    Undeliverable,
    normal_name,
)
from gateway.entry.event import Attributes, Event, EventKind

MAX_ORIGINS = 8
"""Inherited bans of one scope that are told apart; more are joined into one."""

_STRICTNESS = {
    ConsentStatus.GRANTED: 0,
    ConsentStatus.PENDING: 1,
    ConsentStatus.WITHDRAWN: 2,
}


def project(entry: Entry, event: Event) -> Entry:
    """Return the entry after the event; the same object when nothing changes."""
    if event.kind is EventKind.BAN:
        ban = replace(_ban_of(event), at=_said_at(entry, event))
        changed = with_ban(entry, ban, refresh=not event.undated)
    elif event.kind is EventKind.UNBAN:
        changed = _unbanned(entry, event)
    elif event.kind is EventKind.CONSENT or event.kind is EventKind.WITHDRAW:
        changed = _consented(entry, event)
    elif event.kind is EventKind.RESTRICT:
        changed = replace(entry, restricted=True)
    elif event.kind is EventKind.UNRESTRICT:
        changed = entry if event.imported else replace(entry, restricted=False)
    elif event.kind is EventKind.ERASE:
        changed = _erased(entry, event)
    elif event.kind is EventKind.FORGET:
        changed = entry if event.origin else _bans_alone(entry)
    elif event.kind is EventKind.UNDELIVERABLE:
        changed = _undeliverable(entry, event)
    elif event.kind is EventKind.DELIVERABLE:
        changed = _deliverable(entry, event)
    else:
        changed = _described(entry, event)
    return entry if changed == entry else changed


def _ban_of(event: Event) -> Ban:
    scope = event.scope or Scope.ALL
    channel = event.channel if scope in (Scope.CHANNEL, Scope.TOPIC) else None
    topic = event.topic if scope is Scope.TOPIC else None
    return Ban(scope, event.at, channel, topic, event.origin[:ORIGIN_SIZE])


def said_at(entry: Entry, at: int, recorded: int) -> int:
    """When an objection counts as said that tells this time, and was recorded at that one.

    A consent that is known already when an objection is recorded, yet of a later time, has
    its time from a clock that is ahead.  Which came first cannot be told, and the objection
    stands.
    """
    if recorded - at > CLOCK_SKEW_MS:
        return at
    times = (each.at for each in entry.consents)
    return max((at, *(each for each in times if 0 < recorded < each <= recorded + CLOCK_SKEW_MS)))


def _said_at(entry: Entry, event: Event) -> int:
    """When the event's objection counts as said; a list's own time is believed."""
    if event.imported or event.undated:
        return event.at
    return said_at(entry, event.at, event.recorded)


def with_ban(entry: Entry, ban: Ban, *, refresh: bool = True) -> Entry:
    """Return the entry with the ban, which keeps the latest time of its key.

    Without ``refresh`` a ban of the same key that is known already stays as it is.
    """
    bans = []
    for known in entry.bans:
        if known.key == ban.key:
            if known.at >= ban.at or not refresh:
                return entry
        else:
            bans.append(known)
    bans.append(ban)
    if ban.inherited:
        bans = _joined(bans, ban)
    bans.sort(key=lambda each: each.key)
    return replace(entry, bans=tuple(bans))


def _joined(bans: list[Ban], ban: Ban) -> list[Ban]:
    """Join the inherited bans of one scope when they are too many to tell apart."""
    alike = [each for each in bans if each.inherited and each.key[:3] == ban.key[:3]]
    if len(alike) <= MAX_ORIGINS and all(each.origin != ANY_ORIGIN for each in alike):
        return bans
    latest = max(each.at for each in alike)
    rest = [each for each in bans if each not in alike]
    return [*rest, replace(ban, at=latest, origin=ANY_ORIGIN)]


def _unbanned(entry: Entry, event: Event) -> Entry:
    """Remove the event's ban, unless it was set later than the event took effect.

    An unban of the contact itself also removes the joined ban of its other
    spellings; those told apart go only with an unban of their own spelling.
    """
    if event.imported:
        return entry
    target = _ban_of(event)
    keys = {target.key}
    if not target.inherited:
        keys.add(replace(target, origin=ANY_ORIGIN).key)
    bans = tuple(ban for ban in entry.bans if ban.key not in keys or ban.at > event.at)
    consents = entry.consents
    if not target.inherited:
        consents = tuple(
            consent
            for consent in entry.consents
            if consent.status is not ConsentStatus.WITHDRAWN
            or consent.as_ban().key != target.key
            or consent.at > event.at
        )
    whole = target.scope is Scope.ALL and not target.inherited
    kept = any(ban.scope is Scope.ALL and not ban.inherited for ban in bans)
    return replace(
        entry,
        bans=bans,
        consents=consents,
        tombstone=entry.tombstone and not (whole and not kept),
    )


def _consented(entry: Entry, event: Event) -> Entry:
    if event.channel is None or event.status is None:
        return entry
    granted = event.status is ConsentStatus.GRANTED
    withdrawn = event.status is ConsentStatus.WITHDRAWN
    consent = Consent(
        event.channel,
        event.topic or ANY_TOPIC,
        event.status,
        _said_at(entry, event) if withdrawn else event.at,
        event.expires,
        event.proven,
        granted and event.lifts and event.proven and not event.imported,
    )
    if event.origin:
        # Of another spelling only the withdrawal counts, and it counts as a ban.
        if not withdrawn:
            return entry
        ban = replace(consent.as_ban(), origin=event.origin[:ORIGIN_SIZE])
        return with_ban(entry, ban, refresh=not event.undated)
    if event.imported and entry.tombstone and not withdrawn:
        return entry
    changed = with_consent(entry, consent, undated=event.undated)
    if not withdrawn and event.source and not event.imported:
        changed = replace(changed, source_known=True)
    return changed


def with_consent(entry: Entry, consent: Consent, *, undated: bool = False) -> Entry:
    """Return the entry with the consent, if it is the latest word of its key.

    A withdrawal that a later word replaces stays as a ban.  An undated consent
    never loosens what is known; of a granted one it may add proof and expiry.
    """
    known = next((each for each in entry.consents if each.key == consent.key), None)
    if known is None:
        return _put_consent(entry, consent)
    if undated:
        return _put_undated(entry, known, consent)
    withdrawn = consent.status is ConsentStatus.WITHDRAWN
    if consent.at < known.at:
        # A withdrawal that arrives after a later word is still an objection of its time.
        return with_ban(entry, consent.as_ban()) if withdrawn else entry
    if consent.at == known.at and _STRICTNESS[consent.status] <= _STRICTNESS[known.status]:
        return entry
    if known.status is ConsentStatus.WITHDRAWN and not withdrawn:
        entry = with_ban(entry, known.as_ban())
    asked_again = (
        consent.status is ConsentStatus.PENDING
        and known.status is ConsentStatus.GRANTED
        and not known.expired(consent.at)
    )
    return entry if asked_again else _put_consent(entry, consent)


def _put_undated(entry: Entry, known: Consent, consent: Consent) -> Entry:
    if consent.status is ConsentStatus.WITHDRAWN:
        already = known.status is consent.status or any(
            ban.key == consent.as_ban().key for ban in entry.bans
        )
        return entry if already else _put_consent(entry, consent)
    if consent.status is not known.status:
        return entry
    expires = known.expires if consent.expires is None else consent.expires
    proven = known.proven or consent.proven
    return _put_consent(entry, replace(known, expires=expires, proven=proven))


def _put_consent(entry: Entry, consent: Consent) -> Entry:
    others = [each for each in entry.consents if each.key != consent.key]
    return replace(entry, consents=tuple(sorted([*others, consent], key=lambda each: each.key)))


def _erased(entry: Entry, event: Event) -> Entry:
    """Keep the bans and a tombstone, which bans all marketing; forget the rest.

    At another spelling's base only that ban is left, as of any ban.
    """
    ban = Ban(Scope.ALL, _said_at(entry, event), origin=event.origin[:ORIGIN_SIZE])
    if event.origin:
        return with_ban(entry, ban)
    return with_ban(replace(_bans_alone(entry), tombstone=True), ban)


def _bans_alone(entry: Entry) -> Entry:
    """What was forbidden, withdrawals too, and nothing else."""
    kept = replace(EMPTY, bans=entry.bans, restricted=entry.restricted, tombstone=entry.tombstone)
    for consent in entry.consents:
        if consent.status is ConsentStatus.WITHDRAWN:
            kept = with_ban(kept, consent.as_ban())
    return kept


def _undeliverable(entry: Entry, event: Event) -> Entry:
    """Set the event's delivery suppression; of another spelling only a complaint counts."""
    if event.delivery is None or (event.origin and event.delivery is not DeliveryReason.COMPLAINT):
        return entry
    told = Undeliverable(event.delivery, event.at, event.expires)
    return with_delivery(entry, told, refresh=not event.undated)


def with_delivery(entry: Entry, told: Undeliverable, *, refresh: bool = True) -> Entry:
    """Return the entry with the delivery suppression, joined with what is known of its reason.

    It keeps the latest time and the longest term that was told, in whatever order; without
    ``refresh`` one of the same reason that is known already stays as it is.
    """
    for known in entry.delivery:
        if known.reason is told.reason:
            if not refresh:
                return entry
            told = _longest(known, told)
    others = [each for each in entry.delivery if each.reason is not told.reason]
    return replace(entry, delivery=tuple(sorted([*others, told], key=lambda each: each.reason)))


def _longest(known: Undeliverable, told: Undeliverable) -> Undeliverable:
    expires = (
        None if known.expires is None or told.expires is None else max(known.expires, told.expires)
    )
    return Undeliverable(told.reason, max(known.at, told.at), expires)


def _deliverable(entry: Entry, event: Event) -> Entry:
    """Lift by hand the reason that the event names, or all, unless told again later.

    A complaint is lifted for all spellings of the mailbox, since it was the person's.
    """
    if event.imported:
        return entry
    kept = tuple(
        each
        for each in entry.delivery
        if each.at > event.at
        or event.delivery not in (None, each.reason)
        or (event.origin and each.reason is not DeliveryReason.COMPLAINT)
    )
    return replace(entry, delivery=kept)


def _described(entry: Entry, event: Event) -> Entry:
    """Set the attributes that the event states."""
    stated: Attributes = event.attributes
    if event.origin or (event.imported and entry.tombstone):
        return entry
    end = entry.relationship_end if stated.relationship_end is None else stated.relationship_end
    if (
        stated.relationship_end is None
        and stated.relationship_start is not None
        and end is not None
        and stated.relationship_start > end
    ):
        end = None  # a new relationship began after the old one had ended
    groups = stated.product_groups
    return replace(
        entry,
        person_class=stated.person_class or entry.person_class,
        age=stated.age or entry.age,
        guardian_consent=_said(stated.guardian_consent, entry.guardian_consent),
        relationship_start=stated.relationship_start or entry.relationship_start,
        relationship_end=end,
        collected=stated.collected or entry.collected,
        opt_out_offered=_said(stated.opt_out_offered, entry.opt_out_offered),
        product_groups=(
            entry.product_groups
            if groups is None
            else frozenset(filter(None, map(normal_name, groups)))
        ),
        source_known=bool(_said(stated.source_known, entry.source_known)),
    )


def _said(stated: bool | None, known: bool | None) -> bool | None:
    return known if stated is None else stated
