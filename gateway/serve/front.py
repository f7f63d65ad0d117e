"""The public process: people's pages, tools' webhooks, inbound mail, and the lists' sync.

A process of its own, so that what comes from the internet takes nothing from the workers
and the archiver.  Signals as a worker's: SIGTERM ends it, SIGHUP takes the accepted
settings anew.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import ssl
from collections.abc import Mapping
from pathlib import Path

import structlog
import uvloop
from prometheus_client import CollectorRegistry

from gateway.evidence.metric import Metrics
from gateway.failure import GatewayError
from gateway.public.server import Face, Part
from gateway.records.database import Database
from gateway.serve.accepted import read_accepted
from gateway.serve.assembly import Parts, archive_place, build_parts
from gateway.serve.assignment import Assignment
from gateway.serve.certificate import load_certificate, server_context
from gateway.serve.logging import configure
from gateway.serve.post import PostOffice
from gateway.serve.stores import Stores, open_custody, stores_on
from gateway.settings import Settings

log = structlog.get_logger(__name__)

_LAST_WORDS = 5.0
_GAUGE_SECONDS = 1.0
UNRATED = frozenset({"hooks"})
"""Parts whose callers are tools."""


def run(assignment: Assignment) -> None:
    """Serve as assigned until SIGTERM.

    Raises:
        GatewayError: it cannot start; the text says what to do.

    """
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(assignment))


async def _serve(assignment: Assignment) -> None:
    settings = read_accepted(Path(assignment.settings))
    configure(settings.log, worker=assignment.index)
    loop = asyncio.get_running_loop()
    stop, reload = asyncio.Event(), asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    loop.add_signal_handler(signal.SIGINT, lambda: None)
    loop.add_signal_handler(signal.SIGHUP, reload.set)
    context = server_context(settings.public.tls, "public.tls")
    metrics = Metrics(CollectorRegistry())
    async with contextlib.AsyncExitStack() as stack:
        parts = await build_parts(settings, metrics)
        stack.push_async_callback(parts.aclose)
        database = await Database.open(
            archive_place(settings), timeout=settings.records.archive_timeout, create=False
        )
        stack.push_async_callback(database.aclose)
        custody = await open_custody(settings, parts.seal, database)
        stack.push_async_callback(custody.aclose)
        stores = stores_on(parts.register, database, custody, parts.ring, parts.seal)
        face = Face(settings.public, face_parts(settings, parts, stores), unrated=UNRATED)
        server = face.server()
        for descriptor in assignment.public:
            listening = await loop.create_server(
                server,
                sock=socket.socket(fileno=descriptor),
                ssl=context,
                ssl_handshake_timeout=30 if context is not None else None,
            )
            stack.callback(listening.close)
        post = await PostOffice.open(settings, parts, metrics, assignment.inbound)
        os.write(assignment.ready, b"r")
        os.close(assignment.ready)
        reloads = loop.create_task(
            _reloads(assignment, reload, face, parts, stores, metrics, context, post)
        )
        published = loop.create_task(_publish(metrics))
        await stop.wait()
        reloads.cancel()
        published.cancel()
        await asyncio.gather(server.end(_LAST_WORDS), post.end(settings.drain_timeout))
        metrics.publish()


def face_parts(settings: Settings, parts: Parts, stores: Stores) -> Mapping[str, Part]:
    """What answers on the public address, by the first segment of the path."""
    return {}


async def _publish(metrics: Metrics) -> None:
    while True:
        await asyncio.sleep(_GAUGE_SECONDS)
        metrics.publish()


async def _reloads(
    assignment: Assignment,
    asked: asyncio.Event,
    face: Face,
    parts: Parts,
    stores: Stores,
    metrics: Metrics,
    context: ssl.SSLContext | None,
    post: PostOffice,
) -> None:
    while True:
        await asked.wait()
        asked.clear()
        try:
            settings = read_accepted(Path(assignment.settings))
            await parts.rebuild(settings, metrics)
            renewed = face_parts(settings, parts, stores)
            if context is not None and settings.public.tls is not None:
                load_certificate(context, settings.public.tls, "public.tls")
            post.renew(settings, parts)
        except GatewayError as error:
            log.error("reload_refused", cause=str(error))
            continue
        face.settings, face.parts = settings.public, renewed
        configure(settings.log, worker=assignment.index)
        log.info("public_reloaded")
