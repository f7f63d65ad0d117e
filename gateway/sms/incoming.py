"""What people send, from the provider's webhook to the register and to the tool.

The order keeps the promise that a STOP is not lost: the ban is in force before anybody
is told that it is, the provider is told only when the tool has heard as well, and a
message counts as handled only when its ban is in force.  Whatever fails on the way
makes the provider send it again, and nothing is done a second time.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping
from typing import NamedTuple

import structlog

from gateway.clock import now_ms, years_later
from gateway.contacts.contact import Channel, Contact, ContactError
from gateway.contacts.destination import Notation, parse_destination
from gateway.contacts.digest import KeyRing, subject_of
from gateway.contacts.identity_code import mask
from gateway.decision.facts import Kind, Outcome
from gateway.failure import GatewayError, RegisterUnavailable
from gateway.held.shelf import Shelf
from gateway.hook.hook import Incoming
from gateway.hook.part import joined
from gateway.hook.word import Meaning, Said
from gateway.provider.problem import Problem, Refusal
from gateway.provider.request import Answer, Request
from gateway.records.form import Written
from gateway.records.identifier import new_id
from gateway.records.record import Direction, MessageRecord, RecipientRecord, Result
from gateway.register.register import Register
from gateway.sms.confirmation import by_api, in_answer, pieces
from gateway.sms.outlet import ProviderAway
from gateway.sms.remembered import Remembered, help_key, message_key, parts_key
from gateway.sms.site import Site
from gateway.sms.stopping import Stops
from gateway.sms.webhook import PATH, Webhook

log = structlog.get_logger(__name__)

_AGAIN = (408, 425, 429)
"""Statuses by which the tool asks for it once more, as it does by those from 500 on."""


class Heard(NamedTuple):
    """One message that was read, and what is to come of it."""

    one: Incoming
    key: bytes
    contact: Contact | None
    """The person; None: no number that the register could know."""
    record: str = ""
    """The id of its record; empty: it has none, or had one before."""


class Incomings:
    """The webhooks of one configuration."""

    def __init__(
        self,
        register: Register,
        ring: KeyRing,
        shelf: Shelf,
        webhooks: Mapping[str, Webhook],
    ) -> None:
        self._register, self._shelf = register, shelf
        self._webhooks = webhooks
        self._ring = ring
        self._remembered = Remembered(register.connections.wire)
        self._stops = Stops(register, ring, self._remembered, shelf.events)

    def renewed(self, webhooks: Mapping[str, Webhook]) -> Incomings:
        """The same with other settings."""
        return Incomings(self._register, self._ring, self._shelf, webhooks)

    def find(self, listener: str, path: str) -> Webhook | None:
        """The webhook that a path names, on a shared address or on the route's own."""
        if not path.startswith(PATH):
            return None
        name = path[len(PATH) :]
        return self._webhooks.get(name) if listener in ("", name) else None

    async def receive(self, site: Site, webhook: Webhook, request: Request) -> Answer:
        """Take one call of a webhook.

        Raises:
            Refusal: the caller is not the provider, or sends what cannot be read.
            GatewayError: not all of it is done; the provider is to call again.

        """
        now = now_ms()
        if request.method not in ("GET", "POST") or not webhook.admits(request, now):
            raise Refusal(Problem.UNKNOWN_CALLER, "Authentication failed")
        try:
            messages = webhook.hook.read(request)
        except Refusal as refusal:
            log.error("incoming_unreadable", route=webhook.route.name, cause=str(refusal))
            site.metrics.fault("incoming_unreadable")
            raise
        tool = webhook.for_tool(request, now)
        heard = [await self._hear(site, webhook, _clean(one), now) for one in messages]
        if not webhook.hook.replies:
            ends = await asyncio.gather(
                self._pass_on(site, webhook, tool, heard),
                *(self._send(site, webhook, one) for one in heard),
                return_exceptions=True,
            )
            for end in ends:
                if end is not None:
                    raise end
            return webhook.hook.answer(None)
        await self._pass_on(site, webhook, tool, heard)
        return webhook.hook.answer(await self._reply(site, webhook, heard))

    # -- one message --------------------------------------------------------------

    async def _hear(self, site: Site, webhook: Webhook, one: Incoming, now: int) -> Heard:
        """Do what a message says, unless that was done before."""
        route = webhook.route
        key = message_key(route.name, one)
        contact = _person(one)
        reply = ""
        if not await self._remembered.claim(key):
            log.info("incoming_repeated", route=route.name)
            return Heard(one, key, contact)
        try:
            meaning = await self._meaning(webhook, one)
            if contact is None:
                if meaning.said is not Said.OTHER:
                    log.warning("incoming_of_no_number", route=route.name, said=meaning.said.value)
                await self._remembered.finish(key)
                return Heard(one, key, None)
            reply = await self._act(webhook, one, contact, meaning)
            reply = reply or await self._remembered.left(key)
            record = await self._record(site, webhook, one, contact, now)
            await self._remembered.finish(key, reply)
        except BaseException:
            await self._release(key, reply)
            raise
        return Heard(one, key, contact, record)

    async def _release(self, key: bytes, reply: str) -> None:
        try:
            await self._remembered.release(key, reply)
        except GatewayError as error:
            # It is free again in a minute.
            log.warning("incoming_not_released", cause=str(error))

    async def _meaning(self, webhook: Webhook, one: Incoming) -> Meaning:
        """What it means; of a long message its first part, and the whole when it is there."""
        read = webhook.words.meaning
        if one.part is None:
            return read(one.text, one.keyword)
        key, (_, number, total) = parts_key(webhook.route.name, one), one.part
        first = read(one.text, one.keyword) if number == 1 else None
        if first is not None and first.said is Said.STOP:
            # It is too long for one word: a stop of everything, whatever follows.
            return first._replace(argument=None)
        parts = await self._remembered.add_part(key, number, total, one.text)
        whole = joined(parts, total)
        if whole is None:
            return Meaning(Said.OTHER)
        # Should two of its parts find it whole at once, both do the same thing.
        return read(whole, one.keyword)

    async def _act(
        self, webhook: Webhook, one: Incoming, contact: Contact, meaning: Meaning
    ) -> str:
        """Do it; the name of the reply that the person is to get, "" for none."""
        said, settings = meaning.said, webhook.settings
        if said is Said.STOP:
            changed = await self._stops.stop(webhook, one, contact, meaning.argument)
            log.info("stop", route=webhook.route.name, changed=changed)
            return "confirm" if changed and settings.confirm else ""
        if said is Said.START:
            lifted = await self._stops.start(webhook, one, contact, meaning)
            log.info("start", route=webhook.route.name, lifted=lifted)
            return "restart" if lifted and settings.restart else ""
        if said is Said.HELP and settings.help:
            key = help_key(webhook.route.name, one)
            return "help" if await self._remembered.first_help(key) else ""
        return ""

    async def _record(
        self, site: Site, webhook: Webhook, one: Incoming, contact: Contact, received: int
    ) -> str:
        """Record it; no rule decides on what a person sends."""
        settings, now, text = site.settings, now_ms(), one.text.encode("utf-8", "replace")
        message_id, record_id = new_id(), new_id()
        await site.contents.put(message_id, pieces(mask(one.text)))
        message = MessageRecord(
            message_id,
            received,
            now,
            direction=Direction.IN,
            controller=settings.controller.name,
            register=settings.register.name,
            client=webhook.route.name,
            upstream=webhook.route.adapter.name,
            channel=Channel.SMS,
            kind=Kind.SERVICE,
            topic=webhook.route.settings.topic,
            body_hash=hashlib.sha256(text).hexdigest(),
            size=len(text),
            sender=one.recipient[:64],
            content=message_id,
            recipients=(
                RecipientRecord(
                    record_id,
                    self._ring.text(subject_of(contact)),
                    Outcome.FORWARD,
                    "",
                    retain_until=years_later(now, settings.records.retention_years),
                ),
            ),
        )
        await site.recorder.store(Written.of(message), None, [contact.canonical])
        return record_id

    # -- telling ------------------------------------------------------------------

    async def _send(self, site: Site, webhook: Webhook, heard: Heard) -> None:
        """Send what is owed to the person by the provider's API."""
        owed = await self._remembered.collect(heard.key)
        text = _text(webhook, owed)
        if text and heard.contact is not None:
            await by_api(site, webhook, heard.one, heard.contact, text)

    async def _reply(self, site: Site, webhook: Webhook, heard: list[Heard]) -> str | None:
        """What the answer tells the person: what is owed, given to one call only."""
        for one in heard:
            owed = await self._remembered.collect(one.key)
            text = _text(webhook, owed)
            if not text or one.contact is None:
                continue
            try:
                return await in_answer(site, webhook, one.one, one.contact, text)
            except BaseException:
                await self._remembered.finish(one.key, owed)
                raise
        return None

    async def _pass_on(
        self, site: Site, webhook: Webhook, request: Request, heard: list[Heard]
    ) -> None:
        """Let the tool hear of it.

        Raises:
            ProviderAway: it did not.

        """
        ids = [one.record for one in heard if one.record]
        if not webhook.settings.forward_to:
            self._note(site, webhook, ids, Result.FORWARDED)
            return
        try:
            status = await site.outlets.tell(
                webhook.route, webhook.tool_url(request), request, webhook.settings.timeout
            )
        except ProviderAway as error:
            self._note(site, webhook, ids, Result.FAILED)
            site.metrics.fault("incoming_tool")
            log.warning("incoming_not_passed_on", route=webhook.route.name, cause=str(error))
            raise
        if status >= 500 or status in _AGAIN:
            self._note(site, webhook, ids, Result.DEFERRED, status)
            site.metrics.fault("incoming_tool")
            log.warning("incoming_not_passed_on", route=webhook.route.name, status=status)
            raise RegisterUnavailable(f"the tool answered {status}")
        if status >= 300:
            log.warning("incoming_refused_by_tool", route=webhook.route.name, status=status)
        self._note(site, webhook, ids, Result.FORWARDED if status < 300 else Result.REFUSED, status)

    @staticmethod
    def _note(
        site: Site, webhook: Webhook, ids: list[str], result: Result, status: int | None = None
    ) -> None:
        if ids:
            upstream = "tool" if webhook.settings.forward_to else ""
            site.recorder.note_alike(ids, now_ms(), result, status, "", upstream)


def _clean(one: Incoming) -> Incoming:
    """The message without what no record could hold: a NUL, half a surrogate pair."""
    text, recipient = (
        said.encode("utf-8", "replace").decode().replace("\0", "\ufffd")
        for said in (one.text, one.recipient)
    )
    return one._replace(text=text, recipient=recipient)


def _text(webhook: Webhook, owed: str) -> str:
    """The text of a reply by the name of its setting; "" where there is none (any more)."""
    settings = webhook.settings
    texts = {"confirm": settings.confirm, "restart": settings.restart, "help": settings.help}
    return texts.get(owed, "")


def _person(one: Incoming) -> Contact | None:
    """The person's number; None for a short code, a name or another channel's address."""
    try:
        return parse_destination(one.sender, Notation.PLUS)
    except ContactError:
        return None
