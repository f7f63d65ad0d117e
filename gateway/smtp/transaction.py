"""One mail transaction: recipients in, decision, record, hand-over, one true reply.

The order is what keeps the promises:

1. Each RCPT is answered by the upstream's own verdict on it, unless it is suppressed
   or held already; MAIL goes upstream with the first recipient that needs it.
2. After the final dot the whole message is here.  All recipients are judged (again)
   with everything the headers say.
3. What must outlive us is stored: content, held copy, then the record.
4. If the allowed recipients are not exactly those the upstream has accepted, its
   transaction is begun anew with the allowed ones.  No body byte has left so far.
5. If the look-up of step 2 is older than ``register.settle`` by now, it is repeated;
   a change acknowledged before the hand-over begins is therefore always seen
   (``docs/flow.md`` has the argument).
6. The upstream's reply to the final dot is the client's.

A fault of ours or of the upstream's is 4xx: the client keeps the message.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from enum import Enum

import structlog

from gateway.contacts.contact import Contact, ContactError
from gateway.contacts.email import parse_email
from gateway.decision.facts import Kind, Outcome
from gateway.failure import GatewayError, RegisterUnavailable, UpstreamUnavailable
from gateway.gate import Verdict, judged_with
from gateway.message.headers import HeaderSection
from gateway.message.optout import READABLE, in_text
from gateway.message.traits import CONTROL_HEADERS, Traits, favourable, read_traits
from gateway.records.record import Result
from gateway.settings.model import CLIENT_KINDS, ClientKind, OnSuppress, SmtpClient
from gateway.smtp.evidence import Draft, Judged, Message, Peer
from gateway.smtp.site import Site
from gateway.smtp.spool import Spool
from gateway.upstream.failure import HandOverFailed, Stage
from gateway.upstream.transaction import Transaction as UpstreamTransaction
from gateway.wire.command import MailCommand, RcptCommand
from gateway.wire.path import MailArguments, RcptArguments
from gateway.wire.reply import Reply

log = structlog.get_logger(__name__)

_ACCEPTED = b"250 2.1.5 Ok\r\n"
_TOO_MANY = b"452 4.5.3 Too many recipients\r\n"
_NEEDS_UTF8 = b"553 5.6.7 The address needs SMTPUTF8\r\n"
_CHANGED = b"451 4.7.1 The register changed during the transaction; try again\r\n"
_HEADER_SIZE = b"552 5.3.4 Header section too large\r\n"
_LOOP = b"554 5.4.6 Too many Received fields: mail loop\r\n"
_RECONFIRMATIONS = 3
_MAX_RECEIVED = 100


class _State(Enum):
    """Where a recipient stands between its RCPT and the final dot."""

    UPSTREAM = "accepted by the upstream"
    LOCAL = "suppressed or held so far, unknown to the upstream"


@dataclass(slots=True, eq=False)
class Recipient:
    """A recipient that the client was told ``250`` for."""

    rcpt: RcptArguments
    contact: Contact
    state: _State = _State.LOCAL
    early: Verdict | None = None
    """The verdict at RCPT, where there was one."""


def _line(error: GatewayError) -> bytes:
    return error.reply.encode() + b"\r\n"


class Transaction:
    """From MAIL to the reply to the final dot; used once."""

    def __init__(self, site: Site, client: SmtpClient, peer: Peer, mail: MailArguments) -> None:
        self._site = site
        self._client = client
        self._peer = peer
        self._mail = mail
        self._kind = None if client.kind is ClientKind.DECLARED else CLIENT_KINDS[client.kind]
        self._upstream: UpstreamTransaction | None = None
        self.recipients: list[Recipient] = []
        self.draft = Draft(client=client, peer=peer, mail=mail)

    # -- recipients ---------------------------------------------------------------

    async def add(self, batch: Sequence[RcptArguments]) -> list[bytes]:
        """The replies to a burst of RCPT commands, in order.

        One register round trip and one upstream round trip for the whole burst.
        """
        replies: list[bytes] = [_ACCEPTED] * len(batch)
        places: list[int] = []
        fresh: list[Recipient] = []
        room = self._client.max_recipients - len(self.recipients)
        utf8 = "SMTPUTF8" in self._mail.params
        for place, rcpt in enumerate(batch):
            if len(fresh) >= room:
                replies[place] = _TOO_MANY
                continue
            if not utf8 and not rcpt.address.isascii():
                replies[place] = _NEEDS_UTF8
                continue
            try:
                contact = parse_email(rcpt.address)
            except ContactError as error:
                replies[place] = _line(error)
                continue
            places.append(place)
            fresh.append(Recipient(rcpt, contact))
        if not fresh:
            return replies
        onward = list(range(len(fresh)))
        if self._kind is Kind.MARKETING:
            onward = await self._judge_early(fresh, places, replies)
        if onward:
            await self._ask_upstream(fresh, onward, places, replies)
        self.recipients += [
            r for r, place in zip(fresh, places, strict=True) if replies[place][:1] == b"2"
        ]
        return replies

    async def _judge_early(
        self, fresh: Sequence[Recipient], places: Sequence[int], replies: list[bytes]
    ) -> list[int]:
        """Answer those that no header could still save; return the others' indices."""
        site = self._site
        verdicts = await site.gate.judge(
            self._early_traits(), [r.contact for r in fresh], site.rules
        )
        onward = []
        rejected: list[tuple[int, Judged]] = []
        for index, verdict in enumerate(verdicts):
            outcome = verdict.outcome
            recipient = fresh[index]
            recipient.early = verdict
            if outcome is Outcome.FORWARD:
                onward.append(index)
            elif outcome is Outcome.DEFER:
                self._site.metrics.faults.labels("register").inc()
                replies[places[index]] = _line(RegisterUnavailable())
            elif outcome is Outcome.SUPPRESS and self._client.on_suppress is OnSuppress.REJECT:
                rejected.append((index, Judged(recipient.rcpt, recipient.contact, verdict)))
        if rejected:
            try:
                ids = await site.evidence.at_rcpt(
                    self.draft,
                    self._early_traits(),
                    [judged for _, judged in rejected],
                    Result.REJECTED,
                )
            except GatewayError as error:
                log.warning("record_failed", cause=str(error))
                self._site.metrics.faults.labels("records").inc()
                for index, _ in rejected:
                    replies[places[index]] = _line(error)
            else:
                for (index, judged), record_id in zip(rejected, ids, strict=True):
                    replies[places[index]] = _suppressed(judged.verdict, record_id)
        return onward

    def _early_traits(self) -> Traits:
        client = self._client
        group = self._site.settings.product_group(client, client.topic)
        return favourable(self._kind or Kind.UNCLEAR, client.topic, group)

    async def _ask_upstream(
        self,
        fresh: Sequence[Recipient],
        onward: Sequence[int],
        places: Sequence[int],
        replies: list[bytes],
    ) -> None:
        commands = [_rcpt_command(fresh[index]) for index in onward]
        try:
            if self._upstream is None:
                self._upstream, verdicts = await self._site.upstreams.open_transaction(
                    self._client.upstreams, self._mail_command(), commands
                )
            else:
                verdicts = await self._upstream.add(commands)
        except GatewayError as error:
            self._upstream_failed(error)
            for index in onward:
                replies[places[index]] = _line(error)
            return
        refused: list[tuple[Recipient, Reply]] = []
        for index, verdict in zip(onward, verdicts, strict=True):
            replies[places[index]] = _told(verdict)
            if verdict.positive:
                fresh[index].state = _State.UPSTREAM
            else:
                refused.append((fresh[index], verdict))
        if refused:
            await self._record_refused(refused)

    async def _record_refused(self, refused: Sequence[tuple[Recipient, Reply]]) -> None:
        """Write down whom the upstream refused; its answer is the client's either way."""
        site = self._site
        traits = self._early_traits()
        unjudged = [recipient for recipient, _ in refused if recipient.early is None]
        verdicts = await site.gate.judge(traits, [r.contact for r in unjudged], site.rules)
        for recipient, verdict in zip(unjudged, verdicts, strict=True):
            recipient.early = verdict
        judged = [Judged(r.rcpt, r.contact, r.early) for r, _ in refused if r.early is not None]
        try:
            await site.evidence.at_rcpt(
                self.draft,
                traits,
                judged,
                Result.REFUSED,
                [reply for _, reply in refused],
                self._upstream_name,
            )
        except GatewayError as error:
            log.warning("record_failed", cause=str(error))
            site.metrics.faults.labels("records").inc()

    def _upstream_failed(self, error: GatewayError) -> None:
        log.warning("upstream_failed", client=self._client.name, cause=str(error))
        self._site.metrics.faults.labels("upstream").inc()

    def _mail_command(self) -> MailCommand:
        return MailCommand.of(self._mail)

    # -- the message --------------------------------------------------------------

    async def deliver(self, spool: Spool) -> bytes:
        """The reply to the final dot.

        The caller runs this as a task that outlives the client's connection: what has
        begun is finished and recorded even if nobody waits for the answer.
        """
        try:
            return await self._deliver(spool)
        except GatewayError as error:
            log.warning("message_deferred", client=self._client.name, cause=str(error))
            self._site.metrics.faults.labels(type(error).__name__).inc()
            return _line(error)
        finally:
            self.abandon()

    async def _deliver(self, spool: Spool) -> bytes:
        if spool.header_too_large:
            return _HEADER_SIZE
        headers = HeaderSection(spool.header)
        if len(headers.all(b"received")) > _MAX_RECEIVED:
            return _LOOP
        traits = await self._traits(headers, spool)
        verdicts = await self._judge(traits)
        parts = _Parts.of(verdicts)
        if parts.defer:
            raise RegisterUnavailable("the register could not be asked at the final dot")
        if self._changed_since_rcpt(parts, verdicts):
            return _CHANGED
        judged = [
            Judged(recipient.rcpt, recipient.contact, verdict)
            for recipient, verdict in zip(self.recipients, verdicts, strict=True)
        ]
        message = self._site.evidence.message(self.draft, traits, headers, spool, judged)
        stored = await self._store(message, parts, spool)
        if not parts.forward:
            return await self._conclude_here(message, parts, verdicts, stored)
        return await self._conclude_upstream(
            message, parts, traits, verdicts, headers, spool, stored
        )

    async def _store(self, message: Message, parts: _Parts, spool: Spool) -> _Stored:
        """Make durable what must outlive us: content, held copy, and last the record."""
        site = self._site
        stored = _Stored()
        try:
            if message.record.content is not None:
                await site.contents.put(message.id, spool.plain())
                stored.content = True
            if parts.hold:
                stored.held = await site.held.prepare(site.evidence.held(message, parts.hold))
            await site.recorder.append(
                message.record,
                message.header,
                [judged.rcpt.address for judged in message.judged],
                self._mail.address,
            )
        except BaseException:
            await self._undo(message, stored)
            raise
        return stored

    async def _undo(self, message: Message, stored: _Stored, *, keep_content: bool = False) -> None:
        """Take back what was stored for a message that the client will send again.

        Left-overs do no harm: a prepared held copy is swept, content without a
        record is never shown.
        """
        try:
            if stored.held is not None:
                await self._site.held.drop(stored.held)
            if stored.content and not keep_content:
                await self._site.contents.delete(message.id)
        except GatewayError as error:
            log.warning("undo_failed", cause=str(error))

    async def _conclude_here(
        self, message: Message, parts: _Parts, verdicts: Sequence[Verdict], stored: _Stored
    ) -> bytes:
        """Nobody is to get it now: all suppressed or held."""
        site = self._site
        if stored.held is not None:
            await site.held.commit(stored.held)
        rejects = self._client.on_suppress is OnSuppress.REJECT and not parts.hold
        site.evidence.outcome(
            message, parts.suppress, Result.REJECTED if rejects else Result.SUPPRESSED
        )
        site.evidence.outcome(message, parts.hold, Result.HELD)
        if rejects:
            first = parts.suppress[0]
            return _suppressed(verdicts[first], message.record.recipients[first].id)
        return _summary(message.id, parts)

    async def _conclude_upstream(
        self,
        message: Message,
        parts: _Parts,
        traits: Traits,
        verdicts: Sequence[Verdict],
        headers: HeaderSection,
        spool: Spool,
        stored: _Stored,
    ) -> bytes:
        """Hand over to the allowed recipients; the upstream's answer is the client's."""
        site = self._site
        try:
            upstream = await self._upstream_for(parts.forward)
            await self._confirm(traits, verdicts)
            reply = await upstream.data(_wire(message.trace, headers, spool))
        except GatewayError as error:
            unknown = isinstance(error, HandOverFailed) and error.stage is Stage.AFTER_END
            result = Result.UNKNOWN if unknown else Result.FAILED
            site.evidence.outcome(message, parts.all, result, upstream=self._upstream_name)
            await self._undo(message, stored, keep_content=unknown)
            raise
        name = self._upstream_name
        if not reply.positive:
            result = Result.DEFERRED if reply.temporary else Result.REFUSED
            site.evidence.outcome(message, parts.all, result, reply, upstream=name)
            await self._undo(message, stored, keep_content=True)
            return _told(reply)
        if stored.held is not None:
            await site.held.commit(stored.held)
        site.evidence.outcome(message, parts.forward, Result.FORWARDED, reply, upstream=name)
        site.evidence.outcome(message, parts.suppress, Result.SUPPRESSED)
        site.evidence.outcome(message, parts.hold, Result.HELD)
        return _summary(message.id, parts)

    async def _upstream_for(self, forward: Sequence[int]) -> UpstreamTransaction:
        """The upstream transaction with exactly these recipients, begun anew if need be.

        Raises:
            UpstreamUnavailable: none can be reached, or one of the recipients that the
                client was told 250 for is refused now; the whole message is deferred,
                since one reply cannot tell them apart.

        """
        wanted = [self.recipients[index] for index in forward]
        accepted = [r for r in self.recipients if r.state is _State.UPSTREAM]
        if self._upstream is not None and accepted == wanted:
            return self._upstream
        commands = [_rcpt_command(r) for r in wanted]
        mail = self._mail_command()
        if self._upstream is None:
            self._upstream, replies = await self._site.upstreams.open_transaction(
                self._client.upstreams, mail, commands
            )
        else:
            replies = await self._upstream.restart(mail, commands)
        if not all(reply.positive for reply in replies):
            raise UpstreamUnavailable("a recipient accepted before is refused now")
        return self._upstream

    async def _confirm(self, traits: Traits, verdicts: Sequence[Verdict]) -> None:
        """Ask again if the look-up has grown older than the register's settling time.

        Raises:
            RegisterUnavailable: the answer differs now, or stays too slow; the client
                keeps the message and hears the truth when it sends it again.

        """
        settle = self._site.settings.register.settle
        loop = asyncio.get_running_loop()
        asked_at = verdicts[0].asked_at
        for _ in range(_RECONFIRMATIONS):
            if loop.time() - asked_at < settle:
                return
            again = await self._judge(traits)
            if [v.outcome for v in again] != [v.outcome for v in verdicts]:
                raise RegisterUnavailable("the register changed before the hand-over")
            asked_at = again[0].asked_at
        raise RegisterUnavailable(f"look-ups take longer than register.settle ({settle:g} s)")

    # -- parts --------------------------------------------------------------------

    async def _traits(self, headers: HeaderSection, spool: Spool) -> Traits:
        site = self._site
        rules = site.settings.rules
        traits = read_traits(
            headers,
            fixed_kind=self._kind,
            fixed_topic=self._client.topic,
            owned_domains=site.owned_domains,
            recognisable_marks=rules.recognisable_marks,
        )
        opt_out = traits.opt_out
        if traits.kind is Kind.MARKETING and not opt_out and rules.opt_out_words:
            text = b"".join([chunk async for chunk in spool.plain(READABLE)])[:READABLE]
            word = await asyncio.to_thread(in_text, text, rules.opt_out_words)
            opt_out = f"text: {word}" if word else ""
        return replace(
            traits,
            opt_out=opt_out,
            product_group=site.settings.product_group(self._client, traits.topic),
        )

    async def _judge(self, traits: Traits) -> list[Verdict]:
        site = self._site
        return await site.gate.judge(traits, [r.contact for r in self.recipients], site.rules)

    def _changed_since_rcpt(self, parts: _Parts, verdicts: Sequence[Verdict]) -> bool:
        """Whether a client that wants refusals was told 250 and the register changed since.

        A retry hears the refusal at RCPT, true for each recipient.  A suppression that
        rests on the headers would come out the same again; it is told in the reply.
        """
        if (
            self._client.on_suppress is not OnSuppress.REJECT
            or self._kind is not Kind.MARKETING
            or not parts.suppress
            or len(parts.suppress) == len(self.recipients)
        ):
            return False
        early = self._early_traits()
        rules = self._site.rules
        return any(
            judged_with(early, verdicts[index], rules).outcome is Outcome.SUPPRESS
            for index in parts.suppress
        )

    @property
    def _upstream_name(self) -> str:
        return self._upstream.upstream if self._upstream is not None else ""

    # -- the end ------------------------------------------------------------------

    def abandon(self) -> None:
        """Give the upstream connection back; what is open there is reset. Safe to call twice."""
        upstream, self._upstream = self._upstream, None
        if upstream is not None:
            upstream.release()


