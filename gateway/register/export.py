"""Every known contact, in the form that an import reads, as hashes, or counted.

Who is left out, and why, is :mod:`gateway.register.disclosure`'s to say; everybody
left out is counted.  Contacts are looked up many at a time and written in the order in
which the register first heard of them; hashes are sorted, so that their order tells
nothing.
"""

from __future__ import annotations

import csv
import sys
from collections import Counter
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import IO, Any, NamedTuple, Protocol

import orjson

from gateway.clock import utc
from gateway.contacts.contact import Channel, Contact
from gateway.contacts.email import organisations_of
from gateway.contacts.hashed import Scheme
from gateway.contacts.parse import parse_contact
from gateway.draft import draft_of, open_draft
from gateway.entry.entry import ANY_TOPIC, Consent, ConsentStatus, Entry, Scope, Undeliverable
from gateway.entry.event import Event
from gateway.entry.projection import with_ban
from gateway.entry.standing import Standing, merge
from gateway.failure import InputError
from gateway.register.disclosure import Excluded, Purpose, columns_for, excluded
from gateway.register.register import Register
from gateway.register.rows import COLUMNS
from gateway.register.statistics import Tally

Row = dict[str, str]
_BATCH = 500

_WORDS = {
    Scope.ALL: "all",
    Scope.ORGANISATION: "all",
    Scope.CONTACT: "contact",
    Scope.DISCLOSURE: "disclosure",
}


class Known(NamedTuple):
    """A subject that the register has had events for."""

    subjects: tuple[str, ...]
    """Its digests under the live keys, the current one's first."""
    address: str | None
    """An organisation as ``@domain``; None: nobody can tell it (any more)."""
    since: int = 0
    """When it was first heard of, in milliseconds since the epoch."""
    hashed: bool = False
    """Whether only a hash of the address was ever told."""
    number: int = 1
    """How many there are, where nobody can tell them apart."""


@dataclass(slots=True)
class Exported:
    """What an export has written, and who was left out by reason."""

    contacts: int = 0
    excluded: Counter[Excluded] = field(default_factory=Counter)


class One(NamedTuple):
    """A contact or organisation, and where it stands."""

    known: Known
    address: str
    contact: Contact | None
    """None: an organisation."""
    standing: Standing


class Sink(Protocol):
    """What takes an export's contacts."""

    async def take(self, batch: Sequence[One]) -> int:
        """Take contacts; returns how many it has something to say of."""

    def finish(self) -> None:
        """All contacts have been told."""


async def export(
    register: Register,
    known: AsyncIterable[Known],
    purpose: Purpose,
    sink: Sink,
    told: Callable[[Exported], Awaitable[None]] | None = None,
) -> Exported:
    """Give a sink every contact that may go where the purpose says.

    ``told`` hears the counts when all is written and nothing is shown yet, where the
    sink writes to a file.  Raises RegisterUnavailable.
    """
    result = Exported()
    async for batch in _looked_up(register, known, result):
        kept = []
        for one in batch:
            reason = excluded(purpose, one.standing)
            if reason is None:
                kept.append(one)
            else:
                result.excluded[reason] += 1
        result.contacts += await sink.take(kept)
    sink.finish()
    if told is not None:
        await told(result)
    return result


async def _looked_up(
    register: Register, known: AsyncIterable[Known], result: Exported
) -> AsyncIterator[list[One]]:
    batch: list[tuple[Known, str]] = []
    async for one in known:
        if one.address is None:
            result.excluded[Excluded.HASHED if one.hashed else Excluded.ERASED] += one.number
            continue
        batch.append((one, one.address))
        if len(batch) >= _BATCH:
            yield await _standing(register, batch)
            batch = []
    if batch:
        yield await _standing(register, batch)


async def _standing(register: Register, batch: Sequence[tuple[Known, str]]) -> list[One]:
    contacts = {
        address: parse_contact(address) for _, address in batch if not address.startswith("@")
    }
    found = dict(
        zip(contacts, await register.look_up(list(contacts.values())), strict=True)
        if contacts
        else ()
    )
    ones = []
    for known, address in batch:
        if address.startswith("@"):
            domain = address[1:]
            above = [
                await register.show_organisation(parent)
                for parent in organisations_of(domain)
                if parent != domain
            ]
            standing = merge([await register.show_organisation(domain)], organisations=above)
            ones.append(One(known, address, None, standing))
        else:
            ones.append(One(known, address, contacts[address], found[address]))
    return ones


@contextmanager
def target_file(target: Path | None) -> Iterator[IO[str]]:
    """Where an export is written: a file for its owner only, in place when it is whole.

    None is standard output.

    Raises:
        InputError: the file cannot be written, or another command writes it.
    """
    if target is None:
        yield sys.stdout
        return
    try:
        with open_draft(target) as file:
            try:
                yield file
                # Still ours alone: nobody else's half takes the name.
                file.flush()
                draft_of(target).replace(target)
            except BaseException:
                draft_of(target).unlink(missing_ok=True)
                raise
    except OSError as error:
        raise InputError(f"{target}: {error.strerror}") from None


