"""The gateway's own answers to what people write: a STOP confirmed, a START, help.

They are notices (rule R04), decided and recorded as any message before they leave, and
sent in the webhook's answer where the provider takes them there, else by its API.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import structlog

from gateway.clock import now_ms
from gateway.contacts.contact import Channel, Contact
from gateway.decision.facts import Kind, Outcome
from gateway.failure import GatewayError, InputError
from gateway.hook.hook import Incoming
from gateway.message.traits import Traits
from gateway.provider.request import Answer, Request
from gateway.provider.submission import Decided, Fate, Message, Submission, Told
from gateway.records.record import Result
from gateway.sms.evidence import Recorded
from gateway.sms.judged import Addressees, Judged
from gateway.sms.judging import confirm
from gateway.sms.outlet import Outlets, ProviderAway
from gateway.sms.site import Site
from gateway.sms.webhook import Webhook

log = structlog.get_logger(__name__)

_RESULTS = {
    Told.ACCEPTED: Result.FORWARDED,
    Told.REFUSED: Result.REFUSED,
    Told.LATER: Result.DEFERRED,
}


async def in_answer(
    site: Site, webhook: Webhook, one: Incoming, contact: Contact, text: str
) -> str | None:
    """The text to give to the person in the webhook's answer, recorded; None: it may not go.

    Raises:
        GatewayError: it cannot be recorded.

    """
    recorded = await _recorded(site, webhook, one, contact, text)
    if recorded is None:
        return None
    site.evidence.outcome(webhook.route, recorded, [0], Result.FORWARDED, now_ms())
    return text


async def by_api(site: Site, webhook: Webhook, one: Incoming, contact: Contact, text: str) -> None:
    """Send a text by the provider's API; a failure is logged, for the ban is what counts."""
    route = webhook.route
    try:
        request = _request(webhook, one, contact, text)
        if request is None:
            raise InputError("the route has no credential of its own")
        submission = route.adapter.read(request)
        if submission is None:
            raise InputError("the provider has no such way to send")
        recorded = await _recorded(site, webhook, one, contact, text)
    except GatewayError as error:
        log.warning("confirmation_failed", route=route.name, cause=str(error))
        return
    if recorded is None:
        return
    answer: Answer | None = None
    begun = False

    async def begin() -> None:
        nonlocal begun
        await confirm(site, [recorded.judged], [[0]])
        begun = True

    try:
        async with asyncio.timeout(webhook.settings.timeout):
            answer = await site.outlets.send(route, request, begin)
        result = Result.FORWARDED if answer is None else _result(webhook, submission, answer)
    except (GatewayError, TimeoutError) as error:
        begun = error.begun if isinstance(error, ProviderAway) else begun
        result = Result.UNKNOWN if begun else Result.FAILED
        log.warning("confirmation_failed", route=route.name, cause=str(error) or "no answer")
    if result is not Result.FORWARDED:
        site.metrics.fault("confirmation")
        log.warning("confirmation_not_sent", route=route.name, result=result.value)
    site.evidence.outcome(route, recorded, [0], result, now_ms(), answer)


def _result(webhook: Webhook, submission: Submission, answer: Answer) -> Result:
    """What the provider says of it, read as of any message."""
    decided = Decided([[Fate.SENT]], [[""]], now_ms())
    told = webhook.route.adapter.told(answer, submission, decided)
    return _RESULTS[told[0]] if told else Result.UNKNOWN


def _request(webhook: Webhook, one: Incoming, contact: Contact, text: str) -> Request | None:
    """The request that sends it, with the provider's credential; None: there is none."""
    route = webhook.route
    if route.settings.sandbox is not None:
        return webhook.hook.compose(one.recipient, contact.canonical, text, "sandbox")
    if route.secret is None:
        return None
    account = webhook.settings.account or route.secret.name
    request = webhook.hook.compose(one.recipient, contact.canonical, text, account)
    if request is None:
        return None
    return Outlets.outgoing_stored(route, request, 0)


async def _recorded(
    site: Site, webhook: Webhook, one: Incoming, contact: Contact, text: str
) -> Recorded | None:
    """Decide on the text and record it; None: the rules do not let it go."""
    traits = Traits(
        Kind.NOTICE,
        Channel.SMS,
        sender_domains=(one.recipient[:64],),
        opt_out="",
        urgent=True,
    )
    verdicts = await site.gate.judge(traits, [contact], site.rules)
    judged = Judged(
        Message(one.recipient, text, (contact.canonical,)),
        traits,
        Addressees([contact], [0], [Fate.SENT], ""),
        verdicts,
        [(traits, [0])],
        [None],
    )
    now = now_ms()
    forwards = verdicts[0].outcome is Outcome.FORWARD
    recorded = site.evidence.record(
        webhook.route, Request("POST", ""), judged, now, now, keeps=False, content=forwards
    )
    if recorded.written is not None and recorded.written.content is not None:
        await site.contents.put(recorded.id, pieces(text))
    await site.evidence.store([recorded])
    if not forwards:
        site.evidence.outcome(webhook.route, recorded, [0], Result.SUPPRESSED, now)
        return None
    return recorded


async def pieces(text: str) -> AsyncIterator[bytes]:
    """A text as the store of contents takes it."""
    yield text.encode("utf-8", "replace")
