"""People as they are read: by id, by contact, by pages."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.clock import Clock, now_ms
from gateway.contacts.contact import Contact
from gateway.contacts.digest import KeyRing, base_subject, subject_of
from gateway.custody.custody import Custody, KeyDestroyed
from gateway.failure import InputError
from gateway.records import schema
from gateway.records.database import Database
from gateway.subject.person import ContactPoint, Person

_PAGE: Final = 500
_person, _contact = schema.person, schema.person_contact


class State(StrEnum):
    """Where a person's row is in its life."""

    ACTIVE = "active"
    MERGED = "merged"
    """The same person is kept under another id."""
    ERASING = "erasing"
    """An erasure has begun; it is ended by asking for it again."""
    ERASED = "erased"


class PersonStateError(InputError):
    """The person does not exist, or is not in the state that is needed."""


@dataclass(frozen=True, slots=True)
class Stored:
    """A person as the store has it."""

    person: Person
    state: State
    created: int
    changed: int
    """The version that a change must name, in ms since the epoch."""


@dataclass(frozen=True, slots=True)
class Row:
    """What is known of a person's row without opening it."""

    id: str
    state: State
    created: int
    changed: int
    merged_into: str | None


def owner_of(person_id: str) -> str:
    """Whose key seals what belongs to a person and no single contact."""
    return f"p:{person_id}"


