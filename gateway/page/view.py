"""What a page shows of one contact: the bans and consents of it, and what can be done.

Pure.  Nothing is told that the contact's own bans and consents do not say: whose contact
it is, what else is known of the person, and what an organisation has banned stay out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from gateway.clock import DAY_MS
from gateway.contacts.contact import Channel
from gateway.entry.entry import ANY_TOPIC, Ban, Consent, ConsentStatus, Scope, normal_name
from gateway.entry.standing import RegisterFacts, Standing
from gateway.page.language import LANGUAGES
from gateway.settings.public import ConsentText, Language

CONFIRM_DAYS: Final = 14
"""Days in which a consent that was asked for is confirmed."""


@dataclass(frozen=True, slots=True)
class Offer:
    """A consent that can be given: the words of one language, and their version."""

    topic: str
    wording: str
    version: str
    language: Language

    @property
    def told(self) -> str:
        """As it is kept with the consent."""
        return f"{self.wording} (version {self.version}, {self.language})"


@dataclass(frozen=True, slots=True)
class Refusal:
    """A ban in force since ``at``; ``excepted``: some later consent lifts a part of it."""

    scope: Scope
    at: int
    channel: Channel | None = None
    topic: str | None = None
    excepted: bool = False


@dataclass(frozen=True, slots=True)
class View:
    """One contact on one channel, as a link's page shows it.  Times are ms since the epoch."""

    refusals: tuple[Refusal, ...]
    consents: tuple[Consent, ...]
    """Those that nothing has undone: granted and in force, or waiting to be confirmed."""
    topic_stopped: bool
    channel_stopped: bool
    all_stopped: bool
    withdrawn: bool
    """Whether some consent of the channel was taken back."""
    offers: tuple[Offer, ...]
    promoted: bool
    """Whether the offers stand open: nobody who has refused is asked to opt back in."""

    @property
    def silent(self) -> bool:
        """Whether there is nothing to show."""
        return not self.refusals and not self.consents

    def consent(self, topic: str | None) -> Consent | None:
        """The live consent of this topic (None: of every topic)."""
        name = ANY_TOPIC if topic is None else normal_name(topic)
        return next((one for one in self.consents if one.topic == name), None)

    def offer(self, topic: str) -> Offer | None:
        """The offer of this topic."""
        return next((one for one in self.offers if one.topic == normal_name(topic)), None)


def view_of(
    standing: Standing,
    channel: Channel,
    topic: str | None,
    offers: Sequence[Offer],
    now: int,
) -> View:
    """The view of what the register says, for a link of this channel and topic.

    Of the ``offers`` those are left that a consent would open.
    """
    bans = _bans(standing, now)
    whole = {each: standing.facts(each, None, None, now) for each in Channel}
    here = whole[channel]
    consents = tuple(
        one for one in standing.exact.consents if _alive(one, channel, standing, now, bans)
    )
    may_consent = not (here.ban_contact or here.ban_organisation or here.restricted)
    stopped_here = here.ban_all or here.ban_channel
    return View(
        refusals=tuple(_refusals(standing, bans, whole, now)),
        consents=consents,
        topic_stopped=topic is not None and _stops(standing.facts(channel, topic, None, now)),
        channel_stopped=all(
            facts.ban_all or facts.ban_channel for facts in _every(standing, channel, now)
        ),
        all_stopped=all(facts.ban_all for each in Channel for facts in _every(standing, each, now)),
        withdrawn=any(
            one.channel is channel and one.status is ConsentStatus.WITHDRAWN
            for one in standing.exact.consents
        ),
        offers=tuple(one for one in offers if may_consent and not _given(one, consents)),
        promoted=not stopped_here and not any(_refused(one, channel, bans) for one in offers),
    )


def offers_in(consents: Mapping[str, ConsentText], language: Language) -> tuple[Offer, ...]:
    """What the settings offer, each in this language or the first that it is written in."""
    return tuple(_offer(topic, text, language) for topic, text in consents.items())


def _offer(topic: str, text: ConsentText, language: Language) -> Offer:
    spoken = next(one for one in (language, *LANGUAGES) if one in text.wording)
    return Offer(normal_name(topic), text.wording[spoken].strip(), text.version.strip(), spoken)


