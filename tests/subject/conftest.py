"""People on a real register, a real archive and real keys."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from gateway.clock import now_ms
from gateway.contacts.digest import KeyRing
from gateway.contacts.parse import parse_contact
from gateway.custody.custody import Custody
from gateway.entry.entry import Scope
from gateway.entry.event import Event, EventKind
from gateway.records.archive import Archive
from gateway.records.archiver import Archiver
from gateway.records.binding import Binding
from gateway.records.content import ContentStore
from gateway.records.database import Database
from gateway.records.events import EventArchive
from gateway.records.recorder import Recorder
from gateway.records.resealing import Resealer
from gateway.records.seal import Sealer
from gateway.register import layout
from gateway.register.register import Register
from gateway.serve.keys import address_seal, evidence_seal
from gateway.subject.follower import Follower
from gateway.subject.people import People, Who
from gateway.subject.spread import Spreader
from gateway.subject.store import PersonStore
from gateway.subject.wishes import Wishes

WHO = Who("anna", "tests")


@dataclass
class Site:
    """All that serves people, open."""

    register: Register
    database: Database
    custody: Custody
    archiver: Archiver
    archive: Archive
    contents: ContentStore
    recorder: Recorder
    store: PersonStore
    spreader: Spreader
    follower: Follower
    people: People
    wishes: Wishes
    events: EventArchive
    ring: KeyRing
    sealer: Sealer

    async def ban(self, address: str, scope: Scope = Scope.ALL, **members) -> Event:
        """A ban that comes by another way than the person."""
        members.setdefault("at", now_ms())
        event = Event(kind=EventKind.BAN, actor="test", scope=scope, **members)
        return await self.register.apply(event, parse_contact(address))

    async def unban(self, address: str, scope: Scope = Scope.ALL, **members) -> None:
        members.setdefault("at", now_ms())
        event = Event(kind=EventKind.UNBAN, actor="test", scope=scope, **members)
        await self.register.apply_many([(event, parse_contact(address))], only_changes=True)

    async def scopes(self, address: str) -> set[str]:
        """What a contact may not be used for, as a look-up sees it."""
        contact = parse_contact(address)
        (standing,) = await self.register.look_up([contact])
        facts = standing.facts(contact.channel, "news", None, now_ms())
        found = {
            name
            for name in ("ban_all", "ban_channel", "ban_topic", "ban_contact", "restricted")
            if getattr(facts, name)
        }
        return found | ({"disclosure"} if standing.disclosure_banned else set())

    async def archived(self) -> None:
        """All that was written is in the archive, and the follower has seen it."""
        await self.archiver.run_once()
        await self.follower.run_once()


@asynccontextmanager
async def open_site(
    folder: Path, register_url: str, ring: KeyRing, place: str | None = None
) -> AsyncIterator[Site]:
    async with AsyncExitStack() as stack:
        sealer = Sealer({"c1": bytes(range(32))}, "c1")
        register = await stack.enter_async_context(
            await Register.open(
                register_url,
                ring,
                bits=8,
                seal=address_seal(ring, sealer),
                seal_evidence=evidence_seal(sealer),
            )
        )
        database = await Database.open(place or folder / "archive.sqlite")
        stack.push_async_callback(database.aclose)
        custody = await Custody.at(folder / "keys.sqlite", sealer)
        stack.push_async_callback(custody.aclose)
        wire = register.connections.wire
        recorder = Recorder(wire, sealer)
        stack.push_async_callback(recorder.aclose)
        archive = Archive(database, sealer, custody)
        contents = ContentStore(database, sealer, custody=custody)
        events = EventArchive(database)
        store = PersonStore(database, custody, ring)
        spreader = Spreader(store, register, events, ring)
        people = People(store, register, spreader, recorder)
        yield Site(
            register=register,
            database=database,
            custody=custody,
            archiver=Archiver(
                wire,
                archive,
                events=layout.event_streams(),
                resealer=Resealer(sealer, custody),
                binding=Binding(database, sealer, contents),
            ),
            archive=archive,
            contents=contents,
            recorder=recorder,
            store=store,
            spreader=spreader,
            follower=Follower(database, spreader),
            people=people,
            wishes=Wishes(people, register),
            events=events,
            ring=ring,
            sealer=sealer,
        )


@pytest.fixture
async def site(tmp_path: Path, register_url: str, ring: KeyRing) -> AsyncIterator[Site]:
    async with open_site(tmp_path, register_url, ring) as opened:
        yield opened
