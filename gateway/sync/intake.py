"""What a tool tells becomes changes of the register, in force when this returns.

An entry that a tool has becomes a ban of its scope and its date: what a person consented
to later stays lifted, whatever came by whichever list.  What is known to stand there, or
was put there by us, is no news.  An entry that is gone lifts nothing: see
:mod:`gateway.sync.push`, which asks a person and puts it again.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Final

import structlog

from gateway.clock import DAY_MS, Clock, now_ms
from gateway.connector.suppression import Change, Reason, Said, Suppression
from gateway.contacts.contact import Channel, Contact
from gateway.contacts.digest import KeyRing, subject_of
from gateway.entry.entry import DeliveryReason
from gateway.entry.event import Event, EventError, EventKind
from gateway.entry.period import delivery_expiry
from gateway.entry.projection import said_at
from gateway.entry.standing import Standing
from gateway.register.register import Register
from gateway.settings.public import Delivery
from gateway.sync.entry import DELIVERY, ban_of, covers, entry_of, scope_of
from gateway.sync.store import Known, SyncStore
from gateway.sync.tool import Tool
from gateway.sync.wanted import Wanted, blind, wanted

log = structlog.get_logger(__name__)

History = Callable[[Contact], Awaitable[list[Event]]]
"""Every change of a contact, archived or not yet."""

TOLERANCE: Final = 10 * 60_000
"""Milliseconds by which a tool's date of what we put may lie behind our own."""
_MOMENT: Final = 5_000
_PORTION: Final = 500
"""Changes that are taken in together."""


class Via(Enum):
    """How the tool told it."""

    HOOK = auto()
    """It called: something happened now."""
    LIST = auto()
    """It was read: it may have been there long before."""


@dataclass(slots=True)
class Taken:
    """What came of what was told."""

    told: int = 0
    news: int = 0
    """Changes of the register."""
    removed: int = 0
    bad: int = 0
    """Entries of which nothing could be made."""

    def add(self, other: Taken) -> None:
        """Count another's too."""
        self.told += other.told
        self.news += other.news
        self.removed += other.removed
        self.bad += other.bad


@dataclass(slots=True)
class _Portion:
    """What is worked out of some changes."""

    events: list[tuple[Event, Contact]] = field(default_factory=list)
    rows: dict[tuple[str, str], Known] = field(default_factory=dict)
    gone: dict[tuple[str, str], None] = field(default_factory=dict)
    taken: Taken = field(default_factory=Taken)


