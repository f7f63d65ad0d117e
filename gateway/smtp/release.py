"""A held message, released by a person: decided anew, recorded, sent.

The person stands in for what the rules could not know (the kind, the basis), never
for a ban: a recipient that the rules suppress now is not sent to.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace

from gateway.clock import now_ms
from gateway.contacts.email import parse_email
from gateway.decision.facts import Kind, Outcome
from gateway.failure import GatewayError, InputError, RegisterUnavailable, UpstreamUnavailable
from gateway.gate import Verdict
from gateway.held.message import Held, HeldRecipient
from gateway.message.headers import HeaderSection
from gateway.message.optout import READABLE, in_text
from gateway.message.traits import CONTROL_HEADERS, Traits, read_traits
from gateway.records.record import OutcomeRecord, Result, new_id
from gateway.settings.model import SmtpClient
from gateway.smtp.evidence import Draft, Evidence, Peer
from gateway.smtp.site import Site
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
        ReleaseRefused: the kind is unclear and none was given, or its tool is gone.
        UpstreamUnavailable: not sent, and still held; or, after the final dot,
            unknown whether sent: then it stays claimed for a person to look.

    """
    held = await site.held.claim(held_id)
    try:
        return await _release(site, held, by=by, reason=reason, kind=kind)
    except HandOverFailed as error:
        if error.stage is not Stage.AFTER_END:
            await site.held.unclaim(held_id)
        raise
    except (GatewayError, asyncio.CancelledError):
        await site.held.unclaim(held_id)
        raise


async def _release(site: Site, held: Held, *, by: str, reason: str, kind: Kind | None) -> Released:
    client = _client(site, held)
    header, separated = await _header(site, held)
    traits = await _traits(site, held, client, header, kind)
    if traits.kind is Kind.UNCLEAR:
        raise ReleaseRefused("its kind is unclear: say what it is with --kind")
    contacts = [parse_email(recipient.address) for recipient in held.message.recipients]
    verdicts = await site.gate.judge(traits, contacts, site.rules)
    if any(verdict.outcome is Outcome.DEFER for verdict in verdicts):
        raise RegisterUnavailable("the register cannot be asked; try again later")
    pairs = list(zip(held.message.recipients, verdicts, strict=True))
    going = [recipient for recipient, v in pairs if v.outcome is not Outcome.SUPPRESS]
    stopped = [(recipient, v) for recipient, v in pairs if v.outcome is Outcome.SUPPRESS]
    note = _Note(site.evidence, held, client, by, reason)
    ids = await note.record(site, traits, verdicts)
    reply: Reply | None = None
    if going:
        reply = await _send(site, held, client, going, header, separated)
        if not reply.positive:
            raise UpstreamUnavailable(f"the upstream refused it: {reply.code} {reply.text}")
    await site.held.mark_released(held.id, by, reason, now_ms())
    note.outcomes(site, ids, verdicts, reply)
    return Released(going, stopped, reply)


def _client(site: Site, held: Held) -> SmtpClient:
    for client in site.settings.smtp.clients:
        if client.name == held.message.client:
            return client
    raise ReleaseRefused(
        f"client {held.message.client!r} is not in the configuration any more; "
        "add it again to release its messages, or discard them"
    )


async def _header(site: Site, held: Held) -> tuple[bytes, bool]:
    """The header section of the content, and whether an empty line follows it."""
    head = bytearray()
    async for piece in site.held.open_content(held.id):
        head += piece
        if head[:2] == b"\r\n":
            return b"", True
        end = head.find(b"\r\n\r\n")
        if end >= 0:
            return bytes(head[: end + 2]), True
    return bytes(head), False


