"""From verdicts to the record that proves them: what is decided, for whom, on what grounds.

What a tool sends differs little from message to message, and so do its recipients:
what is alike is put in words once and kept, in bounds, as long as the site is.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import count, repeat
from operator import attrgetter
from typing import NamedTuple, Protocol

from gateway.clock import years_later
from gateway.contacts.contact import Tier
from gateway.contacts.digest import KeyRing, subject_of
from gateway.decision.facts import Facts, Outcome
from gateway.decision.rule import RuleSet
from gateway.gate import Verdict
from gateway.message.traits import Traits
from gateway.records.form import Form, Written, grounds_text
from gateway.records.identifier import new_id, new_ids
from gateway.records.record import Fact, MessageRecord, RecipientRecord
from gateway.settings import Settings

_FACTS = Facts._fields
_FORMS = 512
_GROUNDS = 4096

_grounds = attrgetter("facts", "tier", "decision.outcome", "decision.rule.id")
"""What recipients have in common that are recorded alike."""
_objects = attrgetter("decision", "facts", "tier")
_MANY = 8
"""Recipients that are worth sorting by what they share."""
_position = attrgetter("standing.position")
_digest = attrgetter("digest")

_Key = tuple[str, tuple[Facts, Tier | None, Outcome, str]]
"""What made the message marketing, and a recipient's grounds."""


class Source(Protocol):
    """Who sends: a mail client or a route for text messages, as the settings have it."""

    @property
    def name(self) -> str:
        """Its name in the settings."""

    @property
    def upstreams(self) -> tuple[str, ...]:
        """Where its messages go."""

    @property
    def campaign_header(self) -> str:
        """The name of the header field that names the campaign."""


class Style(NamedTuple):
    """What the messages of one client have in common that show the same traits."""

    form: Form
    campaign: bytes
    """The name of the header field that names the campaign, in lower case."""
    content: bool
    """Whether the content of such a message is kept when it is forwarded."""


