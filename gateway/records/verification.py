"""Whether the archive is what was once written: a walk along its hash chain."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Final

import aiosqlite
import orjson
from sqlalchemy import Column, MetaData, Table, Text, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.records import schema
from gateway.records.database import Database, T, Work, among
from gateway.records.line import COLUMNS, DIGEST, KINDS, TYPES, Row, digest_of, link
from gateway.records.purge import purged_by_kind, purged_rows, unproven

_TABLES: Final = {kind: schema.metadata.tables[kind] for kind in KINDS}
_PAGE: Final = 8
"""Links at once; each may speak of some hundred rows."""
_FAULTS: Final = 20
_linked: Final = Table(
    "linked", MetaData(), Column("id", Text, nullable=False), prefixes=["TEMPORARY"]
)
"""The ids that links speak of, while rows are looked for that none speaks of."""


@dataclass(frozen=True, slots=True)
class Verification:
    """What a walk along the chain found."""

    links: int
    head: str
    """The last link's hash in hex; kept elsewhere, it proves that nothing was cut off."""
    faults: tuple[str, ...]
    """At most twenty, and twenty of checkpoints."""
    signed: int = 0
    """Up to which row a checkpoint vouches for the chain; 0: none was looked for."""

    @property
    def whole(self) -> bool:
        """Whether nothing was found changed, missing or added."""
        return not self.faults


async def verify(database: Database) -> Verification:
    """Walk the whole chain and compare every row with its place in it.

    Rows that were changed, removed or added, and links that were changed, are
    found.  That the newest rows and links were all cut off shows only against a
    head that was noted elsewhere.  Raises RecordsUnavailable.
    """
    faults: list[str] = []
    head = b"\0" * DIGEST
    links = 0
    while len(faults) < _FAULTS:
        page = await database.read(partial(plainly, partial(page_after, after=links)))
        if not page:
            break
        gone = await database.read(
            partial(plainly, partial(purged_rows, seqs=[one.seq for one, _ in page]))
        )
        for one, rows in page:
            first = one.seq - len(one.ids) + 1
            if first != links + 1:
                faults.append(f"link {links + 1} is missing")
            links = one.seq
            head = link(head, one.digests)
            if head != one.hash or len(one.digests) != DIGEST * len(one.ids):
                faults.append(f"link {first} does not follow from the one before")
                head = one.hash
            for number, row_id in enumerate(one.ids):
                place = f"{one.kind} {row_id} (link {first + number})"
                row = rows.get(row_id)
                if row is None and gone.get(one.seq, 0) >> number & 1:
                    continue
                if row is None:
                    faults.append(f"{place} is missing")
                elif not is_whole(one.kind, row, one.digest(number)):
                    faults.append(f"{place} was changed")
    faults += await database.read(partial(plainly, _strays))
    faults += await database.read(partial(plainly, unproven))
    told = [fault.encode("utf-8", "backslashreplace").decode() for fault in faults[:_FAULTS]]
    return Verification(links, head.hex(), tuple(told))


async def plainly(work: Work[T], connection: AsyncConnection) -> T:
    """What ``work`` returns, with texts read that are no UTF-8 any more.

    The driver refuses them, and with them the whole page: an octet that turned over on
    the disk would end the walk, and its row would never be named.
    """
    driver = (await connection.get_raw_connection()).driver_connection
    if not isinstance(driver, aiosqlite.Connection):
        return await work(connection)
    driver.text_factory = partial(str, encoding="utf-8", errors="surrogateescape")
    try:
        return await work(connection)
    finally:
        driver.text_factory = str


def is_whole(kind: str, row: Row, digest: bytes) -> bool:
    """Whether a row is what its digest was once made of."""
    # SQLite keeps what it is given, whatever the column: octets that became their own
    # digits in a text would have the same digest and could not be opened any more.
    types = tuple([type(row[name]) for name in COLUMNS[kind]])
    try:
        return types in TYPES[kind] and digest_of(kind, row) == digest
    except TypeError:  # a text that is no UTF-8
        return False


