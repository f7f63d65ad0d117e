"""May this message go to these contacts, now, and by which rule?

Mail, SMS and list washing all ask here: contacts and the message's traits in, one
verdict per contact out.  A register that cannot be reached is a fact like any other
(``register_reachable``); the rules turn it into a deferral, never into a forward.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Sequence
from functools import partial
from itertools import repeat
from operator import itemgetter
from typing import Any, NamedTuple, Protocol, cast

import structlog

from gateway.clock import Clock, now_ms
from gateway.contacts.contact import Contact, Tier
from gateway.decision.engine import Decision, decide
from gateway.decision.facts import ConsentState, Facts, Outcome
from gateway.decision.rule import RuleSet
from gateway.entry.standing import Standing
from gateway.failure import Overloaded, RegisterUnavailable
from gateway.gate.precedent import Precedents, likeness
from gateway.message.traits import Traits

log = structlog.get_logger(__name__)

_CONFIRMATIONS = 3


class Verdict(NamedTuple):
    """The decision for one contact with everything it rests on."""

    contact: Contact
    decision: Decision
    facts: Facts
    tier: Tier | None
    """By which spelling the ban that decides was matched; None without a ban."""
    standing: Standing | None
    """What the register said; None: it could not be asked."""
    asked_at: float
    """Loop time just before the look-up was sent: the verdict is never older than this."""
    at: int
    """When it was decided, in milliseconds since the epoch."""
    digest: str = ""
    """The contact's digest, ``key_id:hex``; empty where the register could not be asked."""

    @property
    def outcome(self) -> Outcome:
        """What becomes of the message for this contact."""
        return self.decision.outcome

    @property
    def position(self) -> str:
        """The register's position at the look-up (the last event of the contact's bucket)."""
        return "" if self.standing is None else self.standing.position

    @property
    def topic_may_lift(self) -> bool:
        """Whether a consent for one topic could lift a ban, were that the message's topic."""
        return self.standing is not None and self.standing.topic_may_lift(
            self.facts.channel, self.at
        )


# Made for every recipient of every message, so without a call in Python for each.
_make_verdict: Callable[[Iterable[Any]], Verdict] = partial(tuple.__new__, Verdict)
_standing: Callable[[Verdict], Standing | None] = itemgetter(Verdict._fields.index("standing"))
_asked_at: Callable[[Verdict], float] = itemgetter(Verdict._fields.index("asked_at"))


class Asked(Protocol):
    """What is asked about contacts: the register, or what was known at another time."""

    @property
    def settling(self) -> float:
        """Seconds that a hand-over may rest on a look-up."""

    def look_up(self, contacts: Sequence[Contact]) -> Coroutine[Any, Any, list[Standing]]:
        """Where each contact stands, in order."""

    async def position(self) -> str:
        """The id of the latest event."""


