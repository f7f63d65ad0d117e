"""A register, an archive and tools, all real, driven by hand."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from gateway.clock import now_ms
from gateway.contacts.contact import Channel
from gateway.contacts.parse import parse_contact
from gateway.custody.custody import Custody
from gateway.entry.entry import Scope
from gateway.entry.event import Event, EventKind
from gateway.records.database import Database
from gateway.records.seal import Sealer
from gateway.register.register import Register
from gateway.serve.keys import address_seal, evidence_seal
from gateway.serve.stores import Stores, stores_on
from gateway.settings.public import Delivery
from gateway.settings.sync import Sync
from gateway.sync.bureau import Bureau
from gateway.sync.cursor import CursorSeal
from gateway.sync.hooks import Hooks
from gateway.sync.intake import Intake
from gateway.sync.loop import Drive
from gateway.sync.pull import Puller
from gateway.sync.push import Pusher
from gateway.sync.session import Session
from gateway.sync.store import SyncStore
from gateway.sync.task import Task, Tasks
from gateway.sync.tool import Tool

SEALER = Sealer({"c1": bytes(range(32))}, "c1")


class World:
    """The gateway's side; ``drive`` does what its loop would do."""

    def __init__(self, stores: Stores, stack: AsyncExitStack) -> None:
        self.stores = stores
        self.register = stores.register
        self._stack = stack
        self._offset = 0
        store = SyncStore(stores.database, self.clock)
        tasks = Tasks(stores.database, self.clock)
        intake = Intake(stores.register, store, stores.ring, stores.history, Delivery(), self.clock)
        self.bureau = Bureau(
            register=stores.register,
            store=store,
            tasks=tasks,
            intake=intake,
            pusher=Pusher(stores.register, store, tasks, stores.unsealer, stores.ring, self.clock),
            puller=Puller(store, CursorSeal(SEALER), tasks, intake, self.clock),
            wire=stores.register.connections.wire,
        )

    def clock(self) -> int:
        return now_ms() + self._offset

    def later(self, milliseconds: int) -> None:
        """Let time go by for what keeps lists alike (not for the register)."""
        self._offset += milliseconds

    def hooks(self, *tools: Tool) -> Hooks:
        return Hooks({tool.name: tool for tool in tools}, self.bureau.intake, self.bureau.wire)

    def drive(self, tool: Tool) -> Drive:
        session = Session(tool.settings, tool.connector)
        self._stack.push_async_callback(session.aclose)
        return Drive(self.bureau.hands, tool, Sync(), session)

    async def round(self, *tools: Tool, whole: bool = False) -> None:
        """Archive what waits, then everything that is to be done for these tools."""
        for tool in tools:
            await self.stores.archiver.run_once()
            await self.drive(tool).round(whole=whole)

    async def tell(self, address: str, kind: EventKind, **more: Any) -> Event:
        more = {"at": now_ms(), "actor": "test", "source": "test", **more}
        contact = parse_contact(address)
        if kind in (EventKind.CONSENT, EventKind.WITHDRAW):
            more.setdefault("channel", contact.channel)
        return await self.register.apply(Event(kind=kind, **more), contact)

    async def ban(self, address: str, scope: Scope = Scope.ALL, **more: Any) -> None:
        await self.tell(address, EventKind.BAN, scope=scope, **more)

    async def consent(self, address: str, **more: Any) -> None:
        """A consent that lifts: live, specific, proven."""
        await self.tell(address, EventKind.CONSENT, proven=True, lifts=True, **more)

    async def banned(self, address: str, topic: str | None = None) -> bool:
        """Whether marketing to it is forbidden now, by what its own entries say."""
        contact = parse_contact(address)
        (standing,) = await self.register.look_up([contact])
        facts = standing.facts(contact.channel, topic, None, now_ms())
        return facts.ban_all or facts.ban_channel or facts.ban_topic or facts.ban_contact

    async def events(self, address: str) -> list[Event]:
        return await self.stores.history(parse_contact(address))

    async def tasks(self) -> list[Task]:
        return await self.bureau.tasks.list()


@pytest.fixture
async def stores(
    archive_place: Path | str, tmp_path: Path, register_url, ring
) -> AsyncIterator[Stores]:
    async with AsyncExitStack() as stack:
        register = await Register.open(
            register_url,
            ring,
            timeout=20,  # a busy machine is none of these tests' business
            write_timeout=30,
            bits=8,
            settle=0.01,
            seal=address_seal(ring, SEALER),
            seal_evidence=evidence_seal(SEALER),
        )
        await stack.enter_async_context(register)
        database = await Database.open(archive_place)
        stack.push_async_callback(database.aclose)
        custody = await Custody.at(tmp_path / "keys.sqlite", SEALER)
        stack.push_async_callback(custody.aclose)
        yield stores_on(register, database, custody, ring, SEALER)


@pytest.fixture
async def world(stores: Stores) -> AsyncIterator[World]:
    async with AsyncExitStack() as stack:
        yield World(stores, stack)


EMAIL = Channel.EMAIL