class Directory:
    """Finds and opens people; every method raises RecordsUnavailable."""

    def __init__(
        self,
        database: Database,
        custody: Custody,
        ring: KeyRing,
        clock: Clock = now_ms,
    ) -> None:
        self._database = database
        self._custody = custody
        self._ring = ring
        self._clock = clock

    def digests(self, contact: Contact) -> list[str]:
        """A contact's digests under every live key, the current one's first."""
        return [str(digest) for digest in self._ring.digests(subject_of(contact))]

    # -- reading --------------------------------------------------------------------

    async def row(self, person_id: str) -> Row:
        """A person's row unopened, in whatever state; raises PersonStateError."""

        async def work(connection: AsyncConnection) -> Mapping[Any, Any] | None:
            found = await connection.execute(select(_person).where(_person.c.id == person_id))
            return found.mappings().first()

        row = await self._database.read(work)
        if row is None:
            raise PersonStateError("there is no person of this id")
        return _row(row)

    async def get(self, person_id: str) -> Stored:
        """A person whose data is there; one that was merged is the one merged into.

        Raises PersonStateError when there is none or it was erased.
        """
        seen = set()
        while True:
            row = await self.row(person_id)
            if row.merged_into is None or row.id in seen:
                break
            seen.add(row.id)
            person_id = row.merged_into
        if row.state is State.ERASED:
            raise PersonStateError("this person was erased")
        try:
            return await self.open(row.id)
        except KeyDestroyed:
            raise PersonStateError(
                "this person's keys are destroyed: ask for the erasure again to end it"
            ) from None

    async def open(self, person_id: str) -> Stored:
        """A person's data under this very id; raises PersonStateError, SealError."""

        async def work(connection: AsyncConnection) -> Mapping[Any, Any] | None:
            found = await connection.execute(select(_person).where(_person.c.id == person_id))
            return found.mappings().first()

        row = await self._database.read(work)
        if row is None or not row["sealed_profile"]:
            raise PersonStateError("nothing is kept of this person any more")
        text = await self._custody.open(
            owner_of(person_id), row["sealed_profile"], profile_context(person_id)
        )
        return _stored(row, text)

    async def open_many(
        self, person_ids: Sequence[str]
    ) -> dict[str, tuple[Stored | None, list[str]]]:
        """Those of the people who are in use, with the digests they are found by, in order.

        In three questions.  None: the profile cannot be opened.
        """
        ids = list(person_ids)

        async def work(
            connection: AsyncConnection,
        ) -> tuple[list[Mapping[Any, Any]], dict[str, list[str]]]:
            active = _person.c.state == State.ACTIVE.value
            found = await connection.execute(select(_person).where(_person.c.id.in_(ids), active))
            kept: dict[str, list[str]] = {}
            query = select(_contact.c.person_id, _contact.c.digest)
            for row in await connection.execute(query.where(_contact.c.person_id.in_(ids))):
                kept.setdefault(row.person_id, []).append(row.digest)
            return list(found.mappings()), kept

        rows, kept = await self._database.read(work)
        texts = await self._custody.open_all(
            [owner_of(row["id"]) for row in rows],
            [row["sealed_profile"] for row in rows],
            [profile_context(row["id"]) for row in rows],
        )
        return {
            row["id"]: (
                None if text is None else _stored(row, text),
                sorted(kept.get(row["id"], [])),
            )
            for row, text in zip(rows, texts, strict=True)
        }

    async def shared(self, digests: Sequence[str]) -> set[str]:
        """Those of the digests that several people are found by."""
        found: set[str] = set()

        async def work(connection: AsyncConnection) -> list[str]:
            query = (
                select(_contact.c.digest)
                .where(_contact.c.digest.in_(part))
                .group_by(_contact.c.digest)
                .having(func.count() > 1)
            )
            return list(await connection.scalars(query))

        for at in range(0, len(digests), _PAGE):
            part = list(digests[at : at + _PAGE])
            found.update(await self._database.read(work))
        return found

    async def having(self, digests: Sequence[str]) -> list[str]:
        """The ids of people who have, or had, a contact of one of these digests."""
        found: set[str] = set()

        async def work(connection: AsyncConnection) -> list[str]:
            query = select(_contact.c.person_id).where(_contact.c.digest.in_(part)).distinct()
            return list(await connection.scalars(query))

        for at in range(0, len(digests), _PAGE):
            part = list(digests[at : at + _PAGE])
            found.update(await self._database.read(work))
        return sorted(found)

    async def of(self, contact: Contact) -> list[str]:
        """The ids of people who have, or had, a contact or a wider spelling of it."""
        wider = [str(digest) for digest in self._ring.digests(base_subject(contact))]
        return await self.having([*self.digests(contact), *wider])

    async def contact_digests(self, person_id: str) -> list[str]:
        """The digests of a person's contacts as they are kept, in order."""

        async def work(connection: AsyncConnection) -> list[str]:
            query = select(_contact.c.digest).where(_contact.c.person_id == person_id)
            return list(await connection.scalars(query))

        return sorted(await self._database.read(work))

    async def merged_into(self, person_id: str) -> list[str]:
        """The ids under which the same person was once kept."""
        known = [person_id]

        async def work(connection: AsyncConnection) -> list[str]:
            query = select(_person.c.id).where(_person.c.merged_into.in_(known))
            return [each for each in await connection.scalars(query) if each not in known]

        while more := await self._database.read(work):
            known += more
        return known[1:]

    async def ids(self, *, states: Sequence[State] = (State.ACTIVE,)) -> AsyncIterator[str]:
        """Every person in one of these states, by id, in pages."""
        after = ""

        async def work(connection: AsyncConnection) -> list[str]:
            query = (
                select(_person.c.id)
                .where(_person.c.id > after, _person.c.state.in_([each.value for each in states]))
                .order_by(_person.c.id)
                .limit(_PAGE)
            )
            return list(await connection.scalars(query))

        while page := await self._database.read(work):
            for each in page:
                yield each
            after = page[-1]

    def index(self, person: Person) -> list[str]:
        """The digests that a person is found by, in order."""
        return sorted(digest for digest, _ in self.places(person))

    def places(self, person: Person) -> list[tuple[str, ContactPoint | None]]:
        """By which digests the person is found; None: by a wider spelling or an older key.

        Records and entries of before a digest key was rotated are the person's too.
        """
        index: dict[str, ContactPoint | None] = {}
        for point in person.contacts:
            for subject in (base_subject(point.contact), subject_of(point.contact)):
                for digest in self._ring.digests(subject):
                    index.setdefault(str(digest), None)
        for point in person.contacts:
            index[self.digests(point.contact)[0]] = point
        return list(index.items())


def _stored(row: Mapping[Any, Any], text: bytes) -> Stored:
    return Stored(Person.from_json(text), State(row["state"]), row["created"], row["changed"])


def _row(row: Mapping[Any, Any]) -> Row:
    return Row(row["id"], State(row["state"]), row["created"], row["changed"], row["merged_into"])


def profile_context(person_id: str) -> bytes:
    """What a profile is bound to when sealed."""
    return b"person:" + person_id.encode()
