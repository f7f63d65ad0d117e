"""Register and archive together, as the command line reads them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from gateway.contacts.contact import Contact
from gateway.contacts.digest import KeyRing, organisation_subject, subject_of
from gateway.entry.event import Event
from gateway.held.store import HeldStore
from gateway.records.archive import Archive
from gateway.records.archiver import Archiver
from gateway.records.content import ContentStore
from gateway.records.database import Database
from gateway.records.entry import address_context
from gateway.records.events import EventArchive
from gateway.records.seal import Sealer, SealError
from gateway.register import layout
from gateway.register.register import Register
from gateway.serve import assembly
from gateway.settings import Settings


@dataclass(slots=True)
class Stores:
    """Everything that is kept, open for one command."""

    register: Register
    database: Database
    archive: Archive
    events: EventArchive
    contents: ContentStore
    held: HeldStore
    archiver: Archiver
    ring: KeyRing
    seal: Sealer

    async def history(self, contact: Contact) -> list[Event]:
        """Every change of a contact, archived or not yet, oldest first."""
        subjects = [str(digest) for digest in self.ring.digests(subject_of(contact))]
        return self._joined(await self.events.of(subjects), await self.register.history(contact))

    async def organisation_history(self, domain: str) -> list[Event]:
        """Every archived change of an organisation, oldest first."""
        await self.catch_up()
        subjects = [str(digest) for digest in self.ring.digests(organisation_subject(domain))]
        return self._joined(await self.events.of(subjects), [])

    @staticmethod
    def _joined(archived: list[str], logged: list[Event]) -> list[Event]:
        events = {event.id: event for event in map(Event.from_json, archived)}
        events |= {event.id: event for event in logged}
        return sorted(events.values(), key=lambda event: (event.recorded, event.id))

    async def addresses(self) -> AsyncIterator[str]:
        """Every address the register has had a change for, once, an organisation as @domain."""
        await self.catch_up()
        seen: set[str] = set()
        async for body in self.events.all():
            event = Event.from_json(body)
            if event.sealed is None or event.subject in seen:
                continue
            try:
                address = self.seal.open(event.sealed, address_context(event.subject)).decode()
            except SealError:
                continue  # erased: its key is gone
            seen.add(event.subject)
            yield address if "@" in address or address.startswith("+") else f"@{address}"

    async def catch_up(self) -> None:
        """Archive what waits, where no running gateway does it."""
        await self.archiver.run_once()


async def open_database(settings: Settings) -> Database:
    """The archive database, made on first use.

    Raises:
        InputError: it is not an archive of this version.
        RecordsUnavailable: it cannot be made or opened.

    """
    place = assembly.archive_place(settings)
    return await Database.open(place, timeout=settings.records.archive_timeout)


@asynccontextmanager
async def open_stores(settings: Settings) -> AsyncIterator[Stores]:
    """The stores of a configuration; an embedded register not running runs meanwhile."""
    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(assembly.register_url(settings))
        ring, seal = assembly.key_ring(settings), assembly.sealer(settings)
        register = await assembly.open_register(settings, url, ring, seal)
        await stack.enter_async_context(register)
        database = await open_database(settings)
        stack.push_async_callback(database.aclose)
        contents = ContentStore(database, seal)
        archive = Archive(database, seal)
        yield Stores(
            register=register,
            database=database,
            archive=archive,
            events=EventArchive(database),
            contents=contents,
            held=HeldStore(database, seal, contents),
            archiver=Archiver(register.connections.wire, archive, events=layout.event_streams()),
            ring=ring,
            seal=seal,
        )
