"""From the stream's seals to the archive's: each person's part under the person's key.

Workers seal under the content key, which is quick and needs no look at a file.  On the
way into the archive every message gets a random key of its own, the message key; header
section and envelope sender are sealed under it, and each recipient's record gets it,
with the recipient's address, under the recipient's key.  So whoever has one recipient's
key can open that record and the message, and once the keys of all recipients are
destroyed nobody can.  Of a register event, address and evidence go under the key of the
contact that it is about.
"""

from __future__ import annotations

import asyncio
from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import orjson

from gateway.custody.cipher import MESSAGE, PERSON, new_key, seal
from gateway.custody.custody import Custody
from gateway.entry.event import EventKind
from gateway.records.entry import (
    MESSAGE as MESSAGE_FIELD,
)
from gateway.records.entry import (
    SEALED,
    address_context,
    contexts,
    evidence_context,
    headers_context,
    pack,
    record_context,
    sender_context,
    unpack,
)
from gateway.records.journal import StreamEntry
from gateway.records.seal import VERSION, Sealer, SealError

_EVENT: Final = b"e"
_ERASE: Final = b'"erase"'

Keys = Mapping[str, bytes | None]
"""People's keys; None: destroyed."""


@dataclass(frozen=True, slots=True)
class Resealed:
    """Entries as they go into the archive."""

    entries: list[StreamEntry]
    contents: bool
    """Whether a message among them has its content stored."""


@dataclass(frozen=True, slots=True)
class _Message:
    """What is needed of a message's entry, besides its sealed parts."""

    id: str
    records: list[str]
    digests: list[str]
    content: bool


_Read = _Message | dict[str, Any] | None
"""A message, an event's members, or nothing that is sealed."""


class Resealer:
    """Seals stream entries anew; people get their keys as they first appear."""

    def __init__(self, sealer: Sealer, custody: Custody) -> None:
        """Take what opens the stream's seals, and the keys of people.

        Whoever is erased by an event loses the key before the event is archived: an
        erasure that was cut off behind it is carried out all the same.
        """
        self._sealer = sealer
        self._custody = custody

    async def reseal(self, entries: Sequence[StreamEntry]) -> Resealed:
        """The entries, each as it goes into the archive.

        An entry that cannot be read stays as it is: the archive sets it aside.  Raises
        SealError for a part that lies under a content key that is not here: another
        machine has a newer key file, and what is archived so no erasure would reach.
        Raises RecordsUnavailable, SealError when the people's keys cannot be used.
        """
        read = await asyncio.to_thread(lambda: [_read(entry) for entry in entries])
        erased = await asyncio.to_thread(_erased, entries)
        if erased:
            await self._custody.destroy(erased)
        owners: dict[str, None] = {}
        for one in read:
            if isinstance(one, _Message):
                owners.update(dict.fromkeys(one.digests))
            elif one is not None:
                owners[one["subject"]] = None
        keys = await self._custody.keys(owners)
        resealed = await asyncio.to_thread(self._all, entries, read, keys)
        contents = any(isinstance(one, _Message) and one.content for one in read)
        return Resealed(resealed, contents)

    def _all(
        self, entries: Sequence[StreamEntry], read: Sequence[_Read], keys: Keys
    ) -> list[StreamEntry]:
        return [self._one(*pair, keys) for pair in zip(entries, read, strict=True)]

    def _one(self, entry: StreamEntry, read: _Read, keys: Keys) -> StreamEntry:
        if read is None:
            return entry
        if isinstance(read, _Message):
            framed = self._parts(entry.fields[SEALED], read, keys)
            return replace(entry, fields={**entry.fields, SEALED: framed})
        return replace(entry, fields={_EVENT: orjson.dumps(self._event(read, keys))})

    # -- messages -----------------------------------------------------------------

    def _parts(self, framed: bytes, message: _Message, keys: Keys) -> bytes:
        sealed = unpack(framed)
        if not all(not part or self._ours(part) for part in sealed):
            return framed
        key = new_key()
        opened = [
            self._opened(part, context)
            for part, context in zip(sealed, contexts(message.id, message.digests), strict=True)
        ]
        headers, sender, *addresses = opened
        parts = [b"", b""]
        # Once nobody could ever open them, they need not be kept.
        if any(keys[digest] is not None for digest in message.digests):
            for place, data, context in (
                (0, headers, headers_context(message.id)),
                (1, sender, sender_context(message.id)),
            ):
                if data is not None:
                    parts[place] = seal(MESSAGE, key, data, context)
        for record_id, digest, address in zip(
            message.records, message.digests, addresses, strict=True
        ):
            own = keys[digest]
            parts.append(
                b""
                if own is None
                else seal(PERSON, own, key + (address or b""), record_context(record_id))
            )
        return pack(parts)

    def _ours(self, sealed: bytes) -> bool:
        """Whether it lies under a content key; raises SealError when that is not here."""
        if sealed[:1] != VERSION:
            return False
        if self._sealer.can_open(sealed) or (
            self._sealer.refresh() and self._sealer.can_open(sealed)
        ):
            return True
        raise SealError(
            "a record lies under a content key that is not here: give this machine the newest "
            "key file"
        )

    def _opened(self, sealed: bytes, context: bytes) -> bytes | None:
        """What the part says; None where it was not kept, or was changed."""
        if not sealed:
            return None
        try:
            return self._sealer.open(sealed, context)
        except SealError:
            return None

    # -- events -------------------------------------------------------------------

    def _event(self, members: dict[str, Any], keys: Keys) -> dict[str, Any]:
        subject = members["subject"]
        key = keys[subject]
        told = dict(members)
        if told.get("origin"):
            # Inherited from another spelling, which has it in its own event.
            told.pop("evidence", None)
            told.pop("sealed_evidence", None)
        if "sealed" in told:
            self._put(told, "sealed", key, address_context(subject))
        if "sealed_evidence" in told:
            self._put(told, "sealed_evidence", key, evidence_context(_origin(told)))
        elif told.get("evidence"):
            evidence = str(told.pop("evidence")).encode("utf-8", "surrogatepass")
            if key is not None:
                sealed = seal(PERSON, key, evidence, evidence_context(_origin(told)))
                told["sealed_evidence"] = b64encode(sealed).decode()
        return told

    def _put(self, told: dict[str, Any], name: str, key: bytes | None, context: bytes) -> None:
        """Seal a member anew; without its key it is left out."""
        sealed = b64decode(told[name])
        if not self._ours(sealed):
            return
        data = self._opened(sealed, context)
        if data is None or key is None:
            # An event's copy under another digest key cannot be opened: the first can.
            del told[name]
        else:
            told[name] = b64encode(seal(PERSON, key, data, context)).decode()