class Gate:
    """Look-up, facts and rules in one step."""

    def __init__(self, register: Asked, clock: Clock = now_ms) -> None:
        self._register = register
        self._clock = clock
        self._precedents: Precedents | None = None

    def fresh(self, asked_at: float) -> bool:
        """Whether a hand-over may begin now on a look-up that was sent then (loop time)."""
        return asyncio.get_running_loop().time() - asked_at < self._register.settling

    async def confirm(self, traits: Traits, verdicts: Sequence[Verdict], rules: RuleSet) -> None:
        """Return only while the verdicts are fresh enough to begin a hand-over on.

        Where the look-up has grown older than the register's settling time, it is
        repeated.  A change that was acknowledged before is therefore always seen.

        Raises:
            RegisterUnavailable: an outcome differs now, or the look-ups stay too slow.

        """
        await self.confirm_together([(traits, verdicts)], rules)

    async def confirm_together(
        self, groups: Sequence[tuple[Traits, Sequence[Verdict]]], rules: RuleSet
    ) -> None:
        """:meth:`confirm` for verdicts of several traits on which one hand-over begins.

        Returns only while all of them are fresh at once: confirmed one group after the
        other, the first could grow old while the last is looked up.

        Raises:
            RegisterUnavailable: an outcome differs now, or the look-ups stay too slow.

        """
        if not groups:
            return
        loop = asyncio.get_running_loop()
        settling = self._register.settling
        asked_at = min(verdicts[0].asked_at for _, verdicts in groups)
        slow = False
        for _ in range(_CONFIRMATIONS):
            if loop.time() - asked_at < settling:
                return
            position = await self._register.position() if slow else ""
            again = await asyncio.gather(
                *(
                    self.judge(traits, [verdict.contact for verdict in verdicts], rules)
                    for traits, verdicts in groups
                )
            )
            for now_said, (_, verdicts) in zip(again, groups, strict=True):
                if [v.outcome for v in now_said] != [v.outcome for v in verdicts]:
                    raise RegisterUnavailable("the register changed before the hand-over")
            asked_at = min(now_said[0].asked_at for now_said in again)
            now = loop.time()
            # So many contacts may take longer than a verdict lasts.  If nothing in the
            # register has changed since, what was found holds now as well.
            if slow and await self._register.position() == position:
                asked_at = now
            slow = now - asked_at >= settling
        raise RegisterUnavailable(f"look-ups take longer than register.settle ({settling:g} s)")

    async def judge(
        self,
        traits: Traits,
        contacts: Sequence[Contact],
        rules: RuleSet,
        earlier: Sequence[Verdict | None] = (),
    ) -> list[Verdict]:
        """One verdict per contact, in order, from at most one round trip to the register.

        ``earlier`` are verdicts on the same contacts, in the same order.  Where all
        their look-ups are young enough to begin a hand-over on, the register is not
        asked again.  Never raises for an unreachable register: the verdicts say so.
        """
        if not contacts:
            return []
        standings: Sequence[Standing] | None
        asked_at = self._young(earlier) if earlier else None
        if asked_at is not None:
            standings = cast("list[Standing]", [one and one.standing for one in earlier])
        else:
            asked_at = asyncio.get_running_loop().time()
            try:
                standings = await self._register.look_up(contacts)
            except (RegisterUnavailable, Overloaded) as error:
                log.warning("register_unavailable", cause=str(error))
                standings = None
        now = self._clock()
        find = self._under(rules).find
        if standings is None:
            unreachable = find(traits, None)
            return [Verdict(contact, *unreachable, None, asked_at, now) for contact in contacts]
        channel, topic, group = traits.channel, traits.topic, traits.product_group
        count = len(contacts)
        if count == 1:
            (standing,) = standings
            precedent = find(traits, standing.facts(channel, topic, group, now))
            members = (contacts[0], *precedent, standing, asked_at, now, standing[5])
            return [_make_verdict(members)]
        exact, known, base, organisations, _, digests, hashed = zip(*standings, strict=True)
        # Most contacts have the same entries, a stranger's or one ban, and so the same
        # facts.  The standings keep the entries alive, so that their ids are theirs.
        entries_of = (map(id, base), map(id, organisations), map(id, hashed))
        alike = list(zip(map(id, exact), known, *entries_of, strict=True))
        said = {
            entries: find(traits, standing.facts(channel, topic, group, now))
            for entries, standing in dict(zip(alike, standings, strict=True)).items()
        }
        decisions, facts, tiers = zip(*map(said.__getitem__, alike), strict=True)
        when, at = repeat(asked_at, count), repeat(now, count)
        return list(
            map(
                _make_verdict,
                zip(contacts, decisions, facts, tiers, standings, when, at, digests, strict=True),
            )
        )

    def _under(self, rules: RuleSet) -> Precedents:
        """The precedents of these rules; those of others are given up."""
        precedents = self._precedents
        if precedents is None or precedents.rules is not rules:
            precedents = self._precedents = Precedents(rules)
        return precedents

    def stands(self, traits: Traits, favoured: Traits, earlier: Sequence[Verdict | None]) -> bool:
        """Whether verdicts reached with favourable traits hold for the true ones as well.

        They do where nothing that the facts are made of differs, the topic was known,
        and all their look-ups are young enough to begin a hand-over on.
        """
        return (
            favoured.topic is not None
            and traits.topic == favoured.topic
            and traits.product_group == favoured.product_group
            and likeness(traits) == likeness(favoured)
            and self._young(earlier) is not None
        )

    def _young(self, earlier: Sequence[Verdict | None]) -> float | None:
        """When the oldest look-up was sent, if all may still be used."""
        if not earlier or None in earlier:
            return None
        verdicts = cast("Sequence[Verdict]", earlier)
        if None in map(_standing, verdicts):
            return None
        oldest = min(map(_asked_at, verdicts))
        # Half, so that there is time left to begin the hand-over.
        age = asyncio.get_running_loop().time() - oldest
        return oldest if age < self._register.settling / 2 else None


def judged_with(traits: Traits, verdict: Verdict, rules: RuleSet) -> Verdict:
    """A verdict's register facts, judged with other traits."""
    facts = verdict.facts._replace(
        kind=traits.kind,
        sender_authorised=traits.sender_authorised,
        opt_out_means=bool(traits.opt_out),
        recognisable=traits.recognisable,
    )
    return verdict._replace(facts=facts, decision=decide(facts, rules))


def topic_aside(verdict: Verdict, rules: RuleSet) -> Verdict:
    """What is certain of a verdict while the message's topic is still open.

    The decision is the most favourable that any topic could bring; the facts stay
    those of the register.  A recipient that is suppressed even so is suppressed
    whatever the headers will say.
    """
    facts = verdict.facts
    best = facts._replace(
        tombstone=facts.tombstone and not verdict.topic_may_lift,
        ban_all=facts.ban_all and not verdict.topic_may_lift,
        ban_channel=facts.ban_channel and not verdict.topic_may_lift,
        ban_topic=False,
        consent=ConsentState.GRANTED,
        consent_proven=True,
    )
    return verdict._replace(decision=decide(best, rules))
