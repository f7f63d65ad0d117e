"""What the supervisor runs itself: embedded register, sandboxes, archiver, sweeps."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine, Mapping
from typing import Any

import structlog

from gateway.clock import now_ms
from gateway.failure import GatewayError, InputError
from gateway.held.store import HeldStore
from gateway.http.health import Check
from gateway.records.archive import Archive
from gateway.records.archiver import Archiver, ArchiverStatus
from gateway.records.binding import Binding
from gateway.records.checkpointing import Checkpointer
from gateway.records.content import ContentStore
from gateway.records.database import Database
from gateway.records.erased import destroy_again
from gateway.records.events import EventArchive
from gateway.records.purge import Purge
from gateway.records.recorder import Recorder
from gateway.records.resealing import Resealer
from gateway.register import layout
from gateway.register.layout import SHARDS
from gateway.register.register import Register
from gateway.register.server import EmbeddedRegister
from gateway.retention.contacts import Contacts
from gateway.retention.run import GATEWAY, carry_out, plan
from gateway.serve.assembly import embedded_register, open_register, targets
from gateway.serve.desk import follower_of, person_store
from gateway.serve.keys import checkpoint_file, key_ring, sealer, signer
from gateway.serve.place import configured_url
from gateway.serve.reminder import Reminder
from gateway.serve.sandbox import running_sandboxes
from gateway.serve.stores import open_custody, open_database, restore_schemes
from gateway.serve.warden import Warden, Watch
from gateway.settings import Settings
from gateway.subject.ending import Ending
from gateway.subject.requests import open_and_late
from gateway.sync.gauge import Alarm, SyncFigures, sync_figures
from gateway.upstream.upstreams import Upstreams

log = structlog.get_logger(__name__)

_SWEEP_SECONDS = 600.0
_PROBE_SECONDS = 5.0
_COUNT_SECONDS = 60.0
_OWED_SECONDS = 2.0
_OWN_SECONDS = 30.0
_RETENTION_FIRST = 600.0
_RETENTION_SECONDS = 86_400.0
_ARCHIVED_SECONDS = 5.0


class Keeper:
    """What the supervisor runs itself: embedded register, sandboxes, archiver.

    ``async with`` it; leaving takes what is left into the archive and stops all.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._sync_settings = settings.sync
        self._stack = contextlib.AsyncExitStack()
        self._register: Register | None = None
        self._archiver: Archiver | None = None
        self._checkpointer: Checkpointer | None = None
        self._warden: Warden | None = None
        self._upstreams: Upstreams | None = None
        self._reminder: Reminder | None = None
        self.requests = (0, 0)
        """Requests of people that are open, and those of them that are late."""
        self.sync: SyncFigures | None = None
        """What is owed to tools, once it has been counted."""

    async def __aenter__(self) -> Keeper:
        settings = self._settings
        try:
            ring, seal = key_ring(settings), sealer(settings)
            url = configured_url(settings)
            if url is None:
                server = embedded_register(settings)
                await _become_owner(server)
                self._stack.push_async_callback(server.stop)
                self._own(server.supervise(), "register")
                url = server.url
            await self._stack.enter_async_context(running_sandboxes(settings))
            self._register = await open_register(settings, url, ring, seal)
            self._stack.push_async_callback(self._register.aclose)
            database = await open_database(settings)
            self._stack.push_async_callback(database.aclose)
            # Before a worker asks: without them it would not find what hashed lists ban.
            await restore_schemes(self._register, EventArchive(database))
            custody = await open_custody(settings, seal, database)
            self._stack.push_async_callback(custody.aclose)
            if again := await destroy_again(database, custody):
                log.warning("erased_keys_destroyed_again", keys=again)
            contents = ContentStore(database, seal, custody=custody)
            archive = Archive(database, seal, custody)
            self._checkpointer = Checkpointer(
                archive,
                signer(settings),
                checkpoint_file(settings),
                every=settings.records.checkpoint_minutes * 60_000,
                rows=settings.records.checkpoint_rows,
            )
            self._archiver = Archiver(
                self._register.connections.wire,
                archive,
                events=layout.event_streams(),
                resealer=Resealer(seal, custody),
                binding=Binding(database, seal, contents),
                checkpointer=self._checkpointer,
                unknown_after=settings.records.unknown_after_minutes * 60_000,
            )
            self._stack.push_async_callback(self._last_pass)
            self._own(self._archiver.run(), "archiver")
            self._warden = Warden(
                self._register,
                EventArchive(database),
                ring.key_ids,
                rebuilds=settings.register.rebuild == "auto",
                bits=settings.register.bucket_bits,
            )
            # Before a worker asks, so that a register which is whole refuses nobody.
            await self._warden.look()
            self._own(self._warden.run(), "warden")
            self._upstreams = Upstreams(targets(settings), hostname=settings.smtp.hostname)
            self._stack.push_async_callback(self._upstreams.aclose)
            self._reminder = Reminder(
                settings,
                register=self._register,
                database=database,
                ring=ring,
                seal=seal,
                upstreams=self._upstreams,
            )
            held = HeldStore(database, seal, contents)
            self._own(self._sweep(held, contents, self._reminder), "sweep")
            if settings.records.purge == "daily":
                recorder = Recorder(self._register.connections.wire, seal)
                self._stack.push_async_callback(recorder.aclose)
                store = person_store(settings, database, custody, ring)
                years = settings.records.retention_years
                people = Ending(database, store, self._register, custody, years)
                self._own(self._retain(people, database, recorder, contents), "retention")
            follower = follower_of(settings, self._register, database, custody, ring)
            self._own(follower.run(), "people")
            self._own(self._count(database), "requests")
            self._own(self._count_owed(database), "sync-figures")
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    def _own(self, work: Coroutine[Any, Any, None], name: str) -> None:
        """Run a task that ends, in its turn, when the keeper does."""
        task = asyncio.create_task(work, name=name)

        async def end() -> None:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task

        self._stack.push_async_callback(end)

    async def _last_pass(self) -> None:
        """After the workers have drained: archive what they left, and sign it."""
        if self._archiver is not None and self._checkpointer is not None:
            try:
                async with asyncio.timeout(self._settings.records.archive_timeout):
                    await self._archiver.run_once()
                    await self._checkpointer.now()
            except (GatewayError, TimeoutError) as error:
                log.warning("last_archive_pass_failed", cause=str(error))

    @staticmethod
    async def _sweep(held: HeldStore, contents: ContentStore, reminder: Reminder) -> None:
        """Forget what was prepared for messages whose client never heard 250.

        And end what waited too long, with word of it.
        """
        while True:
            try:
                await held.sweep()
                await contents.sweep()
                await reminder.run()
            except GatewayError as error:
                log.warning("sweep_failed", cause=str(error))
            await asyncio.sleep(_SWEEP_SECONDS)

    async def _retain(
        self, people: Ending, database: Database, recorder: Recorder, contents: ContentStore
    ) -> None:
        """Once a day, remove what may not be kept any longer."""
        register = self._register
        if register is None:
            return
        records = self._settings.records
        contacts = Contacts(database, register, records.retention_years)
        purge = Purge(database, records.acts_years)
        # Not at the start, when everything else wants the disk.
        await asyncio.sleep(_RETENTION_FIRST)
        while True:
            try:
                found = await plan(people, contacts, purge)
                if not found.nothing:
                    log.info(
                        "retention_begins",
                        people=found.people,
                        contacts=found.contacts,
                        **found.purged.rows,
                    )
                    done = await carry_out(
                        people,
                        contacts,
                        purge,
                        recorder,
                        GATEWAY,
                        "retention has ended",
                        _at_leisure,
                    )
                    await contents.sweep()
                    log.info(
                        "retention_ended",
                        people=done.people,
                        contacts=done.contacts,
                        **done.purged.rows,
                    )
            except GatewayError as error:
                log.warning("retention_failed", cause=str(error))
            await asyncio.sleep(_RETENTION_SECONDS)

    async def _count(self, database: Database) -> None:
        """Keep count of the requests of people that wait for an answer."""
        while True:
            with contextlib.suppress(GatewayError):  # the archiver tells of a failing archive
                self.requests = await open_and_late(database, now_ms())
            await asyncio.sleep(_COUNT_SECONDS)

    async def _count_owed(self, database: Database) -> None:
        """Keep count of what is owed to tools, and tell once an hour of those that are late."""
        alarm = Alarm()
        while True:
            if self._sync_settings.tools:
                with contextlib.suppress(GatewayError):
                    self.sync = await sync_figures(database, self._sync_settings)
                    alarm.tell(self.sync)
            else:
                self.sync = None
            await asyncio.sleep(_OWED_SECONDS)

    def reload(self, settings: Settings) -> None:
        """Ask the upstreams of these settings from now on.

        Raises:
            InputError: one of them cannot be used; nothing has changed.

        """
        if self._upstreams is not None:
            self._upstreams.reload(targets(settings))
        if self._reminder is not None:
            self._reminder.settings = settings
        self._sync_settings = settings.sync

    # -- what is asked of it ------------------------------------------------------

    @property
    def archiver(self) -> ArchiverStatus | None:
        """The archiver's figures, once there is one."""
        return self._archiver.status if self._archiver is not None else None

    @property
    def watch(self) -> Watch | None:
        """Whether the register is whole, once it has been looked at."""
        return self._warden.watch if self._warden is not None else None

    def checks(self) -> Mapping[str, Check]:
        """What ``/readyz`` asks, by name."""
        return {
            "register": self._register_answers,
            "archive": self._archive_keeps_up,
            "upstreams": self._upstream_answers,
        }

    async def _register_answers(self) -> str:
        if self._register is None:
            return "not open"
        try:
            await self._register.position()
        except GatewayError as error:
            return str(error)
        watch = self.watch
        if watch is None or watch.whole:
            return ""
        if watch.rebuilding:
            return f"is being rebuilt from the archive: {watch.shards} of {SHARDS} parts are done"
        return watch.cause

    async def _archive_keeps_up(self) -> str:
        status = self.archiver
        if status is None:
            return "not open"
        if status.failing:
            return "the archive refuses; the log has the cause"
        if status.backlog > self._settings.records.backlog_max:
            return f"{status.backlog} entries wait to be archived"
        return ""

    async def _upstream_answers(self) -> str:
        if self._upstreams is None:
            return "not open"
        try:
            async with asyncio.timeout(_PROBE_SECONDS):
                found = await self._upstreams.probe()
        except TimeoutError:
            return f"no answer in {_PROBE_SECONDS:g} s"
        wrong = [f"{name}: {error}" for name, error in found.items() if error is not None]
        return "; ".join(wrong) if len(wrong) == len(found) else ""


async def _at_leisure() -> None:
    """Give the archiver time for what a run has just told; the next run sees the rest."""
    await asyncio.sleep(_ARCHIVED_SECONDS)


async def _become_owner(server: EmbeddedRegister) -> None:
    """Start the register; one that a command or a killed gateway leaves is waited for."""
    end = asyncio.get_running_loop().time() + _OWN_SECONDS
    if await server.try_start():
        return
    log.info("register_in_use", waiting_s=_OWN_SECONDS)
    while not await server.try_start():
        if asyncio.get_running_loop().time() > end:
            raise InputError(
                f"{server.folder}: another process runs this register, perhaps a long "
                "command; start again when it has ended"
            )
        await asyncio.sleep(0.1)
