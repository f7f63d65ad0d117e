"""What a round would change, in both directions; nothing is changed by looking.

The tool's whole list is read, and every contact that was ever banned is looked up.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.clock import now_ms
from gateway.connector.suppression import Said
from gateway.contacts.digest import KeyRing, subject_of
from gateway.entry.entry import normal_name
from gateway.records import schema
from gateway.sync.bureau import Bureau
from gateway.sync.entry import ALL, DELIVERY, covers, entry_of, scope_of
from gateway.sync.push import spellings
from gateway.sync.session import Session
from gateway.sync.telling import BANNING
from gateway.sync.tool import Tool
from gateway.sync.trail import Trail
from gateway.sync.wanted import wanted

_PAGE = 500


@dataclass(slots=True)
class Plan:
    """Counts of what would change for one tool."""

    tool: str
    listed: int = 0
    """Entries of the tool's list."""
    bad: int = 0
    take: int = 0
    """Entries that would become changes of the register."""
    put: Counter[str] = field(default_factory=Counter)
    """Entries that would be put there, by what they forbid."""
    left: Counter[str] = field(default_factory=Counter)
    """Bans that the tool cannot hold, by scope."""
    lifted: int = 0
    """Entries that stand there though nothing forbids it here: a person takes them out."""
    unopened: int = 0
    """Banned contacts whose address nobody can tell any more."""

    @property
    def nothing(self) -> bool:
        """Whether a round would change nothing."""
        return not (self.take or self.put or self.lifted)


async def plan(bureau: Bureau, ring: KeyRing, tool: Tool, session: Session) -> Plan:
    """What a round would change for a tool.

    Raises ToolAway, and as the connector, the register and the archive do.
    """
    found = Plan(tool.name)
    there: dict[str, set[str]] = {}
    cursors = (await bureau.store.tools()).get(tool.name)
    first = cursors is None or cursors.listed is None
    if tool.pulls:
        await _read(bureau, ring, tool, session, found, there, first=first)
    async for subjects in _banned(bureau):
        opened = await bureau.pusher.contacts(subjects)
        found.unopened += sum(subject not in opened for subject in subjects)
        contacts = [one for each in opened.values() for one in spellings(each)]
        standings = await bureau.register.look_up(contacts) if contacts else []
        known = {}
        if not (tool.pulls and tool.holds.lists):
            # Its list shows nothing, or not all: what is known to stand there counts.
            digests = [str(ring.digest(subject_of(one))) for one in contacts]
            known = await bureau.store.known(tool.name, digests)
        for contact, standing in zip(contacts, standings, strict=True):
            digest = str(ring.digest(subject_of(contact)))
            names = there.get(digest, set())
            names |= {row.entry for row in known.get(digest, ()) if row.stands}
            wider = tool.settings.accept_wider
            if tool.settings.push:
                held = names
                if tool.holds.apart and not _topics(tool) <= names:
                    held = names - {ALL}  # it stands in the main list alone
                want = wanted(contact, standing, tool.holds, wider, now_ms(), there=held)
                found.put.update(entry_of(each).partition(":")[0] for each in want.entries)
                found.left.update(ban.scope.value for ban in want.left)
            forbidden = bureau.pusher.forbidden(contact, standing)
            must = wanted(contact, standing, tool.holds, wider, now_ms())
            forbidden |= {entry_of(each) for each in must.entries}
            if DELIVERY in names or any(standing.undeliverable(now_ms())):
                # It stands there for delivery's sake, whatever the list calls it.
                forbidden |= {ALL, DELIVERY}
            found.lifted += sum(not any(covers(one, name) for one in forbidden) for name in names)
    return found


def _topics(tool: Tool) -> set[str]:
    """The names of the entries of a tool's topics."""
    return {f"topic:{normal_name(topic)}" for topic in tool.holds.topics}


async def _read(
    bureau: Bureau,
    ring: KeyRing,
    tool: Tool,
    session: Session,
    found: Plan,
    there: dict[str, set[str]],
    *,
    first: bool,
) -> None:
    cursor = ""
    trail = Trail().on(cursor)
    while True:
        page = await session.run(tool.connector.listing(cursor))
        taken = await bureau.intake.preview(tool, page.changes, first)
        found.listed += taken.told
        found.bad += taken.bad + page.bad
        found.take += taken.news
        for change in page.changes:
            if change.said is Said.ADDED:
                try:
                    name = entry_of(change.suppression)
                except ValueError:
                    continue
                digest = str(ring.digest(subject_of(change.suppression.contact)))
                there.setdefault(digest, set()).add(name)
                # A list that knows no objections shows ours as something else.
                if name == DELIVERY:
                    there[digest].add(scope_of(change.suppression))
        if not page.more:
            return
        cursor = page.cursor
        trail = trail.on(cursor)


async def _banned(bureau: Bureau) -> AsyncIterator[list[str]]:
    """Every contact that was ever banned, some at a time."""
    event = schema.event.c
    after = ""
    while True:
        query = (
            select(event.subject)
            .distinct()
            .where(
                event.subject > after,
                event.kind.in_(BANNING),
                event.body.contains('"sealed":', autoescape=True),
            )
            .order_by(event.subject)
            .limit(_PAGE)
        )

        async def work(connection: AsyncConnection) -> list[str]:
            return list((await connection.execute(query)).scalars())  # noqa: B023

        page = await bureau.store.database.read(work)
        if page:
            yield page
        if len(page) < _PAGE:
            return
        after = page[-1]
