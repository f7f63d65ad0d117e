"""The supervisor: starts everything, keeps it running, ends it in order.

It owns the embedded register, the sandbox, the archiver, the HTTP side and the
listening sockets.  Workers carry the mail; one that dies is replaced.

Order of the end (SIGTERM): workers drain, the archiver takes what is left, the
register stops.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import structlog
from aiohttp import web
from prometheus_client import CollectorRegistry, Gauge, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from gateway.decision.load import find_rules, load_rules
from gateway.failure import GatewayError, InputError
from gateway.http.health import health_app
from gateway.page.look import Logo
from gateway.register.lock import FolderLock
from gateway.serve.accepted import write_accepted
from gateway.serve.assembly import archive_place, targets
from gateway.serve.assignment import Assignment
from gateway.serve.certificate import server_context
from gateway.serve.keeper import Keeper
from gateway.serve.logging import configure
from gateway.serve.offer import check_offer
from gateway.serve.plane import quiet_hours, routes_of
from gateway.serve.socket import bind, close, name_of
from gateway.settings import Settings
from gateway.settings.load import load_settings
from gateway.smtp.credential import Credentials
from gateway.sync.gauge import SyncGauges
from gateway.sync.tool import tools_of

log = structlog.get_logger(__name__)

_READY_TIMEOUT = 60.0
_FIRST_BACKOFF = 0.2
_LAST_BACKOFF = 10.0
_HEALTHY_AFTER = 30.0
_END_SECONDS = 15.0
"""What a worker may take after its drain: the last outcomes are stored, pools closed."""
# What a restart is needed for; a reload names those of them that changed.
_FIXED = ("data_dir", "register", "records", "http", "workers")


@dataclass(slots=True)
class _Slot:
    """One worker's place: its sockets, and the process that serves them now."""

    index: int
    smtp: list[socket.socket] = field(default_factory=list)
    smtp_tls: list[socket.socket] = field(default_factory=list)
    sms: list[tuple[socket.socket, str]] = field(default_factory=list)
    """Each with the route whose own address it is."""
    api: list[socket.socket] = field(default_factory=list)
    public: list[socket.socket] = field(default_factory=list)
    inbound: list[socket.socket] = field(default_factory=list)
    process: asyncio.subprocess.Process | None = None

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.returncode is None


