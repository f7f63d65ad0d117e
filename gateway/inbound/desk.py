"""What comes of a message that came in: a ban, a suppression, or nothing.

Whatever it asks for is in force before the sender hears 250, and recorded; where register
or archive do not answer, the sender hears 4xx and brings it again.  What a person says again
while it stands is not recorded again.

Who is believed: a person by the link's token, which only a message of ours holds; a bounce
or complaint by the network it comes from, which the dialogue has asked already.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import structlog

from gateway.bounce.read import read_report
from gateway.bounce.report import Complaint, Form, Report
from gateway.clock import now_ms, years_later
from gateway.contacts.contact import Channel, Contact, ContactError
from gateway.contacts.digest import KeyRing, subject_of
from gateway.contacts.email import parse_email
from gateway.decision.facts import Kind, Outcome
from gateway.entry.entry import DeliveryReason, Scope
from gateway.entry.event import Event, EventKind
from gateway.entry.repetition import in_force
from gateway.evidence.metric import Metrics
from gateway.failure import RegisterUnavailable
from gateway.held.shelf import ShelvedContents
from gateway.inbound.addressee import Role
from gateway.inbound.request import read_request
from gateway.records.form import Written
from gateway.records.identifier import new_id, new_ids
from gateway.records.record import Direction, MessageRecord, RecipientRecord, Result
from gateway.records.recorder import Recorder
from gateway.register.register import Register
from gateway.settings import Settings
from gateway.unsubscribe.link import DAY_MS, Link, LinkError, Links, Purpose

log = structlog.get_logger(__name__)

_FOR_EVER = 1_000_000
"""Days: an objection counts however old the link is, for it needs no form (GDPR 21)."""
_TAKEN = b"250 2.0.0 Ok\r\n"
_IN_FORCE = b"250 2.0.0 Ok: it is in force\r\n"


@dataclass(frozen=True, slots=True)
class Desk:
    """Takes messages for the addresses of one configuration."""

    settings: Settings
    register: Register
    ring: KeyRing
    links: Links
    recorder: Recorder
    contents: ShelvedContents
    metrics: Metrics
    reading: Mapping[Role, asyncio.Lock] = field(
        default_factory=lambda: {role: asyncio.Lock() for role in Role}
    )
    """One message at a time is read: threads that search texts take the loop its turns."""

    async def take(self, role: Role, tags: Sequence[str], message: bytes) -> bytes:
        """Do what a message says; the reply to its final dot.

        Raises:
            RegisterUnavailable, RecordsUnavailable: it may not be done; to be sent again.

        """
        if role is Role.UNSUBSCRIBE:
            return await self._unsubscribe(tags, message)
        return await self._report(message)

    # -- what a person writes -----------------------------------------------------

    async def _unsubscribe(self, tags: Sequence[str], message: bytes) -> bytes:
        async with self.reading[Role.UNSUBSCRIBE]:
            request = await asyncio.to_thread(read_request, message, tags)
        links = self._links(request.tokens)
        if not links:
            self.metrics.inbound("unsubscribe_without_link")
            log.info("unsubscribe_without_link")
            return self._no_link()
        now = now_ms()
        # Every one that the message names: the reply is true for each.
        changes = [(_refusal(link, request.words, now), link.contact) for link in links]
        changes = [change for change in changes if not await self._stands(*change)]
        if not changes:
            # Of a message under way beside this one it may not be acknowledged yet.
            await self.register.settle()
            self.metrics.inbound("unsubscribe_again")
            return _IN_FORCE
        topics = {event.topic for event, _ in changes}
        topic = topics.pop() if len(topics) == 1 else None
        contacts = list(dict.fromkeys(contact for _, contact in changes))
        # The record first: what is in force already is not recorded again.
        await self._record(message, contacts, topic=topic, words=request.words)
        await self.register.apply_many(changes)
        self.metrics.inbound("unsubscribe")
        log.info("unsubscribed", source="mailto", topic=topic)
        return _IN_FORCE

    async def _stands(self, event: Event, contact: Contact) -> bool:
        try:
            return in_force(event, await self.register.show(contact))
        except RegisterUnavailable:
            # One that is not whole takes refusals all the same; one that is away will say so.
            return False

    def _links(self, tokens: Iterable[str]) -> list[Link]:
        """Those that are a person's link to refuse by, each once."""
        found: dict[Link, None] = {}
        for token in tokens:
            try:
                link = self.links.open(token, now_ms(), _FOR_EVER)
            except LinkError:
                continue
            if link.purpose is Purpose.REFUSE:
                found[link] = None
        return list(found)

    def _no_link(self) -> bytes:
        """What somebody hears whose message tells nobody: From proves nothing."""
        contact = self.settings.controller.contact_email
        text = f"Nobody is known by this; use the link in our message, or write to {contact}"
        return b"550 5.7.1 %b\r\n" % text.encode("ascii", "replace")

    # -- what mail servers and mailbox providers tell -----------------------------

    async def _report(self, message: bytes) -> bytes:
        async with self.reading[Role.BOUNCE]:
            report = await asyncio.to_thread(read_report, message)
        changes = self._bounces(report) if report.complaint is None else []
        if report.complaint is not None:
            changes = self._complaints(report.complaint)
        self._count(report, len(changes))
        if changes:
            await self.register.apply_many(changes)
            await self._record(message, [contact for _, contact in changes])
        log.info(
            "report_taken",
            form=report.form.value,
            suppressed=len(changes),
            spared=report.spared,
            feedback=report.complaint.feedback.value if report.complaint else None,
        )
        return _TAKEN

    def _bounces(self, report: Report) -> list[tuple[Event, Contact]]:
        changes: dict[Contact, Event] = {}
        linked = {link.contact.canonical for link in self._links(report.tokens)}
        for failure in report.failures:
            # Any client of the mail server may have named another as the one it wrote to
            # (ORCPT).  Only our link in what came back shows that it is so.
            contact = _mailbox(failure.written_to)
            if contact is None or contact.canonical not in linked:
                contact = _mailbox(failure.recipient)
            if contact is not None:
                evidence = f"{report.form.value} {failure.status or '-'} {failure.trouble.value}"
                changes[contact] = self._given_up(failure.reason, evidence)
        return [(event, contact) for contact, event in changes.items()]

    def _complaints(self, complaint: Complaint) -> list[tuple[Event, Contact]]:
        """What a complaint changes, for the link's person, else for whom it names."""
        evidence = f"feedback {complaint.feedback.value}"
        if complaint.objects:
            event = Event(
                kind=EventKind.BAN,
                at=now_ms(),
                actor="gateway",
                source="complaint",
                evidence=evidence,
                scope=Scope.CHANNEL,
                channel=Channel.EMAIL,
            )
        elif complaint.reason is not None:
            event = self._given_up(complaint.reason, evidence)
        else:
            return []
        for link in self._links(complaint.tokens)[:1]:
            if link.contact.channel is Channel.EMAIL:
                return [(event, link.contact)]
        return [(event, one) for one in map(_mailbox, complaint.recipients) if one is not None]

    def _given_up(self, reason: DeliveryReason, evidence: str) -> Event:
        complaint = reason is DeliveryReason.COMPLAINT
        delivery, now = self.settings.delivery, now_ms()
        days = delivery.complaint_days if complaint else delivery.bounce_days
        return Event(
            kind=EventKind.UNDELIVERABLE,
            at=now,
            actor="gateway",
            source="complaint" if complaint else "bounce",
            evidence=evidence,
            delivery=reason,
            expires=now + days * DAY_MS if days else None,
        )

    def _count(self, report: Report, changes: int) -> None:
        inbound = self.metrics.inbound
        if report.complaint is not None:
            inbound(f"feedback_{report.complaint.feedback.value}")
        elif report.form is Form.NONE:
            inbound("no_report")
        else:
            inbound("hard_bounce", changes)
            inbound("other_bounce", report.spared)

    # -- records ------------------------------------------------------------------

    async def _record(
        self,
        message: bytes,
        contacts: Sequence[Contact],
        *,
        topic: str | None = None,
        words: str = "",
    ) -> None:
        """Record it (the notice, section 6); of bounces no word is kept."""
        settings, now, message_id = self.settings, now_ms(), new_id()
        if words:
            await self.contents.put(message_id, _pieces(words))
        ids = new_ids(len(contacts))
        # Of 64 MiB it takes a quarter of a second.
        digest = await asyncio.to_thread(hashlib.sha256, message)
        retain = years_later(now, settings.records.retention_years)
        record = MessageRecord(
            message_id,
            now,
            now,
            direction=Direction.IN,
            controller=settings.controller.name,
            register=settings.register.name,
            client="inbound",
            channel=Channel.EMAIL,
            kind=Kind.SERVICE,
            topic=topic,
            body_hash=digest.hexdigest(),
            size=len(message),
            content=message_id if words else None,
            recipients=tuple(
                RecipientRecord(
                    record_id,
                    self.ring.text(subject_of(contact)),
                    Outcome.FORWARD,
                    "",
                    retain_until=retain,
                )
                for record_id, contact in zip(ids, contacts, strict=True)
            ),
        )
        canonical = [contact.canonical for contact in contacts]
        await self.recorder.store(Written.of(record), None, canonical)
        self.recorder.note_alike(ids, now, Result.FORWARDED)


def _refusal(link: Link, words: str, now: int) -> Event:
    """The ban of a link's topic in its channel, or of the channel."""
    return Event(
        kind=EventKind.BAN,
        at=now,
        actor="person",
        source="mailto",
        evidence=words,
        scope=Scope.CHANNEL if link.topic is None else Scope.TOPIC,
        channel=link.contact.channel,
        topic=link.topic,
    )


def _mailbox(address: str) -> Contact | None:
    """The contact of an address that a report names; None: it is none."""
    try:
        return parse_email(address)
    except ContactError:
        return None


async def _pieces(text: str) -> AsyncIterator[bytes]:
    """A text as the store of contents takes it."""
    yield text.encode()