def may_confirm(
    standing: Standing, channel: Channel, topic: str | None, now: int
) -> Consent | None:
    """The consent that was asked for and may still be granted, None where there is none.

    Whatever was forbidden since it was asked for ends it; so do the days it has.
    """
    name = ANY_TOPIC if topic is None else normal_name(topic)
    facts = standing.facts(channel, None, None, now)
    if facts.ban_contact or facts.ban_organisation or facts.restricted:
        return None
    for one in standing.exact.consents:
        if one.key == (channel, name) and one.status is ConsentStatus.PENDING:
            asked = None if name == ANY_TOPIC else name
            forbidden = any(
                ban.at >= one.at and ban.covers(channel, asked) for ban in _bans(standing, now)
            )
            late = now - one.at > CONFIRM_DAYS * DAY_MS
            return None if forbidden or late else one
    return None


# -- what is forbidden ----------------------------------------------------------------


def _bans(standing: Standing, now: int) -> list[Ban]:
    """Every ban of the contact and its wider spelling, of each kind the latest."""
    latest: dict[tuple[str, str, str], Ban] = {}
    for entry in (standing.exact, *standing.base, *standing.hashed):
        withdrawn = (
            one.as_ban() for one in entry.consents if one.status is ConsentStatus.WITHDRAWN
        )
        for ban in (*entry.bans, *withdrawn):
            known = latest.get(ban.key[:3])
            if known is None or known.at < ban.at:
                latest[ban.key[:3]] = ban
    return sorted(latest.values(), key=lambda ban: (list(Scope).index(ban.scope), ban.key))


def _refusals(
    standing: Standing, bans: Sequence[Ban], whole: Mapping[Channel, RegisterFacts], now: int
) -> Iterable[Refusal]:
    for ban in bans:
        channels = list(Channel) if ban.channel is None else [ban.channel]
        if ban.scope is Scope.ALL:
            stands = any(whole[each].ban_all for each in channels)
        elif ban.scope is Scope.CHANNEL:
            stands = any(whole[each].ban_channel for each in channels)
        elif ban.scope is Scope.TOPIC:
            stands = any(standing.facts(each, ban.topic, None, now).ban_topic for each in channels)
        else:
            stands = ban.scope in (Scope.CONTACT, Scope.DISCLOSURE)
        if stands:
            lifted = any(
                one.status is ConsentStatus.GRANTED
                and one.lifts
                and not one.expired(now)
                and one.at > ban.at
                and one.channel in channels
                and ban.scope in (Scope.ALL, Scope.CHANNEL)
                for one in standing.exact.consents
            )
            yield Refusal(ban.scope, ban.at, ban.channel, ban.topic, excepted=lifted)


def _every(standing: Standing, channel: Channel, now: int) -> Iterable[RegisterFacts]:
    """The facts of all marketing of a channel: a consent for one topic passes a wider ban."""
    topics = {one.topic for one in standing.exact.consents if one.channel is channel}
    for topic in (None, *sorted(topics - {ANY_TOPIC})):
        yield standing.facts(channel, topic, None, now)


def _stops(facts: RegisterFacts) -> bool:
    return facts.ban_all or facts.ban_channel or facts.ban_topic


def _refused(offer: Offer, channel: Channel, bans: Sequence[Ban]) -> bool:
    """Whether what an offer is about was ever forbidden."""
    topic = None if offer.topic == ANY_TOPIC else offer.topic
    return any(ban.covers(channel, topic) for ban in bans)


# -- what is allowed ------------------------------------------------------------------


def _alive(
    consent: Consent, channel: Channel, standing: Standing, now: int, bans: Sequence[Ban]
) -> bool:
    if consent.channel is not channel or consent.expired(now):
        return False
    topic = None if consent.topic == ANY_TOPIC else consent.topic
    if consent.status is ConsentStatus.PENDING:
        return may_confirm(standing, channel, topic, now) is not None
    if consent.status is not ConsentStatus.GRANTED:
        return False
    facts = standing.facts(channel, topic, None, now)
    if topic is None and facts.ban_topic:
        # Without a topic every ban of one counts; they do not end a consent for the rest.
        return not (facts.ban_all or facts.ban_channel)
    return not _stops(facts)


def _given(offer: Offer, consents: Sequence[Consent]) -> bool:
    """Whether it is in force; one that only waits for its confirmation may be asked anew."""
    return any(one.topic == offer.topic and one.status is ConsentStatus.GRANTED for one in consents)
