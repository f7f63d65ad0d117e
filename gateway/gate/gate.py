"""May this message go to these contacts, now, and by which rule?

Mail, SMS and list washing all ask here: contacts and the message's traits in, one
verdict per contact out.  A register that cannot be reached is a fact like any other
(``register_reachable``); the rules turn it into a deferral, never into a forward.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace

import structlog

from gateway.clock import Clock, now_ms
from gateway.contacts.contact import Contact, Tier
from gateway.decision.engine import Decision, decide
from gateway.decision.facts import ConsentState, Facts, Outcome
from gateway.decision.rule import RuleSet
from gateway.entry.standing import Standing
from gateway.failure import Overloaded, RegisterUnavailable
from gateway.message.traits import Traits
from gateway.register.register import Register

log = structlog.get_logger(__name__)

_CONFIRMATIONS = 3


@dataclass(frozen=True, slots=True)
class Verdict:
    """The decision for one contact with everything it rests on."""

    contact: Contact
    decision: Decision
    facts: Facts
    tier: Tier | None
    position: str
    """The register's position at the look-up (the last event of the contact's bucket)."""
    topic_may_lift: bool
    """Whether a consent for one topic could lift a ban, were that the message's topic."""
    asked_at: float
    """Loop time just before the look-up was sent: the verdict is never older than this."""

    @property
    def outcome(self) -> Outcome:
        """What becomes of the message for this contact."""
        return self.decision.outcome


def assemble(traits: Traits, standing: Standing | None, now: int) -> tuple[Facts, Tier | None, str]:
    """The facts of one contact and message; ``standing`` None: register unreachable."""
    if standing is None:
        return (
            Facts(
                kind=traits.kind,
                channel=traits.channel,
                sender_authorised=traits.sender_authorised,
                register_reachable=False,
                opt_out_means=bool(traits.opt_out),
                recognisable=traits.recognisable,
                own_product=traits.own_product,
                quiet_hours=traits.quiet_hours,
                urgent=traits.urgent,
            ),
            None,
            "",
        )
    known = standing.facts(traits.channel, traits.topic, traits.product_group, now)
    return (
        Facts(
            kind=traits.kind,
            channel=traits.channel,
            sender_authorised=traits.sender_authorised,
            register_reachable=True,
            known=known.known,
            tombstone=known.tombstone,
            ban_all=known.ban_all,
            ban_channel=known.ban_channel,
            ban_topic=known.ban_topic,
            ban_organisation=known.ban_organisation,
            ban_contact=known.ban_contact,
            restricted=known.restricted,
            opt_out_means=bool(traits.opt_out),
            recognisable=traits.recognisable,
            source_known=known.source_known,
            age=known.age,
            guardian_consent=known.guardian_consent,
            person_class=known.person_class,
            consent=known.consent,
            consent_proven=known.consent_proven,
            relationship=known.relationship,
            collected=known.collected,
            opt_out_offered=known.opt_out_offered,
            own_product=traits.own_product,
            product=known.product,
            quiet_hours=traits.quiet_hours,
            urgent=traits.urgent,
        ),
        known.tier,
        known.position,
    )


class Gate:
    """Look-up, facts and rules in one step."""

    def __init__(self, register: Register, clock: Clock = now_ms) -> None:
        self._register = register
        self._clock = clock

    async def confirm(self, traits: Traits, verdicts: Sequence[Verdict], rules: RuleSet) -> None:
        """Return only while the verdicts are fresh enough to begin a hand-over on.

        Where the look-up has grown older than the register's settling time, it is
        repeated.  A change that was acknowledged before is therefore always seen.

        Raises:
            RegisterUnavailable: an outcome differs now, or the look-ups stay too slow.

        """
        loop = asyncio.get_running_loop()
        settling = self._register.settling
        asked_at = verdicts[0].asked_at
        for _ in range(_CONFIRMATIONS):
            if loop.time() - asked_at < settling:
                return
            again = await self.judge(traits, [verdict.contact for verdict in verdicts], rules)
            if [v.outcome for v in again] != [v.outcome for v in verdicts]:
                raise RegisterUnavailable("the register changed before the hand-over")
            asked_at = again[0].asked_at
        raise RegisterUnavailable(f"look-ups take longer than register.settle ({settling:g} s)")

    async def judge(
        self, traits: Traits, contacts: Sequence[Contact], rules: RuleSet
    ) -> list[Verdict]:
        """One verdict per contact, in order, from one round trip to the register.

        Never raises for an unreachable register: its verdicts then say so.
        """
        asked_at = asyncio.get_running_loop().time()
        standings: Sequence[Standing | None]
        try:
            standings = await self._register.look_up(contacts)
        except (RegisterUnavailable, Overloaded) as error:
            log.warning("register_unavailable", cause=str(error))
            standings = [None] * len(contacts)
        now = self._clock()
        verdicts = []
        for contact, standing in zip(contacts, standings, strict=True):
            facts, tier, position = assemble(traits, standing, now)
            may_lift = standing is not None and standing.topic_may_lift(traits.channel, now)
            verdicts.append(
                Verdict(contact, decide(facts, rules), facts, tier, position, may_lift, asked_at)
            )
        return verdicts


def judged_with(traits: Traits, verdict: Verdict, rules: RuleSet) -> Verdict:
    """A verdict's register facts, judged with other traits."""
    facts = replace(
        verdict.facts,
        kind=traits.kind,
        sender_authorised=traits.sender_authorised,
        opt_out_means=bool(traits.opt_out),
        recognisable=traits.recognisable,
    )
    return replace(verdict, facts=facts, decision=decide(facts, rules))


def topic_aside(verdict: Verdict, rules: RuleSet) -> Verdict:
    """What is certain of a verdict while the message's topic is still open.

    The decision is the most favourable that any topic could bring; the facts stay
    those of the register.  A recipient that is suppressed even so is suppressed
    whatever the headers will say.
    """
    facts = verdict.facts
    best = replace(
        facts,
        tombstone=facts.tombstone and not verdict.topic_may_lift,
        ban_all=facts.ban_all and not verdict.topic_may_lift,
        ban_channel=facts.ban_channel and not verdict.topic_may_lift,
        ban_topic=False,
        consent=ConsentState.GRANTED,
        consent_proven=True,
    )
    return replace(verdict, decision=decide(best, rules))
