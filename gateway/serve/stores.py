"""Register and archive together, as the command line reads them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from gateway.contacts.contact import Contact
from gateway.contacts.digest import Digest, KeyRing, organisation_subject, subject_of
from gateway.contacts.hashset import HashSet
from gateway.contacts.parse import parse_contact
from gateway.custody.custody import Custody
from gateway.entry.event import Event, EventKind
from gateway.failure import InputError
from gateway.held.store import HeldStore
from gateway.records.archive import Archive
from gateway.records.archiver import Archiver
from gateway.records.belonging import belong, keys_of
from gateway.records.binding import Binding
from gateway.records.content import ContentStore
from gateway.records.database import Database
from gateway.records.events import EventArchive
from gateway.records.resealing import Resealer
from gateway.records.seal import Sealer
from gateway.records.unsealing import Unsealer
from gateway.register import layout
from gateway.register.export import Known
from gateway.register.register import Register
from gateway.serve.assembly import open_register, register_url
from gateway.serve.keys import key_ring, sealer
from gateway.serve.place import archive_place, keys_place
from gateway.settings import Settings

_PAGE = 1000


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
    custody: Custody
    unsealer: Unsealer

    async def history(self, contact: Contact) -> list[Event]:
        """Every change of a contact, archived or not yet, oldest first."""
        subjects = [str(digest) for digest in self.ring.digests(subject_of(contact))]
        # The log first: what leaves it meanwhile is in the archive then.
        logged = await self.register.history(contact)
        return await self._joined(await self.events.of(subjects), logged)

    async def organisation_history(self, domain: str) -> list[Event]:
        """Every archived change of an organisation, oldest first."""
        await self.catch_up()
        subjects = [str(digest) for digest in self.ring.digests(organisation_subject(domain))]
        return await self._joined(await self.events.of(subjects), [])

    async def _joined(self, archived: list[str], logged: list[Event]) -> list[Event]:
        events = {event.id: event for event in map(Event.from_json, archived)}
        events |= {event.id: event for event in logged}
        told = sorted(events.values(), key=lambda event: (event.recorded, event.id))
        return await self.unsealer.with_evidence(told)

    async def known(self) -> AsyncIterator[Known]:
        """Every contact and organisation the register has had a change for, once.

        Those whose address nobody can tell come last, as their numbers.
        """
        await self.catch_up()
        told, silent = HashSet(), (HashSet(), HashSet())
        counts = [0, 0]
        async for event, address in self._named():
            if address is None:
                value = Digest.parse(event.subject).value
                if event.origin or event.scheme or any(value in each for each in (told, *silent)):
                    continue
                hashed = event.sealed is None and event.kind is EventKind.BAN
                silent[hashed].add(value)
                counts[hashed] += 1
                continue
            organisation = "@" not in address and not address.startswith("+")
            subject = (
                organisation_subject(address)
                if organisation
                else subject_of(parse_contact(address))
            )
            # One contact may have events under several keys.
            digests = self.ring.digests(subject)
            if digests[0].value in told:
                continue
            for digest in digests:
                told.add(digest.value)
                for hashed in (False, True):
                    counts[hashed] -= digest.value in silent[hashed]
            name = f"@{address}" if organisation else address
            yield Known(tuple(map(str, digests)), name, event.recorded)
        for hashed in (False, True):
            yield Known((), None, hashed=hashed, number=counts[hashed])

    async def _named(self) -> AsyncIterator[tuple[Event, str | None]]:
        """Every archived event with its address; None: it tells none, or its key is gone."""
        page: list[Event] = []
        async for body in self.events.all():
            page.append(Event.from_json(body))
            if len(page) == _PAGE:
                for pair in zip(page, await self.unsealer.addresses(page), strict=True):
                    yield pair
                page = []
        for pair in zip(page, await self.unsealer.addresses(page), strict=True):
            yield pair

    async def histories(self, subjects: Sequence[str]) -> dict[str, list[Event]]:
        """The archived events of subjects, by subject, oldest first."""
        events: dict[str, list[Event]] = {}
        archived = [Event.from_json(body) for body in await self.events.of(subjects)]
        for event in await self.unsealer.with_evidence(archived):
            events.setdefault(event.subject, []).append(event)
        return events

    async def catch_up(self) -> None:
        """Archive what waits, where no running gateway does it."""
        await self.archiver.run_once()


async def restore_schemes(register: Register, events: EventArchive) -> None:
    """Put the hashing schemes in use that the archive tells of, where the register lost them.

    Raises RecordsUnavailable, RegisterUnavailable.
    """
    archived = await events.of(register.hashed.announced_as)
    await register.hashed.restore(map(Event.from_json, archived))


async def open_database(settings: Settings) -> Database:
    """The archive database, made on first use.

    Raises:
        InputError: it is not an archive of this version.
        RecordsUnavailable: it cannot be made or opened.

    """
    place = archive_place(settings)
    return await Database.open(place, timeout=settings.records.archive_timeout)


async def open_custody(settings: Settings, seal: Sealer, database: Database) -> Custody:
    """The keys of people that the archive belongs to, made with a new archive.

    Raises:
        InputError: they are gone, or others, or it is no file of keys.
        RecordsUnavailable: they cannot be made or opened.

    """
    place = keys_place(settings)
    where = "records.keys_url" if isinstance(place, str) else str(place)
    if isinstance(place, Path) and not place.exists() and await keys_of(database) is not None:
        raise InputError(
            f"{where}: people's keys are not here, but the archive was written with them; restore "
            "them from their backup, or let all machines use the same (records.keys_url)"
        )
    custody = await Custody.at(place, seal, timeout=settings.records.archive_timeout)
    try:
        await belong(database, await custody.name(), where)
    except BaseException:
        await custody.aclose()
        raise
    return custody


@asynccontextmanager
async def open_stores(settings: Settings) -> AsyncIterator[Stores]:
    """The stores of a configuration; an embedded register not running runs meanwhile."""
    async with AsyncExitStack() as stack:
        url = await stack.enter_async_context(register_url(settings))
        ring, seal = key_ring(settings), sealer(settings)
        register = await open_register(settings, url, ring, seal)
        await stack.enter_async_context(register)
        database = await open_database(settings)
        stack.push_async_callback(database.aclose)
        custody = await open_custody(settings, seal, database)
        stack.push_async_callback(custody.aclose)
        opened = stores_on(register, database, custody, ring, seal)
        await register.current.examine(await opened.events.cursors())
        yield opened


def stores_on(
    register: Register, database: Database, custody: Custody, ring: KeyRing, seal: Sealer
) -> Stores:
    """The stores on what is open already."""
    contents = ContentStore(database, seal, custody=custody)
    archive = Archive(database, seal, custody)
    return Stores(
        register=register,
        database=database,
        archive=archive,
        events=EventArchive(database),
        contents=contents,
        held=HeldStore(database, seal, contents),
        archiver=Archiver(
            register.connections.wire,
            archive,
            events=layout.event_streams(),
            resealer=Resealer(seal, custody),
            binding=Binding(database, seal, contents),
        ),
        ring=ring,
        seal=seal,
        custody=custody,
        unsealer=Unsealer(seal, custody),
    )
