"""A notice of the gateway's own, sent as every other message is: judged, recorded, sent."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from gateway.clock import now_ms
from gateway.contacts.email import parse_email
from gateway.decision.facts import Kind, Outcome
from gateway.decision.rule import RuleSet
from gateway.failure import GatewayError, InputError, UpstreamUnavailable
from gateway.gate import Gate, Verdict
from gateway.message.headers import HeaderSection
from gateway.message.traits import Traits, read_traits
from gateway.records.content import ContentStore
from gateway.records.identifier import new_id
from gateway.records.record import MessageRecord, OutcomeRecord, Result
from gateway.records.recorder import Recorder
from gateway.settings.smtp import SmtpClient
from gateway.settings.value import ClientKind
from gateway.smtp.draft import Draft, Peer
from gateway.smtp.evidence import Evidence
from gateway.upstream.failure import HandOverFailed, Stage
from gateway.upstream.upstreams import Upstreams
from gateway.wire.body import Stuffer
from gateway.wire.command import MailCommand, RcptCommand
from gateway.wire.path import MailArguments
from gateway.wire.reply import Reply

CLIENT = "gateway"
"""The client's name in the records of notices."""


class NoticeRefused(InputError):
    """The rules do not let a notice go to its recipient."""


class NoticeUnanswered(UpstreamUnavailable):
    """The upstream may have the notice: its answer was lost."""


@dataclass(frozen=True, slots=True)
class Post:
    """What a notice is sent with."""

    rules: RuleSet
    gate: Gate
    evidence: Evidence
    recorder: Recorder
    contents: ContentStore
    upstreams: Upstreams
    owned_domains: frozenset[str]


async def send_notice(
    post: Post, message: bytes, *, sender: str, recipient: str, upstream: str
) -> None:
    """Send a message of kind ``notice`` to one recipient; returns when it is taken.

    Raises:
        NoticeRefused: the rules forbid it; the record says by which.
        NoticeUnanswered: it may have been taken.
        GatewayError: it was not sent; it may be tried again.

    """
    head, _, _ = message.partition(b"\r\n\r\n")
    header = head + b"\r\n"
    traits = read_traits(
        HeaderSection(header),
        fixed_kind=Kind.NOTICE,
        fixed_topic=None,
        owned_domains=post.owned_domains,
        recognisable_marks=(),
    )
    verdicts = await post.gate.judge(traits, [parse_email(recipient)], post.rules)
    content_id = await post.contents.put(new_id(), _pieces(message))
    record = post.evidence.released(
        Draft(
            client=SmtpClient(
                name=CLIENT, networks=["127.0.0.1"], kind=ClientKind.NOTICE, upstream=upstream
            ),
            peer=Peer("local", "notice", extended=True, secure=True, login=True),
            mail=MailArguments(sender, f"<{sender}>".encode()),
        ),
        traits,
        verdicts,
        content_id,
    )
    await post.recorder.append(record, header, [recipient], sender)
    if verdicts[0].outcome is not Outcome.FORWARD:
        _note(post, record, Result.FAILED, text="a notice may not go to the contact")
        raise NoticeRefused(f"rule {verdicts[0].decision.rule.id} stops the notice")
    work = _Sending(post, message, traits, verdicts)
    try:
        reply = await work.send(sender, recipient, upstream)
    except BaseException as error:
        text = str(error) if isinstance(error, GatewayError) else ""
        _note(post, record, Result.UNKNOWN if work.may_have_left else Result.FAILED, text=text)
        if work.may_have_left and isinstance(error, GatewayError):
            raise NoticeUnanswered(text) from None
        raise
    _note(post, record, Result.FORWARDED, reply.code, reply.text)


class _Sending:
    """One hand-over under way."""

    def __init__(
        self, post: Post, message: bytes, traits: Traits, verdicts: Sequence[Verdict]
    ) -> None:
        self._post = post
        self._message = message
        self._traits = traits
        self._verdicts = verdicts
        self.may_have_left = False

    async def send(self, sender: str, recipient: str, upstream: str) -> Reply:
        """The upstream's reply, which is positive; raises GatewayError."""
        mail = MailCommand(f"<{sender}>".encode(), {})
        to = RcptCommand(f"<{recipient}>".encode(), {})
        transaction, replies = await self._post.upstreams.open_transaction([upstream], mail, [to])
        try:
            for reply in replies:
                _require(reply)
            reply = await transaction.data(self._wire())
        except HandOverFailed as error:
            self.may_have_left = error.stage is Stage.AFTER_END
            raise
        finally:
            transaction.release()
        self.may_have_left = False
        _require(reply)
        return reply

    async def _wire(self) -> AsyncIterator[bytes]:
        await self._post.gate.confirm(self._traits, self._verdicts, self._post.rules)
        self.may_have_left = True
        stuffer = Stuffer()
        yield stuffer.feed(self._message)
        if end := stuffer.finish():
            yield end


def _require(reply: Reply) -> None:
    if not reply.positive:
        raise UpstreamUnavailable(f"the upstream refused it: {reply.code} {reply.text}")


def _note(
    post: Post, record: MessageRecord, result: Result, code: int | None = None, text: str = ""
) -> None:
    post.recorder.note_outcome(
        *(
            OutcomeRecord(
                record_id=one.id, at=now_ms(), result=result, reply_code=code, reply_text=text
            )
            for one in record.recipients
        )
    )


async def _pieces(message: bytes) -> AsyncIterator[bytes]:
    yield message