@dataclass(slots=True)
class _Stored:
    """What has been made durable for a message so far."""

    content: bool = False
    held: str | None = None


@dataclass(frozen=True, slots=True)
class _Parts:
    """The recipients' indices by what becomes of the message for them."""

    forward: list[int]
    suppress: list[int]
    hold: list[int]
    defer: list[int]

    @classmethod
    def of(cls, verdicts: Sequence[Verdict]) -> _Parts:
        by = {outcome: [] for outcome in Outcome}  # type: dict[Outcome, list[int]]
        for index, verdict in enumerate(verdicts):
            by[verdict.outcome].append(index)
        return cls(by[Outcome.FORWARD], by[Outcome.SUPPRESS], by[Outcome.HOLD], by[Outcome.DEFER])

    @property
    def all(self) -> list[int]:
        return [*self.forward, *self.suppress, *self.hold]


async def _wire(trace: bytes, headers: HeaderSection, spool: Spool) -> AsyncIterator[bytes]:
    """The message as it leaves: our Received field, the headers, the body as it came."""
    head = trace + headers.without(CONTROL_HEADERS)
    yield head + b"\r\n" if spool.separated else head
    async for chunk in spool.body():
        yield chunk


def _rcpt_command(recipient: Recipient) -> RcptCommand:
    return RcptCommand.of(recipient.rcpt)


def _told(reply: Reply) -> bytes:
    """An upstream's reply as the client hears it: its own 421 is not ours (RFC 5321 3.8)."""
    return _line(UpstreamUnavailable()) if reply.code == 421 else reply.wire()


def _suppressed(verdict: Verdict, record_id: str) -> bytes:
    rule = verdict.decision.rule.id
    return f"550 5.7.1 Suppressed by {rule} (record {record_id})\r\n".encode()


def _summary(message_id: str, parts: _Parts) -> bytes:
    said = [
        f"{len(indices)} {what}"
        for indices, what in (
            (parts.forward, "forwarded"),
            (parts.suppress, "suppressed"),
            (parts.hold, "held"),
        )
        if indices
    ]
    return f"250 2.0.0 Ok {message_id}: {', '.join(said)}\r\n".encode()
