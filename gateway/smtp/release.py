"""A held message, released by a person: decided anew, recorded, sent.

The person stands in for what the rules could not know (the kind, the basis), never
for a ban: a recipient that the rules suppress now is not sent to.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from gateway.clock import now_ms
from gateway.contacts.contact import Contact
from gateway.contacts.email import parse_email
from gateway.decision.facts import Kind, Outcome
from gateway.failure import GatewayError, InputError, RegisterUnavailable, UpstreamUnavailable
from gateway.gate import Verdict
from gateway.held.message import Held, HeldRecipient
from gateway.message.headers import HeaderSection
from gateway.message.optout import READABLE, in_text
from gateway.message.traits import Traits, read_traits
from gateway.records.identifier import new_id
from gateway.records.record import MessageRecord, OutcomeRecord, Result
from gateway.settings.smtp import SmtpClient
from gateway.smtp.draft import Draft, Peer
from gateway.smtp.signing import signature
from gateway.smtp.site import Site
from gateway.unsubscribe.header import Addition, leaving
from gateway.upstream.failure import HandOverFailed, Stage
from gateway.wire.body import Stuffer
from gateway.wire.command import MailCommand, RcptCommand
from gateway.wire.path import MailArguments
from gateway.wire.reply import Reply


class ReleaseRefused(InputError):
    """The message may not be released as asked; the text says what to do."""


@dataclass(frozen=True, slots=True)
class Released:
    """What a release did."""

    sent: list[HeldRecipient]
    suppressed: list[tuple[HeldRecipient, Verdict]]
    reply: Reply | None


async def release(
    site: Site, held_id: str, *, by: str, reason: str, kind: Kind | None = None
) -> Released:
    """Decide anew for each recipient, record the person, and send.

    Raises:
        HeldStateError: it is not held (any more).
        ReleaseRefused: the kind is unclear and none was given, or it is known and
            another was given, or its tool is gone.
        UpstreamUnavailable: not sent, and still held; or, after the final dot,
            unknown whether sent: then it stays claimed for a person to look.

    """
    held = await site.held.claim(held_id)
    work = _Release(site, held, by, reason)
    try:
        return await work.run(kind)
    except BaseException:
        if not work.may_have_left:
            await site.held.unclaim(held_id)
        raise


class _Release:
    """One release under way."""

    def __init__(self, site: Site, held: Held, by: str, reason: str) -> None:
        self._site = site
        self._held = held
        self._message = held.message
        self._by = by
        self._reason = reason
        self.may_have_left = False
        """Whether the upstream may have the message: then it is never sent again."""

    async def run(self, kind: Kind | None) -> Released:
        site = self._site
        known = self._message.kind
        if kind is not None and known is not Kind.UNCLEAR and kind is not known:
            raise ReleaseRefused(f"its kind is known, {known}: --kind is for unclear ones")
        client = self._client()
        header = await self._header()
        headers = HeaderSection(header)
        contacts = [parse_email(recipient.address) for recipient in self._message.recipients]
        traits, addition = await self._traits(client, headers, kind, contacts)
        if traits.kind is Kind.UNCLEAR:
            raise ReleaseRefused("its kind is unclear: say what it is with --kind")
        verdicts = await site.gate.judge(traits, contacts, site.rules)
        if any(verdict.outcome is Outcome.DEFER for verdict in verdicts):
            raise RegisterUnavailable("the register cannot be asked; try again later")
        pairs = list(zip(self._message.recipients, verdicts, strict=True))
        going = [recipient for recipient, v in pairs if v.outcome is not Outcome.SUPPRESS]
        stopped = [(recipient, v) for recipient, v in pairs if v.outcome is Outcome.SUPPRESS]
        leaves = await self._leaving(headers, addition) if going else b""
        record = await self._record(client, traits, verdicts)
        reply: Reply | None = None
        if going:
            try:
                wire = self._wire(leaves, len(header), traits, verdicts)
                reply = await self._send(client, going, wire)
            except BaseException as error:
                self._note_failed(record, error)
                raise
        self._note(record, reply)
        if not going:
            # Nothing left: it stays held, to be discarded by a person who says why.
            await site.held.unclaim(self._held.id)
            return Released(going, stopped, reply)
        await site.held.mark_released(self._held.id, self._by, self._reason, now_ms())
        return Released(going, stopped, reply)

    def _client(self) -> SmtpClient:
        for client in self._site.settings.smtp.clients:
            if client.name == self._message.client:
                return client
        raise ReleaseRefused(
            f"client {self._message.client!r} is not in the configuration any more; "
            "add it again to release its messages, or discard them"
        )

    # -- what it is ---------------------------------------------------------------

    async def _header(self) -> bytes:
        """The header section of the content, without the empty line that ends it."""
        head = bytearray()
        async for piece in self._content():
            head += piece
            if head[:2] == b"\r\n":
                return b""
            end = head.find(b"\r\n\r\n")
            if end >= 0:
                return bytes(head[: end + 2])
        return bytes(head)

    def _content(self) -> AsyncIterator[bytes]:
        return self._site.held.open_content(self._held.id)

    async def _traits(
        self,
        client: SmtpClient,
        headers: HeaderSection,
        kind: Kind | None,
        contacts: Sequence[Contact],
    ) -> tuple[Traits, Addition | None]:
        """What it brings to the decision, and what is added to a copy for one recipient."""
        site = self._site
        rules = site.settings.rules
        traits = read_traits(
            headers,
            fixed_kind=kind if kind is not None else self._message.kind,
            fixed_topic=self._message.topic,
            owned_domains=site.owned_domains,
            recognisable_marks=rules.recognisable_marks,
        )
        opt_out, addition = traits.opt_out, None
        if site.offer is not None and len(contacts) == 1:
            addition = site.offer.addition(headers, traits, contacts[0], now_ms())
        if addition is not None:
            opt_out = addition.told
        elif traits.kind is Kind.MARKETING and not opt_out and rules.opt_out_words:
            word = await asyncio.to_thread(in_text, await self._readable(), rules.opt_out_words)
            opt_out = f"text: {word}" if word else ""
        group = site.settings.product_group(client, traits.topic)
        return traits._replace(opt_out=opt_out, product_group=group), addition

    async def _readable(self) -> bytes:
        text = bytearray()
        async for piece in self._content():
            text += piece[: READABLE - len(text)]
            if len(text) >= READABLE:
                break
        return bytes(text)

    # -- sending ------------------------------------------------------------------

    async def _send(
        self,
        client: SmtpClient,
        recipients: Sequence[HeldRecipient],
        wire: AsyncIterator[bytes],
    ) -> Reply:
        site = self._site
        mail = MailCommand(f"<{self._message.sender}>".encode(), _params(self._message.params))
        commands = [RcptCommand(f"<{r.address}>".encode(), _params(r.params)) for r in recipients]
        transaction, replies = await site.upstreams.open_transaction(
            client.upstreams, mail, commands
        )
        try:
            for reply in replies:
                if not reply.positive:
                    raise UpstreamUnavailable(
                        f"the upstream refused a recipient: {reply.code} {reply.text}"
                    )
            reply = await transaction.data(wire)
        except HandOverFailed as error:
            self.may_have_left = error.stage is Stage.AFTER_END
            raise
        finally:
            transaction.release()
        if not reply.positive:
            self.may_have_left = False
            raise UpstreamUnavailable(f"the upstream refused it: {reply.code} {reply.text}")
        return reply

    async def _leaving(self, headers: HeaderSection, addition: Addition | None) -> bytes:
        """The header section as it leaves, signed where something is added."""
        if addition is None:
            return leaving(headers)
        section = leaving(headers, addition.fields)
        if addition.key is None:
            return section
        head = len(headers.octets) + 2
        return await signature(addition.key, section, self._content(), head, now_ms()) + section

    async def _wire(
        self, leaves: bytes, skip: int, traits: Traits, verdicts: Sequence[Verdict]
    ) -> AsyncIterator[bytes]:
        """The message, its header section (the first ``skip`` octets) as it leaves."""
        # Asked for when the upstream is ready: here the hand-over begins.
        await self._site.gate.confirm(traits, verdicts, self._site.rules)
        self.may_have_left = True
        stuffer = Stuffer()
        yield stuffer.feed(leaves)
        async for piece in self._content():
            rest = piece[skip:]
            skip = max(0, skip - len(piece))
            if rest:
                yield stuffer.feed(rest)
        if end := stuffer.finish():
            yield end

    # -- the record ---------------------------------------------------------------

    async def _record(
        self, client: SmtpClient, traits: Traits, verdicts: Sequence[Verdict]
    ) -> MessageRecord:
        """Write down the new decision, before anything is sent."""
        message = self._message
        draft = Draft(
            client=client,
            peer=Peer("local", "release", extended=True, secure=True, login=True),
            mail=MailArguments(message.sender, f"<{message.sender}>".encode()),
            id=new_id(),
            received=self._held.created,
        )
        record = self._site.evidence.released(draft, traits, verdicts, message.content_id)
        await self._site.recorder.append(
            record, None, [recipient.address for recipient in message.recipients], message.sender
        )
        return record

    def _note_failed(self, record: MessageRecord, error: BaseException) -> None:
        """Say that the release came to nothing, or that nobody knows."""
        for recipient in record.recipients:
            going = recipient.outcome is not Outcome.SUPPRESS
            self._site.recorder.note_outcome(
                OutcomeRecord(
                    record_id=recipient.id,
                    at=now_ms(),
                    result=Result.UNKNOWN if going and self.may_have_left else Result.FAILED,
                    reply_text=str(error) if isinstance(error, GatewayError) else "",
                    person=self._by,
                    reason=self._reason,
                )
            )

    def _note(self, record: MessageRecord, reply: Reply | None) -> None:
        """Say what came of it, of the new record and of the one that held it."""
        now = now_ms()
        for recipient, original in zip(record.recipients, self._message.recipients, strict=True):
            stopped = recipient.outcome is Outcome.SUPPRESS
            answer = None if stopped else reply
            told = [(recipient.id, Result.FORWARDED)]
            if reply is not None:
                told.append((original.record_id, Result.RELEASED))
            for record_id, result in told:
                self._site.recorder.note_outcome(
                    OutcomeRecord(
                        record_id=record_id,
                        at=now,
                        result=Result.SUPPRESSED if stopped else result,
                        reply_code=None if answer is None else answer.code,
                        reply_text="" if answer is None else answer.text,
                        person=self._by,
                        reason=self._reason,
                    )
                )


def _params(words: Sequence[str]) -> dict[str, str | None]:
    """Parameters as they were written; the size is another one now."""
    pairs = (word.partition("=") for word in words)
    return {name: value if equals else None for name, equals, value in pairs if name != "SIZE"}