Histories = Callable[[Sequence[str]], Awaitable[dict[str, list[Event]]]]
"""The events of subjects, by subject, oldest first."""


class RowSink:
    """Contacts' rows as CSV or NDJSON.

    Consents of different states, times or topics take a row each, which an import
    joins again.  With ``histories`` the first row of a contact also holds its whole
    entry and all its events (NDJSON only).
    """

    def __init__(
        self,
        file: IO[str],
        purpose: Purpose,
        *,
        ndjson: bool,
        histories: Histories | None = None,
    ) -> None:
        self._file = file
        self._purpose = purpose
        self._columns = columns_for(purpose, COLUMNS)
        self._ndjson = ndjson
        self._histories = histories
        self._writer = csv.DictWriter(
            file, self._columns, restval="", extrasaction="ignore", lineterminator="\n"
        )
        if not ndjson:
            self._writer.writeheader()

    async def take(self, batch: Sequence[One]) -> int:
        """Write the rows of contacts."""
        events: dict[str, list[Event]] = {}
        if self._histories is not None and batch:
            events = await self._histories(
                [subject for one in batch for subject in one.known.subjects]
            )
        count = 0
        for one in batch:
            rows = rows_of(*_column(one), self._entry(one.standing))
            count += bool(rows)
            for place, row in enumerate(rows):
                if not self._ndjson:
                    self._writer.writerow(row)
                    continue
                members: dict[str, Any] = {
                    name: row[name] for name in self._columns if row.get(name)
                }
                if self._histories is not None and not place:
                    own = [e for subject in one.known.subjects for e in events.get(subject, ())]
                    own.sort(key=lambda event: event.recorded)
                    members |= _whole(one.standing, own)
                self._file.write(orjson.dumps(members).decode() + "\n")
        return count

    def finish(self) -> None:
        """Nothing is left to write."""

    def _entry(self, standing: Standing) -> Entry:
        """What rows are made of; for a supplier every ban of the address stands in it."""
        return _forbidden(standing) if self._purpose is Purpose.SUPPLIER else standing.exact


class HashSink:
    """Hashes of everybody who has a ban, sorted, one a line in hex.

    A delivery suppression is no ban: that mail to somebody bounces is nobody else's
    concern, and is not told.
    """

    def __init__(
        self,
        file: IO[str],
        scheme: Scheme,
        scope: Scope | None,
        channel: Channel | None,
        topic: str | None,
        now: int,
    ) -> None:
        """``scope`` None takes whatever stops all marketing of the scheme's channel."""
        self._file = file
        self._scheme = scheme
        self._scope = scope
        self._channel = channel or scheme.channel
        self._topic = topic
        self._now = now
        self._hashes: set[bytes] = set()

    @property
    def count(self) -> int:
        """How many hashes there are so far."""
        return len(self._hashes)

    async def take(self, batch: Sequence[One]) -> int:
        """Remember the hashes of those who are banned."""
        count = 0
        for one in batch:
            if one.contact is None or one.contact.channel is not self._scheme.channel:
                continue
            if self._banned(one.standing):
                count += 1
                self._hashes.update(self._scheme.hashes(one.contact))
        return count

    def finish(self) -> None:
        """Write the hashes."""
        for value in sorted(self._hashes):
            self._file.write(value.hex() + "\n")

    def _banned(self, standing: Standing) -> bool:
        if self._scope is Scope.DISCLOSURE:
            return standing.disclosure_banned
        facts = standing.facts(self._channel, self._topic, None, self._now)
        if self._scope is Scope.CONTACT:
            return facts.ban_contact
        if self._scope is Scope.ALL:
            return facts.ban_all
        if self._scope is Scope.TOPIC:
            return facts.ban_topic
        if self._scope is Scope.CHANNEL:
            return facts.ban_channel
        return facts.ban_all or facts.ban_channel or facts.ban_organisation


class CountSink:
    """Counts for research, as CSV or NDJSON; see :mod:`gateway.register.statistics`."""

    def __init__(self, file: IO[str], least: int, now: int, *, ndjson: bool) -> None:
        self._file = file
        self._least = least
        self._tally = Tally(now)
        self._ndjson = ndjson

    async def take(self, batch: Sequence[One]) -> int:
        """Count contacts of which anything is known."""
        count = 0
        for one in batch:
            if one.standing.exact == Entry():
                continue
            count += 1
            channel = "organisation" if one.contact is None else one.contact.channel.value
            self._tally.add(channel, one.standing, one.known.since)
        return count

    def finish(self) -> None:
        """Write what may be told."""
        counts = self._tally.counts(self._least)
        if self._ndjson:
            for each in counts:
                self._file.write(orjson.dumps(asdict(each)).decode() + "\n")
            return
        writer = csv.writer(self._file, lineterminator="\n")
        writer.writerow(("channel", "table", "value", "count"))
        for each in counts:
            told = "withheld" if each.count is None else each.count
            writer.writerow((each.channel, each.table, each.value, told))


