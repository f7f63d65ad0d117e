"""Exported contacts as rows of CSV or NDJSON, in the form that an import reads.

What an entry says stands in as many rows as it needs; the controller's own copy adds the
whole entry and its events.  Whoever gets bans alone gets each as a ban of the address.
"""

from __future__ import annotations

import csv
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import date
from typing import IO, Any

import orjson

from gateway.clock import utc
from gateway.contacts.contact import Channel
from gateway.entry.entry import ANY_TOPIC, Consent, ConsentStatus, Entry, Scope, Undeliverable
from gateway.entry.event import Event
from gateway.entry.projection import with_ban
from gateway.entry.standing import Standing
from gateway.register.disclosure import Purpose, columns_for
from gateway.register.export import One
from gateway.register.rows import COLUMNS

Row = dict[str, str]

_WORDS = {
    Scope.ALL: "all",
    Scope.ORGANISATION: "all",
    Scope.CONTACT: "contact",
    Scope.DISCLOSURE: "disclosure",
}

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
