"""One row of an import as events: the columns, what they take, what they mean.

Every column but one contact column is optional.  Times are ISO 8601, a bare day
means its beginning in UTC; truth is yes/no, true/false, 1/0; several values of one
column are parted by ``;``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import TypeVar

from gateway.clock import LATEST_MS
from gateway.contacts.contact import Channel, Contact
from gateway.contacts.parse import parse_domain, parse_email, parse_phone
from gateway.decision.facts import Age, Collected, PersonClass
from gateway.entry.entry import ANY_TOPIC, ConsentStatus, DeliveryReason, Scope
from gateway.entry.event import UNSAID, Attributes, Event, EventKind
from gateway.failure import InputError

COLUMNS = (
    "email",
    "phone",
    "organisation",
    "ban",
    "ban_topics",
    "ban_at",
    "consent_email",
    "consent_sms",
    "consent_topics",
    "consent_at",
    "consent_expires",
    "consent_proof",
    "person_class",
    "age",
    "guardian_consent",
    "relationship_start",
    "relationship_end",
    "collected",
    "opt_out_offered",
    "product_groups",
    "restricted",
    "undeliverable",
    "undeliverable_at",
    "undeliverable_expires",
    "source",
)
"""The columns an import knows, by our names."""

ALIASES = {"domain": "organisation"}
CONTACT_COLUMNS = ("email", "phone", "organisation")

_TRUTH = {
    **dict.fromkeys(("1", "true", "yes", "y", "kyllä", "ja"), True),
    **dict.fromkeys(("0", "false", "no", "n", "ei", "nej"), False),
}
_BANS: dict[str, tuple[Scope, Channel | None]] = {
    "all": (Scope.ALL, None),
    "email": (Scope.CHANNEL, Channel.EMAIL),
    "sms": (Scope.CHANNEL, Channel.SMS),
    "contact": (Scope.CONTACT, None),
    "disclosure": (Scope.DISCLOSURE, None),
    "organisation": (Scope.ORGANISATION, None),
}
_Value = TypeVar("_Value")


class RowError(InputError):
    """A row cannot be imported; ``column`` is ours, and the cause names no contact."""

    def __init__(self, column: str, cause: str) -> None:
        super().__init__(f"{column}: {cause}")
        self.column = column
        self.cause = cause


@dataclass(frozen=True, slots=True)
class Row:
    """What one row says: events for its contacts, or for an organisation's domain."""

    contacts: tuple[Contact, ...]
    events: tuple[Event, ...]
    domain: str | None = None
    domain_events: tuple[Event, ...] = ()