def _forbidden(standing: Standing) -> Entry:
    """The contact's own entry with each ban as its own, no consent, and nothing of delivery.

    Whoever gets bans alone cannot tell that a withdrawal is one, or that another
    spelling's ban, or a hashed list's, is about this address too.
    """
    entry = replace(standing.exact, bans=(), consents=(), delivery=())
    for own in (standing.exact, *standing.base, *standing.hashed):
        withdrawn = [each for each in own.consents if each.status is ConsentStatus.WITHDRAWN]
        for ban in (*own.bans, *(each.as_ban() for each in withdrawn)):
            entry = with_ban(entry, replace(ban, origin=b""))
    return entry


def _column(one: One) -> tuple[str, str]:
    if one.contact is None:
        return "organisation", one.address[1:]
    return ("email" if one.contact.channel is Channel.EMAIL else "phone"), one.address


def _whole(standing: Standing, events: Sequence[Event]) -> dict[str, Any]:
    """What no column holds: the entry as it is, and every event with its evidence."""
    entry = standing.exact
    return {
        "entry": {
            "bans": [
                {
                    "scope": ban.scope,
                    "channel": ban.channel,
                    "topic": ban.topic,
                    "at": _moment(ban.at),
                    "inherited": ban.inherited,
                }
                for ban in entry.bans
            ],
            "consents": [
                {
                    "channel": consent.channel,
                    "topic": consent.topic,
                    "status": consent.status,
                    "at": _moment(consent.at),
                    "expires": None if consent.expires is None else _moment(consent.expires),
                    "proven": consent.proven,
                    "lifts": consent.lifts,
                }
                for consent in entry.consents
            ],
            "delivery": [
                {
                    "reason": each.reason,
                    "at": _moment(each.at),
                    "expires": None if each.expires is None else _moment(each.expires),
                }
                for each in entry.delivery
            ],
            "tombstone": entry.tombstone,
        },
        # What could not be opened says nothing to whoever reads it.
        "events": [
            orjson.Fragment(replace(event, sealed=None, sealed_evidence=None).to_json())
            for event in events
        ],
    }


def rows_of(column: str, address: str, entry: Entry) -> list[Row]:
    """A contact's rows: what does not repeat, then what may be there several times.

    A row for the bans of each time, for each consent, and for each delivery suppression.
    """
    if entry == Entry():
        return []
    first: Row = {
        column: address,
        "person_class": entry.person_class or "",
        "age": entry.age or "",
        "guardian_consent": _yes_no(entry.guardian_consent),
        "relationship_start": _day(entry.relationship_start),
        "relationship_end": _day(entry.relationship_end),
        "collected": entry.collected or "",
        "opt_out_offered": _yes_no(entry.opt_out_offered),
        "product_groups": ";".join(sorted(entry.product_groups or ())),
        "restricted": "yes" if entry.restricted else "",
        "source": "register export" if entry.source_known else "",
    }
    more: list[Row] = []
    for at in sorted({ban.at for ban in entry.bans if not ban.inherited}):
        bans = [ban for ban in entry.bans if ban.at == at and not ban.inherited]
        words = [
            ban.channel.value
            if ban.scope is Scope.CHANNEL and ban.channel is not None
            else _WORDS.get(ban.scope, "")
            for ban in bans
        ]
        more.append(
            {
                column: address,
                "ban": ";".join(sorted({word for word in words if word})),
                "ban_topics": ";".join(ban.topic for ban in bans if ban.topic is not None),
                "ban_at": _moment(at),
            }
        )
    more += [{column: address, **_consent(consent)} for consent in entry.consents]
    more += [{column: address, **_undeliverable(each)} for each in entry.delivery]
    if more:
        first |= more.pop(0)
    return [first, *more]


def _consent(consent: Consent) -> Row:
    column = "consent_email" if consent.channel is Channel.EMAIL else "consent_sms"
    status = ConsentStatus(consent.status).value
    return {
        column: status,
        "consent_topics": "" if consent.topic == ANY_TOPIC else consent.topic,
        "consent_at": _moment(consent.at),
        "consent_expires": _moment(consent.expires) if consent.expires is not None else "",
        "consent_proof": "yes" if consent.proven else "",
    }


def _undeliverable(told: Undeliverable) -> Row:
    return {
        "undeliverable": told.reason.value,
        "undeliverable_at": _moment(told.at),
        "undeliverable_expires": "" if told.expires is None else _moment(told.expires),
    }


def _moment(milliseconds: int) -> str:
    return utc(milliseconds).isoformat(timespec="milliseconds")


def _day(value: date | None) -> str:
    return value.isoformat() if value is not None else ""


def _yes_no(value: bool | None) -> str:
    return "" if value is None else "yes" if value else "no"
