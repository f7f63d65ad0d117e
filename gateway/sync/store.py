"""What is kept of each tool: cursors, and what stands in its list; see :mod:`.owing`.

Every method raises RecordsUnavailable.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

from sqlalchemy import ColumnElement, bindparam, delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.entry.event import EventKind
from gateway.records import schema
from gateway.sync.entry import ALL
from gateway.sync.owing import PORTION, Owing, into, owe, recorded

_tool, _known, _event = schema.sync_tool, schema.sync_known, schema.event.c

TOGETHER: Final = -1
"""As when an entry was seen that is gone with many others."""


class Marks(NamedTuple):
    """What the settings say of a tool, hashed: they may name persons, and secrets."""

    place: str
    """Which list it is."""
    topics: str
    """What topics are called there."""
    wishes: str
    """What is to be put there."""

    @property
    def text(self) -> str:
        """As it is kept."""
        return ".".join(self)

    @classmethod
    def read(cls, text: str) -> Marks | None:
        """What :attr:`text` wrote; None for ""."""
        return cls(*text.split(".")) if text else None


class Cursors(NamedTuple):
    """How far one tool is."""

    name: str
    added: int
    pushed: int
    walked: str | None
    sealed_pulled: bytes
    """See :class:`gateway.sync.cursor.CursorSeal`."""
    sealed_listing: bytes
    listed: int | None
    succeeded: int | None
    failing_since: int | None
    cause: str
    rounds: int
    bad: int
    mark: str
    """What the settings said of it, hashed; "": nobody has looked yet."""
    anew: int
    """What was seen there before (ms) may be of another list."""

    @property
    def listing(self) -> bool:
        """Whether a full listing is under way."""
        return bool(self.sealed_listing)


class Known(NamedTuple):
    """An entry of a tool's list; see the table's description."""

    subject: str
    entry: str
    at: int | None
    put: int | None
    since: int
    seen: int
    listed: int = 0

    @property
    def stands(self) -> bool:
        """Whether it was seen there and is not gone."""
        return self.seen > 0

    @property
    def gone(self) -> bool:
        """Whether the tool told that it is gone."""
        return self.seen < 0


def there_now(rows: Sequence[Known], anew: int, *, apart: bool) -> list[str]:
    """The names of entries that stand in a tool's list, of those known of a contact.

    Where topics have lists of their own (``apart``), one of all stands in every list if it
    was put there, and is gone from none since.  What was seen before ``anew`` may be of
    another list.
    """
    standing = [row for row in rows if row.stands and row.seen >= anew]
    there = {row.entry for row in standing}
    put = any(row.entry == ALL and row.put is not None for row in standing)
    gone = any(row.gone and row.entry not in there for row in rows)
    if apart and (gone or not put):
        there.discard(ALL)
    return sorted(there)


class SyncStore(Owing):
    """The tables of the tools in the archive's database."""

    # -- tools --------------------------------------------------------------------

    async def tool(self, name: str) -> Cursors:
        """A tool's cursors; a tool that is new begins here: all bans are owed to it."""
        now = self._clock()
        query = select(_tool).where(_tool.c.name == name)

        async def found(connection: AsyncConnection) -> Cursors | None:
            row = (await connection.execute(query)).first()
            return None if row is None else Cursors._make(row)

        async def begin(connection: AsyncConnection) -> Cursors:
            head = await connection.scalar(select(schema.archive.c.seq))
            values = {
                "name": name,
                "added": now,
                "pushed": int(head or 0),
                "walked": "",
                "sealed_pulled": b"",
                "sealed_listing": b"",
                "cause": "",
                "rounds": 0,
                "bad": 0,
                "mark": "",
                "anew": 0,
            }
            statement = into(connection, _tool).values(**values).on_conflict_do_nothing()
            await connection.execute(statement)
            return Cursors._make((await connection.execute(query)).one())

        known = await self.database.read(found)
        return await self.database.write(begin) if known is None else known

    async def tools(self) -> dict[str, Cursors]:
        """Every tool that ever was."""

        async def work(connection: AsyncConnection) -> dict[str, Cursors]:
            rows = await connection.execute(select(_tool).order_by(_tool.c.name))
            return {row.name: Cursors(*row) for row in rows}

        return await self.database.read(work)

    async def change(self, name: str, **values: Any) -> None:  # noqa: ANN401 - columns' values
        """Set members of a tool's cursors."""

        async def work(connection: AsyncConnection) -> None:
            await connection.execute(update(_tool).where(_tool.c.name == name).values(**values))

        await self.database.write(work)

    async def failed(self, name: str, cause: str) -> None:
        """Note that a round failed."""
        since = func.coalesce(_tool.c.failing_since, self._clock())
        await self.change(name, failing_since=since, cause=cause[:500])

    async def succeeded(self, name: str) -> None:
        """Note that a round was done."""
        await self.change(name, succeeded=self._clock(), failing_since=None, cause="")

    async def answered(self, name: str) -> None:
        """Note that a round that somebody asked for has ended, well or not."""
        await self.change(name, rounds=_tool.c.rounds + 1)

    async def configured(self, name: str, marks: Marks) -> None:
        """Begin anew with what follows from settings that were changed since the last time.

        Another list is read and filled from its beginning; what topics are called, what a
        list may hold wider, and whether it is written at all, changes what it lacks.
        """
        now = self._clock()
        query = select(_tool.c.mark).where(_tool.c.name == name)

        async def found(connection: AsyncConnection) -> str | None:
            return await connection.scalar(query)

        async def work(connection: AsyncConnection) -> None:
            before = Marks.read(await connection.scalar(query) or "")
            values: dict[str, Any] = {"mark": marks.text}
            if before is not None and before != marks:
                values["walked"] = ""
                if (before.place, before.topics) != (marks.place, marks.topics):
                    values["anew"] = now
                if before.place != marks.place:
                    values |= {"sealed_pulled": b"", "sealed_listing": b"", "listed": None}
            await connection.execute(update(_tool).where(_tool.c.name == name).values(**values))

        if await self.database.read(found) != marks.text:
            await self.database.write(work)

    async def count_bad(self, name: str, bad: int) -> None:
        """Count entries that could not be read."""
        if bad:
            await self.change(name, bad=_tool.c.bad + bad)

    # -- what stands there --------------------------------------------------------

    async def known(self, name: str, subjects: Iterable[str]) -> dict[str, list[Known]]:
        """What is known of these contacts in a tool's list."""
        asked = list(dict.fromkeys(subjects))

        async def work(connection: AsyncConnection) -> dict[str, list[Known]]:
            found: dict[str, list[Known]] = {}
            for at in range(0, len(asked), PORTION):
                part = asked[at : at + PORTION]
                query = select(*_KNOWN).where(_known.c.tool == name, _known.c.subject.in_(part))
                for row in await connection.execute(query):
                    found.setdefault(row.subject, []).append(Known(*row))
            return found

        return await self.database.read(work) if asked else {}

    async def note(self, name: str, rows: Iterable[Known], since: int) -> None:
        """Keep these entries as they are known now, by what the tool was asked at ``since``.

        One that was told to be gone later (ms) stays gone.
        """
        values = [{"tool": name, **row._asdict()} for row in rows]

        async def work(connection: AsyncConnection) -> None:
            statement = into(connection, _known)
            new = statement.excluded
            statement = statement.on_conflict_do_update(
                index_elements=[_known.c.tool, _known.c.subject, _known.c.entry],
                set_={name: new[name] for name in ("at", "put", "seen", "listed")},
                where=_known.c.seen > -since,
            )
            await connection.execute(statement, values)

        if values:
            await self.database.write(work)

    async def forget(self, name: str, rows: Iterable[Known]) -> None:
        """Forget entries that are gone."""
        each = list(rows)

        async def work(connection: AsyncConnection) -> None:
            values = [
                {"of": name, "who": row.subject, "what": row.entry, "then": row.seen}
                for row in each
            ]
            await connection.execute(_FORGET, values)

        if each:
            await self.database.write(work)

    async def lose(self, name: str, entries: Sequence[tuple[str, str]]) -> None:
        """Note that these entries (contact, name) are gone from the tool's list; they are owed."""
        now = self._clock()

        async def work(connection: AsyncConnection) -> None:
            await _gone(connection, name, entries, now)

        if entries:
            await self.database.write(work)

    async def unseen(self, name: str, before: int, anew: int) -> int:
        """How many entries were in this list (since ``anew``) and not seen since a time (ms)."""
        query = select(func.count()).where(*_missing(name, before), *_of_this_list(anew))

        async def work(connection: AsyncConnection) -> int:
            return int(await connection.scalar(query) or 0)

        return await self.database.read(work)

    async def missing(self, name: str, before: int, most: int, *, anew: int | None = None) -> int:
        """Note as gone what was not seen since a time (ms); how many, at most ``most``.

        ``anew``: what :meth:`unseen` counts, about each of which a person is to be asked.
        None: all together, with what was never in a listing, of which nobody knows whether
        it would be, and what was in another list.
        """
        each = [] if anew is None else _of_this_list(anew)
        together = anew is None
        now = self._clock()

        async def work(connection: AsyncConnection) -> int:
            query = (
                select(_known.c.subject, _known.c.entry)
                .where(*_missing(name, before), *each)
                .limit(most)
            )
            rows = [(row[0], row[1]) for row in await connection.execute(query)]
            await _gone(connection, name, rows, now, together=together)
            return len(rows)

        return await self.database.write(work)

    async def reached(self, subjects: Iterable[str]) -> dict[str, int]:
        """When somebody last said of these contacts that mail can be delivered again (ms)."""
        asked = list(dict.fromkeys(subjects))

        async def work(connection: AsyncConnection) -> dict[str, int]:
            found: dict[str, int] = {}
            for at in range(0, len(asked), PORTION):
                query = (
                    select(_event.subject, func.max(_event.id))
                    .where(
                        _event.subject.in_(asked[at : at + PORTION]),
                        _event.kind == EventKind.DELIVERABLE.value,
                    )
                    .group_by(_event.subject)
                )
                for subject, last in await connection.execute(query):
                    found[subject] = recorded(last, self._clock())
            return found

        return await self.database.read(work) if asked else {}


