"""The log of requests, and what is done with each: every step is an act first."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import Select, case, func, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.clock import CLOCK_SKEW_MS, Clock, now_ms
from gateway.contacts.contact import Contact
from gateway.contacts.identity_code import mask_octets
from gateway.custody.custody import Custody
from gateway.failure import SealError
from gateway.records import schema
from gateway.records.act import Act, Action
from gateway.records.database import Database
from gateway.records.identifier import new_id
from gateway.subject.directory import owner_of
from gateway.subject.people import Acts, Who
from gateway.subject.request import SOON, Kind, Request, RequestError, State, Step, due
from gateway.subject.store import PersonStore

_table = schema.request


class Requests:
    """Requests in the archive database; what was asked lies sealed under the person's key.

    Every method raises RecordsUnavailable; those that name a request raise RequestError
    when there is none.
    """

    def __init__(
        self,
        database: Database,
        custody: Custody,
        people: PersonStore,
        acts: Acts,
        clock: Clock = now_ms,
    ) -> None:
        self._database = database
        self._custody = custody
        self._people = people
        self._acts = acts
        self._clock = clock

    # -- receiving and moving on ------------------------------------------------------

    async def receive(
        self,
        kind: Kind,
        who: Who,
        *,
        person_id: str | None = None,
        contact: Contact | None = None,
        words: str = "",
        how: str = "",
        received: int | None = None,
    ) -> Request:
        """Take a request in.  ``received`` is when it arrived, by default now.

        Raises RequestError when it names neither person nor contact, or comes from the
        future.
        """
        now = self._clock()
        at = now if received is None else received
        if at > now + CLOCK_SKEW_MS:
            raise RequestError("the request would have been received in the future")
        digest = None if contact is None else self._people.digests(contact)[0]
        if person_id is None and contact is not None:
            found = await self._people.of(contact)
            person_id = found[0] if len(found) == 1 else None
        if person_id is None and digest is None:
            raise RequestError("name the person or the address that the request came by")
        if person_id is not None:
            person_id = (await self._people.get(person_id)).person.id
        request = Request(
            id=new_id(),
            kind=kind,
            received=at,
            due=due(at),
            person_id=person_id,
            digest=digest,
            words=words,
            how=how,
            steps=(Step(at=now, state=State.RECEIVED, by=who.name, reason=who.reason),),
        )
        await self._note(request, who, Action.REQUEST)
        values = await self._values(request)

        async def work(connection: AsyncConnection) -> None:
            await connection.execute(insert(_table).values(**values))

        await self._database.write(work)
        return request

    async def assign(self, request_id: str, person_id: str, who: Who) -> Request:
        """Say whose request it is, where that was not known when it came."""
        person = (await self._people.get(person_id)).person.id
        request = await self._bare(request_id)
        if request.person_id is not None:
            raise RequestError("the request is a person's already")
        return await self._move(
            request_id, who, lambda each: replace(each, person_id=person), Action.REQUEST
        )

    async def ask_identity(self, request_id: str, who: Who) -> Request:
        """More was asked to confirm who asks.  The month runs on, to be careful."""
        return await self._step(request_id, State.IDENTITY_ASKED, who, Action.IDENTIFY)

    async def identify(self, request_id: str, how: str, who: Who) -> Request:
        """The identity was checked in this way; raises RequestError without one."""
        now = self._clock()
        return await self._move(
            request_id, who, lambda each: each.identified(how, who.name, now), Action.IDENTIFY
        )

    async def begin(self, request_id: str, who: Who) -> Request:
        """Somebody works on it."""
        return await self._step(request_id, State.IN_PROGRESS, who, Action.REQUEST)

    async def extend(self, request_id: str, who: Who) -> Request:
        """Two months more, for the reason that the person was told."""
        now = self._clock()
        return await self._move(
            request_id, who, lambda each: each.prolonged(who.name, now, who.reason), Action.REQUEST
        )

    async def answer(self, request_id: str, who: Who) -> Request:
        """It is answered; the reason says how."""
        return await self._step(request_id, State.ANSWERED, who, Action.REQUEST)

    async def refuse(self, request_id: str, who: Who) -> Request:
        """It is refused; the reason is what the person is told."""
        return await self._step(request_id, State.REFUSED, who, Action.REFUSE)

    # -- reading ----------------------------------------------------------------------

    async def get(self, request_id: str) -> Request:
        """One request with what was asked, as far as it can be opened."""
        return (await self._opened([await self._row(request_id)]))[0]

    async def every(
        self, *, open_only: bool = True, person_ids: Sequence[str] = (), limit: int = 1000
    ) -> list[Request]:
        """Requests, the first due first, with what was asked."""
        query = select(_table).order_by(_table.c.due, _table.c.id).limit(limit)
        if open_only:
            query = query.where(_table.c.closed.is_(None))
        if person_ids:
            query = query.where(_table.c.person_id.in_(list(person_ids)))
        return await self._opened(await self._rows(query))

    async def due(self, limit: int = 1000) -> list[Request]:
        """Open requests that are late or due within a week."""
        end = self._clock() + SOON * 86_400_000
        query = (
            select(_table)
            .where(_table.c.closed.is_(None), _table.c.due < end)
            .order_by(_table.c.due, _table.c.id)
            .limit(limit)
        )
        return await self._opened(await self._rows(query))

    async def waiting(self, contact: Contact, kind: Kind) -> Request | None:
        """The oldest open request of this kind that came by the contact, without its words."""
        query = (
            select(_table)
            .where(
                _table.c.closed.is_(None),
                _table.c.kind == kind.value,
                _table.c.digest.in_(self._people.digests(contact)),
            )
            .order_by(_table.c.received)
            .limit(1)
        )
        rows = await self._rows(query)
        return _bare(rows[0]) if rows else None

    async def counts(self) -> tuple[int, int]:
        """How many requests are open, and how many of them are late."""
        return await open_and_late(self._database, self._clock())

    # -- parts ------------------------------------------------------------------------

    async def _step(self, request_id: str, state: State, who: Who, action: Action) -> Request:
        now = self._clock()
        return await self._move(
            request_id, who, lambda each: each.moved(state, who.name, now, who.reason), action
        )

    async def _move(
        self, request_id: str, who: Who, move: Callable[[Request], Request], action: Action
    ) -> Request:
        before = await self.get(request_id)
        after = move(before)
        await self._note(after, who, action)
        values = await self._values(after)

        async def work(connection: AsyncConnection) -> None:
            changed = await connection.execute(
                update(_table)
                .where(_table.c.id == request_id, _table.c.state == before.state.value)
                .values(**values)
            )
            if changed.rowcount != 1:
                raise RequestError("somebody else moved this request on; look and try again")

        await self._database.write(work)
        return after

    async def _note(self, request: Request, who: Who, action: Action) -> None:
        subject = request.person_id or request.digest or request.id
        await self._acts.act(
            Act(
                action=action,
                actor=who.name,
                reason="" if request.state is State.REFUSED else who.reason,
                subject=subject,
                detail={"request": request.id, "kind": request.kind, "state": request.state},
            )
        )

    async def _values(self, request: Request) -> dict[str, Any]:
        sealed = await self._custody.seal_all(
            [_owner(request)], [mask_octets(request.detail())], [_context(request.id)]
        )
        return {
            "id": request.id,
            "kind": request.kind.value,
            "person_id": request.person_id,
            "digest": request.digest,
            "received": request.received,
            "due": request.due,
            "state": request.state.value,
            "identity": "" if request.identity is None else "checked",
            "closed": request.closed,
            "outcome": request.state.value if request.closed is not None else "",
            "sealed_detail": sealed[0],
        }

    async def _bare(self, request_id: str) -> Request:
        return _bare(await self._row(request_id))

    async def _row(self, request_id: str) -> Mapping[Any, Any]:
        rows = await self._rows(select(_table).where(_table.c.id == request_id))
        if not rows:
            raise RequestError("there is no request of this id")
        return rows[0]

    async def _rows(self, query: Select[Any]) -> list[Mapping[Any, Any]]:
        async def work(connection: AsyncConnection) -> list[Mapping[Any, Any]]:
            return list((await connection.execute(query)).mappings())

        return await self._database.read(work)

    async def _opened(self, rows: Sequence[Mapping[Any, Any]]) -> list[Request]:
        bare = [_bare(row) for row in rows]
        texts = await self._custody.open_all(
            [_owner(each) for each in bare],
            [row["sealed_detail"] for row in rows],
            [_context(each.id) for each in bare],
        )
        return [
            each if text is None else each.with_detail(text)
            for each, text in zip(bare, texts, strict=True)
        ]


async def open_and_late(database: Database, now: int) -> tuple[int, int]:
    """How many requests are open, and how many should have been answered by ``now`` (ms).

    Raises RecordsUnavailable.
    """
    query = select(
        func.count(), func.count(case((_table.c.due < now, _table.c.id), else_=None))
    ).where(_table.c.closed.is_(None))

    async def work(connection: AsyncConnection) -> tuple[int, int]:
        row = (await connection.execute(query)).one()
        return int(row[0]), int(row[1])

    return await database.read(work)


def _bare(row: Mapping[Any, Any]) -> Request:
    return Request(
        id=row["id"],
        kind=Kind(row["kind"]),
        received=row["received"],
        due=row["due"],
        state=State(row["state"]),
        person_id=row["person_id"],
        digest=row["digest"],
        closed=row["closed"],
    )


def _owner(request: Request) -> str:
    if request.person_id is not None:
        return owner_of(request.person_id)
    if request.digest is None:
        raise SealError("a request of nobody")
    return request.digest


def _context(request_id: str) -> bytes:
    return b"request:" + request_id.encode()
