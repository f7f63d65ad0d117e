"""Every known contact that may go where the purpose says, given to a sink.

Who is left out, and why, is :mod:`gateway.register.disclosure`'s to say; everybody
left out is counted.  Contacts are looked up many at a time, in the order in which the
register first heard of them.  A sink writes them as rows (:mod:`gateway.register.rowsink`),
as hashes (:mod:`gateway.register.hashsink`) or as counts (:mod:`gateway.register.statistics`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from gateway.contacts.contact import Contact
from gateway.contacts.email import organisations_of
from gateway.contacts.parse import parse_contact
from gateway.entry.merging import merge
from gateway.entry.standing import Standing
from gateway.register.disclosure import Excluded, Purpose, excluded
from gateway.register.register import Register

_BATCH = 500


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
