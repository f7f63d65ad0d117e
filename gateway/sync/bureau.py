"""All parts of the tools' lists on open stores: loops, webhooks, figures, tasks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gateway.contacts.digest import KeyRing
from gateway.records.database import Database
from gateway.records.recorder import Exchange
from gateway.records.seal import Sealer
from gateway.records.unsealing import Unsealer
from gateway.register.register import Register
from gateway.settings import Settings
from gateway.sync.cursor import CursorSeal
from gateway.sync.hooks import Hooks
from gateway.sync.intake import History, Intake
from gateway.sync.loop import Hands
from gateway.sync.pull import Puller
from gateway.sync.push import Pusher
from gateway.sync.store import SyncStore
from gateway.sync.task import Task, Tasks
from gateway.sync.tool import Tool


@dataclass(frozen=True, slots=True)
class Bureau:
    """What keeps the tools' lists and the register alike, of one process."""

    register: Register
    store: SyncStore
    tasks: Tasks
    intake: Intake
    pusher: Pusher
    puller: Puller
    wire: Exchange

    @classmethod
    def on(
        cls,
        settings: Settings,
        register: Register,
        database: Database,
        sealer: Sealer,
        unsealer: Unsealer,
        ring: KeyRing,
        history: History,
    ) -> Bureau:
        """The parts on open stores."""
        store, tasks = SyncStore(database), Tasks(database)
        intake = Intake(register, store, ring, history, settings.delivery)
        return cls(
            register=register,
            store=store,
            tasks=tasks,
            intake=intake,
            pusher=Pusher(register, store, tasks, unsealer, ring),
            puller=Puller(store, CursorSeal(sealer), tasks, intake),
            wire=register.connections.wire,
        )

    @property
    def hands(self) -> Hands:
        """What the loops work with."""
        return Hands(self.wire, self.store, self.pusher, self.puller)

    async def with_addresses(self, tasks: Sequence[Task]) -> list[tuple[Task, str | None]]:
        """Each task with the address that it is about; None where that cannot be told."""
        opened = await self.pusher.contacts([task.subject for task in tasks if task.subject])
        found: list[tuple[Task, str | None]] = []
        for task in tasks:
            contact = opened.get(task.subject)
            found.append((task, None if contact is None else contact.canonical))
        return found

    def hooks(self, tools: list[Tool]) -> Hooks:
        """The public server's part for these tools."""
        return Hooks({tool.name: tool for tool in tools}, self.intake, self.wire)
