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
from pathlib import Path

import structlog
from aiohttp import web
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from gateway.decision.load import find_rules, load_rules
from gateway.failure import GatewayError, InputError
from gateway.http.health import health_app
from gateway.page.look import Logo
from gateway.register.lock import FolderLock
from gateway.serve.accepted import write_accepted
from gateway.serve.assembly import targets
from gateway.serve.certificate import server_context
from gateway.serve.descriptors import allow_many
from gateway.serve.fixed import keeping_fixed
from gateway.serve.gauge import Gauges
from gateway.serve.keeper import Keeper
from gateway.serve.logging import configure
from gateway.serve.offer import check_offer
from gateway.serve.place import archive_place
from gateway.serve.plane import quiet_hours, routes_of
from gateway.serve.slot import Slot, Slots
from gateway.serve.socket import bind, close, name_of
from gateway.serve.tally import give_back
from gateway.settings import Settings
from gateway.settings.load import load_settings
from gateway.smtp.credential import Credentials
from gateway.sync.tool import tools_of

log = structlog.get_logger(__name__)

_READY_TIMEOUT = 60.0
_FIRST_BACKOFF = 0.2
_LAST_BACKOFF = 10.0
_HEALTHY_AFTER = 30.0
_END_SECONDS = 15.0
"""What a worker may take after its drain: the last outcomes are stored, pools closed."""


class Supervisor:
    """One running gateway."""

    def __init__(self, config: Path, workers: int | None = None) -> None:
        self._config = config.resolve()
        self._settings = load_settings(self._config)
        self._count = workers or self._settings.workers
        self._stop = asyncio.Event()
        self._reload = asyncio.Event()
        self._slots: Slots | None = None
        self._metrics_dir = self._settings.data_dir / "run" / "metrics"
        self._accepted = self._settings.data_dir / "run" / "settings.json"
        self._gauges = Gauges()

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT.

        Raises:
            GatewayError: it cannot start; the text says what to do.

        """
        settings = self._settings
        configure(settings.log)
        check_whole(settings)
        allow_many()
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
        slots = self._slots = Slots(settings, self._count)
        sockets = slots.sockets
        http: web.AppRunner | None = None
        try:
            async with Keeper(settings) as keeper:
                try:
                    http = await self._serve_http(settings, keeper, sockets)
                    await asyncio.gather(*(self._start(slot) for slot in slots.each))
                    self._announce(settings, slots, sockets)
                    async with asyncio.TaskGroup() as tasks:
                        owned = [
                            *(tasks.create_task(self._keep(slot)) for slot in slots.each),
                            tasks.create_task(self._reloads(keeper, slots)),
                            tasks.create_task(self._show(keeper)),
                        ]
                        await self._stop.wait()
                        log.info("stopping")
                        for task in owned:
                            task.cancel()
                finally:
                    # A connection that no worker would take is refused at once, rather
                    # than left waiting in a queue of ours until the drain is over.
                    close(slots.sockets)
                    await self._end_workers(slots)
                    if http is not None:
                        await http.cleanup()
        finally:
            close(sockets)

    # -- sockets and announcements ------------------------------------------------

    def _announce(self, settings: Settings, slots: Slots, sockets: list[socket.socket]) -> None:
        first, office, front = slots.workers[0], slots.office, slots.front
        given = slots.sockets
        rules = load_rules(find_rules(settings.rules.set, settings.rules.folder))
        log.info(
            "ready",
            smtp=[name_of(one) for one in first.smtp],
            smtp_tls=[name_of(one) for one in first.smtp_tls],
            sms=[name_of(one) for one, route in first.sms if not route],
            sms_routes={route: name_of(one) for one, route in first.sms if route},
            http=[name_of(one) for one in sockets if one not in given],
            api=[name_of(one) for one in office.api] if office else [],
            public=[name_of(one) for one in front.public] if front else [],
            inbound=[name_of(one) for one in front.inbound] if front else [],
            workers=self._count,
            rules=rules.name,
            rules_version=rules.version,
        )

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
        workers = self._slots.workers if self._slots is not None else []
        dead = [str(slot.index) for slot in workers if not slot.alive]
        return f"worker {', '.join(dead)} is not running" if dead else ""

    def _exposition(self) -> bytes:
        registry = CollectorRegistry()
        MultiProcessCollector(registry, path=str(self._metrics_dir))  # type: ignore[no-untyped-call]
        return generate_latest(registry) + generate_latest(self._gauges.registry)

    async def _show(self, keeper: Keeper) -> None:
        while True:
            self._gauges.show(keeper)
            await asyncio.sleep(1)

    # -- workers ------------------------------------------------------------------

    async def _start(self, slot: Slot) -> None:
        receiving, sending = os.pipe()
        assignment = slot.assignment(str(self._accepted), self._count, sending)
        try:
            slot.process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "gateway.serve.worker",
                assignment.to_json(),
                stdin=asyncio.subprocess.DEVNULL,
                pass_fds=(*(one.fileno() for one in slot.sockets), sending),
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

    async def _keep(self, slot: Slot) -> None:
        """Replace the slot's worker whenever it ends."""
        backoff = _FIRST_BACKOFF
        while True:
            began = time.monotonic()
            if slot.process is not None:
                status = await slot.process.wait()
                mark_process_dead(  # type: ignore[no-untyped-call]
                    slot.process.pid, str(self._metrics_dir)
                )
                give_back(self._metrics_dir, slot.process.pid)
                log.error("worker_ended", worker=slot.index, status=status)
            if time.monotonic() - began > _HEALTHY_AFTER:
                backoff = _FIRST_BACKOFF
            self._gauges.restarts.inc()
            await asyncio.sleep(backoff)
            backoff = min(backoff * 2, _LAST_BACKOFF)
            try:
                await self._start(slot)
            except (OSError, GatewayError) as error:
                log.error("worker_restart_failed", worker=slot.index, cause=str(error))

    async def _end_workers(self, slots: Slots) -> None:
        running = [slot for slot in slots.each if slot.alive]
        for slot in running:
            slot.signal(signal.SIGTERM)
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

    # -- reload -------------------------------------------------------------------

    async def _reloads(self, keeper: Keeper, slots: Slots) -> None:
        while True:
            await self._reload.wait()
            self._reload.clear()
            try:
                settings = load_settings(self._config)
                check_whole(settings)
                settings = keeping_fixed(settings, self._settings)
                # May refuse as well: a password's file may have gone since it was checked.
                keeper.reload(settings)
                write_accepted(settings, self._accepted)
            except GatewayError as error:
                log.error("reload_refused", cause=str(error))
                continue
            self._settings = settings
            for slot in slots.each:
                if slot.alive:
                    slot.signal(signal.SIGHUP)


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
    server_context(settings.public.tls, "public.tls")
    server_context(settings.inbound.tls, "inbound.tls")
    archive_place(settings)
    if settings.sync.tools:
        tools_of(settings)
    if settings.sms.routes:
        server_context(settings.sms.tls, "sms.tls")
        routes_of(settings)
        quiet_hours(settings.sms.quiet)
