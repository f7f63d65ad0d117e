"""All that serves people, built on the open stores: for the command line and the API."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial

from gateway.contacts.contact import Contact
from gateway.contacts.digest import KeyRing
from gateway.custody.custody import Custody
from gateway.records.database import Database
from gateway.records.events import EventArchive
from gateway.records.recorder import Recorder
from gateway.records.seal import Sealer
from gateway.register.register import Register
from gateway.serve.stores import Stores, open_custody, open_database, open_stores
from gateway.settings import Settings
from gateway.subject.access import Access, Controller, Processor
from gateway.subject.erasure import Erasure
from gateway.subject.follower import Follower
from gateway.subject.organisations import Organisations
from gateway.subject.people import People
from gateway.subject.requests import Requests
from gateway.subject.spread import Spreader
from gateway.subject.store import PersonStore
from gateway.subject.wishes import Wishes


@dataclass(slots=True)
class Desk:
    """Where people's requests are served."""

    stores: Stores
    people: People
    wishes: Wishes
    requests: Requests
    erasure: Erasure
    access: Access
    spreader: Spreader
    organisations: Organisations

    @classmethod
    def on(cls, settings: Settings, stores: Stores, recorder: Recorder) -> Desk:
        """The desk on open stores; acts go through the recorder."""
        store = person_store(settings, stores.database, stores.custody, stores.ring)
        spreader = Spreader(store, stores.register, stores.events, stores.ring)
        people = People(store, stores.register, spreader, recorder)
        requests = Requests(stores.database, stores.custody, store, recorder)
        return cls(
            stores=stores,
            people=people,
            wishes=Wishes(people, stores.register),
            requests=requests,
            erasure=Erasure(
                people,
                stores.register,
                stores.held,
                recorder,
                stores.custody,
                requests,
                stores.catch_up,
                tell_tools=partial(_tell_tools, settings, stores),
            ),
            access=Access(
                people,
                spreader,
                stores.register,
                stores.database,
                stores.archive,
                stores.contents,
                stores.unsealer,
                requests,
                controller_of(settings),
            ),
            spreader=spreader,
            organisations=Organisations(stores.database, stores.register, recorder),
        )


async def _tell_tools(settings: Settings, stores: Stores, contacts: Sequence[Contact]) -> list[str]:
    """Put bans of contacts into tools' lists that lack them; the tools that lack them still."""
    if not settings.sync.tools:
        return []
    # Late: few who serve people erase them, and the tools' connectors are many.
    from gateway.serve.tools import bureau_of
    from gateway.sync.tool import tools_of

    return await bureau_of(settings, stores).put_now(tools_of(settings), contacts)


@asynccontextmanager
async def open_desk(settings: Settings) -> AsyncIterator[Desk]:
    """The desk of a configuration; an embedded register not running runs meanwhile."""
    async with open_stores(settings) as stores:
        recorder = Recorder(
            stores.register.connections.wire,
            stores.seal,
            timeout=settings.records.archive_timeout,
            backlog_max=settings.records.backlog_max,
        )
        try:
            yield Desk.on(settings, stores, recorder)
        finally:
            await recorder.aclose()


@asynccontextmanager
async def open_spreader(
    settings: Settings, register: Register, ring: KeyRing, seal: Sealer
) -> AsyncIterator[Spreader]:
    """What carries a change to the person's other contacts, on a register that is open."""
    async with AsyncExitStack() as stack:
        database = await open_database(settings)
        stack.push_async_callback(database.aclose)
        custody = await open_custody(settings, seal, database)
        stack.push_async_callback(custody.aclose)
        yield spreader_of(settings, register, database, custody, ring)


def spreader_of(
    settings: Settings, register: Register, database: Database, custody: Custody, ring: KeyRing
) -> Spreader:
    """What carries bans between the contacts of people."""
    store = person_store(settings, database, custody, ring)
    return Spreader(store, register, EventArchive(database), ring)


def follower_of(
    settings: Settings, register: Register, database: Database, custody: Custody, ring: KeyRing
) -> Follower:
    """What does so for every change that reaches the archive."""
    return Follower(database, spreader_of(settings, register, database, custody, ring))


def person_store(
    settings: Settings, database: Database, custody: Custody, ring: KeyRing
) -> PersonStore:
    """The people of the archive."""
    return PersonStore(database, custody, ring, retention_years=settings.records.retention_years)


def controller_of(settings: Settings) -> Controller:
    """Who answers for the register, and who carries messages, as people are told."""
    carriers = [
        Processor(each.name, each.region, each.transfer_basis or each.processor_contract)
        for each in settings.smtp.upstreams
        if each.sandbox is None
    ]
    carriers += [
        Processor(each.name, each.region, each.transfer_basis or each.processor_contract)
        for each in settings.sms.routes
        if each.sandbox is None
    ]
    owner = settings.controller
    return Controller(
        name=owner.name,
        business_id=owner.business_id,
        email=owner.contact_email,
        phone=owner.contact_phone,
        register=settings.register.name,
        years=settings.records.retention_years,
        processors=tuple(carriers),
    )
