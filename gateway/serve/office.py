"""The API's process: the sockets it inherited, the stores, and its life.

A process of its own, so that an export or a long look through the records takes nothing
from the archiver or the workers.  Signals as a worker's: SIGTERM ends it, SIGHUP takes
the accepted settings anew.
"""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import replace
from functools import partial

import structlog

from gateway.api.desk import Desk, Serving
from gateway.api.ledger import Ledger
from gateway.api.server import Office
from gateway.api.waiting import Waiting
from gateway.failure import GatewayError
from gateway.records.deed import acts
from gateway.records.feed import Feed
from gateway.records.intake import Intake
from gateway.serve.accepted import reload_later
from gateway.serve.assembly import Parts
from gateway.serve.assignment import Assignment
from gateway.serve.certificate import load_certificate, server_context
from gateway.serve.child import Child, listen, open_child
from gateway.serve.desk import Desk as Serve
from gateway.serve.holding import Holding
from gateway.serve.intake import Importer
from gateway.serve.logging import configure
from gateway.serve.stores import Stores
from gateway.serve.tools import bureau_of
from gateway.settings import Settings
from gateway.sync.tool import tools_of

log = structlog.get_logger(__name__)

_LAST_WORDS = 5.0


async def serve(assignment: Assignment) -> None:
    """Serve the API as assigned until SIGTERM.

    Raises:
        GatewayError: it cannot start; the text says what to do.

    """
    async with open_child(assignment) as child:
        settings, parts, stores = child.settings, child.parts, child.stores
        context = server_context(settings.api.tls, "api.tls")
        importer = Importer(
            Intake(stores.database, parts.seal), parts.register, stores.archiver.run_once
        )
        office = Office(desk_of(settings, parts, stores, importer))
        server = office.server()
        listening = await listen(server, assignment.api, context)
        child.ready()
        loop = asyncio.get_running_loop()
        reloads = loop.create_task(_reloads(child, office, importer, context))
        importing = loop.create_task(importer.run())
        await child.stop.wait()
        reloads.cancel()
        importing.cancel()
        office.release()
        for one in listening:
            one.close()
        await server.end(_LAST_WORDS)
        await asyncio.wait({importing}, timeout=_LAST_WORDS)


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
        serving=Serving(
            people.people, people.wishes, people.requests, people.erasure, people.access
        ),
        feed=feed,
        waiting=Waiting(feed.head),
        known=stores.known,
        imports=importer,
        addresses=stores.unsealer.addresses,
        sync=bureau_of(settings, stores),
        tools=tools_of(settings),
    )


async def _reloads(
    child: Child, office: Office, importer: Importer, context: ssl.SSLContext | None
) -> None:
    while True:
        await child.reload.wait()
        child.reload.clear()
        try:
            settings = child.renewed()
            tools_of(settings)  # before anything is changed
            site = await child.parts.rebuild(settings, child.metrics)
            desk = desk_of(settings, child.parts, child.stores, importer)
            if context is not None and settings.api.tls is not None:
                load_certificate(context, settings.api.tls, "api.tls")
        except GatewayError as error:
            log.error("reload_refused", cause=str(error))
            reload_later(error, child.reload)
            continue
        # Whoever waits for changes goes on waiting.
        office.desk = replace(desk, feed=office.desk.feed, waiting=office.desk.waiting)
        configure(settings.log, worker=child.assignment.index)
        log.info("api_reloaded", rules=site.rules.name, version=site.rules.version)
