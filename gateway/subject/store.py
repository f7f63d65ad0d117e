"""People in the archive database: each sealed under a key of their own.

A person's row holds the profile sealed under ``p:<id>``; a row for each contact finds
the person by its digest, with the address sealed under that digest.  The wider spelling
of an address has a row too, without an address: whoever bans it, bans the person.
Destroying the keys leaves nothing to be read here or in any copy (GDPR 17).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import delete, insert, update
from sqlalchemy.ext.asyncio import AsyncConnection

from gateway.clock import Clock, now_ms
from gateway.contacts.digest import KeyRing
from gateway.contacts.identity_code import mask_octets
from gateway.custody.custody import Custody
from gateway.records import schema
from gateway.records.database import Database
from gateway.subject.directory import (
    Directory,
    PersonStateError,
    State,
    Stored,
    owner_of,
    profile_context,
)
from gateway.subject.person import Person
from gateway.subject.retention import retained_until

_person, _contact = schema.person, schema.person_contact


class PersonStore(Directory):
    """Keeps people; every method raises RecordsUnavailable.

    ``retention_years`` are added to the day that the last relationship, contract or
    warranty ended (the notice, section 8).
    """

    def __init__(
        self,
        database: Database,
        custody: Custody,
        ring: KeyRing,
        *,
        retention_years: int = 5,
        clock: Clock = now_ms,
    ) -> None:
        super().__init__(database, custody, ring, clock)
        self._years = retention_years

    async def add(self, person: Person) -> Stored:
        """Keep a new person; raises BadRow when the id is taken."""
        now = self._clock()
        values = {
            "id": person.id,
            "created": now,
            "changed": now,
            "state": State.ACTIVE.value,
            "merged_into": None,
            **await self._sealed(person, now),
        }
        contacts = await self._contact_rows(person)

        async def work(connection: AsyncConnection) -> None:
            await connection.execute(insert(_person).values(**values))
            if contacts:
                await connection.execute(insert(_contact), contacts)

        await self._database.write(work)
        return Stored(person, State.ACTIVE, now, now)

    async def save(self, person: Person, known: Stored) -> Stored:
        """Keep a changed person, profile and contacts in one step.

        Raises PersonStateError when somebody else changed it since it was read.
        """
        changed = max(self._clock(), known.changed + 1)
        values = {"changed": changed, **await self._sealed(person, known.created)}
        contacts = await self._contact_rows(person)

        async def work(connection: AsyncConnection) -> None:
            await _change(connection, person.id, known.changed, values)
            await _put_contacts(connection, person.id, contacts)

        await self._database.write(work)
        return Stored(person, known.state, known.created, changed)

    async def merge(self, person: Person, known: Stored, other: Stored) -> Stored:
        """Keep the joined person, and of the other only where it went, in one step."""
        changed = max(self._clock(), known.changed + 1, other.changed + 1)
        values = {"changed": changed, **await self._sealed(person, known.created)}
        contacts = await self._contact_rows(person)
        gone = {
            "changed": changed,
            "state": State.MERGED.value,
            "merged_into": person.id,
            "retain_until": None,
            "sealed_profile": b"",
        }

        async def work(connection: AsyncConnection) -> None:
            await _change(connection, person.id, known.changed, values)
            await _change(connection, other.person.id, other.changed, gone)
            await _put_contacts(connection, other.person.id, [])
            await _put_contacts(connection, person.id, contacts)

        await self._database.write(work)
        return Stored(person, known.state, known.created, changed)

    async def begin_erasure(self, person_id: str, known: int | None = None) -> None:
        """From now on nothing but the erasure's end may happen to the person.

        ``known``: the version that was read.  Raises PersonStateError where somebody
        changed it since, or where there is nobody to erase.
        """
        version = [] if known is None else [_person.c.changed == known]

        async def work(connection: AsyncConnection) -> None:
            changed = await connection.execute(
                update(_person)
                .where(
                    _person.c.id == person_id,
                    _person.c.state.in_([State.ACTIVE.value, State.ERASING.value]),
                    *version,
                )
                .values(state=State.ERASING.value)
            )
            if changed.rowcount != 1:
                raise PersonStateError("there is no such person to erase any more; look again")

        await self._database.write(work)

    async def end_erasure(self, person_id: str) -> None:
        """Empty the row and forget the contacts; the id alone stays."""

        async def work(connection: AsyncConnection) -> None:
            await connection.execute(
                update(_person)
                .where(_person.c.id == person_id, _person.c.state == State.ERASING.value)
                .values(
                    state=State.ERASED.value,
                    changed=self._clock(),
                    retain_until=None,
                    sealed_profile=b"",
                )
            )
            await _put_contacts(connection, person_id, [])

        await self._database.write(work)

    async def end_lost_erasures(self, person_ids: Sequence[str]) -> set[str]:
        """Empty the rows of those whose keys are destroyed; who they are.

        An older copy of the archive that was restored has not heard of their erasure.
        """
        owners = {owner_of(each): each for each in person_ids}
        gone = {owners[owner] for owner in await self._custody.destroyed(owners)}
        for each in gone:
            await self.begin_erasure(each)
            await self.end_erasure(each)
        return gone

    async def reindex(self, stored: Stored) -> bool:
        """Find the person's contacts by the current digest key; whether that was news."""
        if await self.contact_digests(stored.person.id) == self.index(stored.person):
            return False
        contacts = await self._contact_rows(stored.person)

        async def work(connection: AsyncConnection) -> None:
            await _change(connection, stored.person.id, stored.changed, {"state": stored.state})
            await _put_contacts(connection, stored.person.id, contacts)

        await self._database.write(work)
        return True

    # -- rows -----------------------------------------------------------------------

    async def _sealed(self, person: Person, created: int) -> dict[str, Any]:
        profile = await self._custody.seal(
            owner_of(person.id), mask_octets(person.to_json()), profile_context(person.id)
        )
        return {
            "sealed_profile": profile,
            "retain_until": retained_until(person, created, self._years, self._clock()),
        }

    async def _contact_rows(self, person: Person) -> list[dict[str, Any]]:
        index = self.places(person)
        named = [(digest, point) for digest, point in index if point is not None]
        # Empty where the key of somebody erased earlier is gone: the profile has it all.
        sealed = await self._custody.seal_all(
            [digest for digest, _ in named],
            [point.address.encode() for _, point in named],
            [_contact_context(person.id)] * len(named),
        )
        addresses = dict(zip((digest for digest, _ in named), sealed, strict=True))
        return [
            {
                "person_id": person.id,
                "digest": digest,
                "since": 0 if point is None else point.since,
                "until": None if point is None else point.until,
                "sealed_address": addresses.get(digest, b""),
            }
            for digest, point in index
        ]


async def _change(
    connection: AsyncConnection, person_id: str, known: int, values: Mapping[str, Any]
) -> None:
    changed = await connection.execute(
        update(_person)
        .where(
            _person.c.id == person_id,
            _person.c.changed == known,
            _person.c.state == State.ACTIVE.value,
        )
        .values(**values)
    )
    if changed.rowcount != 1:
        raise PersonStateError("somebody else changed this person in between; look and try again")


async def _put_contacts(
    connection: AsyncConnection, person_id: str, rows: Sequence[Mapping[str, Any]]
) -> None:
    await connection.execute(delete(_contact).where(_contact.c.person_id == person_id))
    if rows:
        await connection.execute(insert(_contact), list(rows))


def _contact_context(person_id: str) -> bytes:
    return b"contact:" + person_id.encode()
