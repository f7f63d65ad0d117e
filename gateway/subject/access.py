"""Everything that is known of a person (GDPR 15), gathered for the person to read.

What the report holds is of this one person: of messages no other recipient is shown, of
events and acts only those of the person's own contacts.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from email import message_from_bytes, policy
from email.message import EmailMessage
from html import unescape
from typing import Any, Final

from gateway.clock import Clock, now_ms
from gateway.contacts.contact import Channel
from gateway.entry.entry import ConsentStatus, Entry
from gateway.entry.event import Event, EventKind
from gateway.records.act import Act, Action
from gateway.records.archive import Archive
from gateway.records.content import ContentMissing, ContentStore
from gateway.records.database import Database
from gateway.records.deed import acts
from gateway.records.finding import Found, Shown
from gateway.records.unsealing import Unsealer
from gateway.register.register import Register
from gateway.subject.people import People, Who
from gateway.subject.person import Language, Person
from gateway.subject.requests import Requests
from gateway.subject.retention import retained_until
from gateway.subject.spread import SOURCE, Spreader

RECORDS_MOST: Final = 100_000
"""Records of one person in a report; the newest are taken."""
_PAGE: Final = 500
_TEXT_MOST: Final = 256 * 1024
"""Octets of a message that are read for its text."""
_ACTS_MOST: Final = 10_000

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Processor:
    """Somebody who carries messages for the controller."""

    name: str
    region: str = ""
    basis: str = ""
    """Contract, or the basis of a transfer outside the EEA."""


@dataclass(frozen=True, slots=True)
class Controller:
    """Who answers for the register, as people are told."""

    name: str
    business_id: str = ""
    email: str = ""
    phone: str = ""
    register: str = ""
    years: int = 5
    """How long data is kept after the last relationship, contract or warranty."""
    processors: tuple[Processor, ...] = ()


@dataclass(slots=True, kw_only=True)
class Report:
    """All of it, as plain rows; times in ISO 8601, UTC."""

    language: Language
    controller: Row
    made: str
    person: Row
    contacts: list[Row] = field(default_factory=list)
    relationships: list[Row] = field(default_factory=list)
    commitments: list[Row] = field(default_factory=list)
    products: list[Row] = field(default_factory=list)
    objections: list[Row] = field(default_factory=list)
    bans: list[Row] = field(default_factory=list)
    consents: list[Row] = field(default_factory=list)
    requests: list[Row] = field(default_factory=list)
    decisions: list[Row] = field(default_factory=list)
    decisions_cut: bool = False
    messages: list[Row] = field(default_factory=list)
    history: list[Row] = field(default_factory=list)
    processors: list[Row] = field(default_factory=list)
    exports: list[Row] = field(default_factory=list)
    reads: list[Row] = field(default_factory=list)
    retention: Row = field(default_factory=dict)

    def members(self) -> Row:
        """As one JSON object."""
        return asdict(self)


class Access:
    """Gathers reports; every method raises RecordsUnavailable and RegisterUnavailable."""

    def __init__(
        self,
        people: People,
        spreader: Spreader,
        register: Register,
        database: Database,
        archive: Archive,
        contents: ContentStore,
        unsealer: Unsealer,
        requests: Requests,
        controller: Controller,
        clock: Clock = now_ms,
    ) -> None:
        self._people = people
        self._spreader = spreader
        self._register = register
        self._database = database
        self._archive = archive
        self._contents = contents
        self._unsealer = unsealer
        self._requests = requests
        self._controller = controller
        self._clock = clock

    async def report(
        self,
        person_id: str,
        who: Who,
        *,
        language: Language | None = None,
        content: bool = False,
        staff: bool = True,
    ) -> Report:
        """A person's report, once reading it is on record.

        ``content``: with the text of the messages that are kept.  ``staff``: with the
        names of those who handled the data; to leave them out is lawful where they
        acted as they were told (CJEU C-579/21).  Raises PersonStateError.
        """
        stored = await self._people.store.get(person_id)
        person = stored.person
        await self._people.note(Action.READ, person.id, who, what="access report")
        tongue = language or person.language
        contacts = person.every_contact
        digests = [digest for each in contacts for digest in self._people.store.digests(each)]
        ids = [person.id, *await self._people.store.merged_into(person.id)]
        entries = {each.canonical: await self._register.show(each) for each in contacts}
        events = {
            each.canonical: await self._unsealer.with_evidence(await self._spreader.history(each))
            for each in contacts
        }
        report = Report(
            language=tongue,
            controller={k: v for k, v in asdict(self._controller).items() if k != "processors"},
            made=_told(self._clock()),
            person=_identity(person, stored.created),
            relationships=[_days(each) for each in person.relationships],
            commitments=[_days(each) for each in person.commitments],
            products=[_days(each) for each in person.products],
            objections=[_objection(each) for each in person.objections],
            processors=[
                {"recipient": each.name, "region": each.region, "basis": each.basis}
                for each in self._controller.processors
            ],
            retention=self._retention(person, stored.created),
        )
        for point in person.contacts:
            sources = dict.fromkeys(
                event.source
                for event in events[point.address]
                if event.source and event.source != SOURCE and not event.origin
            )
            report.contacts.append(
                {
                    "contact": point.address,
                    "since": _told(point.since),
                    "until": None if point.until is None else _told(point.until),
                    "source": point.source,
                    "told_by": list(sources),
                    **_attributes(entries[point.address]),
                }
            )
            report.bans += _bans(point.address, entries[point.address])
            report.consents += _consents(
                point.address, entries[point.address], events[point.address]
            )
            report.history += [
                _change(point.address, event, staff=staff) for event in events[point.address]
            ]
        report.history.sort(key=lambda row: str(row["at"]))
        for request in await self._requests.every(open_only=False, person_ids=ids):
            report.requests.append(
                {
                    "at": _told(request.received),
                    "kind": request.kind,
                    "words": request.words,
                    "how": request.how,
                    "state": request.state,
                    "due": _told(request.due),
                    "outcome": request.outcome,
                }
            )
        await self._add_records(report, digests, content=content)
        await self._add_acts(report, [*digests, *ids], staff=staff)
        return report

    # -- parts ----------------------------------------------------------------------

    async def _add_records(self, report: Report, digests: Sequence[str], *, content: bool) -> None:
        ours = frozenset(digests)
        count = 0
        async for found in self._found(digests):
            if count == RECORDS_MOST:
                report.decisions_cut = True
                return
            count += 1
            shown = await self._archive.show(found.record_id)
            if shown.recipient.digest not in ours:
                continue
            rule = shown.rule
            report.decisions.append(
                {
                    "at": _told(found.decided),
                    "direction": found.direction,
                    "kind": found.kind,
                    "channel": found.channel,
                    "topic": shown.message.topic,
                    "sender": shown.message.sender,
                    "decision": found.outcome,
                    "rule": found.rule,
                    "reason": "" if rule is None else getattr(rule, report.language.value),
                    "law": "" if rule is None else rule.source,
                    "result": found.result,
                    "upstream": shown.message.upstream,
                    "record": found.record_id,
                }
            )
            if shown.message.content is not None:
                report.messages.append(await self._message(shown, content=content))

    async def _found(self, digests: Sequence[str]) -> AsyncIterator[Found]:
        if not digests:
            return
        before: str | None = None
        while True:
            page = await self._archive.search(digests=digests, limit=_PAGE, before=before)
            for each in page:
                yield each
            if len(page) < _PAGE:
                return
            before = page[-1].record_id

    async def _message(self, shown: Shown, *, content: bool) -> Row:
        message = shown.message
        row: Row = {
            "at": _told(message.received),
            "channel": message.channel,
            "sender": message.sender,
            "subject": "" if shown.headers is None else _subject(shown.headers),
            "size": message.size,
            "record": shown.recipient.id,
        }
        if content and message.content is not None:
            octets = b""
            try:
                async for piece in self._contents.open(message.content):
                    octets += piece
                    if len(octets) >= _TEXT_MOST:
                        break
            except ContentMissing:
                row["content"] = ""
            else:
                mail = message.channel is Channel.EMAIL
                row["content"] = _text(octets) if mail else octets.decode("utf-8", "replace")
        return row

    async def _add_acts(self, report: Report, subjects: Sequence[str], *, staff: bool) -> None:
        found = {
            act.id: act
            for subject in subjects
            for act in await acts(self._database, subject=subject, limit=_ACTS_MOST)
        }
        for act in sorted(found.values(), key=lambda each: (each.at, each.id)):
            if act.action is Action.EXPORT:
                report.exports.append(_export(act))
            report.reads.append(
                {
                    "at": _told(act.at),
                    "what": act.action,
                    "reason": act.reason,
                    "who": act.actor if staff else "",
                }
            )
        exports = await acts(self._database, action=Action.EXPORT, limit=_ACTS_MOST)
        for act in reversed(exports):
            if not act.subject:
                report.exports.append({**_export(act), "whole_register": True})

    def _retention(self, person: Person, created: int) -> Row:
        until = retained_until(person, created, self._controller.years, self._clock())
        return {
            "years": self._controller.years,
            "until": None if until is None else _told(until - 1)[:10],
            "held": None if person.hold is None else person.hold.reason,
        }


def _told(moment: int) -> str:
    return datetime.fromtimestamp(moment / 1000, UTC).isoformat(timespec="seconds")


def _identity(person: Person, created: int) -> Row:
    return {
        "id": person.id,
        "names": [
            {
                "name": each.text,
                "since": _told(each.since),
                "until": None if each.until is None else _told(each.until),
            }
            for each in person.names
        ],
        "person_class": person.person_class,
        "language": person.language,
        "since": _told(created),
        "restricted": None
        if person.restriction is None
        else {"since": _told(person.restriction.since), "reason": person.restriction.reason},
        "note": person.note,
    }


def _days(part: Any) -> Row:  # noqa: ANN401 - any of a person's parts
    return {
        name: value.isoformat() if hasattr(value, "isoformat") else value
        for name, value in asdict(part).items()
    }


def _objection(objection: Any) -> Row:  # noqa: ANN401
    return {**_days(objection), "received": _told(objection.received)}


def _attributes(entry: Entry) -> Row:
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


def _bans(address: str, entry: Entry) -> list[Row]:
    return [
        {
            "contact": address,
            "scope": ban.scope,
            "channel": ban.channel,
            "topic": ban.topic,
            "since": _told(ban.at),
            "carried": ban.inherited,
        }
        for ban in entry.bans
    ]


def _consents(address: str, entry: Entry, events: Sequence[Event]) -> list[Row]:
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
                "since": _told(consent.at),
                "expires": None if consent.expires is None else _told(consent.expires),
                "wording": "" if given is None else given.wording,
                "evidence": "" if event is None else event.evidence,
                "source": "" if event is None else event.source,
            }
        )
    return rows


def _is_wording_of(event: Event, topic: str) -> bool:
    return event.kind is EventKind.CONSENT and event.topic == topic and bool(event.wording)


def _change(address: str, event: Event, *, staff: bool) -> Row:
    return {
        "at": _told(event.at),
        "contact": address,
        "what": event.kind,
        "scope": event.scope,
        "channel": event.channel,
        "topic": event.topic,
        "state": event.status,
        "source": event.source,
        "evidence": event.evidence,
        "wording": event.wording,
        "carried": bool(event.origin),
        "who": event.actor if staff else "",
    }


def _export(act: Act) -> Row:
    return {
        "at": _told(act.at),
        "reason": act.reason,
        "what": ", ".join(f"{name} {value}" for name, value in sorted(act.detail.items())),
    }


def _subject(headers: bytes) -> str:
    """The subject alone: the other fields may name others."""
    parsed = message_from_bytes(headers, _class=EmailMessage, policy=policy.default)
    try:
        return str(parsed.get("Subject", ""))[:1000]
    except (ValueError, LookupError):  # a field that no rule of grammar fits
        return ""


_MARKUP: Final = re.compile(r"(?is)<(style|script)\b.*?</\1>|<[^>]*>")


def _text(octets: bytes) -> str:
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
