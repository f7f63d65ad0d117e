"""Everything that is known of a person (GDPR 15), gathered for the person to read.

What the report holds is of this one person: of messages no other recipient is shown, of
events and acts only those of the person's own contacts.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Final

from gateway.clock import Clock, now_ms
from gateway.contacts.contact import Channel
from gateway.records.act import Action
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
from gateway.subject.row import (
    Row,
    attributes,
    bans,
    change,
    consents,
    days,
    delivery,
    export,
    identity,
    objection_row,
    subject_line,
    text_of,
    told,
)
from gateway.subject.spread import SOURCE, Spreader

RECORDS_MOST: Final = 100_000
"""Records of one person in a report; the newest are taken."""
_PAGE: Final = 500
_TEXT_MOST: Final = 256 * 1024
"""Octets of a message that are read for its text."""
_ACTS_MOST: Final = 10_000


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
    delivery: list[Row] = field(default_factory=list)
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
            made=told(self._clock()),
            person=identity(person, stored.created),
            relationships=[days(each) for each in person.relationships],
            commitments=[days(each) for each in person.commitments],
            products=[days(each) for each in person.products],
            objections=[objection_row(each) for each in person.objections],
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
                    "since": told(point.since),
                    "until": None if point.until is None else told(point.until),
                    "source": point.source,
                    "told_by": list(sources),
                    **attributes(entries[point.address]),
                }
            )
            report.bans += bans(point.address, entries[point.address])
            report.consents += consents(
                point.address, entries[point.address], events[point.address]
            )
            report.delivery += delivery(point.address, entries[point.address], self._clock())
            report.history += [
                change(point.address, event, staff=staff) for event in events[point.address]
            ]
        report.history.sort(key=lambda row: str(row["at"]))
        for request in await self._requests.every(open_only=False, person_ids=ids):
            report.requests.append(
                {
                    "at": told(request.received),
                    "kind": request.kind,
                    "words": request.words,
                    "how": request.how,
                    "state": request.state,
                    "due": told(request.due),
                    "outcome": request.outcome,
                }
            )
        await self._add_records(report, digests, content=content)
        await self._add_acts(report, [*digests, *ids], staff=staff)
        return report

    async def standing(self, person: Person) -> Row:
        """What the register says of a person's contacts: bans, consents with wording, delivery.

        For whoever has put on record that the person is looked at.
        """
        standing: dict[str, list[Row]] = {"bans": [], "consents": [], "delivery": []}
        for contact in person.every_contact:
            entry = await self._register.show(contact)
            history = await self._unsealer.with_evidence(await self._spreader.history(contact))
            standing["bans"] += bans(contact.canonical, entry)
            standing["consents"] += consents(contact.canonical, entry, history)
            standing["delivery"] += delivery(contact.canonical, entry, self._clock())
        return standing

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
                    "at": told(found.decided),
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
            "at": told(message.received),
            "channel": message.channel,
            "sender": message.sender,
            "subject": "" if shown.headers is None else subject_line(shown.headers),
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
                row["content"] = text_of(octets) if mail else octets.decode("utf-8", "replace")
        return row

    async def _add_acts(self, report: Report, subjects: Sequence[str], *, staff: bool) -> None:
        found = {
            act.id: act
            for subject in subjects
            for act in await acts(self._database, subject=subject, limit=_ACTS_MOST)
        }
        for act in sorted(found.values(), key=lambda each: (each.at, each.id)):
            if act.action is Action.EXPORT:
                report.exports.append(export(act))
            report.reads.append(
                {
                    "at": told(act.at),
                    "what": act.action,
                    "reason": act.reason,
                    "who": act.actor if staff else "",
                }
            )
        exports = await acts(self._database, action=Action.EXPORT, limit=_ACTS_MOST)
        for act in reversed(exports):
            # Of an export there are two acts: what was asked for, and what came of it.
            if not act.subject and "of" not in act.detail:
                report.exports.append({**export(act), "whole_register": True})

    def _retention(self, person: Person, created: int) -> Row:
        until = retained_until(person, created, self._controller.years, self._clock())
        return {
            "years": self._controller.years,
            "until": None if until is None else told(until - 1)[:10],
            "held": None if person.hold is None else person.hold.reason,
        }
