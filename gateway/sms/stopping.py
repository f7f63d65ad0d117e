"""What a STOP sets and a START lifts.

A STOP is a ban like any other.  Beside it is noted what exactly it set, and when, so
that a START to the same number lifts just that: where another objection of the same
scope stood already, or has come since, nothing is lifted.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import structlog

from gateway.clock import now_ms
from gateway.contacts.contact import Channel, Contact
from gateway.contacts.digest import KeyRing, subject_of
from gateway.entry.entry import Ban, ConsentStatus, Entry, Scope
from gateway.entry.event import Event, EventKind
from gateway.hook.hook import Incoming
from gateway.hook.word import Meaning
from gateway.register.register import Register
from gateway.settings.sms import StopScope
from gateway.sms.remembered import Remembered, stopped_key
from gateway.sms.route import sender_key
from gateway.sms.webhook import Webhook

log = structlog.get_logger(__name__)

EVIDENCE = 500
"""Characters of the person's words that the event keeps."""
_ELSEWHERE = "-"
"""Noted of a STOP of what was forbidden already: no START lifts that."""
_LATE = 60_000
"""Milliseconds by which the provider's clock may be behind ours."""


Archived = Callable[[Sequence[str]], Awaitable[list[str]]]
"""The archived events of these digests, in JSON."""


class Stops:
    """Sets and lifts bans for what people write."""

    def __init__(
        self, register: Register, ring: KeyRing, remembered: Remembered, archived: Archived
    ) -> None:
        self._register = register
        self._archived = archived
        self._ring = ring
        self._remembered = remembered

    async def stop(
        self, webhook: Webhook, one: Incoming, contact: Contact, argument: str | None
    ) -> bool:
        """Ban, in force when this returns; whether the person is to hear of it now.

        Raises:
            RegisterUnavailable: the ban may not be in force.

        """
        scope, channel, topic = _meant(webhook, argument)
        event = self._event(webhook, one, EventKind.BAN, now_ms(), scope, channel, topic)
        keys = self._keys(webhook, contact)
        name = _name(one, event)
        entry = await self._register.show(contact)
        noted = (await self._remembered.marks(keys)).get(name)
        standing = _standing(entry, event)
        ours = noted is not None and standing == [int(noted) if noted.isdigit() else -1]
        if not standing or _consented_since(entry, max(standing)):
            await self._remembered.unmark(keys, f"told:{name}")
        # Before the ban: should we end in between, nothing can be lifted by mistake.
        value = str(event.at) if ours or not standing else _ELSEWHERE
        await self._remembered.mark(keys[0], name, value)
        await self._register.apply_many([(event, contact)])
        return await self._remembered.mark_first(keys[0], f"told:{name}")

    async def start(self, webhook: Webhook, one: Incoming, contact: Contact, said: Meaning) -> bool:
        """Lift what STOPs to this number have set; whether anything was lifted.

        Raises:
            RegisterUnavailable: it may not be lifted.

        """
        wanted = None if said.argument is None else webhook.topics.get(said.argument)
        if said.argument is not None and wanted is None:
            return False
        keys = self._keys(webhook, contact)
        marks = await self._remembered.marks(keys)
        entry = await self._register.show(contact)
        lifted = False
        for name, value in marks.items():
            number, scope, channel, topic = _read(name)
            if number != _number(one) or not value.isdigit() or (wanted and topic != wanted):
                continue
            at = int(value)
            if one.received is not None and one.received + _LATE < at:
                continue  # it was written before the STOP, and came after it
            # Of the STOP's own time: whatever has been forbidden since stays forbidden.
            event = self._event(webhook, one, EventKind.UNBAN, at, scope, channel, topic)
            if _standing(entry, event) == [at] and not await self._elsewhere(
                webhook, contact, event
            ):
                await self._register.apply_many([(event, contact)])
                lifted = True
            await self._remembered.unmark(keys, name, f"told:{name}")
        return lifted

    async def _elsewhere(self, webhook: Webhook, contact: Contact, lifted: Event) -> bool:
        """Whether another objection of the same scope came since, dated before the STOP.

        The entry keeps one ban of each scope and would not show it.
        """
        # The log first: what leaves it meanwhile is in the archive then.
        events = await self._register.history(contact)
        digests = [str(digest) for digest in self._ring.digests(subject_of(contact))]
        events += map(Event.from_json, await self._archived(digests))
        objections = (EventKind.BAN, EventKind.WITHDRAW, EventKind.ERASE)
        own = _source(webhook)
        since = min(
            (event.recorded for event in events if event.source == own and event.at == lifted.at),
            default=lifted.at,
        )
        return any(
            event.source != own
            and event.recorded >= since
            and event.kind in objections
            and _same(event, lifted)
            for event in events
        )

    def _event(
        self,
        webhook: Webhook,
        one: Incoming,
        kind: EventKind,
        at: int,
        scope: Scope,
        channel: Channel | None,
        topic: str | None,
    ) -> Event:
        return Event(
            kind=kind,
            at=at,
            actor=_source(webhook),
            source=_source(webhook),
            evidence=one.text[:EVIDENCE],
            scope=scope,
            channel=channel,
            topic=topic,
        )

    def _keys(self, webhook: Webhook, contact: Contact) -> list[bytes]:
        digests = self._ring.digests(subject_of(contact))
        return [stopped_key(webhook.route.name, str(digest)) for digest in digests]


