"""One mail transaction up to its final dot: recipients in, one true reply for each.

Each RCPT is answered by the upstream's own verdict on it, unless it is suppressed or
held already; MAIL goes upstream with the first recipient that needs it.  What
happens after the final dot is :mod:`gateway.smtp.delivery`.
"""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter

import structlog

from gateway.contacts.contact import Contact, ContactError
from gateway.contacts.email import parse_email
from gateway.decision.facts import Kind, Outcome
from gateway.failure import GatewayError, RegisterUnavailable, UpstreamUnavailable
from gateway.gate import Verdict, topic_aside
from gateway.message.traits import Traits
from gateway.records.record import Result
from gateway.smtp import replies
from gateway.smtp.draft import Draft, Peer
from gateway.smtp.evidence import Judged
from gateway.smtp.parking import Parking
from gateway.smtp.policy import Policy
from gateway.smtp.site import Site
from gateway.upstream.transaction import Transaction as UpstreamTransaction
from gateway.wire.command import MailCommand, RcptCommand
from gateway.wire.path import MailArguments, RcptArguments
from gateway.wire.reply import Reply, code_of

log = structlog.get_logger(__name__)


_address = attrgetter("address")
_rcpt = attrgetter("rcpt")
_contact = attrgetter("contact")
_reply = attrgetter("reply")


class Recipient:
    """A recipient of a transaction, and where it stands before the final dot."""

    __slots__ = ("contact", "early", "rcpt", "reply")

    def __init__(self, rcpt: RcptArguments, contact: Contact) -> None:
        self.rcpt = rcpt
        self.contact = contact
        self.reply = replies.ACCEPTED
        """What the client hears at RCPT."""
        self.early: Verdict | None = None
        """The verdict at RCPT, where there was one."""