class Intake:
    """Takes in what tools tell; raises RegisterUnavailable, RecordsUnavailable."""

    def __init__(
        self,
        register: Register,
        store: SyncStore,
        ring: KeyRing,
        history: History,
        delivery: Delivery,
        clock: Clock = now_ms,
    ) -> None:
        self._register = register
        self._store = store
        self._ring = ring
        self._history = history
        self._delivery = delivery
        self._clock = clock

    async def take(
        self,
        tool: Tool,
        changes: Sequence[Change],
        via: Via,
        *,
        first: bool = False,
        whole: bool = False,
        asked: int | None = None,
    ) -> Taken:
        """Take changes in, of a page that was asked for at ``asked`` (ms).

        ``first``: the whole list has never been read, so that what it does not date may
        have been there for long.  ``whole``: it is being read whole.
        """
        taken = Taken()
        since = self._clock() if asked is None else asked
        for at in range(0, len(changes), _PORTION):
            part = changes[at : at + _PORTION]
            taken.add(await self._take(tool, part, via, first, whole, since))
        if taken.news:
            await self._register.settle()
        return taken

    async def _take(
        self, tool: Tool, changes: Sequence[Change], via: Via, first: bool, whole: bool, since: int
    ) -> Taken:
        portion = await self._work_out(tool, changes, via, first)
        rows = [row._replace(listed=1) if whole else row for row in portion.rows.values()]
        logged = await self._register.apply_many(portion.events, only_changes=True, settled=False)
        # Behind what is in force: a crash in between takes the same in again.
        await self._store.note(tool.name, rows, since)
        await self._store.lose(tool.name, list(portion.gone))
        portion.taken.news = len(logged)
        return portion.taken

    async def preview(self, tool: Tool, changes: Sequence[Change], first: bool) -> Taken:
        """What :meth:`take` of a list's page would do, without doing it."""
        portion = await self._work_out(tool, changes, Via.LIST, first)
        portion.taken.news = len(portion.events)
        return portion.taken

    async def _work_out(
        self, tool: Tool, changes: Sequence[Change], via: Via, first: bool
    ) -> _Portion:
        portion = _Portion()
        portion.taken.told = len(changes)
        read: list[tuple[Change, str]] = []
        for change in changes:
            try:
                read.append((change, entry_of(change.suppression)))
            except ValueError:
                portion.taken.bad += 1
        contacts = list(dict.fromkeys(change.suppression.contact for change, _ in read))
        digests = {one: self._digests(one) for one in contacts}
        known = await self._store.known(tool.name, _flat(digests.values()))
        standings = dict(zip(contacts, await self._look_up(contacts), strict=True))
        for change, entry in read:
            contact = change.suppression.contact
            subject = digests[contact][0]
            rows = [row for each in digests[contact] for row in known.get(each, ())]
            rows = [portion.rows.get((row.subject, row.entry), row) for row in rows]
            key = (subject, entry)
            if change.said is Said.REMOVED:
                portion.taken.removed += 1
                scope = scope_of(change.suppression)
                gone = [
                    (row.subject, row.entry)
                    for row in rows
                    if _ours(row, scope) or _echoes(tool, row, entry)
                ]
                for each in (key, *gone):
                    portion.gone[each] = None
                    portion.rows.pop(each, None)
                continue
            try:
                event = await self._event(
                    tool, change.suppression, entry, rows, standings[contact], via, first
                )
            except EventError:
                portion.taken.bad += 1
                continue
            if event is not None:
                portion.events.append((event, contact))
                rows = [row for row in rows if row.entry == entry or row.entry != DELIVERY]
            for row in self._seen(tool, subject, change.suppression, entry, rows):
                portion.rows[row.subject, row.entry] = row
                portion.gone.pop((row.subject, row.entry), None)
        return portion

    async def _event(
        self,
        tool: Tool,
        told: Suppression,
        entry: str,
        rows: Iterable[Known],
        standing: Standing,
        via: Via,
        first: bool,
    ) -> Event | None:
        """The change that an entry is; None where it is no news."""
        now = self._clock()
        at = latest_of(told.at, now)
        moment = now if at is None and via is Via.HOOK else at
        scope = scope_of(told)
        there = [row for row in rows if not row.gone]
        echoes = [row for row in there if _echoes(tool, row, entry)]
        if _says_no_more(told, standing, via) and _before(moment, (), echoes, 0, TOLERANCE):
            return None
        ours = [row for row in there if _ours(row, scope)]
        same = [row for row in there if row.entry == entry and row.stands]
        # Of a call what we put ourselves is known by its date alone.
        known = _before(moment, same if via is Via.LIST else (), ours, 0, _MOMENT)
        if not known and not _may_be_lifted(standing, told.contact.channel):
            # Nor may it be more than the register says, where we put more than that.
            known = _before(moment, same, ours, TOLERANCE, TOLERANCE) and (
                self._forbidden(tool, told.contact, standing).covers(scope)
                if via is Via.LIST
                else _forbids(standing, told.contact.channel, scope, now)
            )
        if entry == DELIVERY:
            # A list without a word for objections calls what we put there a complaint,
            # by its own clock, and somewhat later than we noted it.
            if via is Via.LIST and (known or _before(moment, same, ours, 0, 2 * TOLERANCE)):
                return None
        elif known:
            forbidden = self._forbidden(tool, told.contact, standing)
            since = min(row.since for row in (*same, *ours))
            if forbidden.covers(scope) or (
                via is Via.LIST and await self._lifted(told.contact, since)
            ):
                return None
        if entry == DELIVERY:
            undated = moment is None and first
            return self._undeliverable(tool, told, moment, via, undated=undated)
        said = now if moment is None else moment
        return Event(
            kind=EventKind.BAN,
            # A call tells what happened now, whatever clock has dated a consent.
            at=said_at(standing.exact, said, now) if via is Via.HOOK else said,
            actor=f"tool:{tool.name}",
            source=_source(tool, via),
            evidence=_evidence(tool, told),
            scope=told.scope,
            channel=told.channel,
            topic=told.topic,
            imported=True,
            # Not there when the list was last read whole: then it has come since.
            undated=moment is None and first,
        )

    def _forbidden(self, tool: Tool, contact: Contact, standing: Standing) -> Wanted:
        """What would stand in the tool's list if no consent had lifted anything."""
        wider = tool.settings.accept_wider
        return wanted(contact, standing, tool.holds, wider, self._clock(), lifted=True)

    def _undeliverable(
        self, tool: Tool, told: Suppression, at: int | None, via: Via, *, undated: bool
    ) -> Event | None:
        """The event of an address that mail does not reach, or whose owner complained."""
        now = self._clock()
        since = now if at is None else at
        complaint = told.reason is Reason.COMPLAINT
        reason = DeliveryReason.COMPLAINT if complaint else DeliveryReason.HARD_BOUNCE
        days = self._delivery
        expires = delivery_expiry(reason, since, days.bounce_days, days.complaint_days)
        if expires is not None and expires <= now:
            return None
        return Event(
            kind=EventKind.UNDELIVERABLE,
            at=since,
            actor=f"tool:{tool.name}",
            source=_source(tool, via),
            evidence=_evidence(tool, told),
            channel=told.contact.channel,
            delivery=reason,
            expires=expires,
            imported=True,
            undated=undated,
        )

    async def _lifted(self, contact: Contact, since: int) -> bool:
        """Whether a lifting is on record since an entry became known."""
        return any(
            event.kind is EventKind.UNBAN and event.recorded >= since
            for event in await self._history(contact)
        )

    def _seen(
        self, tool: Tool, subject: str, told: Suppression, entry: str, rows: Iterable[Known]
    ) -> list[Known]:
        """The rows of what was just seen there."""
        now = self._clock()
        at = latest_of(told.at, now)
        scope = scope_of(told)
        seen: dict[str, Known] = {}
        for row in rows:
            # A narrower one beside ours does not say that ours is there still.
            alike = (
                row.entry == entry
                or (row.put is not None and row.entry == scope)
                or _echoes(tool, row, entry)
            )
            before = seen.get(row.entry)
            if row.gone or not alike or (before is not None and before.subject == subject):
                continue
            seen[row.entry] = row
        if not seen:
            return [Known(subject, entry, at, None, now, now)]
        # After a change of keys what was known by another digest is known by this one.
        return [
            row._replace(subject=subject, at=row.at if at is None else at, seen=now)
            for row in seen.values()
        ]

    async def _look_up(self, contacts: Sequence[Contact]) -> list[Standing]:
        return await self._register.look_up(contacts) if contacts else []

    def _digests(self, contact: Contact) -> list[str]:
        return list(map(str, self._ring.digests(subject_of(contact))))


