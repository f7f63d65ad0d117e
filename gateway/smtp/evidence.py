"""From a transaction to its record: what will prove the decision years later.

Everything here is built from facts that are at hand; nothing waits.  The one thing
that is sent from here by itself is the record of recipients that never became part
of a message (rejected or refused at RCPT).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime
from functools import lru_cache
from typing import NamedTuple

from gateway.clock import Clock, now_ms
from gateway.contacts.contact import Contact
from gateway.contacts.digest import KeyRing, subject_of
from gateway.decision.facts import Facts, Kind
from gateway.decision.rule import RuleSet
from gateway.gate import Verdict
from gateway.held.message import HeldMessage, HeldRecipient
from gateway.message.headers import HeaderSection
from gateway.message.traits import Traits
from gateway.records.identifier import new_id
from gateway.records.record import (
    Fact,
    MessageRecord,
    OutcomeRecord,
    RecipientRecord,
    Result,
)
from gateway.records.recorder import Recorder
from gateway.settings import Settings
from gateway.settings.model import SmtpClient
from gateway.smtp.metric import Metrics
from gateway.smtp.replies import is_temporary
from gateway.smtp.spool import Spool
from gateway.wire.path import MailArguments, RcptArguments
from gateway.wire.reply import Reply

_FACTS = Facts._fields
_DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class Peer:
    """The client's side of a connection, as the trace field tells it."""

    address: str
    helo: str
    extended: bool
    secure: bool
    login: bool


@dataclass(slots=True)
class Draft:
    """What is known of a message from its MAIL on."""

    client: SmtpClient
    peer: Peer
    mail: MailArguments
    id: str = field(default_factory=new_id)
    received: int = field(default_factory=now_ms)


class Judged(NamedTuple):
    """A recipient with its verdict."""

    rcpt: RcptArguments
    contact: Contact
    verdict: Verdict


class Message(NamedTuple):
    """A message that has been judged: its record, and what goes with it."""

    draft: Draft
    record: MessageRecord
    judged: Sequence[Judged]
    header: bytes
    trace: bytes
    """The Received field that is put in front."""

    @property
    def id(self) -> str:
        """The message's id, also in its Received field and in the reply."""
        return self.record.id

    @property
    def kind(self) -> Kind:
        """The kind it was decided as."""
        return self.record.kind


