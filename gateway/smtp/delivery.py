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
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from functools import partial
from operator import attrgetter
from typing import cast

import structlog

from gateway.clock import now_ms
from gateway.decision.facts import Kind, Outcome
from gateway.failure import RegisterUnavailable
from gateway.gate import Verdict, judged_with
from gateway.message.headers import HeaderSection
from gateway.message.optout import READABLE, in_text
from gateway.message.traits import Traits, read_traits
from gateway.records.record import Result
from gateway.smtp import replies
from gateway.smtp.evidence import Message
from gateway.smtp.keeping import Keeping
from gateway.smtp.signing import signature
from gateway.smtp.spool import Spool
from gateway.smtp.transaction import Recipient, Transaction
from gateway.unsubscribe.header import Addition, leaving
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
_NO_HEADERS = HeaderSection(b"")
_rcpt = attrgetter("rcpt")
_contact = attrgetter("contact")
_early = attrgetter("early")


class Parts:
    """The recipients' indices by what becomes of the message for them."""

    __slots__ = ("defer", "forward", "hold", "suppress")

    def __init__(self, verdicts: Sequence[Verdict]) -> None:
        self.forward: list[int] = []
        self.suppress: list[int] = []
        self.hold: list[int] = []
        self.defer: list[int] = []
        for index, verdict in enumerate(verdicts):
            outcome = verdict.decision.outcome
            if outcome is Outcome.FORWARD:
                self.forward.append(index)
            elif outcome is Outcome.SUPPRESS:
                self.suppress.append(index)
            elif outcome is Outcome.HOLD:
                self.hold.append(index)
            else:
                self.defer.append(index)

    @property
    def all(self) -> list[int]:
        """Every recipient that was decided."""
        return [*self.forward, *self.suppress, *self.hold]


