"""All parts of the tools' lists on open stores: loops, webhooks, figures, tasks."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import structlog

from gateway.contacts.contact import Contact
from gateway.contacts.digest import KeyRing
from gateway.failure import GatewayError, RecordsUnavailable, RegisterUnavailable
from gateway.records.database import Database
from gateway.records.recorder import Exchange
from gateway.records.seal import Sealer
from gateway.records.unsealing import Unsealer
from gateway.register.register import Register
from gateway.settings import Settings
from gateway.sync.cursor import CursorSeal
from gateway.sync.folder import session_of
from gateway.sync.hooks import Hooks
from gateway.sync.intake import History, Intake
from gateway.sync.loop import Hands
from gateway.sync.pull import Puller
from gateway.sync.push import Pusher
from gateway.sync.store import SyncStore
from gateway.sync.task import Task, Tasks
from gateway.sync.tool import Tool

log = structlog.get_logger(__name__)

_AT_ONCE_SECONDS: Final = 15.0


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

    async def put_now(self, tools: Sequence[Tool], contacts: Sequence[Contact]) -> list[str]:
        """Put what tools lack of contacts' bans at once; the tools that lack it still.

        Each tool has some seconds.  Raises RegisterUnavailable, RecordsUnavailable.
        """
        done = await asyncio.gather(*(self._put_now(tool, contacts) for tool in tools))
        return [tool.name for tool, good in zip(tools, done, strict=True) if not good]

    async def _put_now(self, tool: Tool, contacts: Sequence[Contact]) -> bool:
        session = session_of(tool.settings, tool.connector)
        try:
            async with asyncio.timeout(_AT_ONCE_SECONDS):
                return await self.pusher.put_now(tool, session, contacts)
        except (RegisterUnavailable, RecordsUnavailable):
            raise
        except (GatewayError, TimeoutError) as error:
            log.error("sync_not_put_in_time", tool=tool.name, cause=str(error))
            return False
        finally:
            await session.aclose()

    def hooks(self, tools: list[Tool]) -> Hooks:
        """The public server's part for these tools."""
        return Hooks({tool.name: tool for tool in tools}, self.intake, self.wire)
