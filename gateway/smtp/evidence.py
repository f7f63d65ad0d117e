"""From a transaction to its record: what will prove the decision years later.

Everything here is built from facts that are at hand; nothing waits.  The one thing
that is sent from here by itself is the record of recipients that never became part
of a message (rejected or refused at RCPT).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from email.utils import format_datetime
from functools import lru_cache
from operator import attrgetter, itemgetter
from typing import NamedTuple

from gateway.clock import Clock, now_ms
from gateway.contacts.contact import Contact
from gateway.contacts.digest import KeyRing
from gateway.decision.facts import Kind
from gateway.decision.rule import RuleSet
from gateway.evidence.metric import Metrics
from gateway.evidence.scribe import Scribe, facts_of
from gateway.gate import Verdict
from gateway.held.message import HeldMessage, HeldRecipient
from gateway.message.headers import HeaderSection
from gateway.message.traits import Traits
from gateway.records.form import Written
from gateway.records.identifier import new_id
from gateway.records.record import MessageRecord, Result
from gateway.records.recorder import Recorder
from gateway.settings import Settings
from gateway.smtp.draft import Draft, origin
from gateway.smtp.replies import is_temporary
from gateway.smtp.spool import Spool
from gateway.wire.path import RcptArguments
from gateway.wire.reply import Reply

_rule = attrgetter("decision.rule.id")
_address = attrgetter("address")


class Judged(NamedTuple):
    """A recipient with its verdict."""

    rcpt: RcptArguments
    contact: Contact
    verdict: Verdict


class Message:
    """A message that has been judged: its record, and what goes with it."""

    __slots__ = ("addresses", "draft", "header", "rcpts", "trace", "traits", "verdicts", "written")

    def __init__(
        self,
        draft: Draft,
        traits: Traits,
        written: Written,
        rcpts: Sequence[RcptArguments],
        verdicts: Sequence[Verdict],
        header: bytes,
        trace: bytes,
    ) -> None:
        self.draft = draft
        self.traits = traits
        self.written = written
        self.rcpts = rcpts
        self.addresses = list(map(_address, rcpts))
        """Of the recipients, in the record's order."""
        self.verdicts = verdicts
        self.header = header
        self.trace = trace
        """The Received field that is put in front."""

    @property
    def id(self) -> str:
        """The message's id, also in its Received field and in the reply."""
        return self.draft.id

    @property
    def kind(self) -> Kind:
        """The kind it was decided as."""
        return self.traits.kind


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
        self._scribe = Scribe(settings, rules, ring)
        self._recorder = recorder
        self._metrics = metrics
        self._clock = clock
        self._of_suppressed = settings.records.content_of_suppressed
        self._hostname = settings.smtp.hostname

    # -- the message --------------------------------------------------------------

    def message(
        self,
        draft: Draft,
        traits: Traits,
        headers: HeaderSection,
        spool: Spool,
        rcpts: Sequence[RcptArguments],
        verdicts: Sequence[Verdict],
        *,
        forwards: bool,
        holds: bool,
    ) -> Message:
        """The record of a whole message and what is stored and sent with it.

        ``verdicts`` are those on ``rcpts``, in order; ``forwards`` and ``holds``:
        whether any recipient is forwarded to or held.
        """
        style = self._scribe.style(draft.client, traits)
        keeps = holds or (style.content and (forwards or self._of_suppressed))
        campaign = headers.first(style.campaign)
        now = self._clock()
        written = self._scribe.write(
            style.form,
            draft.mail.address,
            draft.id,
            draft.received,
            now,
            traits.turned_marketing_by,
            verdicts,
            campaign[:200] if campaign else None,
            spool.body_hash,
            len(spool.header) + 2 * spool.separated + spool.body_size,
            draft.id if keeps else None,
        )
        trace = self._trace(draft, now)
        return Message(draft, traits, written, rcpts, verdicts, spool.header, trace)

    def _trace(self, draft: Draft, now: int) -> bytes:
        """The Received field.

        It names no recipient: with several it would tell each of the others.
        """
        came = origin(draft.peer, self._hostname, "SMTPUTF8" in draft.mail.params)
        return b"%b%b;\r\n\t%b\r\n" % (came, draft.id.encode(), _date(now // 1000))

    # -- held ---------------------------------------------------------------------

    def held(self, message: Message, indices: Sequence[int]) -> HeldMessage:
        """What is stored of a message that waits for a person."""
        draft = message.draft
        record = message.written
        return HeldMessage(
            message_id=message.id,
            client=draft.client.name,
            upstream=",".join(draft.client.upstreams),
            kind=message.kind,
            topic=message.traits.topic,
            content_id=message.id,
            sender=draft.mail.address,
            params=_words(draft.mail.params),
            recipients=tuple(
                HeldRecipient(
                    address=message.rcpts[index].address,
                    record_id=record.ids[index],
                    digest=record.digests[index],
                    rule=message.verdicts[index].decision.rule.id,
                    reason=message.verdicts[index].decision.rule.reason.en,
                    facts=facts_of(message.verdicts[index].facts),
                    params=_words(message.rcpts[index].params),
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
        if not indices:
            return
        ids, verdicts = message.written.ids, message.verdicts
        if len(indices) == 1:
            (index,) = indices
            ids, verdicts = (ids[index],), (verdicts[index],)
        elif len(indices) < len(ids):
            some = itemgetter(*indices)
            ids, verdicts = some(ids), some(verdicts)
        self._note(message.draft, message.traits, ids, verdicts, result, reply, upstream)

    def _note(
        self,
        draft: Draft,
        traits: Traits,
        ids: Sequence[str],
        verdicts: Sequence[Verdict],
        result: Result,
        reply: Reply | None,
        upstream: str,
    ) -> None:
        rules = list(map(_rule, verdicts))
        self._metrics.recipients(draft.client.name, traits.kind, rules, result)
        code, text = (None, "") if reply is None else (reply.code, reply.text)
        self._recorder.note_alike(ids, self._clock(), result, code, text, upstream)

    # -- recipients that never became part of a message ---------------------------

    async def at_rcpt(
        self,
        draft: Draft,
        traits: Traits,
        judged: Sequence[Judged],
        result: Result,
        replies: Sequence[Reply | None] = (),
        upstream: str = "",
    ) -> Sequence[str]:
        """Record recipients answered 4xx or 5xx at RCPT; returns their record ids.

        Raises:
            RecordsUnavailable: it could not be stored.

        """
        verdicts = [one.verdict for one in judged]
        by = traits.turned_marketing_by
        form = self._scribe.style(draft.client, traits).form
        record = self._scribe.write(
            form, draft.mail.address, new_id(), draft.received, self._clock(), by, verdicts
        )
        addresses = [one.rcpt.address for one in judged]
        await self._recorder.store(record, None, addresses, draft.mail.address)
        for index, verdict in enumerate(verdicts):
            reply = replies[index] if replies else None
            outcome = result
            if reply is not None:
                outcome = Result.DEFERRED if is_temporary(reply) else Result.REFUSED
            self._note(draft, traits, (record.ids[index],), (verdict,), outcome, reply, upstream)
        return record.ids

    # -- a held message that is released ------------------------------------------

    def released(
        self, draft: Draft, traits: Traits, verdicts: Sequence[Verdict], content: str
    ) -> MessageRecord:
        """The record of a held message's release, decided anew."""
        return self._scribe.record(
            draft.client,
            draft.mail.address,
            draft.id,
            draft.received,
            self._clock(),
            traits,
            verdicts,
            content,
        )


@lru_cache(maxsize=4)
def _date(seconds: int) -> bytes:
    """The time as a header field writes it (RFC 5322 section 3.3)."""
    return format_datetime(datetime.fromtimestamp(seconds, UTC)).encode()


def _words(params: Mapping[str, str | None]) -> tuple[str, ...]:
    """ESMTP parameters as they were written."""
    return tuple(name if value is None else f"{name}={value}" for name, value in params.items())
