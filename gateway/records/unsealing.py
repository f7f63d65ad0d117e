"""What lies sealed in the archive and the streams, opened with whichever key it needs.

Its first octet says which: the content key (as workers seal, and archives of before
people had keys), a person's key, or the message key that a person's record holds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from gateway.custody.cipher import KEY_OCTETS, MESSAGE, PERSON, open_sealed
from gateway.custody.custody import Custody
from gateway.entry.event import Event
from gateway.records.entry import address_context, evidence_context, record_context
from gateway.records.seal import Sealer, SealError

if TYPE_CHECKING:
    # Which loads the tables, and with them the database's library.
    from gateway.records.line import Row

_NO_KEYS: Final[dict[str, bytes | None]] = {}


@dataclass(frozen=True, slots=True)
class OpenedRecord:
    """What a record's sealed part says."""

    address: str | None
    """None where it cannot be opened (any more)."""
    key: bytes | None
    """The message key; None where it cannot be opened, or there is none."""


class Unsealer:
    """Opens with the content key and, where the keys of people are at hand, with theirs.

    What cannot be opened is None; that the keys' file cannot be read in time is
    RecordsUnavailable.
    """

    def __init__(self, sealer: Sealer, custody: Custody | None = None) -> None:
        """Without ``custody`` whatever lies under a person's key stays closed."""
        self._sealer = sealer
        self._custody = custody

    async def open_all(
        self, owners: Sequence[str], sealed: Sequence[bytes], contexts: Sequence[bytes]
    ) -> list[bytes | None]:
        """Each text, whether it lies under the content key or its owner's key."""
        wanted = [
            owner
            for owner, text in zip(owners, sealed, strict=True)
            if text[:1] == PERSON and owner
        ]
        keys = await self._keys(wanted)
        return [
            self._opened(text, context, keys.get(owner))
            for owner, text, context in zip(owners, sealed, contexts, strict=True)
        ]

    async def records(self, rows: Sequence[Row]) -> list[OpenedRecord]:
        """What the sealed parts of these rows of records say."""
        opened = await self.open_all(
            [row["digest"] for row in rows],
            [row["sealed_address"] for row in rows],
            [
                record_context(row["id"])
                if row["sealed_address"][:1] == PERSON
                else address_context(row["digest"])
                for row in rows
            ],
        )
        found = []
        for row, text in zip(rows, opened, strict=True):
            if text is None:
                found.append(OpenedRecord(None, None))
            elif row["sealed_address"][:1] == PERSON:
                found.append(OpenedRecord(text[KEY_OCTETS:].decode(), text[:KEY_OCTETS]))
            else:
                found.append(OpenedRecord(text.decode(), None))
        return found

    def part(self, sealed: bytes, context: bytes, key: bytes | None) -> bytes | None:
        """A message's part, with the message key that a record of it gave."""
        if not sealed:
            return None
        if sealed[:1] != MESSAGE:
            return self._opened(sealed, context, None)
        if key is None:
            return None
        try:
            return open_sealed(MESSAGE, key, sealed, context)
        except SealError:
            return None

    async def addresses(self, events: Sequence[Event]) -> list[str | None]:
        """Whom each event is about, where it says so and can be opened."""
        opened = await self.open_all(
            [event.subject for event in events],
            [event.sealed or b"" for event in events],
            [address_context(event.subject) for event in events],
        )
        return [None if text is None else text.decode() for text in opened]

    async def with_evidence(self, events: Sequence[Event]) -> list[Event]:
        """The events, each with its evidence in words where that can be opened."""
        opened = await self.open_all(
            [event.subject for event in events],
            [event.sealed_evidence or b"" for event in events],
            [evidence_context(event.cause or event.id) for event in events],
        )
        return [
            event
            if text is None
            else replace(event, evidence=text.decode("utf-8", "replace"), sealed_evidence=None)
            for event, text in zip(events, opened, strict=True)
        ]

    async def _keys(self, owners: Sequence[str]) -> Mapping[str, bytes | None]:
        if self._custody is None or not owners:
            return _NO_KEYS
        return await self._custody.keys(owners, make=False)

    def _opened(self, sealed: bytes, context: bytes, key: bytes | None) -> bytes | None:
        try:
            if sealed[:1] != PERSON:
                return self._sealer.open(sealed, context) if sealed else None
            return None if key is None else open_sealed(PERSON, key, sealed, context)
        except SealError:
            return None