def latest_of(at: int | None, now: int) -> int | None:
    """The latest time that a tool's date may stand for, and no later than now; milliseconds.

    Most tools tell whole seconds, some whole days: a consent of the same second or day is
    not taken for a later one.
    """
    if at is None:
        return None
    if at % DAY_MS == 0:
        at += DAY_MS - 1
    elif at % 1000 == 0:
        at += 999
    return max(0, min(at, now))


def _ours(row: Known, scope: str) -> bool:
    """Whether we put an entry there that forbids this."""
    return row.put is not None and covers(row.entry, scope)


def _echoes(tool: Tool, row: Known, entry: str) -> bool:
    """Whether an entry may be what we put there for delivery's sake.

    It comes back with another date, and as an objection from a list without reasons.
    """
    delivery = row.entry == DELIVERY and row.put is not None
    return delivery and (entry == DELIVERY or blind(tool.holds))


def _says_no_more(told: Suppression, standing: Standing, via: Via) -> bool:
    """Whether it may be our own word that comes back: a call by a person is none."""
    if told.reason is Reason.COMPLAINT:
        known = (*standing.exact.delivery, *standing.wider_complaints())
        return any(each.reason is DeliveryReason.COMPLAINT for each in known)
    return via is Via.LIST or told.reason is not Reason.OBJECTION


def _may_be_lifted(standing: Standing, channel: Channel) -> bool:
    """Whether a consent may lift some of what is forbidden in a channel: then dates decide."""
    return any(each.lifts and each.channel is channel for each in standing.exact.consents)


def _forbids(standing: Standing, channel: Channel, scope: str, now: int) -> bool:
    """Whether the register itself forbids all of a scope."""
    return any(covers(ban_of(ban), scope) for ban in standing.standing_bans(channel, now))


def _before(
    at: int | None, same: Sequence[Known], ours: Sequence[Known], later: int, put: int
) -> bool:
    """Whether what is told was known, by its date; undated it was if anything was.

    ``later`` and ``put``: by how much its date may lie behind the known one, or behind
    the time at which we put it.
    """
    if at is None:
        return bool(same or ours)
    return any(row.at is None or at <= row.at + later for row in same) or any(
        row.put is not None and at <= row.put + put for row in ours
    )


def _source(tool: Tool, via: Via) -> str:
    return f"{'hook' if via is Via.HOOK else 'sync'}:{tool.name}"


def _evidence(tool: Tool, told: Suppression) -> str:
    # A word of the tool's own may be anybody's text.
    note = f" ({told.note})" if told.note and "@" not in told.note else ""
    return f"{tool.connector.title}: {told.reason}{note}"


def _flat(each: Iterable[list[str]]) -> list[str]:
    return [digest for digests in each for digest in digests]
