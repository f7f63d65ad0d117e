"""Whether the archive is what was once written: a walk along its hash chain."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Final

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.records import schema
from gateway.records.database import Database, among
from gateway.records.line import KINDS, Row, digest_of, link

_TABLES: Final = {kind: schema.metadata.tables[kind] for kind in KINDS}
_PAGE: Final = 500
_FAULTS: Final = 20


@dataclass(frozen=True, slots=True)
class Verification:
    """What a walk along the chain found."""

    links: int
    head: str
    """The last link's hash in hex; kept elsewhere, it proves that nothing was cut off."""
    faults: tuple[str, ...]
    """At most twenty."""

    @property
    def whole(self) -> bool:
        """Whether nothing was found changed, missing or added."""
        return not self.faults


async def verify(database: Database) -> Verification:
    """Walk the whole chain and compare every row with its link.

    Rows that were changed, removed or added, and links that were changed, are
    found.  That the newest rows and links were all cut off shows only against a
    head that was noted elsewhere.  Raises RecordsUnavailable.
    """
    faults: list[str] = []
    head = b"\0" * 32
    links = 0
    while len(faults) < _FAULTS:
        page = await database.read(partial(_page, after=links))
        if not page:
            break
        for (seq, kind, row_id, digest, hashed), row in page:
            links += 1
            if seq != links:
                faults.append(f"link {links} is missing")
                links = seq
            head = link(head, digest)
            if head != hashed:
                faults.append(f"link {seq} does not follow from the one before")
                head = hashed
            if row is None:
                faults.append(f"{kind} {row_id} (link {seq}) is missing")
            elif digest_of(kind, row) != digest:
                faults.append(f"{kind} {row_id} (link {seq}) was changed")
    faults += await database.read(_strays)
    return Verification(links, head.hex(), tuple(faults[:_FAULTS]))


Link = tuple[int, str, str, bytes, bytes]


async def _page(connection: AsyncConnection, after: int) -> list[tuple[Link, Row | None]]:
    chain = schema.chain
    links = (
        await connection.execute(
            select(chain).where(chain.c.seq > after).order_by(chain.c.seq).limit(_PAGE)
        )
    ).all()
    ids: dict[str, list[str]] = {}
    for each in links:
        ids.setdefault(each.kind, []).append(each.id)
    rows: dict[tuple[str, str], Row] = {}
    for kind, wanted in ids.items():
        if kind in _TABLES:
            table = _TABLES[kind]
            found = await connection.run_sync(among, select(table), table.c.id, wanted)
            rows.update({(kind, row["id"]): row for row in found})
    return [
        (
            (each.seq, each.kind, each.id, bytes(each.digest), bytes(each.hash)),
            rows.get((each.kind, each.id)),
        )
        for each in links
    ]


async def _strays(connection: AsyncConnection) -> list[str]:
    """Journal rows that no link speaks of, and links that were cut off the end."""
    faults = []
    chain = schema.chain.c
    state = (await connection.execute(select(schema.archive))).one()
    last = (
        await connection.execute(select(chain.seq, chain.hash).order_by(chain.seq.desc()).limit(1))
    ).first()
    if (state.seq, bytes(state.head)) != (
        (last.seq, bytes(last.hash)) if last else (0, b"\0" * 32)
    ):
        faults.append("the end of the chain was cut off or changed")
    counted = await connection.execute(select(chain.kind, func.count()).group_by(chain.kind))
    links = {row[0]: row[1] for row in counted}
    for kind, table in _TABLES.items():
        rows = await connection.scalar(select(func.count()).select_from(table)) or 0
        if rows > links.get(kind, 0):
            # Named only now: this is a slow query on a large archive.
            linked = select(chain.id).where(chain.kind == kind)
            query = select(table.c.id).where(table.c.id.not_in(linked)).limit(_FAULTS)
            faults += [f"{kind} {row_id} was added" for row_id in await connection.scalars(query)]
    return faults
