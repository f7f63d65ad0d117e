"""How many contacts there are of what kind: counts for research, and no small ones.

Every table divides the contacts of one channel, so that what is published of one
table cannot be taken away from another.
"""

from __future__ import annotations

import csv
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import IO

import orjson

from gateway.entry.entry import Consent, ConsentStatus, Entry, Scope
from gateway.entry.standing import Standing
from gateway.register.export import One
from gateway.register.smallcount import TooFew, withhold

TABLES = ("class", "ban", "consent", "year")
"""What a channel's contacts are divided by: person class, widest ban, best consent, and the
year in which the register first heard of them (UTC)."""
ALL = "all"
"""The channel of the row with the number of all contacts."""

_WIDTH = (
    Scope.CONTACT,
    Scope.ALL,
    Scope.ORGANISATION,
    Scope.CHANNEL,
    Scope.TOPIC,
    Scope.DISCLOSURE,
)
_CONSENTS = ("granted", "granted_unproven", "pending", "expired", "withdrawn")


@dataclass(frozen=True, slots=True)
class Count:
    """One count; None: it is small, or would tell another that is.

    ``table`` is one of :data:`TABLES`, or ``contacts`` for a channel's number.
    """

    channel: str
    table: str
    value: str
    count: int | None


@dataclass(slots=True)
class Tally:
    """Counts contacts one by one; ``now`` is milliseconds since the epoch."""

    now: int
    _tables: dict[tuple[str, str], Counter[str]] = field(
        default_factory=lambda: defaultdict(Counter)
    )
    _channels: Counter[str] = field(default_factory=Counter)

    def add(self, channel: str, standing: Standing, since: int) -> None:
        """Count a contact that was first heard of at ``since`` (milliseconds)."""
        entry = standing.exact
        self._channels[channel] += 1
        values = (
            entry.person_class or "unsaid",
            _widest(standing),
            self._consent(entry),
            str(datetime.fromtimestamp(since / 1000, UTC).year),
        )
        for table, value in zip(TABLES, values, strict=True):
            self._tables[channel, table][value] += 1

    def counts(self, least: int) -> list[Count]:
        """What may be told, with nothing below ``least``."""
        told: dict[tuple[str, str], dict[str, int | None]] = {}
        silent = set()
        for (channel, table), counter in sorted(self._tables.items()):
            try:
                told[channel, table] = withhold(counter, least)
            except TooFew:
                silent.add(channel)  # its number would tell what the table does not
        total: int | None = sum(self._channels.values())
        try:
            channels = withhold(self._channels, least, frozenset(silent))
        except TooFew:
            total, channels = None, dict.fromkeys(self._channels)
        rows = [Count(ALL, "contacts", "", total)]
        for channel in sorted(channels):
            rows.append(Count(channel, "contacts", "", channels[channel]))
            for table in TABLES:
                # A channel whose number is not told is not divided either.
                known = {} if channels[channel] is None else told[channel, table]
                rows += [Count(channel, table, value, known[value]) for value in sorted(known)]
        return rows

    def _consent(self, entry: Entry) -> str:
        states = {self._state(consent) for consent in entry.consents}
        return next((state for state in _CONSENTS if state in states), "none")

    def _state(self, consent: Consent) -> str:
        if consent.status is ConsentStatus.WITHDRAWN:
            return "withdrawn"
        if consent.expired(self.now):
            return "expired"
        if consent.status is ConsentStatus.PENDING:
            return "pending"
        return "granted" if consent.proven else "granted_unproven"


def _widest(standing: Standing) -> str:
    entries = (standing.exact, *standing.base, *standing.hashed, *standing.organisations)
    scopes = {ban.scope for entry in entries for ban in entry.bans}
    scopes |= {
        consent.as_ban().scope
        for consent in standing.exact.consents
        if consent.status is ConsentStatus.WITHDRAWN
    }
    return next((scope.value for scope in _WIDTH if scope in scopes), "none")


class CountSink:
    """Exported contacts as counts, in CSV or NDJSON."""

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
