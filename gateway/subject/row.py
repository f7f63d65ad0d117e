"""Rows of a report: one person's data as plain values, times in ISO 8601, UTC.

Pure.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict
from email import message_from_bytes, policy
from email.message import EmailMessage
from html import unescape
from typing import Any, Final

from gateway.clock import utc
from gateway.entry.entry import ConsentStatus, Entry
from gateway.entry.event import Event, EventKind
from gateway.records.act import Act
from gateway.subject.person import Commitment, Objection, Person, Product, Relationship

Row = dict[str, Any]


def told(moment: int) -> str:
    """A moment (ms since the epoch) to the second."""
    return utc(moment).isoformat(timespec="seconds")


def identity(person: Person, created: int) -> Row:
    """Who somebody is; ``created`` is when the data was taken in."""
    return {
        "id": person.id,
        "names": [
            {
                "name": each.text,
                "since": told(each.since),
                "until": None if each.until is None else told(each.until),
            }
            for each in person.names
        ],
        "person_class": person.person_class,
        "language": person.language,
        "since": told(created),
        "restricted": None
        if person.restriction is None
        else {"since": told(person.restriction.since), "reason": person.restriction.reason},
        "note": person.note,
    }


def days(part: Relationship | Commitment | Product | Objection) -> Row:
    """A part of a person with its days."""
    return {
        name: value.isoformat() if hasattr(value, "isoformat") else value
        for name, value in asdict(part).items()
    }


def objection_row(objection: Objection) -> Row:
    """A ban in the person's own words."""
    return {**days(objection), "received": told(objection.received)}


def attributes(entry: Entry) -> Row:
    """What the register knows of a contact beyond bans and consents."""
    row: Row = {
        "person_class": entry.person_class,
        "age": entry.age,
        "guardian_consent": entry.guardian_consent,
        "relationship_start": entry.relationship_start,
        "relationship_end": entry.relationship_end,
        "collected": entry.collected,
        "opt_out_offered": entry.opt_out_offered,
        "product_groups": sorted(entry.product_groups or ()) or None,
        "restricted": entry.restricted or None,
        "erased_before": entry.tombstone or None,
    }
    return {
        name: value.isoformat() if hasattr(value, "isoformat") else value
        for name, value in row.items()
        if value is not None
    }


def bans(address: str, entry: Entry) -> list[Row]:
    """The bans of a contact, and those carried from elsewhere that it has not itself."""
    own = {ban.key[:3] for ban in entry.bans if not ban.inherited}
    return [
        {
            "contact": address,
            "scope": ban.scope,
            "channel": ban.channel,
            "topic": ban.topic,
            "since": told(ban.at),
            "carried": ban.inherited,
        }
        for ban in entry.bans
        if not ban.inherited or ban.key[:3] not in own
    ]


def delivery(address: str, entry: Entry, now: int) -> list[Row]:
    """The delivery suppressions of a contact that hold at ``now`` (ms since the epoch)."""
    return [
        {
            "contact": address,
            "delivery": each.reason,
            "since": told(each.at),
            "expires": None if each.expires is None else told(each.expires),
        }
        for each in entry.delivery
        if not each.expired(now)
    ]


def consents(address: str, entry: Entry, events: Sequence[Event]) -> list[Row]:
    """The consents of a contact, with the wording that was shown and its evidence."""
    rows = []
    for consent in entry.consents:
        event = next(
            (
                each
                for each in reversed(events)
                if each.kind in (EventKind.CONSENT, EventKind.WITHDRAW)
                and not each.origin
                and (each.channel, each.topic) == (consent.channel, consent.topic)
                and (each.status is consent.status or consent.status is ConsentStatus.WITHDRAWN)
            ),
            None,
        )
        given = next(
            (each for each in reversed(events) if _is_wording_of(each, consent.topic)), None
        )
        rows.append(
            {
                "contact": address,
                "channel": consent.channel,
                "topic": consent.topic,
                "state": consent.status,
                "since": told(consent.at),
                "expires": None if consent.expires is None else told(consent.expires),
                "wording": "" if given is None else given.wording,
                "evidence": "" if event is None else event.evidence,
                "source": "" if event is None else event.source,
            }
        )
    return rows


def _is_wording_of(event: Event, topic: str) -> bool:
    return event.kind is EventKind.CONSENT and event.topic == topic and bool(event.wording)


def change(address: str, event: Event, *, staff: bool) -> Row:
    """One change of a contact; ``staff``: with who made it."""
    return {
        "at": told(event.at),
        "contact": address,
        "what": event.kind,
        "scope": event.scope,
        "channel": event.channel,
        "topic": event.topic,
        "state": event.status or event.delivery,
        "source": event.source,
        "evidence": event.evidence,
        "wording": event.wording,
        "carried": bool(event.origin),
        "who": event.actor if staff else "",
    }


def export(act: Act) -> Row:
    """One disclosure."""
    return {
        "at": told(act.at),
        "reason": act.reason,
        "what": ", ".join(f"{name} {value}" for name, value in sorted(act.detail.items())),
    }


def subject_line(headers: bytes) -> str:
    """The subject alone: the other fields may name others."""
    parsed = message_from_bytes(headers, _class=EmailMessage, policy=policy.default)
    try:
        return str(parsed.get("Subject", ""))[:1000]
    except (ValueError, LookupError):  # a field that no rule of grammar fits
        return ""


_MARKUP: Final = re.compile(r"(?is)<(style|script)\b.*?</\1>|<[^>]*>")


def text_of(octets: bytes) -> str:
    """What there is to read of a mail, without its header section, which names others."""
    parsed = message_from_bytes(octets, _class=EmailMessage, policy=policy.default)
    try:
        body = parsed.get_body(("plain", "html"))
        text = "" if body is None else str(body.get_content())
        if body is not None and body.get_content_subtype() == "html":
            text = unescape(_MARKUP.sub(" ", text))
    except (ValueError, LookupError):  # of no known charset or form
        text = octets.replace(b"\r\n", b"\n").partition(b"\n\n")[2].decode("utf-8", "replace")
    return text.strip()