@dataclass(frozen=True, slots=True)
class Link:
    """One link: a run of rows of one kind."""

    seq: int
    """The number of the last of them."""
    kind: str
    ids: tuple[str, ...]
    digests: bytes
    """Of all of them, one after the other."""
    hash: bytes

    def digest(self, number: int) -> bytes:
        """The digest of one of the rows."""
        return self.digests[DIGEST * number : DIGEST * (number + 1)]


def _link_of(seq: int, kind: str, ids: str, digests: object, hashed: object) -> Link:
    """The link of a row of ``chain``; one that was made unreadable covers nothing."""
    try:
        read = orjson.loads(ids)
    except ValueError:
        read = None
    known = isinstance(read, list) and all(isinstance(one, str) for one in read)
    return Link(seq, kind, tuple(read) if known else (), _octets(digests), _octets(hashed))


def _octets(value: object) -> bytes:
    """The octets of a column; none where somebody put anything else there."""
    return bytes(value) if isinstance(value, bytes | memoryview) else b""


async def page_after(
    connection: AsyncConnection, after: int
) -> list[tuple[Link, Mapping[str, Row]]]:
    """Some links behind that number, each with the rows of its kind that are there, by id."""
    chain = schema.chain
    found = await connection.execute(
        select(chain).where(chain.c.seq > after).order_by(chain.c.seq).limit(_PAGE)
    )
    links = [_link_of(*row) for row in found]
    ids: dict[str, list[str]] = {}
    for each in links:
        ids.setdefault(each.kind, []).extend(each.ids)
    rows: dict[str, dict[str, Row]] = {}
    for kind, wanted in ids.items():
        if kind in _TABLES:
            table = _TABLES[kind]
            read = await connection.run_sync(among, select(table), table.c.id, wanted)
            rows[kind] = {row["id"]: row for row in read}
    return [(each, rows.get(each.kind, {})) for each in links]


async def _strays(connection: AsyncConnection) -> list[str]:
    """Journal rows that no link speaks of, and links that were cut off the end."""
    faults = []
    chain = schema.chain.c
    state = (await connection.execute(select(schema.archive))).one()
    last = (
        await connection.execute(select(chain.seq, chain.hash).order_by(chain.seq.desc()).limit(1))
    ).first()
    if (state.seq, _octets(state.head)) != (
        (last.seq, _octets(last.hash)) if last else (0, b"\0" * DIGEST)
    ):
        faults.append("the end of the chain was cut off or changed")
    # The walk begins at 1.  A link before it would hang on none, and yet be counted.
    before = await connection.scalars(select(chain.seq).where(chain.seq < 1).limit(_FAULTS))
    faults += [f"link {seq} was added" for seq in before]
    octets = func.sum(func.length(chain.digests))
    counted = await connection.execute(
        select(chain.kind, octets).where(chain.seq > 0).group_by(chain.kind)
    )
    links = {row[0]: row[1] // DIGEST for row in counted}
    purged = await purged_by_kind(connection)
    for kind, table in _TABLES.items():
        rows = await connection.scalar(select(func.count()).select_from(table)) or 0
        if rows > links.get(kind, 0) - purged.get(kind, 0):
            added = await _added(connection, kind)
            faults += [f"{kind} {row_id} was added" for row_id in added] or [
                f"{kind}: rows that were purged are there again"
            ]
    return faults


async def _added(connection: AsyncConnection, kind: str) -> list[str]:
    """Some rows that no link speaks of; slow on a large archive."""
    chain, table = schema.chain.c, _TABLES[kind]
    await connection.run_sync(_linked.create)
    after = 0
    while True:
        query = select(schema.chain).where(chain.kind == kind, chain.seq > after)
        links = (await connection.execute(query.order_by(chain.seq).limit(_PAGE))).all()
        if not links:
            break
        after = links[-1].seq
        ids = [{"id": row_id} for each in links for row_id in _link_of(*each).ids]
        if ids:
            await connection.execute(_linked.insert(), ids)
    query = select(table.c.id).where(table.c.id.not_in(select(_linked.c.id))).limit(_FAULTS)
    added = list(await connection.scalars(query))
    await connection.run_sync(_linked.drop)
    return added
