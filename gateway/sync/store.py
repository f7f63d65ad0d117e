"""What is kept of each tool: cursors, what stands in its list, what is owed to it.

Every method raises RecordsUnavailable.  Changes of what is owed and the cursor that they
follow from are one transaction, so that a crash loses none and doubles none.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import orjson
from sqlalchemy import Table, and_, bindparam, case, delete, func, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.clock import Clock, now_ms
from gateway.entry.event import EventKind
from gateway.records import schema
from gateway.records.database import Database

_tool, _known, _owed = schema.sync_tool, schema.sync_known, schema.sync_owed
_event, _chain = schema.event.c, schema.chain.c

LINKS: Final = 32
"""Links of the chain that are looked at together, each of at most 256 rows."""
TOGETHER: Final = -1
"""As when an entry was seen that is gone with many others."""
_PORTION: Final = 500
BANNING: Final = tuple(
    kind.value for kind in (EventKind.BAN, EventKind.WITHDRAW, EventKind.UNDELIVERABLE)
)
"""Events after which a contact may be owed to a tool that is new."""
_TELLING: Final = (*BANNING, EventKind.UNBAN.value, EventKind.DELIVERABLE.value)
_SEALED: Final = '"sealed":'
_LIFTS: Final = '"lifts":true'


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

    @property
    def stands(self) -> bool:
        """Whether it was seen there and is not gone."""
        return self.seen > 0

    @property
    def gone(self) -> bool:
        """Whether the tool told that it is gone."""
        return self.seen < 0


class Owed(NamedTuple):
    """One contact that a tool is to be looked at for."""

    subject: str
    since: int
    turn: int
    attempts: int
    due: int


@dataclass(frozen=True, slots=True)
class Failed:
    """Why what is owed could not be done, and when it is tried again."""

    owed: Owed
    cause: str
    due: int
    final: bool


class SyncStore:
    """The tables of the tools in the archive's database."""

    def __init__(self, database: Database, clock: Clock = now_ms) -> None:
        self.database = database
        self._clock = clock

    def now(self) -> int:
        """Milliseconds since the epoch."""
        return self._clock()

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
            }
            statement = _into(connection, _tool).values(**values).on_conflict_do_nothing()
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

    async def count_bad(self, name: str, bad: int) -> None:
        """Count entries that could not be read."""
        if bad:
            await self.change(name, bad=_tool.c.bad + bad)

    # -- what is owed -------------------------------------------------------------

    async def follow(self, name: str) -> bool:
        """Go along the archived chain by some links; whether there may be more.

        Whatever bans or lifts a contact that an event's address tells is owed.
        """
        now = self._clock()

        async def behind(connection: AsyncConnection) -> bool:
            head = await connection.scalar(select(schema.archive.c.seq))
            last = await connection.scalar(select(_tool.c.pushed).where(_tool.c.name == name))
            return last is not None and last != head

        if not await self.database.read(behind):
            return False

        async def work(connection: AsyncConnection) -> bool:
            head = int(await connection.scalar(select(schema.archive.c.seq)) or 0)
            last = int(
                await connection.scalar(select(_tool.c.pushed).where(_tool.c.name == name)) or 0
            )
            if last > head:
                last = 0  # an older copy of the archive was restored
            if last == head:
                return False
            links = await connection.execute(
                select(_chain.seq, _chain.kind, _chain.ids)
                .where(_chain.seq > last)
                .order_by(_chain.seq)
                .limit(LINKS)
            )
            ids: list[str] = []
            end, count = last, 0
            for link in links:
                end, count = link.seq, count + 1
                if link.kind == schema.event.name:
                    ids += orjson.loads(link.ids)
            if count < LINKS:
                end = max(end, head)
            found: dict[str, int] = {}
            for at in range(0, len(ids), _PORTION):
                rows = await connection.execute(
                    select(_event.subject, _event.id)
                    .where(_event.id.in_(ids[at : at + _PORTION]), _tells())
                    .order_by(_event.id)
                )
                for row in rows:
                    found.setdefault(row.subject, _recorded(row.id, now))
            await _owe(connection, name, found, now)
            await connection.execute(update(_tool).where(_tool.c.name == name).values(pushed=end))
            return count == LINKS

        return await self.database.write(work)

    async def walk(self, name: str, most: int) -> bool:
        """Go on along every contact that was ever banned; whether there may be more."""
        now = self._clock()

        async def work(connection: AsyncConnection) -> bool:
            after = await connection.scalar(select(_tool.c.walked).where(_tool.c.name == name))
            if after is None:
                return False
            query = (
                select(_event.subject)
                .distinct()
                .where(
                    _event.subject > after,
                    _event.kind.in_(BANNING),
                    _event.body.contains(_SEALED, autoescape=True),
                )
                .order_by(_event.subject)
                .limit(most)
            )
            subjects = list((await connection.execute(query)).scalars())
            await _owe(connection, name, dict.fromkeys(subjects, now), now)
            more = len(subjects) == most
            walked = subjects[-1] if more else None
            await connection.execute(
                update(_tool).where(_tool.c.name == name).values(walked=walked)
            )
            return more

        return await self.database.write(work)

    async def owe(self, name: str, subjects: Iterable[str]) -> None:
        """Look at the tool for these contacts again."""
        now = self._clock()
        found = dict.fromkeys(subjects, now)

        async def work(connection: AsyncConnection) -> None:
            await _owe(connection, name, found, now)

        if found:
            await self.database.write(work)

    async def due(self, name: str, most: int) -> list[Owed]:
        """What is owed and due, the longest owed first."""
        query = (
            select(_owed.c.subject, _owed.c.since, _owed.c.turn, _owed.c.attempts, _owed.c.due)
            .where(_owed.c.tool == name, _owed.c.final == 0, _owed.c.due <= self._clock())
            .order_by(_owed.c.since, _owed.c.subject)
            .limit(most)
        )

        async def work(connection: AsyncConnection) -> list[Owed]:
            return [Owed(*row) for row in await connection.execute(query)]

        return await self.database.read(work)

    async def settle(self, name: str, done: Sequence[Owed], failed: Sequence[Failed]) -> None:
        """Forget what is done, put off what failed; what changed meanwhile stays owed."""

        async def work(connection: AsyncConnection) -> None:
            if done:
                await connection.execute(
                    _SETTLE, [{"of": name, "who": one.subject, "then": one.turn} for one in done]
                )
            if failed:
                values = [
                    {
                        "of": name,
                        "who": one.owed.subject,
                        "then": one.owed.turn,
                        "tries": one.owed.attempts + 1,
                        "next": one.due,
                        "ended": int(one.final),
                        "why": one.cause[:500],
                    }
                    for one in failed
                ]
                await connection.execute(_PUT_OFF, values)

        if done or failed:
            await self.database.write(work)

    # -- what stands there --------------------------------------------------------

    async def known(self, name: str, subjects: Iterable[str]) -> dict[str, list[Known]]:
        """What is known of these contacts in a tool's list."""
        asked = list(dict.fromkeys(subjects))

        async def work(connection: AsyncConnection) -> dict[str, list[Known]]:
            found: dict[str, list[Known]] = {}
            for at in range(0, len(asked), _PORTION):
                part = asked[at : at + _PORTION]
                query = select(*_KNOWN).where(_known.c.tool == name, _known.c.subject.in_(part))
                for row in await connection.execute(query):
                    found.setdefault(row.subject, []).append(Known(*row))
            return found

        return await self.database.read(work) if asked else {}

    async def note(self, name: str, rows: Iterable[Known]) -> None:
        """Keep these entries as they are now known."""
        values = [{"tool": name, **row._asdict()} for row in rows]

        async def work(connection: AsyncConnection) -> None:
            statement = _into(connection, _known)
            new = statement.excluded
            statement = statement.on_conflict_do_update(
                index_elements=[_known.c.tool, _known.c.subject, _known.c.entry],
                set_={"at": new["at"], "put": new["put"], "seen": new["seen"]},
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

    async def missing(self, name: str, before: int, most: int, *, together: bool = False) -> int:
        """Note as gone what was not seen since a time (ms); how many, at most ``most``.

        ``together``: too many for a person to be asked about each.
        """
        now = self._clock()

        async def work(connection: AsyncConnection) -> int:
            query = (
                select(_known.c.subject, _known.c.entry)
                .where(_known.c.tool == name, _known.c.seen > 0, _known.c.seen < before)
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
            for at in range(0, len(asked), _PORTION):
                query = (
                    select(_event.subject, func.max(_event.id))
                    .where(
                        _event.subject.in_(asked[at : at + _PORTION]),
                        _event.kind == EventKind.DELIVERABLE.value,
                    )
                    .group_by(_event.subject)
                )
                for subject, last in await connection.execute(query):
                    found[subject] = _recorded(last, self._clock())
            return found

        return await self.database.read(work) if asked else {}

    # -- figures ------------------------------------------------------------------

    async def figures(self, late_before: int) -> dict[str, Figures]:
        """What is owed to each tool; ``late_before``: owed since earlier than this is late."""
        late = func.sum(case((_owed.c.since < late_before, 1), else_=0))
        query = select(
            _owed.c.tool,
            func.count(),
            func.sum(_owed.c.final),
            func.min(case((_owed.c.final == 0, _owed.c.since))),
            late,
        ).group_by(_owed.c.tool)

        async def work(connection: AsyncConnection) -> dict[str, Figures]:
            return {
                row[0]: Figures(int(row[1]), int(row[2]), row[3], int(row[4]))
                for row in await connection.execute(query)
            }

        return await self.database.read(work)

    async def causes(self, name: str) -> Mapping[str, int]:
        """Why what is owed is not done, and how often each."""
        query = (
            select(_owed.c.cause, func.count())
            .where(_owed.c.tool == name, _owed.c.cause != "")
            .group_by(_owed.c.cause)
            .order_by(func.count().desc())
            .limit(20)
        )

        async def work(connection: AsyncConnection) -> dict[str, int]:
            return {row[0]: int(row[1]) for row in await connection.execute(query)}

        return await self.database.read(work)


class Figures(NamedTuple):
    """What is owed to one tool."""

    owed: int
    final: int
    """Of these: what the tool will not take."""
    oldest: int | None
    """Since when the oldest is owed that is still tried, in ms."""
    late: int


_KNOWN: Final = (
    _known.c.subject,
    _known.c.entry,
    _known.c.at,
    _known.c.put,
    _known.c.since,
    _known.c.seen,
)


_SAME: Final = (
    _owed.c.tool == bindparam("of"),
    _owed.c.subject == bindparam("who"),
    _owed.c.turn == bindparam("then"),
)
_SETTLE: Final = delete(_owed).where(*_SAME)
_PUT_OFF: Final = (
    update(_owed)
    .where(*_SAME)
    .values(
        attempts=bindparam("tries"),
        due=bindparam("next"),
        final=bindparam("ended"),
        cause=bindparam("why"),
    )
)
_FORGET: Final = delete(_known).where(
    _known.c.tool == bindparam("of"),
    _known.c.subject == bindparam("who"),
    _known.c.entry == bindparam("what"),
    _known.c.seen == bindparam("then"),
)


def _into(connection: AsyncConnection, table: Table) -> Any:  # noqa: ANN401 - of either dialect
    """An insert that knows what to do about rows that are there."""
    if connection.dialect.name == "postgresql":
        return postgresql.insert(table)
    return sqlite.insert(table)


def _tells() -> Any:  # noqa: ANN401 - an expression
    """Which events are about what a tool must hold of somebody whose address they tell."""
    sealed = _event.body.contains(_SEALED, autoescape=True)
    return or_(
        and_(_event.kind.in_(_TELLING), sealed),
        and_(
            _event.kind == EventKind.CONSENT.value,
            _event.body.contains(_LIFTS, autoescape=True),
            sealed,
        ),
        # Its address is told no more; a spelling's copy has an origin.
        and_(
            _event.kind == EventKind.ERASE.value,
            ~_event.body.contains('"origin":', autoescape=True),
        ),
    )


def _recorded(event_id: str, otherwise: int) -> int:
    """When an event was logged, by its id (a ULID begins with its time)."""
    alphabet = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
    value = 0
    for letter in event_id[:10]:
        place = alphabet.find(letter)
        if place < 0:
            return otherwise
        value = value * 32 + place
    return min(value, otherwise)


async def _owe(connection: AsyncConnection, name: str, found: Mapping[str, int], now: int) -> None:
    if not found:
        return
    statement = _into(connection, _owed)
    statement = statement.on_conflict_do_update(
        index_elements=[_owed.c.tool, _owed.c.subject],
        set_={"due": now, "final": 0, "attempts": 0, "turn": _owed.c.turn + 1},
    )
    await connection.execute(
        statement,
        [
            {
                "tool": name,
                "subject": subject,
                "since": since,
                "turn": now,
                "attempts": 0,
                "due": now,
                "final": 0,
                "cause": "",
            }
            for subject, since in found.items()
        ],
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
    statement = _into(connection, _known)
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
            }
            for subject, entry in entries
        ],
    )
    await _owe(connection, name, dict.fromkeys((subject for subject, _ in entries), now), now)