_KNOWN: Final = (
    _known.c.subject,
    _known.c.entry,
    _known.c.at,
    _known.c.put,
    _known.c.since,
    _known.c.seen,
    _known.c.listed,
)


def _missing(name: str, before: int) -> list[ColumnElement[bool]]:
    return [_known.c.tool == name, _known.c.seen > 0, _known.c.seen < before]


def _of_this_list(anew: int) -> list[ColumnElement[bool]]:
    return [_known.c.listed == 1, _known.c.seen >= anew]


_FORGET: Final = delete(_known).where(
    _known.c.tool == bindparam("of"),
    _known.c.subject == bindparam("who"),
    _known.c.entry == bindparam("what"),
    _known.c.seen == bindparam("then"),
)


async def _gone(
    connection: AsyncConnection,
    name: str,
    entries: Sequence[tuple[str, str]],
    now: int,
    *,
    together: bool = False,
) -> None:
    if not entries:
        return
    seen = TOGETHER if together else -now
    statement = into(connection, _known)
    statement = statement.on_conflict_do_update(
        index_elements=[_known.c.tool, _known.c.subject, _known.c.entry], set_={"seen": seen}
    )
    await connection.execute(
        statement,
        [
            {
                "tool": name,
                "subject": subject,
                "entry": entry,
                "at": None,
                "put": None,
                "since": now,
                "seen": seen,
                "listed": 0,
            }
            for subject, entry in entries
        ],
    )
    await owe(connection, name, dict.fromkeys((subject for subject, _ in entries), now), now)
