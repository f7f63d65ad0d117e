"""The register's changes in the order in which they were archived, from any place on.

The archive numbers every row it chains, in one order that never changes.  A place is the
number of a row together with the beginning of the hash of the link that holds it, so that
a place of another archive, or of a history that a restore has undone, is recognised and
not mistaken for one of this.  Rows of purged events are passed over.
"""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass
from typing import Final, NamedTuple, Self

import orjson
from sqlalchemy import case, select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.failure import InputError
from gateway.records import schema
from gateway.records.database import Database

_LINKS: Final = 256
"""Links of the chain read at a time, each of some hundred rows at most."""
_ROUNDS: Final = 64
"""Readings of one call: a long stretch without events is passed in several calls."""
_PORTION: Final = 500
_ROW_OCTETS: Final = 8
_MARK_OCTETS: Final = 8


class PlaceError(InputError):
    """A text names no place in this archive."""


class Place(NamedTuple):
    """Behind a row of the chain; ``mark`` is the beginning of its link's hash."""

    row: int
    mark: bytes

    def __str__(self) -> str:
        """The place as one word for a URL; nothing can be told from it."""
        octets = self.row.to_bytes(_ROW_OCTETS, "big") + self.mark
        return urlsafe_b64encode(octets).decode().rstrip("=")

    @classmethod
    def parse(cls, text: str) -> Self:
        """The place of such a word; raises PlaceError."""
        try:
            octets = urlsafe_b64decode(text.encode() + b"=" * (-len(text) % 4))
        except (ValueError, UnicodeEncodeError):
            octets = b""
        if len(octets) != _ROW_OCTETS + _MARK_OCTETS:
            raise PlaceError("this is no cursor that a feed has given")
        place = cls(int.from_bytes(octets[:_ROW_OCTETS], "big"), octets[_ROW_OCTETS:])
        if place.row >> 63:
            raise PlaceError("this is no cursor that a feed has given")
        return place


BEGINNING: Final = Place(0, bytes(_MARK_OCTETS))
"""Before the first row of any archive."""


class ArchivedEvent(NamedTuple):
    """An event's row: its columns, and all of it in JSON.

    ``id`` is the event's own and its subject's: of a hashed list many have one event's.
    """

    id: str
    kind: str
    at: int | None
    subject: str
    body: str


@dataclass(frozen=True, slots=True)
class Page:
    """Events in their order, the place behind the last, and whether there may be more."""

    events: tuple[ArchivedEvent, ...]
    place: Place
    more: bool


class Feed:
    """Reads on from a place; every method raises RecordsUnavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def head(self) -> int:
        """The number of the last row."""

        async def work(connection: AsyncConnection) -> int:
            return int(await connection.scalar(select(schema.archive.c.seq)) or 0)

        return await self._database.read(work)

    async def end(self) -> Place:
        """The place behind everything that is archived now."""
        chain = schema.chain.c
        query = select(chain.seq, chain.hash).order_by(chain.seq.desc()).limit(1)

        async def work(connection: AsyncConnection) -> Place:
            last = (await connection.execute(query)).first()
            return BEGINNING if last is None else _place(last.seq, last.hash)

        return await self._database.read(work)

    async def after(self, place: Place, limit: int) -> Page:
        """At most ``limit`` events behind a place; raises PlaceError for one of elsewhere."""
        page = Page((), place, more=True)
        for _ in range(_ROUNDS):
            page = await self._database.read(_Reading(page.place, limit))
            if page.events or not page.more:
                break
        return page


class _Reading:
    """One reading of some links, in one state of the archive."""

    def __init__(self, place: Place, limit: int) -> None:
        self._place = place
        self._limit = limit

    async def __call__(self, connection: AsyncConnection) -> Page:
        await self._check(connection)
        chain = schema.chain.c
        ids = case((chain.kind == schema.event.name, chain.ids), else_="")
        links = (
            await connection.execute(
                select(chain.seq, chain.hash, ids)
                .where(chain.seq > self._place.row)
                .order_by(chain.seq)
                .limit(_LINKS)
            )
        ).all()
        wanted: list[str] = []
        place = self._place
        for seq, link_hash, told in links:
            names = orjson.loads(told) if told else []
            first = seq - len(names) + 1
            fresh = [(first + at, name) for at, name in enumerate(names) if first + at > place.row]
            taken = fresh[: self._limit - len(wanted)]
            wanted += [name for _, name in taken]
            if len(taken) < len(fresh):
                end = taken[-1][0] if taken else place.row
                if taken:
                    place = _place(end, link_hash)
                return Page(await _events(connection, wanted), place, more=True)
            place = _place(seq, link_hash)
        return Page(await _events(connection, wanted), place, more=len(links) == _LINKS)

    async def _check(self, connection: AsyncConnection) -> None:
        """Refuse a place that this archive's chain never had."""
        if not self._place.row:
            if self._place != BEGINNING:
                raise PlaceError("this is no cursor that a feed has given")
            return
        chain = schema.chain.c
        link = (
            await connection.execute(
                select(chain.hash).where(chain.seq >= self._place.row).order_by(chain.seq).limit(1)
            )
        ).first()
        if link is None or bytes(link.hash[:_MARK_OCTETS]) != self._place.mark:
            raise PlaceError(
                "this cursor is of another archive, or of changes that a restore has undone; "
                "begin anew without one"
            )


def _place(row: int, link_hash: bytes) -> Place:
    return Place(row, bytes(link_hash[:_MARK_OCTETS]))


async def _events(connection: AsyncConnection, ids: list[str]) -> tuple[ArchivedEvent, ...]:
    """The events of these ids that are still there, in this order."""
    event = schema.event.c
    found: dict[str, ArchivedEvent] = {}
    for at in range(0, len(ids), _PORTION):
        query = select(event.id, event.kind, event.at, event.subject, event.body).where(
            event.id.in_(ids[at : at + _PORTION])
        )
        for row in await connection.execute(query):
            found[row.id] = ArchivedEvent(*row)
    return tuple(found[name] for name in ids if name in found)
