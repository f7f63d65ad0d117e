"""From the final dot to its reply: judge, store, record, hand over, tell.

The order is what keeps the promises:

1. The whole message is here.  All recipients are judged with everything it shows.
2. What must outlive us is stored: content, held copy, and last the record.
3. If the allowed recipients are not exactly those the upstream has accepted, its
   transaction is begun anew with the allowed ones.  No body octet has left so far.
4. The held copy is kept.  If the look-up that step 1 rests on is older than ``register.settle``
   when the upstream asks for the first octet, it is repeated: a change that was
   acknowledged before the hand-over begins is always seen (``docs/flow.md`` has the
   argument).
5. The upstream's reply to the final dot is the client's.

A fault of ours or of the upstream's is 4xx: the client keeps the message.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

import structlog

from gateway.decision.facts import Kind, Outcome
from gateway.failure import GatewayError, RegisterUnavailable
from gateway.gate import Verdict, judged_with
from gateway.message.headers import HeaderSection
from gateway.message.optout import READABLE, in_text
from gateway.message.traits import CONTROL_HEADERS, Traits, read_traits
from gateway.records.record import Result
from gateway.settings.model import OnSuppress
from gateway.smtp import replies
from gateway.smtp.evidence import Judged, Message
from gateway.smtp.spool import Spool
from gateway.smtp.transaction import Transaction
from gateway.upstream.failure import HandOverFailed, Stage
from gateway.upstream.transaction import Transaction as UpstreamTransaction
from gateway.wire.body import Stuffer
from gateway.wire.reply import Reply

log = structlog.get_logger(__name__)

_AT_ONCE = 128 * 1024
"""Octets of a body that leave in one write with the headers."""
_MAX_HEADER_LINES = 10_000
_MAX_RECEIVED = 100
"""Received fields after which a message is in a loop (RFC 5321 section 6.3)."""


async def deliver(transaction: Transaction, spool: Spool) -> bytes:
    """The reply to the final dot; gives the upstream connection back.

    Run it as a task that outlives the client's connection: what has begun is finished
    and recorded even if nobody waits for the answer.
    """
    try:
        return await Delivery(transaction, spool).run()
    except GatewayError as error:
        log.warning("message_deferred", client=transaction.client.name, cause=str(error))
        transaction.site.metrics.fault(type(error).__name__)
        return replies.line(error)
    finally:
        transaction.abandon()


@dataclass(frozen=True, slots=True)
class Parts:
    """The recipients' indices by what becomes of the message for them."""

    forward: list[int]
    suppress: list[int]
    hold: list[int]
    defer: list[int]

    @classmethod
    def of(cls, verdicts: Sequence[Verdict]) -> Parts:
        """Sort the verdicts."""
        parts = cls([], [], [], [])
        for index, verdict in enumerate(verdicts):
            outcome = verdict.decision.outcome
            if outcome is Outcome.FORWARD:
                parts.forward.append(index)
            elif outcome is Outcome.SUPPRESS:
                parts.suppress.append(index)
            elif outcome is Outcome.HOLD:
                parts.hold.append(index)
            else:
                parts.defer.append(index)
        return parts

    @property
    def all(self) -> list[int]:
        """Every recipient that was decided."""
        return [*self.forward, *self.suppress, *self.hold]


@dataclass(slots=True)
class _Stored:
    """What has been made durable for a message so far."""

    content: bool = False
    held: str | None = None