class Scribe:
    """Writes the records of one site."""

    def __init__(self, settings: Settings, rules: RuleSet, ring: KeyRing) -> None:
        self._settings = settings
        self._rules = rules
        self._ring = ring
        self._content_kinds = frozenset(settings.records.content_of)
        self._years = settings.records.retention_years
        self._styles: dict[tuple[str, Traits], Style] = {}
        self._words: dict[_Key, bytes] = {}
        # A tool sends from a handful of addresses.
        self._sender_digest = lru_cache(maxsize=1024)(
            lambda address: ring.text("e:" + address.casefold()) if address else ""
        )

    def style(self, client: Source, traits: Traits) -> Style:
        """What the messages of this client have in common that show these traits."""
        return self._styles.get((client.name, traits)) or self._learn(client, traits)

    def write(
        self,
        form: Form,
        sender: str,
        message_id: str,
        received: int,
        decided: int,
        turned_by: str,
        verdicts: Sequence[Verdict],
        campaign: str | None = None,
        body_hash: str = "",
        size: int = 0,
        content: str | None = None,
    ) -> Written:
        """The record of these verdicts; each gets a record id.

        ``sender``: the envelope sender, where there is one.
        ``turned_by``: the mark that made the message marketing; ``content``: the id
        of the stored content, where it is kept.
        """
        # Each grounds get their number when they first come.
        numbers: defaultdict[_Key, int] = defaultdict(count().__next__)
        if len(verdicts) < _MANY:
            keys = zip(repeat(turned_by), map(_grounds, verdicts), strict=False)
            numbered = list(map(numbers.__getitem__, keys))
        else:
            # Of many most share one decision and one set of facts, the very objects.
            decisions, facts, tiers = zip(*map(_objects, verdicts), strict=True)
            alike = list(zip(map(id, decisions), map(id, facts), tiers, strict=True))
            of_alike = {
                objects: numbers[turned_by, _grounds(verdict)]
                for objects, verdict in dict(zip(alike, verdicts, strict=True)).items()
            }
            numbered = list(map(of_alike.__getitem__, alike))
        known = self._words.get
        return form.write(
            message_id,
            received,
            decided,
            campaign,
            body_hash,
            size,
            self._sender_digest(sender),
            content,
            [known(key) or self._put_in_words(key) for key in numbers],
            years_later(decided, self._years),
            new_ids(len(verdicts)),
            self._digests(verdicts),
            numbered,
            _positions(verdicts),
        )

    def record(
        self,
        client: Source,
        sender: str,
        message_id: str,
        received: int,
        decided: int,
        traits: Traits,
        verdicts: Sequence[Verdict],
        content: str | None,
    ) -> MessageRecord:
        """The same of a message that does not come from a client now, to be read here."""
        turned_by = traits.turned_marketing_by
        return self._example(client, traits)._replace(
            id=message_id,
            received=received,
            decided=decided,
            sender_digest=self._sender_digest(sender),
            content=content,
            recipients=tuple(
                RecipientRecord(
                    id=new_id(),
                    digest=digest,
                    outcome=verdict.decision.outcome,
                    rule=verdict.decision.rule.id,
                    address_class=_class_of(verdict.facts, turned_by),
                    tier=verdict.tier,
                    facts=facts_of(verdict.facts),
                    register_position=verdict.position,
                    retain_until=years_later(decided, self._years),
                )
                for verdict, digest in zip(verdicts, self._digests(verdicts), strict=True)
            ),
        )

    def _learn(self, client: Source, traits: Traits) -> Style:
        style = Style(
            Form(self._example(client, traits)),
            client.campaign_header.lower().encode(),
            traits.kind in self._content_kinds,
        )
        if len(self._styles) >= _FORMS:
            self._styles.clear()
        self._styles[client.name, traits] = style
        return style

    def _example(self, client: Source, traits: Traits) -> MessageRecord:
        """A record of such a message, without all that differs."""
        settings = self._settings
        return MessageRecord(
            id="",
            received=0,
            decided=0,
            controller=settings.controller.name,
            register=settings.register.name,
            client=client.name,
            upstream=",".join(client.upstreams),
            channel=traits.channel,
            kind_declared=traits.kind_declared,
            kind=traits.kind,
            topic=traits.topic,
            product_group=traits.product_group,
            opt_out=traits.opt_out,
            sender=",".join(traits.sender_domains)[:512],
            rule_set=self._rules.name,
            rule_set_version=self._rules.version,
            rule_set_hash=self._rules.hash,
        )

    def _put_in_words(self, key: _Key) -> bytes:
        turned_by, (facts, tier, outcome, rule) = key
        text = grounds_text(outcome, rule, _class_of(facts, turned_by), tier, facts_of(facts))
        if len(self._words) >= _GROUNDS:
            self._words.clear()
        self._words[key] = text
        return text

    def _digests(self, verdicts: Sequence[Verdict]) -> list[str]:
        digests = list(map(_digest, verdicts))
        if "" not in digests:
            return digests
        # The register could not be asked, and so was not told the digest.
        text = self._ring.text
        return [one.digest or text(subject_of(one.contact)) for one in verdicts]


def _positions(verdicts: Sequence[Verdict]) -> list[str]:
    try:
        return list(map(_position, verdicts))
    except AttributeError:  # the register could not be asked about some of them
        return [verdict.position for verdict in verdicts]


def _class_of(facts: Facts, turned_by: str) -> str:
    """Whom the address belongs to and how that was determined."""
    how = "from the register" if facts.known else "unknown, taken as natural person"
    by = f" ({turned_by})" if turned_by else ""
    return f"{facts.person_class}: {how}{by}"


def facts_of(facts: Facts) -> Mapping[str, Fact]:
    """The facts as the record keeps them."""
    # Enums are written as their values; they are strings to every reader.
    return dict(zip(_FACTS, facts, strict=True))
