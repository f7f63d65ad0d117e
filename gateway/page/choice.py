"""What a person does on a page, and the event that it is.

Pure.  The evidence of each event is the sentence that the button showed, with its
language; it never holds the address.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final

from gateway.contacts.contact import Channel
from gateway.entry.entry import ANY_TOPIC, Consent, ConsentStatus, Scope, normal_name
from gateway.entry.event import Event, EventKind
from gateway.page.view import Offer
from gateway.settings.public import Language

ACTOR: Final = "person"
ONE_CLICK, PAGE, LINK = "one-click", "page", "link"
"""Where an event came from: a mail program's request, a form, a confirmed link."""


class Act(StrEnum):
    """What a form asks for."""

    TOPIC = "topic"
    CHANNEL = "channel"
    ALL = "all"
    WITHDRAW = "withdraw"
    CONSENT = "consent"
    DATA = "data"
    CONFIRM = "confirm"


@dataclass(frozen=True, slots=True)
class Said:
    """A sentence that somebody agreed to by a button."""

    text: str
    language: Language

    @property
    def evidence(self) -> str:
        """As it is kept."""
        return f"{self.text} [{self.language}]"


def refusal(
    act: Act, channel: Channel, topic: str | None, evidence: str, source: str, now: int
) -> Event:
    """The ban of a topic in its channel, of the channel, or of all direct marketing."""
    scope = {Act.TOPIC: Scope.TOPIC, Act.CHANNEL: Scope.CHANNEL, Act.ALL: Scope.ALL}[act]
    return Event(
        kind=EventKind.BAN,
        at=now,
        actor=ACTOR,
        source=source,
        evidence=evidence,
        scope=scope,
        channel=None if scope is Scope.ALL else channel,
        topic=topic if scope is Scope.TOPIC else None,
    )


def withdrawal(channel: Channel, topic: str, said: Said, now: int) -> Event:
    """A consent taken back: a ban of its scope."""
    return Event(
        kind=EventKind.WITHDRAW,
        at=now,
        actor=ACTOR,
        source=PAGE,
        evidence=said.evidence,
        channel=channel,
        topic=topic,
    )


def request(channel: Channel, offer: Offer, said: Said, now: int) -> Event:
    """A consent asked for; it holds nothing until the mailbox has confirmed it."""
    return Event(
        kind=EventKind.CONSENT,
        at=now,
        actor=ACTOR,
        source=PAGE,
        evidence=said.evidence,
        channel=channel,
        topic=offer.topic,
        status=ConsentStatus.PENDING,
        wording=offer.told,
    )


def grant(channel: Channel, offer: Offer, asked: Consent, said: Said, now: int) -> Event:
    """A consent confirmed from the mailbox: with all its proof, so that it lifts bans."""
    evidence = (
        f"{said.evidence}; asked for {_time(asked.at)} on the page, "
        f"confirmed {_time(now)} by the link sent to the address"
    )
    return Event(
        kind=EventKind.CONSENT,
        at=now,
        actor=ACTOR,
        source=LINK,
        evidence=evidence,
        channel=channel,
        topic=offer.topic,
        status=ConsentStatus.GRANTED,
        proven=True,
        lifts=True,
        wording=offer.told,
    )


def named(topic: str | None) -> str:
    """The topic as consents have it."""
    return ANY_TOPIC if topic is None else normal_name(topic)


def _time(at: int) -> str:
    return datetime.fromtimestamp(at / 1000, UTC).isoformat(timespec="seconds")