@dataclass(frozen=True, slots=True)
class Importer:
    """What all rows of one import have in common; ``now`` in milliseconds."""

    actor: str
    source: str
    now: int
    region: str | None = None
    """The region of telephone numbers written without a country code."""

    def row(self, cells: Mapping[str, str]) -> Row:
        """Return what a row says; ``cells`` maps our column names to stripped texts.

        Raises RowError naming the column.
        """
        contacts = []
        if cells.get("email"):
            contacts.append(_parsed(cells, "email", parse_email))
        if cells.get("phone"):
            contacts.append(_parsed(cells, "phone", lambda text: parse_phone(text, self.region)))
        domain = None
        if cells.get("organisation"):
            domain = _parsed(cells, "organisation", parse_domain)
        if not contacts and domain is None:
            raise RowError("email", "the row has no e-mail address, phone number or domain")
        source = cells.get("source") or self.source
        bans = self._bans(cells, source)
        named = "organisation" in _words(cells, "ban")
        if named and domain is None:
            raise RowError("ban", "a ban of an organisation needs its domain")
        domain_events: tuple[Event, ...] = ()
        # Beside a contact the domain may be mere information: the ban must name it.
        if domain is not None and (named or not contacts):
            domain_events = self._organisation_bans(cells, source)
            if not contacts:
                return Row((), (), domain, domain_events)
        events = (
            *bans,
            *self._consents(cells, source),
            *self._attributes(cells, source),
            *self._delivery(cells, source),
        )
        return Row(tuple(contacts), events, domain, domain_events)

    def _bans(self, cells: Mapping[str, str], source: str) -> tuple[Event, ...]:
        when = self._time(cells, "ban_at")
        events = []
        for word in _words(cells, "ban"):
            if word not in _BANS:
                raise RowError("ban", f"a ban is one of {', '.join(_BANS)}")
            scope, channel = _BANS[word]
            if scope is Scope.ORGANISATION:
                continue
            events.append(self._event(EventKind.BAN, when, source, scope, channel=channel))
        for topic in _words(cells, "ban_topics"):
            events.append(self._event(EventKind.BAN, when, source, Scope.TOPIC, topic=topic))
        return tuple(events)

    def _organisation_bans(self, cells: Mapping[str, str], source: str) -> tuple[Event, ...]:
        """Return the bans of a domain: all marketing, unless the row says otherwise."""
        when = self._time(cells, "ban_at")
        words = _words(cells, "ban")
        if "organisation" in words or not words:
            wanted = {Scope.ORGANISATION}
        else:
            kept = (Scope.CONTACT, Scope.DISCLOSURE)
            scopes = {_BANS[word][0] for word in words}
            wanted = {scope if scope in kept else Scope.ORGANISATION for scope in scopes}
        return tuple(self._event(EventKind.BAN, when, source, scope) for scope in sorted(wanted))

    def _consents(self, cells: Mapping[str, str], source: str) -> tuple[Event, ...]:
        at, undated = self._time(cells, "consent_at")
        expires = None
        if cells.get("consent_expires"):
            expires = _parsed(cells, "consent_expires", moment)
        proof = cells.get("consent_proof", "")
        topics = _words(cells, "consent_topics") or [ANY_TOPIC]
        events = []
        for column, channel in (("consent_email", Channel.EMAIL), ("consent_sms", Channel.SMS)):
            status = _enum(cells, column, ConsentStatus)
            if status is None:
                continue
            withdrawn = status is ConsentStatus.WITHDRAWN
            events += [
                Event(
                    kind=EventKind.WITHDRAW if withdrawn else EventKind.CONSENT,
                    at=at,
                    actor=self.actor,
                    source=source,
                    evidence=proof,
                    channel=channel,
                    topic=topic,
                    status=status,
                    expires=expires,
                    proven=bool(proof) and status is ConsentStatus.GRANTED,
                    imported=True,
                    undated=undated,
                )
                for topic in topics
            ]
        return tuple(events)

    def _attributes(self, cells: Mapping[str, str], source: str) -> tuple[Event, ...]:
        groups = _words(cells, "product_groups")
        stated = Attributes(
            person_class=_enum(cells, "person_class", PersonClass),
            age=_enum(cells, "age", Age),
            guardian_consent=_truth(cells, "guardian_consent"),
            relationship_start=_day(cells, "relationship_start"),
            relationship_end=_day(cells, "relationship_end"),
            collected=_enum(cells, "collected", Collected),
            opt_out_offered=_truth(cells, "opt_out_offered"),
            product_groups=frozenset(groups) if groups else None,
            source_known=True if cells.get("source") else None,
        )
        events = []
        if stated != UNSAID:
            events.append(
                Event(
                    kind=EventKind.DESCRIBE,
                    at=self.now,
                    actor=self.actor,
                    source=source,
                    attributes=stated,
                    imported=True,
                    undated=True,
                )
            )
        if _truth(cells, "restricted"):
            events.append(self._event(EventKind.RESTRICT, (self.now, True), source))
        return tuple(events)

    def _delivery(self, cells: Mapping[str, str], source: str) -> list[Event]:
        """Return the delivery suppressions; without an expiry they hold until lifted."""
        at, undated = self._time(cells, "undeliverable_at")
        expires = None
        if cells.get("undeliverable_expires"):
            expires = _parsed(cells, "undeliverable_expires", moment)
        events = []
        for word in _words(cells, "undeliverable"):
            try:
                reason = DeliveryReason(word)
            except ValueError:
                known = ", ".join(DeliveryReason)
                raise RowError("undeliverable", f"it is one of {known}") from None
            events.append(
                Event(
                    kind=EventKind.UNDELIVERABLE,
                    at=at,
                    actor=self.actor,
                    source=source,
                    delivery=reason,
                    expires=expires,
                    imported=True,
                    undated=undated,
                )
            )
        return events

    def _event(
        self,
        kind: EventKind,
        when: tuple[int, bool],
        source: str,
        scope: Scope | None = None,
        *,
        channel: Channel | None = None,
        topic: str | None = None,
    ) -> Event:
        return Event(
            kind=kind,
            at=when[0],
            actor=self.actor,
            source=source,
            scope=scope,
            channel=channel,
            topic=topic,
            imported=True,
            undated=when[1],
        )

    def _time(self, cells: Mapping[str, str], column: str) -> tuple[int, bool]:
        """Return the time a column gives, or now and that it is undated."""
        if not cells.get(column):
            return self.now, True
        at = _parsed(cells, column, moment)
        if at > self.now:
            raise RowError(column, "the time lies in the future")
        return at, False


def _parsed(cells: Mapping[str, str], column: str, parse: Callable[[str], _Value]) -> _Value:
    try:
        return parse(cells[column])
    except InputError as error:
        raise RowError(column, str(error)) from None
    except ValueError:
        raise RowError(column, "not a day or time: write 2026-01-31 or ISO 8601") from None


def moment(text: str) -> int:
    """Return milliseconds since the epoch; without a zone the time is UTC.

    Raises ValueError for what is no time, or one before 1970 or after 9999 in UTC.
    """
    told = datetime.fromisoformat(text)
    if told.tzinfo is None:
        told = told.replace(tzinfo=UTC)
    milliseconds = int(told.timestamp() * 1000)
    if not 0 <= milliseconds <= LATEST_MS:
        raise ValueError
    return milliseconds


def _day(cells: Mapping[str, str], column: str) -> date | None:
    if not cells.get(column):
        return None
    return _parsed(cells, column, date.fromisoformat)


def _words(cells: Mapping[str, str], column: str) -> list[str]:
    words = (word.strip().casefold() for word in cells.get(column, "").split(";"))
    return [word for word in words if word]


def _truth(cells: Mapping[str, str], column: str) -> bool | None:
    text = cells.get(column, "").casefold()
    if not text:
        return None
    if text not in _TRUTH:
        raise RowError(column, "write yes or no")
    return _TRUTH[text]


_Member = TypeVar("_Member", ConsentStatus, PersonClass, Age, Collected)


def _enum(cells: Mapping[str, str], column: str, kind: type[_Member]) -> _Member | None:
    text = cells.get(column, "").casefold()
    if not text:
        return None
    try:
        return kind(text)
    except ValueError:
        raise RowError(column, f"is one of {', '.join(kind)}") from None
