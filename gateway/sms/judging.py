"""From a submission to verdicts: who is meant, what the message shows, what the gate says."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import lru_cache

from gateway.contacts.contact import Channel, Contact, ContactError
from gateway.contacts.destination import Notation, parse_destination, plain_destinations
from gateway.decision.facts import Kind
from gateway.gate import Verdict
from gateway.message.traits import Traits, declared_kind
from gateway.provider.request import Request
from gateway.provider.submission import Fate, Message, Submission
from gateway.sms.judged import Addressees, Judged
from gateway.sms.route import Route
from gateway.sms.site import Site

KIND_HEADER = "x-gateway-kind"
TOPIC_HEADER = "x-gateway-topic"


def read_destinations(destinations: Sequence[str], notation: Notation) -> Addressees:
    """The contacts behind a message's destinations."""
    usual = plain_destinations(destinations, notation)
    if usual is not None and len(set(usual)) == len(usual):
        count = len(usual)
        return Addressees(usual, list(range(count)), [Fate.SENT] * count, "")
    contacts: list[Contact] = []
    places: list[int] = []
    fates: list[Fate] = []
    seen: set[str] = set()
    cause = ""
    for place, text in enumerate(destinations):
        try:
            contact = parse_destination(text, notation)
        except ContactError as error:
            fates.append(Fate.INVALID)
            cause = cause or f"recipient {place + 1}: {error}"
            continue
        if contact.canonical in seen:
            fates.append(Fate.REPEATED)
            continue
        seen.add(contact.canonical)
        contacts.append(contact)
        places.append(place)
        fates.append(Fate.SENT)
    return Addressees(contacts, places, fates, cause)


def traits_of(
    site: Site, route: Route, request: Request, message: Message, known: Kind | None = None
) -> Traits:
    """What a message shows of itself; ``known``: its kind, where that is settled."""
    declared, said = _declared(request.header(KIND_HEADER))
    kind, turned_by = known or route.kind or declared, ""
    if route.kind is not None and declared is Kind.MARKETING and kind is not Kind.MARKETING:
        kind, turned_by = Kind.MARKETING, "X-Gateway-Kind"
    topic = route.settings.topic
    if topic is None or route.kind is None:
        named = request.header(TOPIC_HEADER).strip()[:128]
        # Which of all topics "*" stands for, nobody can say: every topic ban counts.
        topic = (None if named == "*" else named) or topic
    marks = site.settings.rules.recognisable_marks
    text = (message.text or "").casefold()
    return Traits(
        kind,
        Channel.SMS,
        topic,
        route.group(topic),
        route.authorises(message.sender),
        (message.sender[:64],) if message.sender else (),
        _opt_out(site, route, message.text),
        not marks or any(mark.casefold() in text for mark in marks),
        True,  # own product
        False,  # quiet hours: each recipient has its own
        kind is not Kind.MARKETING if route.urgent is None else route.urgent,
        said,
        turned_by,
    )


# A handful of words.
_declared = lru_cache(maxsize=64)(declared_kind)


def _opt_out(site: Site, route: Route, text: str | None) -> str:
    if route.settings.opt_out_added:
        return "added by the provider"
    if text is None or site.opt_out is None:
        return ""
    found = site.opt_out.search(text)
    return f"text: {found[0].casefold()}" if found is not None else ""


async def judge(
    site: Site, route: Route, submission: Submission, now: int, known: Kind | None = None
) -> list[Judged]:
    """Every message of a submission, judged; look-ups share one round trip.

    ``known``: its kind, where that is settled.  Never raises for an unreachable
    register: the verdicts say so.
    """
    notation = route.adapter.notation
    each = [
        _judge(
            site,
            message,
            traits_of(site, route, submission.request, message, known),
            read_destinations(message.destinations, notation),
            now,
        )
        for message in submission.messages
    ]
    return [await each[0]] if len(each) == 1 else await asyncio.gather(*each)


async def _judge(
    site: Site, message: Message, traits: Traits, addressees: Addressees, now: int
) -> Judged:
    contacts = addressees.contacts
    until: list[int | None] = [None] * len(contacts)
    if contacts and (site.quiet is None or traits.urgent):
        verdicts = await site.gate.judge(traits, contacts, site.rules)
        everybody = [(traits, list(range(len(contacts))))]
        return Judged(message, traits, addressees, verdicts, everybody, until)
    if site.quiet is not None and not traits.urgent:
        until = [site.quiet.until(contact.canonical, now) for contact in contacts]
    groups: list[tuple[Traits, list[int]]] = []
    awake = [place for place, end in enumerate(until) if end is None]
    if awake:
        groups.append((traits, awake))
    if len(awake) < len(contacts):
        resting = [place for place, end in enumerate(until) if end is not None]
        groups.append((traits._replace(quiet_hours=True), resting))
    if len(groups) == 1:
        verdicts = await site.gate.judge(groups[0][0], contacts, site.rules)
        return Judged(message, traits, addressees, verdicts, groups, until)
    said = await asyncio.gather(
        *(
            site.gate.judge(group, [contacts[place] for place in places], site.rules)
            for group, places in groups
        )
    )
    found: dict[int, Verdict] = {}
    for (_, places), some in zip(groups, said, strict=True):
        found.update(zip(places, some, strict=True))
    verdicts = [found[place] for place in range(len(contacts))]
    return Judged(message, traits, addressees, verdicts, groups, until)


async def confirm(site: Site, judged: Sequence[Judged], wanted: Sequence[Sequence[int]]) -> None:
    """Return only while the verdicts on those that are wanted are fresh.

    ``wanted``: for each message the places of contacts.

    Raises:
        RegisterUnavailable: an outcome differs now, or look-ups stay too slow.

    """
    # All verdicts of a group rest on one look-up; the usual one is young.
    asked = [one.verdicts[members[0]].asked_at for one in judged for _, members in one.groups]
    if asked and site.gate.fresh(min(asked)):
        return
    groups = []
    for one, places in zip(judged, wanted, strict=True):
        chosen = set(places)
        for traits, members in one.groups:
            verdicts = [one.verdicts[place] for place in members if place in chosen]
            if verdicts:
                groups.append((traits, verdicts))
    await site.gate.confirm_together(groups, site.rules)
