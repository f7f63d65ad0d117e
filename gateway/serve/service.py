"""What a worker does: the mail side on the sockets it inherited.

Signals: SIGTERM drains and ends, SIGHUP takes the accepted settings anew.  It ends with
the supervisor, and says on a pipe when it is ready.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
import ssl
from pathlib import Path
from typing import TYPE_CHECKING

import structlog
from prometheus_client import CollectorRegistry

from gateway.clock import now_ms
from gateway.evidence.metric import Metrics
from gateway.failure import GatewayError
from gateway.serve.accepted import read_accepted, reload_later
from gateway.serve.assembly import Parts, build_parts
from gateway.serve.assignment import Assignment
from gateway.serve.certificate import load_certificate, server_context
from gateway.serve.logging import configure
from gateway.serve.tally import hold_room
from gateway.smtp.listener import Listener
from gateway.smtp.server import Server

if TYPE_CHECKING:
    from gateway.settings import Settings
    from gateway.sms.server import Door
    from gateway.sms.waiting import Waiting

log = structlog.get_logger(__name__)

_GAUGE_SECONDS = 1.0


class Service:
    """The parts of one worker and their life."""

    def __init__(self, assignment: Assignment) -> None:
        self._assignment = assignment
        self._stop = asyncio.Event()
        self._reload = asyncio.Event()
        hold_room()
        self._metrics = Metrics(CollectorRegistry())
        self._sms_servers: list[asyncio.Server] = []
        self._sms_tls: ssl.SSLContext | None = None

    async def run(self) -> None:
        """Serve until SIGTERM; then drain."""
        assignment = self._assignment
        settings = read_accepted(Path(assignment.settings))
        configure(settings.log, worker=assignment.index)
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._stop.set)
        # A Ctrl-C at the terminal reaches the supervisor, which drains the workers.
        loop.add_signal_handler(signal.SIGINT, lambda: None)
        loop.add_signal_handler(signal.SIGHUP, self._reload.set)
        context = server_context(settings.smtp.tls, "smtp.tls")
        parts = await build_parts(settings, self._metrics)
        listener = Listener(parts.site, context, assignment.workers)
        try:
            await self._listen(listener, assignment.smtp, None)
            await self._listen(listener, assignment.smtp_tls, context)
            door = await self._open_door(parts, settings)
            _keep_what_lasts()
            os.write(assignment.ready, b"r")
            os.close(assignment.ready)
            async with asyncio.TaskGroup() as tasks:
                gauges = tasks.create_task(self._gauges(parts, listener))
                reloads = tasks.create_task(self._reloads(parts, listener, context, door))
                waiting = self._waiting(parts)
                sending = tasks.create_task(waiting.run()) if waiting is not None else None
                await self._stop.wait()
                seconds = listener.site.settings.drain_timeout
                drained = [listener.drain(seconds)]
                if door is not None:
                    drained.append(self._close_door(door, seconds))
                if waiting is not None:
                    waiting.stop()
                    drained.append(waiting.ended(seconds))
                finished = all(await asyncio.gather(*drained))
                self._metrics.publish()
                log.info("drained", finished=finished)
                for task in (gauges, reloads, sending):
                    if task is not None:
                        task.cancel()
        finally:
            await parts.aclose()

    async def _listen(
        self, listener: Listener, descriptors: list[int], context: ssl.SSLContext | None
    ) -> None:
        loop = asyncio.get_running_loop()
        for descriptor in descriptors:
            listener.own(
                await loop.create_server(
                    lambda: Server(listener, implicit_tls=context is not None),
                    sock=socket.socket(fileno=descriptor),
                    ssl=context,
                    ssl_handshake_timeout=30 if context is not None else None,
                )
            )

    async def _open_door(self, parts: Parts, settings: Settings) -> Door | None:
        """Listen for text messages, where there are routes."""
        if parts.plane is None:
            return None
        from gateway.sms.server import Door

        site = parts.plane.site
        if site.quiet is not None:
            # The calendar's library takes its time to load: not while somebody waits.
            await asyncio.to_thread(site.quiet.until, "+358401234567", now_ms())
        site.reporter.start()
        door = Door(site, self._assignment.workers)
        self._sms_tls = server_context(settings.sms.tls, "sms.tls")
        for descriptor, route in self._assignment.sms:
            server = await asyncio.get_running_loop().create_server(
                door.server(route),
                sock=socket.socket(fileno=descriptor),
                ssl=self._sms_tls,
                ssl_handshake_timeout=30 if self._sms_tls is not None else None,
            )
            self._sms_servers.append(server)
        return door

    def _waiting(self, parts: Parts) -> Waiting | None:
        """What sends text messages whose time has come; it is the first worker's work."""
        plane = parts.plane
        if plane is None or self._assignment.index != 0:
            return None
        from gateway.sms.waiting import Waiting

        return Waiting(lambda: plane.site)

    async def _close_door(self, door: Door, seconds: float) -> bool:
        for server in self._sms_servers:
            server.close()
        return await door.drain(seconds)

    async def _reloads(
        self,
        parts: Parts,
        listener: Listener,
        context: ssl.SSLContext | None,
        door: Door | None,
    ) -> None:
        while True:
            await self._reload.wait()
            self._reload.clear()
            try:
                settings = read_accepted(Path(self._assignment.settings))
                if context is not None and settings.smtp.tls is not None:
                    load_certificate(context, settings.smtp.tls, "smtp.tls")
                site = await parts.rebuild(settings, self._metrics)
            except GatewayError as error:
                log.error("reload_refused", cause=str(error))
                reload_later(error, self._reload)
                continue
            listener.swap(site, context)
            if door is not None and parts.plane is not None:
                door.site = parts.plane.site
                if self._sms_tls is not None and settings.sms.tls is not None:
                    load_certificate(self._sms_tls, settings.sms.tls, "sms.tls")
            configure(settings.log, worker=self._assignment.index)
            log.info("reloaded", rules=site.rules.name, version=site.rules.version)

    async def _gauges(self, parts: Parts, listener: Listener) -> None:
        while True:
            metrics = listener.site.metrics
            parts.show(metrics)
            metrics.connections.set(len(listener.sessions))
            metrics.publish()
            await asyncio.sleep(_GAUGE_SECONDS)


def _keep_what_lasts() -> None:
    """Leave modules, settings and rules out of every later collection.

    They live as long as the worker.  Looked through again and again they would cost
    time for every few messages, and now and then a pause of many milliseconds.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)


async def serve(assignment: Assignment) -> None:
    """Serve as assigned until SIGTERM.

    Raises:
        GatewayError: it cannot start; the text says what to do.

    """
    await Service(assignment).run()
