"""``/v1/decisions``: what would be decided, before anything is sent."""

from __future__ import annotations

from gateway.api import form
from gateway.api.account import Permission
from gateway.api.address import contact_at
from gateway.api.desk import Call
from gateway.api.problem import unavailable
from gateway.api.route import Route
from gateway.contacts.contact import Channel
from gateway.decision.facts import Kind
from gateway.decision.rule import Reasons
from gateway.failure import RegisterUnavailable
from gateway.gate import Verdict
from gateway.message.traits import Traits


def reasons(texts: Reasons) -> form.Reasons:
    """A rule's reasons as they go out."""
    return form.Reasons(fi=texts.fi, sv=texts.sv, en=texts.en)


async def decide(call: Call) -> form.Decisions:
    """One verdict for each contact, from one round trip for each channel."""
    desk, asked = call.desk, call.form
    contacts = [
        contact_at(text, f"/contacts/{number}") for number, text in enumerate(asked.contacts)
    ]
    topics = desk.settings.topics
    named = topics.get(asked.topic) if asked.topic is not None else None
    group = asked.product_group or (named.product_group if named is not None else None)
    verdicts: dict[int, Verdict] = {}
    for channel in Channel:
        mine = [
            (number, contact)
            for number, contact in enumerate(contacts)
            if (asked.channel or contact.channel) is channel
        ]
        if not mine:
            continue
        traits = Traits(Kind(asked.kind), channel, asked.topic, group)
        found = await desk.gate.judge(traits, [contact for _, contact in mine], desk.rules)
        verdicts |= zip([number for number, _ in mine], found, strict=True)
    if any(verdict.standing is None for verdict in verdicts.values()):
        raise unavailable(RegisterUnavailable.line)
    return form.Decisions(
        decisions=[_verdict(verdicts[number]) for number in range(len(contacts))],
        rule_set=desk.rules.name,
        rule_set_version=desk.rules.version,
    )


def _verdict(verdict: Verdict) -> form.Verdict:
    rule = verdict.decision.rule
    return form.Verdict(
        outcome=verdict.outcome,
        rule=rule.id,
        reason=reasons(rule.reason),
        source=rule.source,
        tier=verdict.tier,
        position=verdict.position,
    )


ROUTES = (
    Route(
        method="POST",
        path="/v1/decisions",
        summary="Ask what would be decided for up to 1000 contacts; nothing is recorded.",
        permission=Permission.DECIDE,
        handler=decide,
        body=form.DecisionForm,
        answer=form.Decisions,
        tag="decisions",
    ),
)