def _source(webhook: Webhook) -> str:
    return f"sms:{webhook.route.name}"


def _meant(webhook: Webhook, argument: str | None) -> tuple[Scope, Channel | None, str | None]:
    """The scope of a STOP: of a topic that is known, else what the settings say."""
    topic = None if argument is None else webhook.topics.get(argument)
    if topic is not None:
        return Scope.TOPIC, Channel.SMS, topic
    if argument is not None:
        log.info("stop_of_unknown_topic", route=webhook.route.name, taken_for=webhook.settings.stop)
    if webhook.settings.stop is StopScope.SENDER:
        return Scope.TOPIC, Channel.SMS, webhook.route.settings.topic
    if webhook.settings.stop is StopScope.CHANNEL:
        return Scope.CHANNEL, Channel.SMS, None
    return Scope.ALL, None, None


def _number(one: Incoming) -> str:
    return sender_key(one.recipient)


def _name(one: Incoming, event: Event) -> str:
    """What a STOP is noted under: the number it went to, and what it forbids."""
    return "\0".join((_number(one), event.scope or "", event.channel or "", event.topic or ""))


def _read(name: str) -> tuple[str, Scope, Channel | None, str | None]:
    number, scope, channel, topic = (*name.split("\0"), "", "", "", "")[:4]
    if number.startswith("told:") or not scope:
        return "", Scope.ALL, None, None
    return number, Scope(scope), Channel(channel) if channel else None, topic or None


def _standing(entry: Entry, event: Event) -> list[int]:
    """When what the event is about was forbidden, by bans and withdrawals of its scope."""
    withdrawn = [
        consent.as_ban() for consent in entry.consents if consent.status is ConsentStatus.WITHDRAWN
    ]
    key = (event.scope, event.channel or "", event.topic or "", b"")
    return [ban.at for ban in (*entry.bans, *withdrawn) if ban.key == key]


def _consented_since(entry: Entry, at: int) -> bool:
    return any(one.status is ConsentStatus.GRANTED and one.at > at for one in entry.consents)


def _same(event: Event, lifted: Event) -> bool:
    if event.kind is EventKind.ERASE:
        return lifted.scope is Scope.ALL
    if event.kind is EventKind.WITHDRAW:
        whole = event.topic == "*"
        scope = Scope.CHANNEL if whole else Scope.TOPIC
        of = Ban(scope, event.at, event.channel, None if whole else event.topic)
    else:
        of = Ban(event.scope or Scope.ALL, event.at, event.channel, event.topic)
    return of.key == (lifted.scope, lifted.channel or "", lifted.topic or "", b"")