class Supervisor:
    """One running gateway."""

    def __init__(self, config: Path, workers: int | None = None) -> None:
        self._config = config.resolve()
        self._settings = load_settings(self._config)
        self._count = workers or self._settings.workers
        self._stop = asyncio.Event()
        self._reload = asyncio.Event()
        self._slots: list[_Slot] = []
        self._office: _Slot | None = None
        """The API's process, where the settings want one."""
        self._front: _Slot | None = None
        """The public process, where the settings want one."""
        self._metrics_dir = self._settings.data_dir / "run" / "metrics"
        self._accepted = self._settings.data_dir / "run" / "settings.json"
        self._own = CollectorRegistry()
        self._backlog = Gauge(
            "gateway_archive_backlog",
            "Messages recorded but not yet archived",
            registry=self._own,
        )
        self._lag = Gauge(
            "gateway_archive_lag_seconds",
            "Age of the oldest record that is not archived yet",
            registry=self._own,
        )
        self._archive_failures = Gauge(
            "gateway_archive_failures",
            "Batches that the archive refused since the start",
            registry=self._own,
        )
        self._whole = Gauge(
            "gateway_register_whole",
            "1 while the register is known to have all that the archive has",
            registry=self._own,
        )
        self._rebuilds = Gauge(
            "gateway_register_rebuilds",
            "Rebuilds of the register from the archive since the start",
            registry=self._own,
        )
        self._restarts = Gauge(
            "gateway_worker_restarts", "Workers replaced since the start", registry=self._own
        )

        self._requests = Gauge(
            "gateway_subject_requests",
            "Requests of people that wait for an answer, and those of them that are late",
            ["state"],
            registry=self._own,
        )
        self._sync = SyncGauges(self._own)

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT.

        Raises:
            GatewayError: it cannot start; the text says what to do.

        """
        settings = self._settings
        configure(settings.log)
        check_whole(settings)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        loop.add_signal_handler(signal.SIGHUP, self._reload.set)
        with _alone(settings.data_dir):
            await self._serve(settings)
        log.info("stopped")

    async def _serve(self, settings: Settings) -> None:
        shutil.rmtree(self._metrics_dir, ignore_errors=True)
        self._metrics_dir.mkdir(parents=True, mode=0o700)
        write_accepted(settings, self._accepted)
        sockets = self._bind(settings)
        http: web.AppRunner | None = None
        try:
            async with Keeper(settings) as keeper:
                try:
                    http = await self._serve_http(settings, keeper, sockets)
                    await asyncio.gather(*(self._start(slot) for slot in self._children))
                    self._announce(settings, sockets)
                    async with asyncio.TaskGroup() as tasks:
                        owned = [
                            *(tasks.create_task(self._keep(slot)) for slot in self._children),
                            tasks.create_task(self._reloads(keeper)),
                            tasks.create_task(self._gauges(keeper)),
                        ]
                        await self._stop.wait()
                        log.info("stopping")
                        for task in owned:
                            task.cancel()
                finally:
                    # A connection that no worker would take is refused at once, rather
                    # than left waiting in a queue of ours until the drain is over.
                    close(self._worker_sockets())
                    await self._end_workers()
                    if http is not None:
                        await http.cleanup()
        finally:
            close(sockets)

    # -- sockets and announcements ------------------------------------------------

    def _bind(self, settings: Settings) -> list[socket.socket]:
        self._slots = [_Slot(index) for index in range(self._count)]
        opened: list[socket.socket] = []
        try:
            for address in settings.smtp.listen:
                for slot, one in zip(
                    self._slots, bind(address, "smtp.listen", self._count), strict=True
                ):
                    slot.smtp.append(one)
                    opened.append(one)
            for address in settings.smtp.listen_tls:
                for slot, one in zip(
                    self._slots, bind(address, "smtp.listen_tls", self._count), strict=True
                ):
                    slot.smtp_tls.append(one)
                    opened.append(one)
            for address, setting, route in _sms_addresses(settings):
                for slot, one in zip(self._slots, bind(address, setting, self._count), strict=True):
                    slot.sms.append((one, route))
                    opened.append(one)
            if settings.api.listen:
                self._office = _Slot(self._count)
                for address in settings.api.listen:
                    [one] = bind(address, "api.listen")
                    self._office.api.append(one)
                    opened.append(one)
            if has_front(settings):
                self._front = _Slot(self._count + 1)
                for name, addresses, kept in (
                    ("public.listen", settings.public.listen, self._front.public),
                    ("inbound.listen", settings.inbound.listen, self._front.inbound),
                ):
                    for address in addresses:
                        [one] = bind(address, name)
                        kept.append(one)
                        opened.append(one)
        except GatewayError:
            close(opened)
            raise
        return opened

    @property
    def _children(self) -> list[_Slot]:
        """Every process of ours: the workers, the API's and the public one."""
        others = [slot for slot in (self._office, self._front) if slot is not None]
        return [*self._slots, *others]

    def _announce(self, settings: Settings, sockets: list[socket.socket]) -> None:
        first = self._slots[0]
        rules = load_rules(find_rules(settings.rules.set, settings.rules.folder))
        log.info(
            "ready",
            smtp=[name_of(one) for one in first.smtp],
            smtp_tls=[name_of(one) for one in first.smtp_tls],
            sms=[name_of(one) for one, route in first.sms if not route],
            sms_routes={route: name_of(one) for one, route in first.sms if route},
            http=[name_of(one) for one in sockets if one not in self._worker_sockets()],
            api=[name_of(one) for one in self._office.api] if self._office else [],
            public=[name_of(one) for one in self._front.public] if self._front else [],
            inbound=[name_of(one) for one in self._front.inbound] if self._front else [],
            workers=self._count,
            rules=rules.name,
            rules_version=rules.version,
        )

    def _worker_sockets(self) -> list[socket.socket]:
        return [
            one
            for slot in self._children
            for one in (
                *(*slot.smtp, *slot.smtp_tls, *(one for one, _ in slot.sms)),
                *(*slot.api, *slot.public, *slot.inbound),
            )
        ]

    async def _serve_http(
        self, settings: Settings, keeper: Keeper, sockets: list[socket.socket]
    ) -> web.AppRunner:
        app = health_app(
            settings.http.networks,
            self._alive,
            {"workers": self._alive, **keeper.checks()},
            self._exposition,
        )
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        for address in settings.http.listen:
            [one] = bind(address, "http.listen")
            sockets.append(one)
            await web.SockSite(runner, one).start()
        return runner

    async def _alive(self) -> str:
        dead = [str(slot.index) for slot in self._slots if not slot.alive]
        return f"worker {', '.join(dead)} is not running" if dead else ""

    def _exposition(self) -> bytes:
        registry = CollectorRegistry()
        MultiProcessCollector(registry, path=str(self._metrics_dir))  # type: ignore[no-untyped-call]
        return generate_latest(registry) + generate_latest(self._own)

    async def _gauges(self, keeper: Keeper) -> None:
        while True:
            status = keeper.archiver
            if status is not None:
                self._backlog.set(status.backlog)
                self._lag.set(status.lag / 1000)
                self._archive_failures.set(status.failures)
            watch = keeper.watch
            if watch is not None:
                self._whole.set(watch.whole)
                self._rebuilds.set(watch.rebuilds)
            waiting, late = keeper.requests
            self._requests.labels("open").set(waiting)
            self._requests.labels("late").set(late)
            self._sync.show(keeper.sync)
            await asyncio.sleep(1)

    # -- workers ------------------------------------------------------------------

    async def _start(self, slot: _Slot) -> None:
        receiving, sending = os.pipe()
        smtp = [one.fileno() for one in slot.smtp]
        smtp_tls = [one.fileno() for one in slot.smtp_tls]
        sms = [(one.fileno(), route) for one, route in slot.sms]
        api = [one.fileno() for one in slot.api]
        public = [one.fileno() for one in slot.public]
        inbound = [one.fileno() for one in slot.inbound]
        assignment = Assignment(
            settings=str(self._accepted),
            index=slot.index,
            workers=self._count,
            parent=os.getpid(),
            smtp=smtp,
            smtp_tls=smtp_tls,
            sms=sms,
            api=api,
            public=public,
            inbound=inbound,
            front=slot is self._front,
            ready=sending,
        )
        try:
            slot.process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "gateway.serve.worker",
                assignment.to_json(),
                stdin=asyncio.subprocess.DEVNULL,
                pass_fds=(
                    *(*smtp, *smtp_tls, *(one for one, _ in sms)),
                    *(*api, *public, *inbound, sending),
                ),
                env={**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(self._metrics_dir)},
            )
        finally:
            os.close(sending)
        try:
            async with asyncio.timeout(_READY_TIMEOUT):
                ready = await asyncio.to_thread(os.read, receiving, 1)
        except TimeoutError:
            ready = b""
        finally:
            os.close(receiving)
        if not ready:
            with contextlib.suppress(ProcessLookupError):
                slot.process.kill()
            raise WorkerFailed(f"worker {slot.index} did not start; its reason stands above")
        log.info("worker_started", worker=slot.index, pid=slot.process.pid)

    async def _keep(self, slot: _Slot) -> None:
        """Replace the slot's worker whenever it ends."""
        backoff = _FIRST_BACKOFF
        while True:
            began = time.monotonic()
            if slot.process is not None:
                status = await slot.process.wait()
                mark_process_dead(  # type: ignore[no-untyped-call]
                    slot.process.pid, str(self._metrics_dir)
                )
                log.error("worker_ended", worker=slot.index, status=status)
            if time.monotonic() - began > _HEALTHY_AFTER:
                backoff = _FIRST_BACKOFF
            self._restarts.inc()
            await asyncio.sleep(backoff)
            backoff = min(backoff * 2, _LAST_BACKOFF)
            try:
                await self._start(slot)
            except (OSError, GatewayError) as error:
                log.error("worker_restart_failed", worker=slot.index, cause=str(error))

    async def _end_workers(self) -> None:
        running = [slot for slot in self._children if slot.alive]
        for slot in running:
            self._signal(slot, signal.SIGTERM)
        bound = self._settings.drain_timeout + _END_SECONDS
        waits = [slot.process.wait() for slot in running if slot.process is not None]
        if waits:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(bound):
                    await asyncio.gather(*waits)
        for slot in running:
            if slot.alive and slot.process is not None:
                log.error("worker_killed", worker=slot.index, waited_s=bound)
                slot.process.kill()
                await slot.process.wait()

    @staticmethod
    def _signal(slot: _Slot, number: signal.Signals) -> None:
        if slot.process is not None:
            with contextlib.suppress(ProcessLookupError):
                slot.process.send_signal(number)

    # -- reload -------------------------------------------------------------------

    async def _reloads(self, keeper: Keeper) -> None:
        while True:
            await self._reload.wait()
            self._reload.clear()
            try:
                settings = load_settings(self._config)
                check_whole(settings)
                settings = self._keeping_fixed(settings)
                # May refuse as well: a password's file may have gone since it was checked.
                keeper.reload(settings)
                write_accepted(settings, self._accepted)
            except GatewayError as error:
                log.error("reload_refused", cause=str(error))
                continue
            self._settings = settings
            for slot in self._children:
                if slot.alive:
                    self._signal(slot, signal.SIGHUP)

    def _keeping_fixed(self, settings: Settings) -> Settings:
        """The settings with those that need a restart as they are, and named in the log."""
        old = self._settings
        changed = [name for name in _FIXED if getattr(settings, name) != getattr(old, name)]
        kept = {name: getattr(old, name) for name in changed}
        smtp: dict[str, Any] = {name: getattr(old.smtp, name) for name in ("listen", "listen_tls")}
        if any(getattr(settings.smtp, name) != value for name, value in smtp.items()):
            changed.append("smtp.listen")
        if (settings.smtp.tls is None) != (old.smtp.tls is None):
            # The sockets stay what they are, and so does what a replaced worker says on them.
            smtp["tls"] = old.smtp.tls
            changed.append("smtp.tls")
        sms = settings.sms
        api = settings.api
        if api.listen != old.api.listen or (api.tls is None) != (old.api.tls is None):
            api = old.api
            changed.append("api: listen, tls")
        public, inbound = settings.public, settings.inbound
        if public.listen != old.public.listen or (public.tls is None) != (old.public.tls is None):
            public = old.public
            changed.append("public: listen, tls")
        if inbound.listen != old.inbound.listen or (inbound.tls is None) != (
            old.inbound.tls is None
        ):
            inbound = old.inbound
            changed.append("inbound: listen, tls")
        if [*_sms_addresses(settings)] != [*_sms_addresses(old)] or (sms.tls is None) != (
            old.sms.tls is None
        ):
            sms = old.sms
            changed.append("sms: listen, tls, or the routes' own addresses")
        if changed:
            log.warning("reload_needs_restart", settings=changed)
        return replace(
            settings,
            **kept,
            sms=sms,
            api=api,
            public=public,
            inbound=inbound,
            smtp=replace(settings.smtp, **smtp),
        )