class Delivery:
    """One message's way from the final dot to its reply.

    It goes on when the client's connection is lost: what has begun is finished and
    recorded even if nobody waits for the answer.
    """

    def __init__(self, transaction: Transaction, spool: Spool) -> None:
        self._transaction = transaction
        self._site = transaction.site
        self._spool = spool
        self._leaving = False
        """Whether octets of the message have gone to the upstream."""
        self._headers = _NO_HEADERS
        self._section = b""
        """The header section as it leaves."""
        self._signature = b""
        """The gateway's own signature; empty where it adds nothing."""
        self._keeping: Keeping | None = None
        """What is stored beside the record; None where that is nothing."""

    async def run(self) -> bytes:
        """Judge, store, record, hand over.

        Raises:
            GatewayError: a fault of ours or of the upstream's, always temporary.

        """
        spool, site, transaction = self._spool, self._site, self._transaction
        # A section of too many lines is not even read.
        if spool.header_too_large or spool.header.count(b"\n") > _MAX_HEADER_LINES:
            return replies.HEADER_SIZE
        self._headers = headers = HeaderSection(spool.header)
        if len(headers.raw(b"received")) > _MAX_RECEIVED:
            return replies.LOOP
        traits = self._read_traits()
        addition = self._addition(traits)
        if addition is not None:
            traits = traits._replace(opt_out=addition.told)
        elif not traits.opt_out and traits.kind is Kind.MARKETING:
            traits = traits._replace(opt_out=await self._opt_out_in_text())
        recipients, policy = transaction.recipients, transaction.policy
        verdicts = cast("list[Verdict]", list(map(_early, recipients)))
        if not site.gate.stands(traits, policy.favourable, verdicts):
            contacts = list(map(_contact, recipients))
            verdicts = await site.gate.judge(traits, contacts, site.rules, verdicts)
        parts = Parts(verdicts)
        if parts.defer:
            raise RegisterUnavailable("the register could not be asked at the final dot")
        if parts.suppress and policy.rejects and self._changed_since_rcpt(parts, verdicts):
            return replies.CHANGED
        if parts.forward:
            await self._prepare(addition)
        message = site.evidence.message(
            transaction.draft,
            traits,
            headers,
            spool,
            list(map(_rcpt, recipients)),
            verdicts,
            forwards=bool(parts.forward),
            holds=bool(parts.hold),
        )
        wanted = [recipients[index] for index in parts.forward]
        if wanted and (upstream := transaction.ready(wanted)) is not None:
            # The upstream's go-ahead comes while the record is being stored.
            upstream.call_for_data()
        # What must outlive us is made durable: content, held copy, and last the record.
        try:
            if message.written.content is not None or parts.hold:
                self._keeping = Keeping(site, message)
                await self._keeping.store(spool, parts.hold)
            await site.recorder.store(
                message.written, message.header, message.addresses, message.draft.mail.address
            )
        except BaseException:
            if self._keeping is not None:
                await self._keeping.undo()
            raise
        if not wanted:
            return await self._conclude_here(message, parts)
        reply = await self._hand_over(message, parts, wanted, traits, verdicts)
        return await self._conclude(message, parts, reply)

    # -- judging ------------------------------------------------------------------

    def _read_traits(self) -> Traits:
        site, policy = self._site, self._transaction.policy
        return read_traits(
            self._headers,
            fixed_kind=policy.kind,
            fixed_topic=policy.topic,
            owned_domains=site.owned_domains,
            recognisable_marks=policy.recognisable_marks,
            product_group=policy.product_group,
        )

    def _addition(self, traits: Traits) -> Addition | None:
        """What is added to the message, if it has one recipient and offers no way to refuse."""
        offer, recipients = self._site.offer, self._transaction.recipients
        if offer is None or len(recipients) != 1:
            return None
        received = self._transaction.draft.received
        return offer.addition(self._headers, traits, recipients[0].contact, received)

    async def _prepare(self, addition: Addition | None) -> None:
        """Make the header section that leaves, and its signature where one is due."""
        if addition is None:
            self._section = leaving(self._headers)
            return
        self._section = leaving(self._headers, addition.fields)
        if addition.key is not None:
            spool = self._spool
            head = len(spool.header) + 2 * spool.separated
            self._signature = await signature(
                addition.key, self._section, spool.plain(), head, now_ms()
            )

    async def _opt_out_in_text(self) -> str:
        """The means to refuse that the message's text shows, where its headers show none."""
        words = self._site.settings.rules.opt_out_words
        if not words:
            return ""
        text = b"".join([piece async for piece in self._spool.plain(READABLE)])[:READABLE]
        word = await asyncio.to_thread(in_text, text, words)
        return f"text: {word}" if word else ""

    def _changed_since_rcpt(self, parts: Parts, verdicts: Sequence[Verdict]) -> bool:
        """Whether a client that wants refusals was told 250 and the register changed since.

        A retry hears the refusal at RCPT, true for each recipient.  A suppression that
        rests on the headers would come out the same again; it is told in the reply.
        """
        transaction = self._transaction
        policy = transaction.policy
        if policy.kind is not Kind.MARKETING or len(parts.suppress) == len(verdicts):
            return False
        early = policy.favourable
        return any(
            transaction.early(judged_with(early, verdicts[index], self._site.rules)).outcome
            is Outcome.SUPPRESS
            for index in parts.suppress
        )

    # -- handing over -------------------------------------------------------------

    async def _hand_over(
        self,
        message: Message,
        parts: Parts,
        wanted: list[Recipient],
        traits: Traits,
        verdicts: Sequence[Verdict],
    ) -> Reply:
        """The upstream's final reply.

        Raises:
            GatewayError: there is none; the record says failed, or unknown if the
                final dot had left.

        """
        transaction = self._transaction
        try:
            if self._keeping is not None:
                await self._keeping.keep()
            try:
                upstream = transaction.ready(wanted) or await transaction.upstream_for(wanted)
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
            if self._keeping is not None:
                await self._keeping.undo(keep_content=unknown)
            raise

    def _send(
        self,
        upstream: UpstreamTransaction,
        message: Message,
        traits: Traits,
        verdicts: Sequence[Verdict],
    ) -> Awaitable[Reply]:
        """The message as it leaves: our Received field, the headers, the body as it came."""
        body = self._spool.small_body(_AT_ONCE)
        begin = partial(self._begin, message, traits, verdicts)
        if body is None:
            return upstream.data(self._pieces(begin))
        return upstream.data_at_once(partial(begin, body))

    async def _begin(
        self, message: Message, traits: Traits, verdicts: Sequence[Verdict], body: bytes = b""
    ) -> bytes:
        """The first octets that leave; asked for when the upstream is ready for them.

        Here the hand-over begins, and here the verdicts must be fresh.
        """
        site = self._site
        await site.gate.confirm(traits, verdicts, site.rules)
        self._leaving = True
        head = self._signature + message.trace + self._section
        if b"\n." in head:
            head = Stuffer().feed(head)
        return b"%b\r\n%b" % (head, body) if self._spool.separated else head + body

    async def _pieces(self, begin: Callable[[], Awaitable[bytes]]) -> AsyncIterator[bytes]:
        yield await begin()
        async for chunk in self._spool.body():
            yield chunk

    # -- telling ------------------------------------------------------------------

    async def _conclude_here(self, message: Message, parts: Parts) -> bytes:
        """Nobody is to get it now: all are suppressed or held."""
        evidence = self._site.evidence
        if self._keeping is not None:
            await self._keeping.commit()
        rejects = self._transaction.policy.rejects and not parts.hold
        evidence.outcome(message, parts.suppress, Result.REJECTED if rejects else Result.SUPPRESSED)
        evidence.outcome(message, parts.hold, Result.HELD)
        if rejects:
            first = parts.suppress[0]
            rule = message.verdicts[first].decision.rule.id
            return replies.suppressed(rule, message.written.ids[first])
        return self._summary(message, parts)

    async def _conclude(self, message: Message, parts: Parts, reply: Reply) -> bytes:
        """The upstream has answered; its answer is the client's."""
        evidence = self._site.evidence
        name = self._transaction.upstream_name
        if not reply.positive:
            result = Result.DEFERRED if replies.is_temporary(reply) else Result.REFUSED
            evidence.outcome(message, parts.all, result, reply, upstream=name)
            if self._keeping is not None:
                await self._keeping.undo(keep_content=True)
            return replies.told(reply)
        evidence.outcome(message, parts.forward, Result.FORWARDED, reply, upstream=name)
        if parts.suppress:
            evidence.outcome(message, parts.suppress, Result.SUPPRESSED)
        if parts.hold:
            evidence.outcome(message, parts.hold, Result.HELD)
        if self._keeping is not None:
            await self._keeping.commit_in_time()
        return self._summary(message, parts)

    @staticmethod
    def _summary(message: Message, parts: Parts) -> bytes:
        return replies.summary(message.id, len(parts.forward), len(parts.suppress), len(parts.hold))
