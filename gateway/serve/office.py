"""The API's process: the sockets it inherited, the stores, and its life.

A process of its own, so that an export or a long look through the records takes nothing
from the archiver or the workers.  Signals as a worker's: SIGTERM ends it, SIGHUP takes
the accepted settings anew.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import ssl
from dataclasses import replace
from functools import partial
from pathlib import Path

import structlog
import uvloop
from prometheus_client import CollectorRegistry

from gateway.api.desk import Desk, Serving
from gateway.api.ledger import Ledger
from gateway.api.server import Office
from gateway.api.waiting import Waiting
from gateway.custody.custody import Custody
from gateway.evidence.metric import Metrics
from gateway.failure import GatewayError
from gateway.records.database import Database
from gateway.records.deed import acts
from gateway.records.feed import Feed
from gateway.records.intake import Intake
from gateway.serve.accepted import read_accepted, reload_later
from gateway.serve.assembly import Parts, archive_place, build_parts
from gateway.serve.assignment import Assignment
from gateway.serve.certificate import load_certificate, server_context
from gateway.serve.desk import Desk as Serve
from gateway.serve.holding import Holding
from gateway.serve.intake import Importer
from gateway.serve.logging import configure
from gateway.serve.stores import Stores, open_custody, stores_on
from gateway.serve.tools import bureau_of
from gateway.settings import Settings
from gateway.sync.tool import tools_of

log = structlog.get_logger(__name__)

_LAST_WORDS = 5.0


def run(assignment: Assignment) -> None:
    """Serve the API as assigned until SIGTERM.

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
    context = server_context(settings.api.tls, "api.tls")
    metrics = Metrics(CollectorRegistry())
    parts = await build_parts(settings, metrics)
    try:
        database = await Database.open(
            archive_place(settings), timeout=settings.records.archive_timeout, create=False
        )
        custody: Custody | None = None
        try:
            custody = await open_custody(settings, parts.seal, database)
            stores = stores_on(parts.register, database, custody, parts.ring, parts.seal)
            importer = Importer(
                Intake(database, parts.seal), parts.register, stores.archiver.run_once
            )
            office = Office(desk_of(settings, parts, stores, importer))
            server = office.server()
            listening = [
                await loop.create_server(
                    server,
                    sock=socket.socket(fileno=descriptor),
                    ssl=context,
                    ssl_handshake_timeout=30 if context is not None else None,
                )
                for descriptor in assignment.api
            ]
            os.write(assignment.ready, b"r")
            os.close(assignment.ready)
            reloads = loop.create_task(
                _reloads(assignment, reload, office, parts, metrics, context)
            )
            importing = loop.create_task(importer.run())
            await stop.wait()
            reloads.cancel()
            importing.cancel()
            office.release()
            for one in listening:
                one.close()
            await server.end(_LAST_WORDS)
            await asyncio.wait({importing}, timeout=_LAST_WORDS)
        finally:
            if custody is not None:
                await custody.aclose()
            await database.aclose()
    finally:
        await parts.aclose()


def desk_of(settings: Settings, parts: Parts, stores: Stores, importer: Importer) -> Desk:
    """What the handlers work with, of one process's parts."""
    people = Serve.on(settings, stores, parts.site.recorder)
    feed = Feed(stores.database)
    return Desk(
        settings=settings,
        rules=parts.site.rules,
        gate=parts.site.gate,
        register=parts.register,
        ring=parts.ring,
        archive=stores.archive,
        recorder=parts.site.recorder,
        ledger=Ledger(stores.database),
        history=stores.history,
        organisation_history=stores.organisation_history,
        acts=partial(acts, stores.database),
        held=Holding(parts),
        serving=Serving(people.people, people.requests, people.erasure, people.access),
        feed=feed,
        waiting=Waiting(feed.head),
        known=stores.known,
        imports=importer,
        addresses=stores.unsealer.addresses,
        sync=bureau_of(settings, stores),
        tools=tools_of(settings),
    )


async def _reloads(
    assignment: Assignment,
    asked: asyncio.Event,
    office: Office,
    parts: Parts,
    metrics: Metrics,
    context: ssl.SSLContext | None,
) -> None:
    while True:
        await asked.wait()
        asked.clear()
        try:
            settings = read_accepted(Path(assignment.settings))
            tools = tools_of(settings)
            site = await parts.rebuild(settings, metrics)
            if context is not None and settings.api.tls is not None:
                load_certificate(context, settings.api.tls, "api.tls")
        except GatewayError as error:
            log.error("reload_refused", cause=str(error))
            reload_later(error, asked)
            continue
        office.desk = replace(
            office.desk, settings=settings, rules=site.rules, gate=site.gate, tools=tools
        )
        configure(settings.log, worker=assignment.index)
        log.info("api_reloaded", rules=site.rules.name, version=site.rules.version)
