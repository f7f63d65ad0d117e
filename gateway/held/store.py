"""Held messages: stored before the client hears yes, then released or discarded.

Who acts on one must win its row first: every step goes from a state that is named to
the next, and of two at once only one finds the row in it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from typing import Any, Final

from sqlalchemy import ColumnElement, Select, case, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.clock import Clock, now_ms
from gateway.contacts.contact import Channel
from gateway.contacts.identity_code import mask
from gateway.decision.facts import Kind
from gateway.failure import InputError
from gateway.held.message import Held, HeldMessage, State
from gateway.records.content import ContentStore
from gateway.records.database import Database
from gateway.records.identifier import new_id
from gateway.records.schema import held as table
from gateway.records.seal import Sealer

_PREPARED_AGE: Final = 3_600_000
_ENVELOPE_AGE: Final = 86_400_000
_WAITS_FOR = case((table.c.due.is_(None), State.HELD.value), else_=State.WAITING.value)
"""What a message is once it is ours: held for a person, or waiting for its time."""
_SHOWN: Final = (State.HELD, State.RELEASING, State.UNCERTAIN)


_FORGOTTEN: Final = b'{"v":1,"sender":"","params":[],"recipients":[]}'
"""What stands for the envelope of a message that ended long ago."""


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
            "ended": None,
            "person": "",
            "reason": "",
            "channel": message.channel.value,
            "due": message.due,
            **self._sealed(held_id, message),
        }

        async def work(connection: AsyncConnection) -> None:
            await connection.execute(table.insert().values(**values))

        await self._database.write(work)
        return held_id

    async def keep(self, *held_ids: str) -> None:
        """Nothing but :meth:`revoke` takes them away any more.  Raises HeldStateError."""
        await self._move(held_ids, {State.PREPARED}, state=State.KEPT.value)

    async def commit(self, *held_ids: str) -> None:
        """The client hears yes: all wait for a person or their time, or none does.

        Raises HeldStateError.
        """
        await self._move(held_ids, {State.PREPARED, State.KEPT}, state=_WAITS_FOR)

    async def adopt(self, *held_ids: str) -> bool:
        """:meth:`commit` what was stored for a client that says the same again.

        What has been acted on stays as it is.  False: not all are there; nothing is
        done then.
        """

        async def work(connection: AsyncConnection) -> bool:
            query = select(table.c.id).where(table.c.id.in_(held_ids))
            if len(list(await connection.scalars(query))) < len(held_ids):
                return False
            untouched = _of(held_ids, {State.PREPARED, State.KEPT})
            await connection.execute(update(table).where(untouched).values(state=_WAITS_FOR))
            return True

        return await self._database.write(work)

    async def revoke(self, *held_ids: str) -> int:
        """Forget messages that nobody has acted on: their client keeps them after all.

        Returns how many.
        """

        async def work(connection: AsyncConnection) -> int:
            untouched = _of(held_ids, {State.PREPARED, State.KEPT})
            return int((await connection.execute(table.delete().where(untouched))).rowcount)

        return await self._database.write(work)

    async def list(
        self,
        states: Collection[State] = _SHOWN,
        *,
        limit: int = 100,
        before: str | None = None,
    ) -> list[Held]:
        """The messages in these states, the newest first; ``before`` is the last page's end."""
        query = select(table).where(table.c.state.in_([state.value for state in states]))
        if before is not None:
            query = query.where(table.c.id < before)
        return [*await self._some(query.order_by(table.c.id.desc()).limit(limit))]

    async def _some(self, query: Select[Any]) -> Sequence[Held]:
        async def work(connection: AsyncConnection) -> tuple[Mapping[Any, Any], ...]:
            return tuple((await connection.execute(query)).mappings())

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

    async def due(
        self, now: int, limit: int, without: Collection[str] = ()
    ) -> Sequence[tuple[str, str]]:
        """Messages whose time has come and their clients, the longest due first.

        ``without``: names of clients whose messages are left out.
        """
        query = (
            select(table.c.id, table.c.client)
            .where(table.c.due <= now, table.c.state == State.WAITING.value)
            .order_by(table.c.due)
            .limit(limit)
        )
        if without:
            query = query.where(table.c.client.not_in(without))

        async def work(connection: AsyncConnection) -> Sequence[tuple[str, str]]:
            return [(row.id, row.client) for row in await connection.execute(query)]

        return await self._database.read(work)

    async def claim(
        self, held_id: str, *, of: State = State.HELD, until: int | None = None
    ) -> Held:
        """Begin to release: of two at once only one gets it.  Raises HeldStateError.

        A claim lasts until it is marked or given back, even through a crash: only a
        person can tell whether the message had left.  ``until``: when who has it must
        be done (ms); later the sweep shows it to people as uncertain.
        """
        await self._move((held_id,), {of}, state=State.RELEASING.value, due=until)
        return await self.get(held_id)

    async def unclaim(self, held_id: str) -> None:
        """Give a claim back: the message did not leave.  Raises HeldStateError."""
        await self._move((held_id,), {State.RELEASING}, state=State.HELD.value, due=None)

    async def hand_over(self, held_id: str, reason: str, rest: HeldMessage | None = None) -> None:
        """Give a claim back, for a person to decide why it was not sent.

        ``rest``: what of it still waits, where some was sent.  Raises HeldStateError.
        """
        await self._move(
            (held_id,),
            {State.RELEASING},
            state=State.HELD.value,
            due=None,
            reason=reason,
            **({} if rest is None else self._sealed(held_id, rest)),
        )

    async def put_off(self, held_id: str, until: int, rest: HeldMessage | None = None) -> None:
        """Give a claim back until another time (ms).

        ``rest``: what of it still waits, or another time of its own.  Raises
        HeldStateError.
        """
        await self._move(
            (held_id,),
            {State.RELEASING},
            state=State.WAITING.value,
            due=until,
            **({} if rest is None else self._sealed(held_id, rest)),
        )

    async def doubt(self, held_id: str, reason: str) -> None:
        """End a claim whose message may have left.  Raises HeldStateError."""
        await self._move(
            (held_id,), {State.RELEASING}, state=State.UNCERTAIN.value, due=None, reason=reason
        )

    async def mark_released(self, held_id: str, by: str, reason: str, at: int) -> None:
        """It was sent on at ``at`` (ms); raises HeldStateError unless held or claimed.

        Whoever comes back late from a claim that has run out still says so.
        """
        claimed = {State.HELD, State.RELEASING, State.UNCERTAIN}
        await self._end(held_id, claimed, State.RELEASED, by, reason, at)

    async def mark_discarded(self, held_id: str, by: str, reason: str, at: int) -> None:
        """A person threw it away at ``at`` (ms); raises HeldStateError unless it waits."""
        waits = {State.HELD, State.WAITING, State.UNCERTAIN}
        await self._end(held_id, waits, State.DISCARDED, by, reason, at)

    async def mark_stopped(self, held_id: str, by: str, reason: str, at: int) -> None:
        """Nobody may have it any more; raises HeldStateError unless claimed."""
        await self._end(held_id, {State.RELEASING}, State.DISCARDED, by, reason, at)

    async def mark_expired(self, held_id: str, reason: str, at: int) -> None:
        """Nobody decided in time; raises HeldStateError unless claimed."""
        await self._end(held_id, {State.RELEASING}, State.EXPIRED, "", reason, at)

    async def waiting_since(self, before: int, limit: int) -> Sequence[Held]:
        """What waits for a person and was stored before then (ms), the oldest first."""
        waits = [State.HELD.value, State.UNCERTAIN.value]
        query = select(table).where(table.c.state.in_(waits), table.c.created < before)
        return await self._some(query.order_by(table.c.created, table.c.id).limit(limit))

    async def expired_since(self, after: int, limit: int) -> Sequence[Held]:
        """What expired after then (ms), the earliest first."""
        query = select(table).where(table.c.state == State.EXPIRED.value, table.c.ended > after)
        return await self._some(query.order_by(table.c.ended, table.c.id).limit(limit))

    async def sweep(self) -> int:
        """Forget messages prepared over an hour ago: their client never heard yes.

        Those kept so long are shown to people: their client may have heard it, and
        nobody came back to say.  So are claims that have run out: who had one may have
        sent its message and died.  Of what ended a day ago the envelope is forgotten: its
        records tell who it was for, under these people's keys.  Returns the number forgotten.
        """
        now = self._clock()
        before = now - _PREPARED_AGE

        async def work(connection: AsyncConnection) -> int:
            await connection.execute(
                update(table)
                .where(table.c.state == State.KEPT.value, table.c.created < before)
                .values(state=State.HELD.value, due=None)
            )
            await connection.execute(
                update(table)
                .where(table.c.due <= now, table.c.state == State.RELEASING.value)
                .values(
                    state=State.UNCERTAIN.value,
                    due=None,
                    reason="its sending began and never ended: it may have been sent",
                )
            )
            await connection.execute(
                update(table)
                .where(table.c.ended < now - _ENVELOPE_AGE, table.c.sealed_envelope != b"")
                .values(sealed_envelope=b"")
            )
            gone = await connection.execute(
                table.delete().where(
                    table.c.state == State.PREPARED.value, table.c.created < before
                )
            )
            return int(gone.rowcount)

        return await self._database.write(work)

    async def rewrap(self) -> int:
        """Seal envelopes that lie under an older content key under the current one; how many.

        Raises SealError.
        """
        query = select(table.c.id, table.c.sealed_envelope)

        async def find(connection: AsyncConnection) -> Sequence[tuple[str, bytes]]:
            return [(row.id, row.sealed_envelope) for row in await connection.execute(query)]

        changed = 0
        for held_id, sealed in await self._database.read(find):
            if not sealed or not self._sealer.is_stale(sealed):
                continue
            context = _context(held_id)
            anew = self._sealer.seal(self._sealer.open(sealed, context), context)
            # Only where nobody has written it meanwhile.
            statement = (
                update(table)
                .where(table.c.id == held_id, table.c.sealed_envelope == sealed)
                .values(sealed_envelope=anew)
            )

            async def work(connection: AsyncConnection) -> int:
                return int((await connection.execute(statement)).rowcount)  # noqa: B023

            changed += await self._database.write(work)
        return changed

    async def _end(
        self, held_id: str, of: set[State], to: State, by: str, reason: str, at: int
    ) -> None:
        await self._move(
            (held_id,), of, state=to.value, person=by, reason=mask(reason), ended=at, due=None
        )

    async def _move(
        self,
        held_ids: Sequence[str],
        of: set[State],
        **values: ColumnElement[str] | str | int | bytes | None,
    ) -> None:
        """Change all of them, or none where one is in another state."""

        async def work(connection: AsyncConnection) -> None:
            query = select(table.c.state).where(table.c.id.in_(held_ids))
            states = list(await connection.scalars(query))
            if len(states) < len(held_ids):
                raise HeldStateError("there is no held message of this id")
            for state in states:
                if state not in of:
                    wanted = " or ".join(sorted(of))
                    raise HeldStateError(f"the held message is {state}, not {wanted}")
            changed = await connection.execute(
                update(table).where(_of(held_ids, of)).values(**values)
            )
            if changed.rowcount != len(held_ids):
                raise HeldStateError("somebody else was first")

        await self._database.write(work)

    def _sealed(self, held_id: str, message: HeldMessage) -> dict[str, str | bytes]:
        return {
            "content_id": message.content_id,
            "sealed_envelope": self._sealer.seal(message.envelope(), _context(held_id)),
        }

    def _held(self, row: Mapping[Any, Any]) -> Held:
        sealed = row["sealed_envelope"]
        envelope = self._sealer.open(sealed, _context(row["id"])) if sealed else _FORGOTTEN
        return Held(
            id=row["id"],
            state=State(row["state"]),
            created=row["created"],
            message=HeldMessage.from_envelope(
                envelope,
                channel=Channel(row["channel"]),
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
            next_try=row["due"],
        )


def _of(held_ids: Sequence[str], states: set[State]) -> ColumnElement[bool]:
    return table.c.id.in_(held_ids) & table.c.state.in_([state.value for state in states])


def _context(held_id: str) -> bytes:
    return b"held:" + held_id.encode()