async def _traits(
    site: Site, held: Held, client: SmtpClient, header: bytes, kind: Kind | None
) -> Traits:
    rules = site.settings.rules
    fixed = kind if kind is not None else held.message.kind
    traits = read_traits(
        HeaderSection(header),
        fixed_kind=fixed,
        fixed_topic=held.message.topic,
        owned_domains=site.owned_domains,
        recognisable_marks=rules.recognisable_marks,
    )
    opt_out = traits.opt_out
    if traits.kind is Kind.MARKETING and not opt_out and rules.opt_out_words:
        text = bytearray()
        async for piece in site.held.open_content(held.id):
            text += piece[: READABLE - len(text)]
            if len(text) >= READABLE:
                break
        word = await asyncio.to_thread(in_text, bytes(text), rules.opt_out_words)
        opt_out = f"text: {word}" if word else ""
    return replace(
        traits,
        opt_out=opt_out,
        product_group=site.settings.product_group(client, traits.topic),
    )


async def _send(
    site: Site,
    held: Held,
    client: SmtpClient,
    recipients: Sequence[HeldRecipient],
    header: bytes,
    separated: bool,
) -> Reply:
    message = held.message
    mail = MailCommand(f"<{message.sender}>".encode(), _params(message.params))
    commands = [RcptCommand(f"<{r.address}>".encode(), _params(r.params)) for r in recipients]
    transaction, replies = await site.upstreams.open_transaction(client.upstreams, mail, commands)
    try:
        for reply in replies:
            if not reply.positive:
                raise UpstreamUnavailable(
                    f"the upstream refused a recipient: {reply.code} {reply.text}"
                )
        return await transaction.data(_wire(site, held, header, separated))
    finally:
        transaction.release()


def _params(words: Sequence[str]) -> dict[str, str | None]:
    pairs = (word.partition("=") for word in words)
    return {name: value if equals else None for name, equals, value in pairs if name != "SIZE"}


async def _wire(site: Site, held: Held, header: bytes, separated: bool) -> AsyncIterator[bytes]:
    stuffer = Stuffer()
    yield stuffer.feed(HeaderSection(header).without(CONTROL_HEADERS))
    skip = len(header)
    async for piece in site.held.open_content(held.id):
        rest = piece[skip:]
        skip = max(0, skip - len(piece))
        if rest:
            yield stuffer.feed(rest)
    if end := stuffer.finish():
        yield end


@dataclass(slots=True)
class _Note:
    """The release's own record, and the outcomes it adds to the original ones."""

    evidence: Evidence
    held: Held
    client: SmtpClient
    by: str
    reason: str

    async def record(self, site: Site, traits: Traits, verdicts: Sequence[Verdict]) -> list[str]:
        message = self.held.message
        draft = Draft(
            client=self.client,
            peer=Peer("local", "release", extended=True, secure=True, login=True),
            mail=MailArguments(message.sender, f"<{message.sender}>".encode()),
            id=new_id(),
            received=self.held.created,
        )
        record = self.evidence.released(draft, traits, verdicts, message.content_id)
        await site.recorder.append(
            record, None, [recipient.address for recipient in message.recipients], message.sender
        )
        return [recipient.id for recipient in record.recipients]

    def outcomes(
        self, site: Site, ids: Sequence[str], verdicts: Sequence[Verdict], reply: Reply | None
    ) -> None:
        now = now_ms()
        for index, verdict in enumerate(verdicts):
            stopped = verdict.outcome is Outcome.SUPPRESS
            original = self.held.message.recipients[index].record_id
            site.recorder.note_outcome(
                OutcomeRecord(
                    record_id=ids[index],
                    at=now,
                    result=Result.SUPPRESSED if stopped else Result.FORWARDED,
                    reply_code=None if stopped or reply is None else reply.code,
                    reply_text="" if stopped or reply is None else reply.text,
                    person=self.by,
                    reason=self.reason,
                ),
                OutcomeRecord(
                    record_id=original,
                    at=now,
                    result=Result.SUPPRESSED if stopped else Result.RELEASED,
                    person=self.by,
                    reason=self.reason,
                ),
            )