class Delivery:
    """One message's way from the final dot to its reply."""

    def __init__(self, transaction: Transaction, spool: Spool) -> None:
        self._transaction = transaction
        self._site = transaction.site
        self._spool = spool
        self._leaving = False
        """Whether octets of the message have gone to the upstream."""
        # A section of too many lines is not even read: see run().
        self._headers = HeaderSection(spool.header if not self._too_large else b"")

    async def run(self) -> bytes:
        """Judge, store, record, hand over.

        Raises:
            GatewayError: a fault of ours or of the upstream's, always temporary.

        """
        if self._too_large:
            return replies.HEADER_SIZE
        if len(self._headers.all(b"received")) > _MAX_RECEIVED:
            return replies.LOOP
        traits = await self._read_traits()
        verdicts = await self._judge(traits)
        parts = Parts.of(verdicts)
        if parts.defer:
            raise RegisterUnavailable("the register could not be asked at the final dot")
        if self._changed_since_rcpt(parts, verdicts):
            return replies.CHANGED
        judged = [
            Judged(recipient.rcpt, recipient.contact, verdict)
            for recipient, verdict in zip(self._transaction.recipients, verdicts, strict=True)
        ]
        message = self._site.evidence.message(
            self._transaction.draft,
            traits,
            self._headers,
            self._spool,
            judged,
            forwards=bool(parts.forward),
            holds=bool(parts.hold),
        )
        stored = await self._store(message, parts)
        if not parts.forward:
            return await self._conclude_here(message, parts, stored)
        reply = await self._hand_over(message, parts, traits, verdicts, stored)
        return await self._conclude(message, parts, stored, reply)

    @property
    def _too_large(self) -> bool:
        spool = self._spool
        return spool.header_too_large or spool.header.count(b"\n") > _MAX_HEADER_LINES

    # -- judging ------------------------------------------------------------------

    async def _read_traits(self) -> Traits:
        site = self._site
        client = self._transaction.client
        rules = site.settings.rules
        traits = read_traits(
            self._headers,
            fixed_kind=self._transaction.kind,
            fixed_topic=client.topic,
            owned_domains=site.owned_domains,
            recognisable_marks=rules.recognisable_marks,
        )
        opt_out = traits.opt_out
        if traits.kind is Kind.MARKETING and not opt_out and rules.opt_out_words:
            text = b"".join([piece async for piece in self._spool.plain(READABLE)])[:READABLE]
            word = await asyncio.to_thread(in_text, text, rules.opt_out_words)
            opt_out = f"text: {word}" if word else ""
        group = site.settings.product_group(client, traits.topic)
        return traits._replace(opt_out=opt_out, product_group=group)

    async def _judge(self, traits: Traits) -> list[Verdict]:
        recipients = self._transaction.recipients
        earlier = [recipient.early for recipient in recipients]
        site = self._site
        if site.gate.stands(traits, self._transaction.early_traits(), earlier):
            return [verdict for verdict in earlier if verdict is not None]
        contacts = [recipient.contact for recipient in recipients]
        return await site.gate.judge(traits, contacts, site.rules, earlier)

    def _changed_since_rcpt(self, parts: Parts, verdicts: Sequence[Verdict]) -> bool:
        """Whether a client that wants refusals was told 250 and the register changed since.

        A retry hears the refusal at RCPT, true for each recipient.  A suppression that
        rests on the headers would come out the same again; it is told in the reply.
        """
        transaction = self._transaction
        if (
            transaction.client.on_suppress is not OnSuppress.REJECT
            or transaction.kind is not Kind.MARKETING
            or not parts.suppress
            or len(parts.suppress) == len(verdicts)
        ):
            return False
        early = transaction.early_traits()
        return any(
            transaction.early(judged_with(early, verdicts[index], self._site.rules)).outcome
            is Outcome.SUPPRESS
            for index in parts.suppress
        )

    # -- storing ------------------------------------------------------------------

    async def _store(self, message: Message, parts: Parts) -> _Stored:
        """Make durable what must outlive us: content, held copy, and last the record."""
        site = self._site
        stored = _Stored()
        try:
            if message.record.content is not None:
                await site.contents.put(message.id, self._spool.plain())
                stored.content = True
            if parts.hold:
                stored.held = await site.held.prepare(site.evidence.held(message, parts.hold))
            await site.recorder.append(
                message.record,
                message.header,
                [judged.rcpt.address for judged in message.judged],
                message.draft.mail.address,
            )
        except BaseException:
            await self._undo(message, stored)
            raise
        return stored

    async def _undo(self, message: Message, stored: _Stored, *, keep_content: bool = False) -> None:
        """Take back what was stored for a message that the client will send again.

        Left-overs are mild: a prepared held copy is swept, one that was kept is shown
        to a person in time, content without a record is never shown.
        """
        try:
            if stored.held is not None:
                await self._site.held.revoke(stored.held)
            if stored.content and not keep_content:
                await self._site.contents.delete(message.id)
        except GatewayError as error:
            log.warning("undo_failed", cause=str(error))

    # -- handing over -------------------------------------------------------------

    async def _hand_over(
        self,
        message: Message,
        parts: Parts,
        traits: Traits,
        verdicts: Sequence[Verdict],
        stored: _Stored,
    ) -> Reply:
        """The upstream's final reply.

        Raises:
            GatewayError: there is none; the record says failed, or unknown if the
                final dot had left.

        """
        transaction = self._transaction
        wanted = [transaction.recipients[index] for index in parts.forward]
        try:
            if stored.held is not None:
                # Before the hand-over: a copy that could not be kept once the upstream
                # has the message would leave no true answer.
                await self._site.held.keep(stored.held)
            try:
                upstream = await transaction.upstream_for(wanted)
                return await self._send(upstream, message, traits, verdicts)
            except HandOverFailed as error:
                if error.stage is not Stage.BEFORE_BODY:
                    raise
                # The upstream grew tired of waiting for its client: once more, anew.
                log.info("handover_repeated", cause=str(error))
                transaction.abandon()
                upstream = await transaction.upstream_for(wanted)
                return await self._send(upstream, message, traits, verdicts)
        except BaseException as error:
            unknown = self._leaving and (
                isinstance(error, asyncio.CancelledError)
                or (isinstance(error, HandOverFailed) and error.stage is Stage.AFTER_END)
            )
            name = transaction.upstream_name
            result = Result.UNKNOWN if unknown else Result.FAILED
            self._site.evidence.outcome(message, parts.forward, result, upstream=name)
            # These were never in the envelope: of them nothing is unknown.
            self._site.evidence.outcome(message, [*parts.suppress, *parts.hold], Result.FAILED)
            await self._undo(message, stored, keep_content=unknown)
            raise

    async def _send(
        self,
        upstream: UpstreamTransaction,
        message: Message,
        traits: Traits,
        verdicts: Sequence[Verdict],
    ) -> Reply:
        """The message as it leaves: our Received field, the headers, the body as it came.

        It is asked for its first octet when the upstream is ready for it: here the
        hand-over begins, and here the verdicts must be fresh.
        """

        async def begin() -> bytes:
            await self._site.gate.confirm(traits, verdicts, self._site.rules)
            self._leaving = True
            head = message.trace + self._headers.without(CONTROL_HEADERS)
            if b"\n." in head:
                head = Stuffer().feed(head)
            return head + b"\r\n" if self._spool.separated else head

        async def pieces() -> AsyncIterator[bytes]:
            yield await begin()
            async for chunk in self._spool.body():
                yield chunk

        body = self._spool.small_body(_AT_ONCE)
        if body is None:
            return await upstream.data(pieces())

        async def whole() -> bytes:
            return await begin() + body

        return await upstream.data_at_once(whole)

    # -- telling ------------------------------------------------------------------

    async def _conclude_here(self, message: Message, parts: Parts, stored: _Stored) -> bytes:
        """Nobody is to get it now: all are suppressed or held."""
        evidence = self._site.evidence
        if stored.held is not None:
            await self._site.held.commit(stored.held)
        rejects = self._transaction.client.on_suppress is OnSuppress.REJECT and not parts.hold
        evidence.outcome(message, parts.suppress, Result.REJECTED if rejects else Result.SUPPRESSED)
        evidence.outcome(message, parts.hold, Result.HELD)
        if rejects:
            first = message.record.recipients[parts.suppress[0]]
            return replies.suppressed(first.rule, first.id)
        return self._summary(message, parts)

    async def _conclude(
        self, message: Message, parts: Parts, stored: _Stored, reply: Reply
    ) -> bytes:
        """The upstream has answered; its answer is the client's."""
        evidence = self._site.evidence
        name = self._transaction.upstream_name
        if not reply.positive:
            result = Result.DEFERRED if replies.is_temporary(reply) else Result.REFUSED
            evidence.outcome(message, parts.all, result, reply, upstream=name)
            await self._undo(message, stored, keep_content=True)
            return replies.told(reply)
        evidence.outcome(message, parts.forward, Result.FORWARDED, reply, upstream=name)
        evidence.outcome(message, parts.suppress, Result.SUPPRESSED)
        evidence.outcome(message, parts.hold, Result.HELD)
        if stored.held is not None:
            try:
                await self._site.held.commit(stored.held)
            except GatewayError as error:
                # It is ours and on the disk; the sweep shows it to people later.
                log.error("held_not_shown_yet", held=stored.held, cause=str(error))
        return self._summary(message, parts)

    @staticmethod
    def _summary(message: Message, parts: Parts) -> bytes:
        return replies.summary(message.id, len(parts.forward), len(parts.suppress), len(parts.hold))