def has_front(settings: Settings) -> bool:
    """Whether there is anything for the public process to do."""
    return bool(settings.public.listen or settings.inbound.listen or settings.sync.tools)


def _sms_addresses(settings: Settings) -> Iterator[tuple[str, str, str]]:
    """Where the text message side listens: address, setting, and the route it is alone for."""
    sms = settings.sms
    if not sms.routes:
        return
    if any(route.listen is None for route in sms.routes):
        for address in sms.listen:
            yield address, "sms.listen", ""
    for route in sms.routes:
        if route.listen is not None:
            yield route.listen, f"sms.routes {route.name}: listen", route.name


class WorkerFailed(GatewayError):
    """A worker ended before it was ready."""


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold a data folder, as no other gateway can meanwhile.

    Raises:
        InputError: another one does, or the folder cannot be made.

    """
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise InputError(f"data_dir: {folder} cannot be made: {error.strerror}") from None
    with FolderLock(folder / "gateway.lock") as lock:
        if not lock.try_exclusive():
            raise InputError(
                f"data_dir: another process serves {folder} already; stop it, "
                "or give this one a folder of its own"
            )
        yield


def check_whole(settings: Settings) -> None:
    """Try everything a start or reload rests on, before anything is touched.

    Raises:
        GatewayError: rule file, certificate, password or key file, logo, or upstream is wrong.

    """
    load_rules(find_rules(settings.rules.set, settings.rules.folder))
    server_context(settings.smtp.tls, "smtp.tls")
    Credentials(settings.smtp.clients)
    for target in targets(settings):
        target.context()
    check_offer(settings)
    if settings.pages.logo is not None and settings.public.listen:
        Logo.load(settings.pages.logo)
    server_context(settings.api.tls, "api.tls")
    server_context(settings.inbound.tls, "inbound.tls")
    archive_place(settings)
    if settings.sync.tools:
        tools_of(settings)
    if settings.sms.routes:
        server_context(settings.sms.tls, "sms.tls")
        routes_of(settings)
        quiet_hours(settings.sms.quiet)