class Evidence:
    """Builds the records of one site."""

    def __init__(
        self,
        settings: Settings,
        rules: RuleSet,
        ring: KeyRing,
        recorder: Recorder,
        metrics: Metrics,
        clock: Clock = now_ms,
    ) -> None:
        self._settings = settings
        self._rules = rules
        self._ring = ring
        self._recorder = recorder
        self._metrics = metrics
        self._clock = clock
        self._content_kinds = frozenset(settings.records.content_of)
        self._retained = round(settings.records.retention_years * 365.25) * _DAY_MS
        # A tool sends from a handful of addresses, message after message.
        self._sender_digest = lru_cache(maxsize=1024)(
            lambda address: ring.text("e:" + address.casefold())
        )

    # -- the message --------------------------------------------------------------

    def message(
        self,
        draft: Draft,
        traits: Traits,
        headers: HeaderSection,
        spool: Spool,
        judged: Sequence[Judged],
        *,
        forwards: bool,
        holds: bool,
    ) -> Message:
        """The record of a whole message and what is stored and sent with it.

        ``forwards`` and ``holds``: whether any recipient is forwarded to or held.
        """
        keeps = self.keeps_content(traits.kind, forwards, holds)
        record = self._record(
            draft,
            traits,
            [(one.contact, one.verdict) for one in judged],
            message_id=draft.id,
            campaign=(headers.first(draft.client.campaign_header.lower().encode()) or "")[:200],
            body_hash=spool.body_hash,
            size=len(spool.header) + 2 * spool.separated + spool.body_size,
            content=draft.id if keeps else None,
        )
        return Message(draft, record, judged, spool.header, self._trace(draft, len(judged)))

    def keeps_content(self, kind: Kind, forwards: bool, holds: bool) -> bool:
        """Whether the message's content is stored (the notice's section 6; settings)."""
        if holds:
            return True
        if not forwards and not self._settings.records.content_of_suppressed:
            return False
        return kind in self._content_kinds

    def _record(
        self,
        draft: Draft,
        traits: Traits,
        verdicts: Sequence[tuple[Contact, Verdict]],
        *,
        message_id: str,
        campaign: str = "",
        body_hash: str = "",
        size: int = 0,
        content: str | None = None,
    ) -> MessageRecord:
        settings = self._settings
        now = self._clock()
        retain_until = now + self._retained
        return MessageRecord(
            id=message_id,
            received=draft.received,
            decided=now,
            controller=settings.controller.name,
            register=settings.register.name,
            client=draft.client.name,
            campaign=campaign or None,
            upstream=",".join(draft.client.upstreams),
            channel=traits.channel,
            kind_declared=traits.kind_declared,
            kind=traits.kind,
            topic=traits.topic,
            product_group=traits.product_group,
            body_hash=body_hash,
            size=size,
            opt_out=traits.opt_out,
            sender=",".join(traits.sender_domains)[:512],
            sender_digest=self._sender_digest(draft.mail.address) if draft.mail.address else "",
            rule_set=self._rules.name,
            rule_set_version=self._rules.version,
            rule_set_hash=self._rules.hash,
            content=content,
            recipients=tuple(self._recipients(verdicts, traits, retain_until)),
        )

    def _recipients(
        self, verdicts: Sequence[tuple[Contact, Verdict]], traits: Traits, retain_until: int
    ) -> Iterator[RecipientRecord]:
        by = f" ({traits.turned_marketing_by})" if traits.turned_marketing_by else ""
        digest_of = self._ring.text
        # Recipients that are alike share what is said of them.
        said: dict[Facts, tuple[Mapping[str, Fact], str]] = {}
        for contact, verdict in verdicts:
            facts = verdict.facts
            if facts not in said:
                how = "from the register" if facts.known else "unknown, taken as natural person"
                said[facts] = facts_of(facts), f"{facts.person_class}: {how}{by}"
            told, address_class = said[facts]
            yield RecipientRecord(
                id=new_id(),
                digest=digest_of(subject_of(contact)),
                outcome=verdict.decision.outcome,
                rule=verdict.decision.rule.id,
                address_class=address_class,
                tier=verdict.tier,
                facts=told,
                register_position=verdict.position,
                retain_until=retain_until,
            )

    def _trace(self, draft: Draft, recipients: int) -> bytes:
        """The Received field (RFC 5321 section 4.4, protocol names of RFC 3848, 6531).

        It names no recipient: with several it would tell each of the others.
        """
        peer = draft.peer
        protocol = "SMTP"
        if peer.extended:
            protocol = "UTF8SMTP" if "SMTPUTF8" in draft.mail.params else "ESMTP"
            protocol += "S" * peer.secure + "A" * peer.login
        literal = f"IPv6:{peer.address}" if ":" in peer.address else peer.address
        now = _date(self._clock() // 1000)
        return (
            f"Received: from {peer.helo} ([{literal}])\r\n"
            f"\tby {self._settings.smtp.hostname} with {protocol} id {draft.id};\r\n"
            f"\t{now}\r\n"
        ).encode("ascii", "replace")

    # -- held ---------------------------------------------------------------------

    def held(self, message: Message, indices: Sequence[int]) -> HeldMessage:
        """What is stored of a message that waits for a person."""
        draft = message.draft
        record = message.record
        return HeldMessage(
            message_id=message.id,
            client=record.client,
            upstream=record.upstream,
            kind=record.kind,
            topic=record.topic,
            content_id=message.id,
            sender=draft.mail.address,
            params=_words(draft.mail.params),
            recipients=tuple(
                HeldRecipient(
                    address=message.judged[index].rcpt.address,
                    record_id=record.recipients[index].id,
                    digest=record.recipients[index].digest,
                    rule=record.recipients[index].rule,
                    reason=message.judged[index].verdict.decision.rule.reason.en,
                    facts=record.recipients[index].facts,
                    params=_words(message.judged[index].rcpt.params),
                )
                for index in indices
            ),
        )

    # -- outcomes -----------------------------------------------------------------

    def outcome(
        self,
        message: Message,
        indices: Sequence[int],
        result: Result,
        reply: Reply | None = None,
        upstream: str = "",
    ) -> None:
        """Note what came of the message for these recipients."""
        self._note(message.record, indices, result, reply, upstream)

    def _note(
        self,
        record: MessageRecord,
        indices: Sequence[int],
        result: Result,
        reply: Reply | None = None,
        upstream: str = "",
    ) -> None:
        if not indices:
            return
        recipients = record.recipients
        counted = self._metrics.recipient
        for index in indices:
            counted(record.client, record.kind, recipients[index].rule, result)
        ids = [recipients[index].id for index in indices]
        outcome = OutcomeRecord(
            record_id=ids[0],
            at=self._clock(),
            result=result,
            reply_code=None if reply is None else reply.code,
            reply_text="" if reply is None else reply.text,
            upstream=upstream,
        )
        self._recorder.note_alike(outcome, ids)

    def released(
        self, draft: Draft, traits: Traits, verdicts: Sequence[Verdict], content: str
    ) -> MessageRecord:
        """The record of a held message's release, decided anew."""
        pairs = [(verdict.contact, verdict) for verdict in verdicts]
        return self._record(draft, traits, pairs, message_id=draft.id, content=content)

    # -- recipients that never became part of a message ---------------------------

    async def at_rcpt(
        self,
        draft: Draft,
        traits: Traits,
        judged: Sequence[Judged],
        result: Result,
        replies: Sequence[Reply | None] = (),
        upstream: str = "",
    ) -> list[str]:
        """Record recipients answered 4xx or 5xx at RCPT; returns their record ids.

        Raises:
            RecordsUnavailable: it could not be stored.

        """
        record = self._record(
            draft, traits, [(one.contact, one.verdict) for one in judged], message_id=new_id()
        )
        await self._recorder.append(
            record, None, [one.rcpt.address for one in judged], draft.mail.address
        )
        for index in range(len(judged)):
            reply = replies[index] if replies else None
            outcome = result
            if reply is not None:
                outcome = Result.DEFERRED if is_temporary(reply) else Result.REFUSED
            self._note(record, [index], outcome, reply, upstream)
        return [recipient.id for recipient in record.recipients]


@lru_cache(maxsize=4)
def _date(seconds: int) -> str:
    """The time as a header field writes it (RFC 5322 section 3.3)."""
    return format_datetime(datetime.fromtimestamp(seconds, UTC))


def facts_of(facts: Facts) -> Mapping[str, Fact]:
    """The facts as the record keeps them."""
    # Enums are written as their values; they are strings to every reader.
    return dict(zip(_FACTS, facts, strict=True))


def _words(params: Mapping[str, str | None]) -> tuple[str, ...]:
    """ESMTP parameters as they were written."""
    return tuple(name if value is None else f"{name}={value}" for name, value in params.items())