def _erased(entries: Sequence[StreamEntry]) -> list[str]:
    """Whom the events among the entries erase, but for what other spellings inherit."""
    found = []
    for entry in entries:
        if entry.is_event and _ERASE in b"".join(entry.fields.values()):
            try:
                (text,) = entry.fields.values()
                members = orjson.loads(text)
            except ValueError:  # it is set aside when it is archived
                continue
            if (
                isinstance(members, dict)
                and members.get("kind") == EventKind.ERASE
                and not members.get("origin")
                and isinstance(members.get("subject"), str)
            ):
                found.append(members["subject"])
    return found


def _read(entry: StreamEntry) -> _Read:
    """What is needed to seal the entry anew; None where nothing is, or nothing can be."""
    try:
        if entry.is_event:
            return _read_event(entry)
        if MESSAGE_FIELD in entry.fields:
            return _read_message(entry)
    except Exception:  # it is set aside, with words for it, when it is archived
        return None
    return None


def _read_event(entry: StreamEntry) -> dict[str, Any] | None:
    (text,) = entry.fields.values()
    members: dict[str, Any] = orjson.loads(text)
    if not members.keys() & {"sealed", "sealed_evidence", "evidence"}:
        return None
    if type(members.get("subject")) is not str or not members["subject"]:
        return None
    for name in ("sealed", "sealed_evidence"):
        if name in members:
            b64decode(members[name], validate=True)
    return members


def _read_message(entry: StreamEntry) -> _Message | None:
    members = orjson.loads(entry.fields[MESSAGE_FIELD])
    records = [one[0] for one in members["recipients"]]
    digests = [one[1] for one in members["recipients"]]
    if not records or len(unpack(entry.fields[SEALED])) != len(records) + 2:
        return None
    if not all(type(word) is str and word for word in (members["id"], *records, *digests)):
        return None
    return _Message(members["id"], records, digests, members.get("content") is not None)


def _origin(members: Mapping[str, Any]) -> str:
    """The event that the evidence was told in first."""
    return str(members.get("cause") or members.get("id") or "")
