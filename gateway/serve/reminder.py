"""Held messages that nobody decides about: they expire, and the contact is told.

At most one notice a day.  A try that failed, or was cut off by a crash, is repeated
after an hour: a notice is never lost, and may arrive twice, with the same Message-ID.
"""

from __future__ import annotations

from typing import Final

import structlog
from prometheus_client import CollectorRegistry

from gateway.clock import Clock, now_ms
from gateway.contacts.digest import KeyRing
from gateway.contacts.email import parse_email
from gateway.evidence.metric import Metrics
from gateway.failure import GatewayError, RecordsUnavailable
from gateway.gate import Gate
from gateway.held.expiry import Expiry
from gateway.held.notice import DAY, LISTED, Digest, write
from gateway.held.reminded import Reminded, ReminderNote
from gateway.held.store import HeldStore
from gateway.records.act import Act
from gateway.records.content import ContentStore
from gateway.records.database import Database
from gateway.records.record import OutcomeRecord
from gateway.records.recorder import Recorder
from gateway.records.seal import Sealer
from gateway.register.register import Register
from gateway.serve.assembly import rule_set
from gateway.settings import Settings
from gateway.smtp.evidence import Evidence
from gateway.smtp.notice import NoticeRefused, Post, send_notice
from gateway.upstream.upstreams import Upstreams

log = structlog.get_logger(__name__)

_AGAIN: Final = 3_600_000
"""Milliseconds after which a notice that may not have been sent is sent again."""


class Reminder:
    """Expires what is too old and tells of what waits; see :meth:`run`."""

    def __init__(
        self,
        settings: Settings,
        *,
        register: Register,
        database: Database,
        ring: KeyRing,
        seal: Sealer,
        upstreams: Upstreams,
        clock: Clock = now_ms,
    ) -> None:
        self.settings = settings
        """As of the latest reload."""
        self._register = register
        self._ring = ring
        self._seal = seal
        self._upstreams = upstreams
        self._clock = clock
        self._contents = ContentStore(database, seal)
        self._held = HeldStore(database, seal, self._contents, clock)
        self._note = ReminderNote(database)
        self._expiry = Expiry(self._held, self, clock)

    async def run(self) -> None:
        """Do what is due now; raises GatewayError, and what was not done is due again."""
        settings = self.settings
        expired = await self._expiry.run(settings.held.expire_after)
        if expired:
            log.warning("held_expired", count=expired)
        if settings.held.notices:
            await self._remind(settings)

    async def tell(self, act: Act, outcomes: list[OutcomeRecord]) -> None:
        """Store what becomes of a message; durable when this returns.

        Raises:
            RecordsUnavailable: it may not have been stored.

        """
        recorder = self._recorder(self.settings)
        try:
            await recorder.act(act)
            recorder.note_outcome(*outcomes)
        finally:
            await recorder.aclose(self.settings.records.timeout)
        if recorder.outcomes_lost:
            raise RecordsUnavailable("the outcome of an expired message could not be stored")

    async def _remind(self, settings: Settings) -> None:
        now = self._clock()
        noted = await self._note.read()
        # A clock that went ahead and was put right must not silence it until then.
        told = noted.at if noted.at <= now else now - DAY
        sending = noted.sending if noted.sending is not None and noted.sending <= now else None
        if now - told < DAY or (sending is not None and now - sending < _AGAIN):
            return
        digest = Digest(
            at=now,
            since=told,
            waiting=await self._held.waiting_since(
                now - int(settings.held.remind_after * DAY), LISTED + 1
            ),
            expired=await self._held.expired_since(told, LISTED + 1),
            expire_after=settings.held.expire_after,
        )
        claimed = Reminded(told, now)
        if digest.empty or not await self._note.change(noted, claimed):
            return
        try:
            await self._send(settings, digest)
        except NoticeRefused as error:
            log.error("notice_refused", cause=str(error))
        except GatewayError as error:
            log.warning("notice_failed", cause=str(error))
            return
        await self._note.change(claimed, Reminded(now))

    async def _send(self, settings: Settings, digest: Digest) -> None:
        controller = settings.controller
        # Refused here, where it is told, rather than by the message's writer.
        parse_email(controller.contact_email)
        sender = settings.held.sender or f"suppression-gateway@{controller.domains[0]}"
        rules, text = rule_set(settings)
        recorder = self._recorder(settings)
        try:
            await recorder.announce(text)
            post = Post(
                rules=rules,
                gate=Gate(self._register),
                evidence=Evidence(
                    settings, rules, self._ring, recorder, Metrics(CollectorRegistry())
                ),
                recorder=recorder,
                contents=self._contents,
                upstreams=self._upstreams,
                owned_domains=frozenset(controller.domains),
            )
            await send_notice(
                post,
                write(
                    digest,
                    controller=controller.name,
                    sender=sender,
                    recipient=controller.contact_email,
                ),
                sender=sender,
                recipient=controller.contact_email,
                upstream=settings.held.upstream or settings.smtp.upstreams[0].name,
            )
        finally:
            await recorder.aclose()

    def _recorder(self, settings: Settings) -> Recorder:
        return Recorder(
            self._register.connections.wire,
            self._seal,
            timeout=settings.records.timeout,
            backlog_max=settings.records.backlog_max,
        )