class Transaction:
    """From MAIL to the final dot; used once.

    ``recipients`` are those that the client was told 250 for.
    """

    def __init__(
        self,
        site: Site,
        parking: Parking,
        policy: Policy,
        peer: Peer,
        mail: MailArguments,
        command: MailCommand,
    ) -> None:
        """``command`` is ``mail`` as an upstream will hear it."""
        self.site = site
        self.policy = policy
        self._parking = parking
        self.draft = Draft(client=policy.client, peer=peer, mail=mail)
        self.recipients: list[Recipient] = []
        self._mail = command
        self._upstream: UpstreamTransaction | None = None
        self._parked = False
        self._accepted: list[Recipient] = []
        """Whom the transaction that is open upstream has accepted; it ends with that."""

    @property
    def upstream_name(self) -> str:
        """The upstream in use; empty while there is none."""
        return self._upstream.upstream if self._upstream is not None else ""

    # -- RCPT ---------------------------------------------------------------------

    async def add(self, batch: Sequence[RcptArguments]) -> list[bytes]:
        """The replies to a burst of RCPT commands, in order.

        One register round trip and one upstream round trip for the whole burst.
        """
        answers: Sequence[Recipient | bytes]
        answers = recipients = self._sound(batch)
        if not recipients:
            answers = self._each(batch)
            recipients = [one for one in answers if isinstance(one, Recipient)]
        onward = recipients
        if recipients and self.policy.kind is Kind.MARKETING:
            onward = await self._judge_early(recipients)
        if onward:
            await self._ask_upstream(onward)
        said = list(map(_reply, recipients))
        if said and max(said) < b"3":
            self.recipients += recipients
        else:
            self.recipients += [one for one in recipients if one.reply[:1] == b"2"]
        if answers is recipients:
            return said
        return [one.reply if isinstance(one, Recipient) else one for one in answers]

    def _sound(self, batch: Sequence[RcptArguments]) -> list[Recipient]:
        """The recipients of a burst, if there is room for all and nothing to refuse."""
        addresses = list(map(_address, batch))
        room = self.policy.max_recipients - len(self.recipients)
        if len(batch) > room or not "".join(addresses).isascii():
            return []
        try:
            return list(map(Recipient, batch, map(parse_email, addresses)))
        except ContactError:
            return []

    def _each(self, batch: Sequence[RcptArguments]) -> list[Recipient | bytes]:
        """The recipients; in place of each that is refused the reply that says so."""
        room = self.policy.max_recipients - len(self.recipients)
        answers: list[Recipient | bytes] = []
        for rcpt in batch:
            if room <= 0:
                answers.append(replies.TOO_MANY)
            elif rcpt.international and "SMTPUTF8" not in self._mail.params:
                answers.append(replies.NEEDS_UTF8)
            else:
                try:
                    answers.append(Recipient(rcpt, parse_email(rcpt.address)))
                    room -= 1
                except ContactError as error:
                    answers.append(replies.line(error))
        return answers

    async def _judge_early(self, recipients: Sequence[Recipient]) -> list[Recipient]:
        """Answer those that no header could still save; return those to ask upstream about.

        A client that wants refusals hears them here.  For one that does not, the
        suppressed stay here, unknown to the upstream, as do the held.
        """
        site = self.site
        traits = self.policy.favourable
        judged = await site.gate.judge(traits, list(map(_contact, recipients)), site.rules)
        if self.policy.topic is None:
            judged = [topic_aside(verdict, site.rules) for verdict in judged]
        onward: list[Recipient] = []
        rejected: list[Recipient] = []
        for recipient, verdict in zip(recipients, judged, strict=True):
            recipient.early = verdict
            outcome = verdict.decision.outcome
            if outcome is Outcome.FORWARD:
                onward.append(recipient)
            elif outcome is Outcome.DEFER:
                recipient.reply = replies.line(RegisterUnavailable("at RCPT"))
                site.metrics.fault("register")
            elif outcome is Outcome.SUPPRESS and self.policy.rejects:
                rejected.append(recipient)
        if rejected:
            await self._reject(rejected, traits)
        return onward

    async def _reject(self, rejected: Sequence[Recipient], traits: Traits) -> None:
        """Refuse suppressed recipients, each with its record, which is written first."""
        judged = [Judged(r.rcpt, r.contact, r.early) for r in rejected if r.early is not None]
        try:
            ids = await self.site.evidence.at_rcpt(self.draft, traits, judged, Result.REJECTED)
        except GatewayError as error:
            self._note_unrecorded(error)
            for recipient in rejected:
                recipient.reply = replies.line(error)
            return
        for recipient, one, record_id in zip(rejected, judged, ids, strict=True):
            recipient.reply = replies.suppressed(one.verdict.decision.rule.id, record_id)

    def early(self, verdict: Verdict) -> Verdict:
        """A verdict as far as it is certain before the headers name the topic."""
        if self.policy.topic is not None:
            return verdict
        return topic_aside(verdict, self.site.rules)

    # -- the upstream's side ------------------------------------------------------

    # The upstream connection is in use between _take and _park, and waits otherwise.

    def _take(self) -> None:
        if self._parked:
            self._parked = False
            self._parking.leave(self)

    def _park(self) -> None:
        if self._upstream is not None:
            self._parked = True
            self._parking.enter(self)

    async def _ask_upstream(self, recipients: Sequence[Recipient]) -> None:
        """Give each recipient the upstream's own verdict as its reply."""
        commands = RcptCommand.all_of(map(_rcpt, recipients))
        self._take()
        try:
            if self._upstream is None:
                verdicts = await self._open(commands)
            else:
                verdicts = await self._upstream.add(commands)
        except GatewayError as error:
            log.warning("upstream_failed", client=self.policy.name, cause=str(error))
            self.site.metrics.fault("upstream")
            # What it had accepted before is gone with it, and begun anew when needed.
            self.abandon()
            for recipient in recipients:
                recipient.reply = replies.line(error)
            return
        if max(map(code_of, verdicts)) < 300:
            # A burst is answered with the same reply over and over.
            for recipient, verdict in zip(recipients, verdicts, strict=True):
                recipient.reply = verdict.wire()
            self._accepted += recipients
            # From here on somebody else may take the connection, at any await.
            self._park()
            return
        refused: list[tuple[Recipient, Reply]] = []
        for recipient, verdict in zip(recipients, verdicts, strict=True):
            recipient.reply = replies.told(verdict)
            if verdict.positive:
                self._accepted.append(recipient)
            else:
                refused.append((recipient, verdict))
        name = self.upstream_name
        if any(verdict.code == replies.CLOSING for _, verdict in refused):
            self.abandon()
        self._park()
        await self._record_refused(refused, name)

    async def _record_refused(
        self, refused: Sequence[tuple[Recipient, Reply]], upstream: str
    ) -> None:
        """Write down whom the upstream refused; its answer is the client's either way."""
        site = self.site
        traits = self.policy.favourable
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
                upstream,
            )
        except GatewayError as error:
            self._note_unrecorded(error)

    def ready(self, wanted: list[Recipient]) -> UpstreamTransaction | None:
        """The upstream transaction, if it is open and has exactly these recipients.

        From here on its connection is lent to nobody else.
        """
        self._take()
        return self._upstream if self._accepted == wanted else None

    async def upstream_for(self, wanted: list[Recipient]) -> UpstreamTransaction:
        """The upstream transaction with exactly these recipients, begun anew if need be.

        No body octet has left so far, so that nobody else can get it.

        Raises:
            UpstreamUnavailable: none can be reached, or one of the recipients that the
                client was told 250 for is refused now; the whole message is deferred,
                since one reply cannot tell them apart.

        """
        if (upstream := self.ready(wanted)) is not None:
            return upstream
        commands = RcptCommand.all_of(map(_rcpt, wanted))
        if self._upstream is None:
            verdicts = await self._open(commands)
        else:
            verdicts = await self._upstream.restart(self._mail, commands)
        self._accepted = list(wanted)
        if self._upstream is None or not all(verdict.positive for verdict in verdicts):
            raise UpstreamUnavailable("a recipient accepted before is refused now")
        return self._upstream

    async def _open(self, commands: Sequence[RcptCommand]) -> list[Reply]:
        """Begin upstream; where all its connections wait for clients, take one back."""
        upstreams = self.site.upstreams
        names = self.policy.upstreams
        for name in names:
            if upstreams.exhausted(name):
                self._parking.reclaim(name)
        self._upstream, verdicts = await upstreams.open_transaction(names, self._mail, commands)
        return verdicts

    def abandon(self) -> None:
        """Give the upstream connection back; what is open there is reset. Safe to repeat."""
        self._take()
        upstream, self._upstream = self._upstream, None
        self._accepted = []
        if upstream is not None:
            upstream.release()

    def _note_unrecorded(self, error: GatewayError) -> None:
        log.warning("record_failed", client=self.policy.name, cause=str(error))
        self.site.metrics.fault("records")
