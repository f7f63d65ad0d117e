"""What the register has written and no archive has: after a restore without the old one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.failure import GatewayError, RecordsUnavailable
from gateway.records.archive import LACKING
from gateway.records.database import Database
from gateway.records.entry import RECORDS
from gateway.records.schema import cursor
from gateway.register import layout
from gateway.register.connect import connect
from gateway.serve.assembly import register_url
from gateway.serve.place import configured_url
from gateway.settings import Settings

_FACTS: Final = b"""
if redis.call('EXISTS', KEYS[1]) == 0 then return {'0-0', '', 0} end
local info = redis.call('XINFO', 'STREAM', KEYS[1])
local facts = {}
for i = 1, #info, 2 do facts[info[i]] = info[i + 1] end
local first = redis.call('XRANGE', KEYS[1], '-', '+', 'COUNT', 1)
return {
  facts['last-generated-id'],
  first[1] and first[1][1] or '',
  (facts['entries-added'] or 0) - facts['length'],
}
"""
_WITHIN: Final = 5.0


@dataclass(frozen=True, slots=True)
class Gap:
    """A stream whose entries between two times (ms) may be archived nowhere."""

    stream: str
    after: int
    before: int
    certain: bool
    """Whether there was at least one; else there may have been."""
    last: str
    """The id of the last entry that the stream ever had."""


async def gaps(settings: Settings, cursors: Mapping[str, str]) -> list[Gap] | None:
    """Where the streams were trimmed beyond an archive's cursors; None: nobody can say.

    The register is asked where it is (an embedded one runs meanwhile), and not made
    where there is none.
    """
    append = settings.data_dir / "register" / "append"
    if configured_url(settings) is None and not append.exists():
        return None
    streams = [RECORDS, *layout.event_streams()]
    try:
        async with register_url(settings) as url:
            connections = connect(url)
            try:
                replies = await connections.wire.exchange(
                    [(b"EVAL", _FACTS, b"1", stream) for stream in streams], _WITHIN
                )
            finally:
                await connections.aclose()
        found = [
            gap
            for stream, reply in zip(streams, replies, strict=True)
            if (gap := _gap(stream.decode(), cursors.get(stream.decode(), "0-0"), reply))
        ]
    except GatewayError:
        return None
    return found


async def pass_over(database: Database, found: Sequence[Gap]) -> None:
    """Note in the archive that what is behind the gaps is behind it; raises RecordsUnavailable.

    Nothing can be read there any more, and whoever compares archive and register shall
    not wait for it.  That the archive lacks the changes among it is noted too, so that no
    register is made from it unasked: bans would be missing.  A stream that still has
    entries is read on by the archiver, which notes the same.
    """
    rows = [{"stream": gap.stream, "last": gap.last} for gap in found if gap.certain]
    changes = {stream.decode() for stream in layout.event_streams()}
    rows += [
        {"stream": LACKING + row["stream"], "last": row["last"]}
        for row in rows
        if row["stream"] in changes
    ]

    async def work(connection: AsyncConnection) -> None:
        names = [row["stream"] for row in rows]
        await connection.execute(cursor.delete().where(cursor.c.stream.in_(names)))
        await connection.execute(cursor.insert(), rows)

    if rows:
        await database.write(work)


async def note_lacking(database: Database) -> None:
    """Note that changes are missing, of whatever stream: no register is made of it unasked.

    Raises RecordsUnavailable.
    """
    streams = [stream.decode() for stream in layout.event_streams()]

    async def work(connection: AsyncConnection) -> None:
        known = await connection.execute(select(cursor.c.stream, cursor.c.last))
        last = {row.stream: row.last for row in known}
        rows = [
            {"stream": LACKING + each, "last": last.get(LACKING + each) or last.get(each, "0-0")}
            for each in streams
        ]
        names = [row["stream"] for row in rows]
        await connection.execute(cursor.delete().where(cursor.c.stream.in_(names)))
        await connection.execute(cursor.insert(), rows)

    await database.write(work)


def _gap(stream: str, archived: str, reply: Any) -> Gap | None:  # noqa: ANN401
    if not isinstance(reply, list):
        raise RecordsUnavailable("the register refused to tell of its streams")
    last, first, trimmed = bytes(reply[0]).decode(), bytes(reply[1]).decode(), int(reply[2])
    if not trimmed or _number(last) <= _number(archived):
        return None
    if first and _number(first) <= _number(archived):
        return None
    return Gap(
        stream, _number(archived)[0], _number(first or last)[0], certain=not first, last=last
    )


def _number(entry_id: str) -> tuple[int, int]:
    time, _, number = entry_id.partition("-")
    return int(time), int(number or 0)
