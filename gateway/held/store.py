"""Held messages: stored before the client hears 250, released or discarded by a person."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping
from typing import Any, Final

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.clock import Clock, now_ms
from gateway.decision.facts import Kind
from gateway.failure import InputError
from gateway.held.message import Held, HeldMessage, State
from gateway.records.content import ContentStore
from gateway.records.database import Database
from gateway.records.identifier import new_id
from gateway.records.schema import held as table
from gateway.records.seal import Sealer

_PREPARED_AGE: Final = 3_600_000


class HeldStateError(InputError):
    """The held message does not exist, or is not in the state that the act needs."""


class HeldStore:
    """Held messages in the archive database; every method raises RecordsUnavailable.

    Their content is in the content store under the id that the message names, and
    may belong to a record as well: it is never removed here (see
    :meth:`ContentStore.sweep`).
    """

    def __init__(
        self,
        database: Database,
        sealer: Sealer,
        contents: ContentStore,
        clock: Clock = now_ms,
    ) -> None:
        self._database = database
        self._sealer = sealer
        self._contents = contents
        self._clock = clock

    async def prepare(self, message: HeldMessage) -> str:
        """Store the message, durably but not yet to be released; its id."""
        held_id = new_id()
        values = {
            "id": held_id,
            "state": State.PREPARED.value,
            "created": self._clock(),
            "message_id": message.message_id,
            "client": message.client,
            "upstream": message.upstream,
            "kind": message.kind.value,
            "topic": message.topic,
            "content_id": message.content_id,
            "sealed_envelope": self._sealer.seal(message.envelope(), _context(held_id)),
            "ended": None,
            "person": "",
            "reason": "",
        }

        async def work(connection: AsyncConnection) -> None:
            await connection.execute(table.insert().values(**values))

        await self._database.write(work)
        return held_id

    async def keep(self, held_id: str) -> None:
        """Nothing but :meth:`revoke` takes it away any more.  Raises HeldStateError."""
        await self._move(held_id, {State.PREPARED}, State.KEPT)

    async def commit(self, held_id: str) -> None:
        """The client hears 250: the message waits for a person.  Raises HeldStateError."""
        await self._move(held_id, {State.PREPARED, State.KEPT}, State.HELD)

    async def revoke(self, held_id: str) -> None:
        """Forget a message that nobody has acted on: its client keeps it after all."""
        untouched = [State.PREPARED.value, State.KEPT.value]

        async def work(connection: AsyncConnection) -> None:
            await connection.execute(
                table.delete().where(table.c.id == held_id, table.c.state.in_(untouched))
            )

        await self._database.write(work)

    async def list(
        self,
        states: Collection[State] = (State.HELD, State.RELEASING),
        *,
        limit: int = 100,
        before: str | None = None,
    ) -> list[Held]:
        """The messages in these states, the newest first; ``before`` is the last page's end."""
        query = select(table).where(table.c.state.in_([state.value for state in states]))
        if before is not None:
            query = query.where(table.c.id < before)
        query = query.order_by(table.c.id.desc()).limit(limit)

        async def work(connection: AsyncConnection) -> list[Mapping[Any, Any]]:
            return list((await connection.execute(query)).mappings())

        return [self._held(row) for row in await self._database.read(work)]

    async def get(self, held_id: str) -> Held:
        """One message in whatever state; raises HeldStateError when there is none."""

        async def work(connection: AsyncConnection) -> Mapping[Any, Any] | None:
            found = await connection.execute(select(table).where(table.c.id == held_id))
            return found.mappings().first()

        row = await self._database.read(work)
        if row is None:
            raise HeldStateError("there is no held message of this id")
        return self._held(row)

    async def open_content(self, held_id: str) -> AsyncIterator[bytes]:
        """The message's octets in pieces; raises HeldStateError, ContentMissing."""
        held = await self.get(held_id)
        async for piece in self._contents.open(held.message.content_id):
            yield piece

    async def claim(self, held_id: str) -> Held:
        """Begin to release: of two persons at once only one gets it.

        A claim lasts until it is marked or given back, even through a crash: only a
        person can tell whether the message had left.  Raises HeldStateError.
        """
        await self._move(held_id, {State.HELD}, State.RELEASING)
        return await self.get(held_id)

    async def unclaim(self, held_id: str) -> None:
        """Give a claim back: the message did not leave.  Raises HeldStateError."""
        await self._move(held_id, {State.RELEASING}, State.HELD)

    async def mark_released(self, held_id: str, by: str, reason: str, at: int) -> None:
        """A person sent it on at ``at`` (ms); raises HeldStateError unless held or claimed."""
        await self._move(
            held_id, {State.HELD, State.RELEASING}, State.RELEASED, by=by, reason=reason, at=at
        )

    async def mark_discarded(self, held_id: str, by: str, reason: str, at: int) -> None:
        """A person threw it away at ``at`` (ms); raises HeldStateError unless held."""
        await self._move(held_id, {State.HELD}, State.DISCARDED, by=by, reason=reason, at=at)

    async def sweep(self) -> int:
        """Forget messages prepared over an hour ago: their client never heard 250.

        Those kept so long are shown to people: their client may have heard it, and
        nobody came back to say.  Returns the number forgotten.
        """
        before = self._clock() - _PREPARED_AGE

        async def work(connection: AsyncConnection) -> int:
            await connection.execute(
                update(table)
                .where(table.c.state == State.KEPT.value, table.c.created < before)
                .values(state=State.HELD.value)
            )
            gone = await connection.execute(
                table.delete().where(
                    table.c.state == State.PREPARED.value, table.c.created < before
                )
            )
            return int(gone.rowcount)

        return await self._database.write(work)

    async def _move(
        self,
        held_id: str,
        of: set[State],
        to: State,
        *,
        by: str = "",
        reason: str = "",
        at: int | None = None,
    ) -> None:
        async def work(connection: AsyncConnection) -> str | None:
            changed = await connection.execute(
                update(table)
                .where(table.c.id == held_id, table.c.state.in_([state.value for state in of]))
                .values(state=to.value, person=by, reason=reason, ended=at)
            )
            if changed.rowcount == 1:
                return None
            state = await connection.scalar(select(table.c.state).where(table.c.id == held_id))
            return state or "unknown"

        found = await self._database.write(work)
        if found == "unknown":
            raise HeldStateError("there is no held message of this id")
        if found is not None:
            wanted = " or ".join(sorted(of))
            raise HeldStateError(f"the held message is {found}, not {wanted}")

    def _held(self, row: Mapping[Any, Any]) -> Held:
        envelope = self._sealer.open(row["sealed_envelope"], _context(row["id"]))
        return Held(
            id=row["id"],
            state=State(row["state"]),
            created=row["created"],
            message=HeldMessage.from_envelope(
                envelope,
                message_id=row["message_id"],
                client=row["client"],
                upstream=row["upstream"],
                kind=Kind(row["kind"]),
                topic=row["topic"],
                content_id=row["content_id"],
            ),
            ended=row["ended"],
            person=row["person"],
            reason=row["reason"],
        )


def _context(held_id: str) -> bytes:
    return b"held:" + held_id.encode()
