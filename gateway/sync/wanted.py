"""What a tool's list must hold of a contact: its bans, as narrow as the tool can hold them,
and that mail to it bounces or was complained of.

Pure.  Never narrower than the register says within what the tool can hold: where a ban
has no entry of its own there, the next wider is taken.  That is done unasked where it
forbids no more of this contact (all, and its only channel), and where it forbids more (a
topic becomes the channel) only if ``accept_wider`` says so; otherwise the ban is told as
one that the tool cannot hold.

Not held: bans of organisations, which are no addresses, and of disclosure.  A consent
takes away a ban that it lifts wholly; what it lifts in part stays whole in a tool, for no
list can say "all but".

What is suppressed for delivery's sake is an entry of its own, apart from bans, and none
where a ban of the whole address stands: that forbids as much and says more.  In a tool
without such entries a complaint, the person's own word, becomes a block of the whole
address (:func:`as_held`), and a bounce is left out: an unsubscribe that nobody made would
be false.  That one service refuses to deliver (``rejected``) is no other's concern.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Final

from gateway.connector.connector import Holds
from gateway.connector.suppression import Reason, Suppression
from gateway.contacts.contact import Contact
from gateway.entry.entry import Ban, DeliveryReason, Scope, normal_name
from gateway.entry.standing import Standing
from gateway.sync.entry import ALL, DELIVERY, ban_of, covers, entry_of, scope_of

_WIDE: Final = (Scope.ALL, Scope.CONTACT)
_REASONS: Final = {
    # The stricter word first.
    DeliveryReason.COMPLAINT: Reason.COMPLAINT,
    DeliveryReason.HARD_BOUNCE: Reason.BOUNCE,
}


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to stand in a tool's list."""

    entries: tuple[Suppression, ...] = ()
    left: tuple[Ban, ...] = ()
    """Bans that the tool cannot hold."""

    def covers(self, entry: str) -> bool:
        """Whether one of the entries forbids all that the named one does, by the same law."""
        return any(covers(entry_of(each), entry) for each in self.entries)

    @property
    def delivery(self) -> bool:
        """Whether an entry for delivery's sake is among them."""
        return any(entry_of(each) == DELIVERY for each in self.entries)


NOTHING: Final = Wanted()


def wanted(
    contact: Contact,
    standing: Standing,
    holds: Holds,
    accept_wider: bool,
    now: int,
    *,
    lifted: bool = False,
    there: Collection[str] = (),
) -> Wanted:
    """What a tool must hold of a contact; ``lifted``: bans too that a consent has lifted.

    ``now`` is milliseconds since the epoch.  ``there``: names of entries that stand there;
    what they forbid needs no other.
    """
    channel = contact.channel
    if channel not in holds.channels:
        return NOTHING
    topics = {normal_name(topic) for topic in holds.topics}
    found: dict[str, Suppression] = {}
    left: list[Ban] = []
    for ban in standing.standing_bans(channel, now, lifted=lifted):
        if any(covers(name, ban_of(ban)) for name in there):
            continue
        entry = _held(contact, ban, holds, topics, accept_wider)
        if entry is None:
            left.append(ban)
            continue
        name = scope_of(entry)
        known = found.get(name)
        if known is None or _before(known, entry):
            found[name] = entry
    kept = Wanted(
        tuple(
            entry
            for name, entry in sorted(found.items())
            if not any(other != name and covers(other, name) for other in found)
        )
    )
    entries = kept.entries
    if ALL not in found and not {ALL, DELIVERY} & set(there):
        entries += _delivery(contact, standing, holds, now)
    return Wanted(entries, tuple(ban for ban in left if not kept.covers(ban_of(ban))))


def as_held(entry: Suppression, holds: Holds) -> Suppression:
    """An entry as the tool is given it: with a reason that its list has."""
    if entry.reason.legal or entry.reason in holds.delivery:
        return entry
    return replace(entry, reason=Reason.BLOCKED)


def blind(holds: Holds) -> bool:
    """Whether what is put there for delivery's sake is told as an objection."""
    return Reason.COMPLAINT not in holds.delivery


def _delivery(
    contact: Contact, standing: Standing, holds: Holds, now: int
) -> tuple[Suppression, ...]:
    """The entry for delivery's sake, of which there is one at the most."""
    known = {each.reason: each for each in standing.undeliverable(now)}
    scopes = [scope for scope in (Scope.CHANNEL, Scope.ALL) if scope in holds.scopes]
    for told, reason in _REASONS.items():
        if scopes and told in known and (reason in holds.delivery or reason is Reason.COMPLAINT):
            channel = contact.channel if scopes[0] is Scope.CHANNEL else None
            at = known[told].at
            return (Suppression(contact, scopes[0], reason, channel, at=at),)
    return ()


def _before(known: Suppression, entry: Suppression) -> bool:
    """Whether an entry is the wider of two by scope, or the later word of one scope."""
    if (known.scope is Scope.ALL) != (entry.scope is Scope.ALL):
        return entry.scope is Scope.ALL
    return (known.at or 0) < (entry.at or 0)


def _held(
    contact: Contact, ban: Ban, holds: Holds, topics: set[str], accept_wider: bool
) -> Suppression | None:
    """The entry that holds a ban there; None where there is none that may."""
    channel = contact.channel

    def entry(scope: Scope) -> Suppression:
        topic = ban.topic if scope is Scope.TOPIC else None
        within = ban.channel if scope is Scope.TOPIC else channel
        return Suppression(
            contact,
            scope,
            Reason.OBJECTION,
            None if scope is Scope.ALL else within,
            topic,
            ban.at,
        )

    if ban.scope is Scope.TOPIC:
        if Scope.TOPIC in holds.scopes and ban.topic in topics:
            return entry(Scope.TOPIC)
        if not accept_wider:
            return None
    order = (Scope.ALL, Scope.CHANNEL) if ban.scope in _WIDE else (Scope.CHANNEL, Scope.ALL)
    for scope in order:
        # In all channels is more than in one, unless the tool has that one alone.
        same = ban.scope in _WIDE or accept_wider or holds.channels == {channel}
        if scope in holds.scopes and (same or scope is Scope.CHANNEL):
            return entry(scope)
    return None
