"""The public process: people's pages, tools' webhooks, inbound mail, and the lists' sync.

A process of its own, so that what comes from the internet takes nothing from the workers
and the archiver.  Signals as a worker's: SIGTERM ends it, SIGHUP takes the accepted
settings anew.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Mapping

import structlog

from gateway.contacts.contact import Contact
from gateway.evidence.metric import Metrics
from gateway.failure import GatewayError, InputError
from gateway.page.form import LARGEST as FORM
from gateway.page.parts import page_parts
from gateway.public.server import Face, Part
from gateway.serve.accepted import reload_later
from gateway.serve.assembly import Parts
from gateway.serve.assignment import Assignment
from gateway.serve.certificate import load_certificate, server_context
from gateway.serve.child import Child, listen, open_child
from gateway.serve.desk import person_store
from gateway.serve.letterbox import Letterbox
from gateway.serve.logging import configure
from gateway.serve.offer import signing_keys
from gateway.serve.stores import Stores
from gateway.serve.tools import Tools
from gateway.settings import Settings
from gateway.settings.public import Language
from gateway.smtp.notice import Post
from gateway.subject.requests import Requests
from gateway.unsubscribe.link import Links

log = structlog.get_logger(__name__)

_LAST_WORDS = 5.0
_GAUGE_SECONDS = 1.0
_LANGUAGE_WITHIN = 1.0
"""Seconds that a page waits for the archive to tell its language."""
UNRATED = frozenset({"hooks", "u"})
"""Parts whose callers are tools: mail services refuse for many people from few addresses.

Whoever has no link learns and changes nothing there, and forms are counted by contact."""

LARGEST = dict.fromkeys(("u", "c", "logo"), FORM)
"""Octets of a body: whoever has no link keeps no more of ours."""


async def serve(assignment: Assignment) -> None:
    """Serve as assigned until SIGTERM.

    Raises:
        GatewayError: it cannot start; the text says what to do.

    """
    async with open_child(assignment) as child, contextlib.AsyncExitStack() as stack:
        settings, parts, stores, metrics = child.settings, child.parts, child.stores, child.metrics
        context = server_context(settings.public.tls, "public.tls")
        tools = Tools(settings, stores)
        stack.push_async_callback(tools.aclose)
        await tools.start()
        answering = face_parts(settings, parts, stores, tools)
        face = Face(settings.public, answering, unrated=UNRATED, largest=LARGEST)
        server = face.server()
        listening = await listen(server, assignment.public, context)
        letterbox = await Letterbox.open(settings, parts, metrics, assignment.inbound)
        child.ready()
        loop = asyncio.get_running_loop()
        reloads = loop.create_task(_reloads(child, face, tools, letterbox, context))
        published = loop.create_task(_publish(metrics))
        await child.stop.wait()
        reloads.cancel()
        published.cancel()
        for one in listening:
            one.close()
        await asyncio.gather(server.end(_LAST_WORDS), letterbox.end(settings.drain_timeout))
        metrics.publish()


def face_parts(
    settings: Settings, parts: Parts, stores: Stores, tools: Tools
) -> Mapping[str, Part]:
    """What answers on the public address, by the first segment of the path."""
    return {**_pages(settings, parts, stores), **tools.part()}


def _pages(settings: Settings, parts: Parts, stores: Stores) -> Mapping[str, Part]:
    path = settings.unsubscribe.key_file
    if path is None:
        raise InputError("unsubscribe.key_file is not set")
    recorder = parts.site.recorder
    store = person_store(settings, stores.database, stores.custody, stores.ring)

    def post() -> Post:
        site = parts.site
        return Post(
            rules=site.rules,
            gate=site.gate,
            evidence=site.evidence,
            recorder=recorder,
            contents=stores.contents,
            upstreams=site.upstreams,
            owned_domains=site.owned_domains,
        )

    async def speaks(contact: Contact) -> Language | None:
        try:
            async with asyncio.timeout(_LANGUAGE_WITHIN):
                people = await store.of(contact)
                if len(people) != 1:
                    return None
                language: Language = (await store.open(people[0])).person.language.value
        except (GatewayError, TimeoutError) as error:
            # The page is shown all the same, in the browser's language.
            log.warning("language_unknown", cause=str(error) or "the archive takes too long")
            return None
        return language

    return page_parts(
        settings,
        Links.load_or_create(path),
        parts.register,
        Requests(stores.database, stores.custody, store, recorder),
        post,
        speaks,
        signing_keys(settings),
    )


async def _publish(metrics: Metrics) -> None:
    while True:
        await asyncio.sleep(_GAUGE_SECONDS)
        metrics.publish()


async def _reloads(
    child: Child, face: Face, tools: Tools, letterbox: Letterbox, context: ssl.SSLContext | None
) -> None:
    parts, stores = child.parts, child.stores
    while True:
        await child.reload.wait()
        child.reload.clear()
        try:
            settings = child.renewed()
            await parts.rebuild(settings, child.metrics)
            await tools.reload(settings)
            renewed = face_parts(settings, parts, stores, tools)
            if context is not None and settings.public.tls is not None:
                load_certificate(context, settings.public.tls, "public.tls")
            letterbox.renew(settings, parts)
        except GatewayError as error:
            log.error("reload_refused", cause=str(error))
            reload_later(error, child.reload)
            continue
        face.settings, face.parts = settings.public, renewed
        configure(settings.log, worker=child.assignment.index)
        log.info("public_reloaded")
