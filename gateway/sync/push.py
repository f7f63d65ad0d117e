"""What the register forbids is put into a tool's list; what is lifted is told to a person.

Contacts that a tool is to be looked at for stand in the table of what is owed.  For each,
what the tool must hold is worked out anew from what the register says now, so that
nothing depends on the order of changes, and doing it twice does no harm.

Nothing is ever taken out of a list.  An entry that is gone there while the ban stands
here becomes a task and is put again; one that stands there while the ban is lifted here
becomes a task.  So does an entry for delivery's sake, but not where its time is over: it
ends here by itself, and a person who wants it out there may take it out.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import structlog
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.clock import Clock, now_ms
from gateway.connector.connector import Put
from gateway.contacts.contact import Contact, ContactError
from gateway.contacts.digest import KeyRing, subject_of
from gateway.contacts.parse import parse_contact
from gateway.entry.event import Event, EventKind
from gateway.entry.standing import Standing
from gateway.records import schema
from gateway.records.unsealing import Unsealer
from gateway.register.register import Register
from gateway.sync.entry import ALL, DELIVERY, ban_of, covers, entry_of
from gateway.sync.owing import Failed, Owed, Waits
from gateway.sync.putting import Putter, Work
from gateway.sync.session import Session
from gateway.sync.store import TOGETHER, Known, SyncStore, there_now
from gateway.sync.task import Tasks, Told, Why
from gateway.sync.tool import Tool
from gateway.sync.wanted import Wanted, wanted

log = structlog.get_logger(__name__)

_PORTION: Final = 500
_KEPT: Final = 4
"""Events of a contact whose sealed addresses are tried, the newest first."""
_FIRST, _MOST = 30_000, 6 * 3_600_000
"""Milliseconds until an entry that failed is tried again."""


@dataclass(slots=True)
class Pushed:
    """What came of what was owed."""

    looked_at: int = 0
    put: int = 0
    failed: int = 0
    tasks: int = 0


@dataclass(slots=True)
class _Plan:
    """What is to be done about all that is looked at together."""

    works: list[Work] = field(default_factory=list)
    tasks: list[Told] = field(default_factory=list)
    needless: list[Told] = field(default_factory=list)
    """Tasks that need no person any more."""
    gone: list[Known] = field(default_factory=list)


class Pusher:
    """Brings tools what they lack; raises RegisterUnavailable, RecordsUnavailable."""

    def __init__(
        self,
        register: Register,
        store: SyncStore,
        tasks: Tasks,
        unsealer: Unsealer,
        ring: KeyRing,
        clock: Clock = now_ms,
    ) -> None:
        self._register = register
        self._store = store
        self._tasks = tasks
        self._unsealer = unsealer
        self._ring = ring
        self._clock = clock
        self._putter = Putter(store, clock)

    async def push(self, tool: Tool, session: Session, most: int = _PORTION) -> Pushed:
        """Look at what is owed and due, the oldest first; nothing is left where 0 are looked at.

        Raises ToolAway, ToolRefused, ToolUnreadable: what was done till then is kept.
        """
        done = Pushed()
        owed = await self._store.due(tool.name, most)
        if not owed:
            return done
        done.looked_at = len(owed)
        since = self._clock()
        plan = await self._plan(tool, owed)
        done.tasks = await self._tasks.tell(tool.name, plan.tasks)
        await self._tasks.done(tool.name, plan.needless)
        await self._store.forget(tool.name, plan.gone)
        if not tool.settings.push:
            for work in plan.works:
                work.puts.clear()
        finished = plan.works
        try:
            await self._putter.put(tool, session, plan.works, since)
        except BaseException:
            # What was put stays known even where the rest of its contact was not.
            finished = [work for work in plan.works if not work.puts or work.failed is not None]
            raise
        finally:
            good = [work for work in finished if work.failed is None]
            settled = [work.owed for work in good if work.until is None]
            waits = [Waits(work.owed, work.until) for work in good if work.until is not None]
            failed = [
                self._put_off(work.owed, work.failed)
                for work in finished
                if work.failed is not None
            ]
            await self._store.settle(tool.name, settled, failed, waits)
        done.put = sum(len(work.puts) for work in finished if work.failed is None)
        done.failed = len(failed)
        return done

    async def put_now(self, tool: Tool, session: Session, contacts: Sequence[Contact]) -> bool:
        """Put what the tool lacks of contacts' bans at once; whether it has all of it now.

        For those whose address is about to be destroyed: nothing can be owed of them.
        Raises as :meth:`push`.
        """
        if not tool.settings.push:
            return True
        since = self._clock()
        every = [each for contact in contacts for each in spellings(contact)]
        standings = await self._look_up(every)
        known = await self._store.known(
            tool.name, [digest for each in every for digest in self._digests(each)]
        )
        anew = (await self._store.tool(tool.name)).anew
        work = Work(Owed("", 0, 0, 0, 0))
        for contact, standing in zip(every, standings, strict=True):
            digests = self._digests(contact)
            rows = [row for each in digests for row in known.get(each, ())]
            there = there_now(rows, anew, apart=tool.holds.apart)
            lacking = self._wanted(tool, contact, standing, there).entries
            # That mail bounced is no reason to hand an address on that is to be forgotten.
            work.puts += [(digests[0], entry) for entry in lacking if entry.reason.legal]
        await self._putter.put(tool, session, [work], since)
        return work.failed is None

    async def _plan(self, tool: Tool, owed: Sequence[Owed]) -> _Plan:
        plan = _Plan()
        opened = await self.contacts([each.subject for each in owed])
        pairs = [(each, spellings(opened.get(each.subject))) for each in owed]
        flat = [contact for _, contacts in pairs for contact in contacts]
        standings = dict(zip(flat, await self._look_up(flat), strict=True))
        digests = {one: self._digests(one) for one in flat}
        asked = [digest for one in flat for digest in digests[one]]
        known = await self._store.known(tool.name, [*asked, *(each.subject for each in owed)])
        suspects = [
            row.subject
            for rows in known.values()
            for row in rows
            if row.stands and row.entry == DELIVERY
        ]
        reached = await self._store.reached(suspects)
        anew = (await self._store.tool(tool.name)).anew
        for each, contacts in pairs:
            if not contacts:
                rows = known.get(each.subject, ())
                # An organisation has no address; what stands there needs none.
                if each.subject not in opened and not any(row.stands for row in rows):
                    plan.tasks.append(Told(each.subject, ALL, Why.ERASED))
                plan.gone += [row for row in rows if row.gone]
                plan.works.append(Work(each))
                continue
            work = Work(each)
            for contact in contacts:
                rows = [row for digest in digests[contact] for row in known.get(digest, ())]
                digest, standing = digests[contact][0], standings[contact]
                forbidden = self.forbidden(contact, standing)
                if rows:
                    # What the tool must hold may be wider than the ban that it is for.
                    must = self._wanted(tool, contact, standing, ()).entries
                    forbidden |= {entry_of(each) for each in must}
                again = None
                if not any(standing.undeliverable(self._clock())):
                    again = max((reached.get(one, -1) for one in digests[contact]), default=-1)
                self._compare(plan, tool, rows, digest, forbidden, again)
                there = there_now(rows, anew, apart=tool.holds.apart)
                lacking = self._wanted(tool, contact, standing, there).entries
                work.puts += [(digest, entry) for entry in lacking]
                until = standing.stricter_at(contact.channel, self._clock())
                work.until = min(filter(None, (work.until, until)), default=None)
            plan.works.append(work)
        return plan

    @staticmethod
    def _compare(
        plan: _Plan,
        tool: Tool,
        rows: Sequence[Known],
        digest: str,
        forbidden: set[str],
        again: int | None,
    ) -> None:
        """Add what a person is to be asked about a contact's entries.

        ``again``: when somebody said that mail can be delivered again; None: it cannot.
        """
        for row in rows:
            banned = any(covers(one, row.entry) for one in forbidden)
            lifted = Told(digest, row.entry, Why.LIFTED)
            if row.gone:
                plan.gone.append(row)
                # After a change of keys an entry is known by two digests; and a wider one
                # may have come in its place, but not from another list.
                covering = [one.entry for one in rows if one.stands]
                if tool.holds.apart:
                    covering = [one for one in covering if one == row.entry]
                if any(covers(one, row.entry) for one in covering):
                    continue
                if banned and row.seen != TOGETHER:
                    plan.tasks.append(Told(digest, row.entry, Why.REMOVED))
                plan.needless.append(lifted)
            elif row.stands and row.entry == DELIVERY:
                if again is None:
                    plan.needless.append(lifted)
                elif again >= row.since:
                    plan.tasks.append(lifted)
            elif row.stands:
                (plan.needless if banned else plan.tasks).append(lifted)

    def forbidden(self, contact: Contact, standing: Standing) -> set[str]:
        """The names of all that the register forbids of a contact now."""
        bans = standing.standing_bans(contact.channel, self._clock())
        return {ban_of(ban) for ban in bans}

    def _wanted(
        self, tool: Tool, contact: Contact, standing: Standing, there: Sequence[str]
    ) -> Wanted:
        """What the tool must hold of a contact, but for what entries there forbid."""
        wider = tool.settings.accept_wider
        return wanted(contact, standing, tool.holds, wider, self._clock(), there=there)

    def _put_off(self, owed: Owed, result: Put) -> Failed:
        pause = min(_MOST, _FIRST * 2 ** min(owed.attempts, 20))
        due = self._clock() + int(random.uniform(pause / 2, pause))  # noqa: S311
        return Failed(owed, result.cause or "the tool did not take it", due, result.final)

    # -- whom it is about ---------------------------------------------------------

    async def contacts(self, subjects: Sequence[str]) -> dict[str, Contact | None]:
        """The contacts of digests, None for an organisation; without those nobody can open."""
        event = schema.event.c
        asked = list(dict.fromkeys(subjects))
        events: dict[str, list[Event]] = {}
        for at in range(0, len(asked), _PORTION):
            query = (
                select(event.subject, event.body)
                .where(
                    event.subject.in_(asked[at : at + _PORTION]),
                    event.kind != EventKind.DESCRIBE.value,
                    event.body.contains('"sealed":', autoescape=True),
                )
                .order_by(event.id.desc())
            )

            async def work(connection: AsyncConnection) -> list[tuple[str, str]]:
                return [(row[0], row[1]) for row in await connection.execute(query)]  # noqa: B023

            for subject, body in await self._store.database.read(work):
                of = events.setdefault(subject, [])
                if len(of) < _KEPT:
                    of.append(Event.from_json(body))
        found: dict[str, Contact | None] = {}
        for place in range(_KEPT):
            left = [of[place] for of in events.values() if len(of) > place]
            left = [each for each in left if each.subject not in found]
            for each, address in zip(left, await self._unsealer.addresses(left), strict=True):
                if address is not None:
                    found[each.subject] = _contact(address)
        return found | await self._wider([each for each in asked if each not in found])

    async def _wider(self, subjects: Sequence[str]) -> dict[str, Contact | None]:
        """Of these the wider spellings of contacts whose events they follow from."""
        event = schema.event.c
        causes: dict[str, str] = {}
        for at in range(0, len(subjects), _PORTION):
            query = select(event.subject, event.body).where(
                event.subject.in_(subjects[at : at + _PORTION]),
                event.body.contains('"origin":', autoescape=True),
                event.body.contains('"cause":', autoescape=True),
            )

            async def bodies(connection: AsyncConnection) -> list[tuple[str, str]]:
                return [(row[0], row[1]) for row in await connection.execute(query)]  # noqa: B023

            for subject, body in await self._store.database.read(bodies):
                causes[subject] = Event.from_json(body).cause
        found: dict[str, Contact | None] = {}
        for subject, cause in causes.items():
            # A row's id is the event's, a slash and the subject.
            one = (
                select(event.body)
                .where(event.id > f"{cause}/", event.id < f"{cause}0")
                .where(event.body.contains('"sealed":', autoescape=True))
                .limit(1)
            )

            async def first(connection: AsyncConnection) -> str | None:
                return await connection.scalar(one)  # noqa: B023

            text = await self._store.database.read(first)
            if text is None:
                continue
            (address,) = await self._unsealer.addresses([Event.from_json(text)])
            contact = None if address is None else _contact(address)
            if contact is not None:
                wide = contact._replace(canonical=contact.base)
                if subject in self._digests(wide):
                    found[subject] = wide
        return found

    async def _look_up(self, contacts: Sequence[Contact]) -> list[Standing]:
        found: list[Standing] = []
        for at in range(0, len(contacts), _PORTION):
            found += await self._register.look_up(contacts[at : at + _PORTION])
        return found

    def _digests(self, contact: Contact) -> list[str]:
        return list(map(str, self._ring.digests(subject_of(contact))))


def spellings(contact: Contact | None) -> list[Contact]:
    """A contact and its wider spelling, which a ban of it forbids too."""
    if contact is None:
        return []
    if contact.base == contact.canonical:
        return [contact]
    return [contact, contact._replace(canonical=contact.base)]


def _contact(address: str) -> Contact | None:
    if "@" not in address and not address.startswith("+"):
        return None
    try:
        return parse_contact(address)
    except ContactError:
        return None
