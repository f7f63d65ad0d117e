"""What is owed to each tool: contacts whose change its list may lack, since when, and why.

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

from gateway.clock import DAY_MS, Clock, now_ms
from gateway.records import schema
from gateway.records.database import Database
from gateway.sync.telling import BANNING, tells, tells_address

_tool, _owed = schema.sync_tool, schema.sync_owed
_event, _chain = schema.event.c, schema.chain.c

LINKS: Final = 32
"""Links of the chain that are looked at together, each of at most 256 rows."""
PORTION: Final = 500
"""Values of one query at the most."""
_REFUSED, _WAITS = 1, 2
"""In the column ``final``: the tool does not take it; nothing is lacking until it is due."""


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


@dataclass(frozen=True, slots=True)
class Waits:
    """Who lacks nothing now, and is to be looked at again when a consent ends (ms)."""

    owed: Owed
    until: int


class Figures(NamedTuple):
    """What is owed to one tool."""

    owed: int
    final: int
    """Of these: what the tool will not take."""
    oldest: int | None
    """Since when the oldest is owed that is still tried, in ms."""
    late: int
    """Of those that are still tried."""


class Owing:
    """The table of what is owed, in the archive's database."""

    def __init__(self, database: Database, clock: Clock = now_ms) -> None:
        self.database = database
        self._clock = clock

    def now(self) -> int:
        """Milliseconds since the epoch."""
        return self._clock()

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
            for at in range(0, len(ids), PORTION):
                rows = await connection.execute(
                    select(_event.subject, _event.id)
                    .where(_event.id.in_(ids[at : at + PORTION]), tells())
                    .order_by(_event.id)
                )
                for row in rows:
                    found.setdefault(row.subject, recorded(row.id, now))
            await owe(connection, name, found, now)
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
                    tells_address(_event),
                )
                .order_by(_event.subject)
                .limit(most)
            )
            subjects = list((await connection.execute(query)).scalars())
            await owe(connection, name, dict.fromkeys(subjects, now), now)
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
            await owe(connection, name, found, now)

        if found:
            await self.database.write(work)

    async def due(self, name: str, most: int) -> list[Owed]:
        """What is owed and due, the longest owed first."""
        now = self._clock()
        query = select(
            _owed.c.subject, _owed.c.since, _owed.c.turn, _owed.c.attempts, _owed.c.due
        ).where(
            _owed.c.tool == name,
            _owed.c.final != _REFUSED,
            # What has not failed is not put off, whatever clock it was noted by.
            or_(_owed.c.due <= now, and_(_owed.c.final == 0, _owed.c.attempts == 0)),
        )
        soon = now + DAY_MS
        first = query.where(_owed.c.since < soon).order_by(_owed.c.since, _owed.c.subject)
        # By a clock that was days ahead.  A sum, so that the index of ``final`` is taken: by
        # that of ``since`` all who wait would be looked through.
        ahead = query.where(_owed.c.since + 0 >= soon, _owed.c.final == 0)

        async def work(connection: AsyncConnection) -> list[Owed]:
            # Who waits for long is not looked through.
            rows = list(await connection.execute(first.limit(most)))
            if len(rows) < most:
                rows += await connection.execute(ahead.limit(most - len(rows)))
            return [Owed(*row) for row in rows]

        return await self.database.read(work)

    async def settle(
        self,
        name: str,
        done: Sequence[Owed],
        failed: Sequence[Failed],
        waits: Sequence[Waits] = (),
    ) -> None:
        """Forget what is done, put off what failed or waits; what changed meanwhile stays owed."""

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
                        "ended": _REFUSED if one.final else 0,
                        "why": one.cause[:500],
                    }
                    for one in failed
                ]
                await connection.execute(_PUT_OFF, values)
            if waits:
                values = [
                    {
                        "of": name,
                        "who": one.owed.subject,
                        "then": one.owed.turn,
                        "until": one.until,
                    }
                    for one in waits
                ]
                await connection.execute(_WAIT, values)

        if done or failed or waits:
            await self.database.write(work)

    async def figures(self, late_before: int) -> dict[str, Figures]:
        """What is owed to each tool; ``late_before``: owed since earlier than this is late."""
        refused = _owed.c.final == _REFUSED
        query = (
            select(
                _owed.c.tool,
                func.count(),
                func.sum(case((refused, 1), else_=0)),
                func.min(case((refused, None), else_=_owed.c.since)),
                func.sum(case((and_(_owed.c.since < late_before, ~refused), 1), else_=0)),
            )
            .where(or_(_owed.c.final != _WAITS, _owed.c.due <= self._clock()))
            .group_by(_owed.c.tool)
        )

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

_WAIT: Final = (
    update(_owed)
    .where(*_SAME)
    .values(
        since=bindparam("until"),
        attempts=0,
        due=bindparam("until"),
        final=_WAITS,
        cause="",
    )
)


def into(connection: AsyncConnection, table: Table) -> Any:  # noqa: ANN401 - of either dialect
    """An insert that knows what to do about rows that are there."""
    if connection.dialect.name == "postgresql":
        return postgresql.insert(table)
    return sqlite.insert(table)


def recorded(event_id: str, otherwise: int) -> int:
    """When an event was logged, by its id (a ULID begins with its time)."""
    alphabet = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
    value = 0
    for letter in event_id[:10]:
        place = alphabet.find(letter)
        if place < 0:
            return otherwise
        value = value * 32 + place
    return min(value, otherwise)


async def owe(connection: AsyncConnection, name: str, found: Mapping[str, int], now: int) -> None:
    """Note contacts as owed to a tool, since a time each; what is owed already is due anew."""
    if not found:
        return
    statement = into(connection, _owed)
    # A later time is that of a consent's end, or of a clock that was ahead.
    anew = or_(_owed.c.final == _WAITS, _owed.c.since > statement.excluded.since)
    since = case((anew, statement.excluded.since), else_=_owed.c.since)
    statement = statement.on_conflict_do_update(
        index_elements=[_owed.c.tool, _owed.c.subject],
        set_={
            "since": since,
            "due": now,
            "final": 0,
            "attempts": 0,
            "turn": _owed.c.turn + 1,
        },
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
