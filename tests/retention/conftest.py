"""An archive and register of the year 2020, looked at from later years."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from gateway.contacts.contact import Channel
from gateway.contacts.digest import KeyRing, subject_of
from gateway.contacts.parse import parse_contact
from gateway.custody.custody import Custody
from gateway.decision.facts import Kind, Outcome
from gateway.entry.entry import ConsentStatus
from gateway.entry.event import Attributes, Event, EventKind
from gateway.records.archive import Archive
from gateway.records.archiver import Archiver
from gateway.records.database import Database
from gateway.records.identifier import new_id
from gateway.records.purge import Purge
from gateway.records.record import MessageRecord, OutcomeRecord, RecipientRecord, Result
from gateway.records.recorder import Recorder
from gateway.records.seal import Sealer
from gateway.register import layout
from gateway.register.register import Register
from gateway.retention.contacts import Contacts
from gateway.retention.run import Retention, carry_out, plan
from gateway.subject.ending import Ending
from gateway.subject.store import PersonStore


def ms(year: int, month: int = 1, day: int = 1, hour: int = 0) -> int:
    return int(datetime(year, month, day, hour, tzinfo=UTC).timestamp() * 1000)


@dataclass
class Office:
    """Everything of one gateway, under a clock that tests turn."""

    register: Register
    database: Database
    archive: Archive
    recorder: Recorder
    archiver: Archiver
    ring: KeyRing
    custody: Custody
    now: list[int] = field(default_factory=lambda: [ms(2020, 3, 1)])

    def clock(self) -> int:
        return self.now[0]

    def digest(self, address: str) -> str:
        return str(self.ring.digest(subject_of(parse_contact(address))))

    async def customer(self, address: str, start: date, end: date | None = None) -> None:
        await self._apply(
            address,
            kind=EventKind.RELATIONSHIP,
            attributes=Attributes(
                relationship_start=start, relationship_end=end, source_known=True
            ),
        )

    async def consent(self, address: str, expires: int | None = None) -> None:
        await self._apply(
            address,
            kind=EventKind.CONSENT,
            channel=Channel.EMAIL,
            status=ConsentStatus.GRANTED,
            expires=expires,
            proven=True,
        )

    async def ban(self, address: str) -> None:
        await self._apply(address, kind=EventKind.BAN)

    async def withdraw(self, address: str) -> None:
        await self._apply(address, kind=EventKind.WITHDRAW, channel=Channel.EMAIL)

    async def _apply(self, address: str, **event: object) -> None:
        made = Event(at=self.clock(), actor="test", source="test", **event)  # type: ignore[arg-type]
        await self.register.apply(made, parse_contact(address))
        await self.archiver.run_once()

    async def message(self, *addresses: str, retain_until: int) -> MessageRecord:
        """A message of now, forwarded to each."""
        message = MessageRecord(
            id=new_id(),
            received=self.clock() - 5,
            decided=self.clock(),
            kind=Kind.MARKETING,
            recipients=tuple(
                RecipientRecord(
                    id=new_id(),
                    digest=self.digest(address),
                    outcome=Outcome.FORWARD,
                    rule="R40",
                    retain_until=retain_until,
                )
                for address in addresses
            ),
        )
        await self.recorder.append(message, b"Subject: Hei\r\n", addresses, "a@b.example")
        self.recorder.note_outcome(
            *(
                OutcomeRecord(record_id=one.id, at=self.clock(), result=Result.FORWARDED)
                for one in message.recipients
            )
        )
        while self.recorder.outcomes_waiting:
            await asyncio.sleep(0.01)
        await self.archiver.run_once()
        return message

    def store(self) -> PersonStore:
        return PersonStore(self.database, self.custody, self.ring, clock=self.clock)

    def parts(self, years: int = 5) -> tuple[Ending, Contacts, Purge]:
        return (
            Ending(self.database, self.store(), self.register, self.custody, years, self.clock),
            Contacts(self.database, self.register, years, self.clock),
            Purge(self.database, 10, self.clock),
        )

    async def plan(self) -> Retention:
        return await plan(*self.parts())

    async def run(self) -> Retention:
        done = await carry_out(
            *self.parts(), self.recorder, "anna", "retention has ended", self.archiver.run_once
        )
        await self.archiver.run_once()
        return done

    async def count(self, table: str) -> int:
        async with self.database.engine.connect() as connection:
            found = await connection.exec_driver_sql(f"SELECT count(*) FROM {table}")
            return int(found.scalar_one())


@pytest.fixture
async def office(register_url: str, ring: KeyRing, tmp_path: Path) -> AsyncIterator[Office]:
    sealer = Sealer({"c1": bytes(range(32))}, "c1")
    now = [ms(2020, 3, 1)]
    register = await Register.open(register_url, ring, clock=lambda: now[0])
    database = await Database.open(tmp_path / "archive.sqlite")
    custody = await Custody.at(tmp_path / "keys.sqlite", sealer)
    archive = Archive(database, sealer, custody)
    wire = register.connections.wire
    recorder = Recorder(wire, sealer)
    archiver = Archiver(wire, archive, events=layout.event_streams(), clock=lambda: now[0])
    try:
        yield Office(register, database, archive, recorder, archiver, ring, custody, now)
    finally:
        await recorder.aclose()
        await custody.aclose()
        await database.aclose()
        await register.aclose()
