"""A person of the register (a data subject): what is known of one, and its JSON.

Pure.  What somebody may be sent is not here: bans and consents are the register's, by
contact.  Here is who has which contacts, in which words something was asked for, and
how long a relationship, contract or warranty lasts.

Nothing is overwritten: a name or contact that is no longer used stays, with the day
that it ended, since a ban of it still counts (GDPR 16, 21).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields, is_dataclass, replace
from datetime import date
from enum import StrEnum
from functools import cache
from typing import Final, Literal, Self, TypeVar

from pydantic import TypeAdapter

from gateway.contacts.contact import Channel, Contact
from gateway.contacts.parse import parse_contact
from gateway.decision.facts import PersonClass
from gateway.entry.entry import Scope
from gateway.failure import InputError

VERSION: Literal[1] = 1
"""Of a person's JSON."""
TEXT_MOST: Final = 20_000
"""Characters of one text, such as a verbatim request."""
PARTS_MOST: Final = 1_000
"""Names, contacts, contracts and so on that one person has at the most, of each."""


class PersonError(InputError):
    """A person lacks what one needs, or a text is not a person."""


class Language(StrEnum):
    """In which language a person is written to."""

    FI = "fi"
    SV = "sv"
    EN = "en"


class Bond(StrEnum):
    """What outlasts a relationship (the notice, section 8)."""

    CONTRACT = "contract"
    WARRANTY = "warranty"


@dataclass(frozen=True, slots=True, kw_only=True)
class ContactPoint:
    """One address or number, with where it came from and when (S12).

    ``since`` and ``until`` are milliseconds since the epoch; ``until`` None: in use.
    """

    address: str
    """In canonical form."""
    since: int
    until: int | None = None
    source: str

    @property
    def contact(self) -> Contact:
        """As the register is asked about it."""
        return parse_contact(self.address)

    @property
    def channel(self) -> Channel:
        """How it is reached."""
        return Channel.EMAIL if "@" in self.address else Channel.SMS


@dataclass(frozen=True, slots=True, kw_only=True)
class Name:
    """What somebody is called, or was until a day (ms since the epoch)."""

    text: str
    since: int
    until: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Relationship:
    """One customer relationship: its days, and the manner of its start and end."""

    start: date | None = None
    start_manner: str = ""
    end: date | None = None
    """Its last day; None: it goes on."""
    end_manner: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Commitment:
    """A contract or warranty; an open one has no end."""

    bond: Bond
    reference: str
    start: date | None = None
    end: date | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    """A product or service offered, being delivered, delivered or cancelled."""

    name: str
    group: str = ""
    day: date | None = None
    state: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Objection:
    """A ban as it was asked for: the words, when and how they came, how they were read."""

    words: str
    """Verbatim."""
    received: int
    """Milliseconds since the epoch."""
    scope: Scope
    channel: Channel | None = None
    topic: str | None = None
    how: str = ""
    """By which way it came: telephone, letter, e-mail, an agent."""
    by: str = ""
    """Who took it in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Restriction:
    """Processing is restricted (GDPR 18) since a time (ms since the epoch)."""

    since: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Hold:
    """Data that must be kept for a legal claim or duty (GDPR 17(3)(b), (e))."""

    since: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """All that is kept of one person.  Raises PersonError."""

    id: str
    """A ULID, which says nothing of the person."""
    names: tuple[Name, ...] = ()
    contacts: tuple[ContactPoint, ...] = ()
    person_class: PersonClass = PersonClass.NATURAL
    language: Language = Language.FI
    relationships: tuple[Relationship, ...] = ()
    commitments: tuple[Commitment, ...] = ()
    products: tuple[Product, ...] = ()
    objections: tuple[Objection, ...] = ()
    restriction: Restriction | None = None
    hold: Hold | None = None
    note: str = ""

    def __post_init__(self) -> None:
        if not self.id:
            raise PersonError("a person needs an id")
        for name in _LISTS:
            if len(getattr(self, name)) > PARTS_MOST:
                raise PersonError(f"{name}: more than {PARTS_MOST} for one person")
        for text in _texts(self):
            if len(text) > TEXT_MOST:
                raise PersonError(f"a text is longer than {TEXT_MOST} characters")
        for each in self.relationships:
            _in_order("relationship", each.start, each.end)
        for bond in self.commitments:
            _in_order(bond.bond, bond.start, bond.end)

    # -- what is asked of it --------------------------------------------------------

    @property
    def name(self) -> str:
        """The name in use, the latest where there are several; "" where none is known."""
        current = [each for each in self.names if each.until is None]
        return max(current, key=lambda each: each.since).text if current else ""

    @property
    def every_contact(self) -> tuple[Contact, ...]:
        """Every contact, in use or not: a ban of any of them counts."""
        return tuple(each.contact for each in self.contacts)

    @property
    def current(self) -> tuple[ContactPoint, ...]:
        """The contacts in use."""
        return tuple(each for each in self.contacts if each.until is None)

    def point(self, contact: Contact) -> ContactPoint | None:
        """The contact point of a contact."""
        return next((each for each in self.contacts if each.address == contact.canonical), None)

    def ends(self, today: date) -> tuple[date | None, list[str]]:
        """When the last relationship, contract and warranty ended, and what is open.

        None: nothing of the kind was ever said, or something is open still.
        """
        spans = [("relationship", each.end) for each in self.relationships]
        spans += [(f"{each.bond} {each.reference}", each.end) for each in self.commitments]
        still = [what for what, end in spans if end is None or end >= today]
        ended = [end for _, end in spans if end is not None]
        return (None if still or not ended else max(ended)), still

    # -- how it changes -------------------------------------------------------------

    def renamed(self, text: str, at: int) -> Self:
        """With another name from then on; the one before stays as a former one."""
        text = text.strip()
        if not text:
            raise PersonError("a name is needed")
        if self.name == text:
            return self
        former = tuple(each if each.until is not None else _ended(each, at) for each in self.names)
        return replace(self, names=(*former, Name(text=text, since=at)))

    def linked(self, contact: Contact, at: int, source: str) -> Self:
        """With one more contact in use; one that was former is in use again."""
        known = self.point(contact)
        if known is not None and known.until is None:
            return self
        fresh = ContactPoint(address=contact.canonical, since=at, source=source)
        if known is not None:
            fresh = replace(known, until=None)
        others = tuple(each for each in self.contacts if each.address != contact.canonical)
        return replace(self, contacts=(*others, fresh))

    def retired(self, contact: Contact, at: int) -> Self:
        """With a contact that is no longer in use; its bans go on counting.

        Raises PersonError when it is no contact of this person.
        """
        point = self.point(contact)
        if point is None:
            raise PersonError("this is no contact of the person")
        if point.until is not None:
            return self
        return replace(
            self,
            contacts=tuple(_ended(each, at) if each is point else each for each in self.contacts),
        )

    def unlinked(self, contact: Contact) -> Self:
        """Without a contact that was never this person's; raises PersonError."""
        if self.point(contact) is None:
            raise PersonError("this is no contact of the person")
        return replace(
            self,
            contacts=tuple(each for each in self.contacts if each.address != contact.canonical),
        )

    def merged(self, other: Self) -> Self:
        """With all that is known of the same person under another id."""
        contacts = {each.address: each for each in self.contacts}
        for each in other.contacts:
            known = contacts.get(each.address)
            contacts[each.address] = each if known is None else _wider(known, each)
        return replace(
            self,
            names=_joined(self.names, tuple(_former_beside(other.names, self))),
            contacts=tuple(contacts.values()),
            person_class=min(self.person_class, other.person_class, key=_CLASS_ORDER.index),
            relationships=_joined(self.relationships, other.relationships),
            commitments=_joined(self.commitments, other.commitments),
            products=_joined(self.products, other.products),
            objections=_joined(self.objections, other.objections),
            restriction=self.restriction or other.restriction,
            hold=self.hold or other.hold,
            note="\n".join(filter(None, (self.note, other.note)))[:TEXT_MOST],
        )

    # -- JSON -----------------------------------------------------------------------

    def to_json(self) -> bytes:
        """The person as one JSON object; what has its default is left out."""
        return _kept().dump_json(_Kept(VERSION, self), exclude_defaults=True)

    @classmethod
    def from_json(cls, text: bytes) -> Person:
        """The person that :meth:`to_json` wrote; raises PersonError without the text."""
        try:
            return _kept().validate_json(text, strict=True).person
        except ValueError:
            raise PersonError("the text is not a person that this program can read") from None


@dataclass(frozen=True, slots=True)
class _Kept:
    """A person as it is stored, with the version of its form."""

    v: Literal[1]
    person: Person


@cache
def _kept() -> TypeAdapter[_Kept]:
    return TypeAdapter(_Kept)


_Part = TypeVar("_Part")
_Dated = TypeVar("_Dated", Name, ContactPoint)
_CLASS_ORDER: Final = (PersonClass.NATURAL, PersonClass.WORK, PersonClass.LEGAL)
_LISTS: Final = (
    "names",
    "contacts",
    "relationships",
    "commitments",
    "products",
    "objections",
)


def _texts(part: object) -> Iterator[str]:
    """Every text in a part, however deep."""
    if isinstance(part, str):
        yield part
    elif isinstance(part, tuple):
        for each in part:
            yield from _texts(each)
    elif is_dataclass(part):
        for field in fields(part):
            yield from _texts(getattr(part, field.name))


def _in_order(what: str, start: date | None, end: date | None) -> None:
    if start is not None and end is not None and end < start:
        raise PersonError(f"a {what} ends before it begins")


def _ended(part: _Dated, at: int) -> _Dated:
    return replace(part, until=max(at, part.since))


def _wider(first: ContactPoint, second: ContactPoint) -> ContactPoint:
    earlier = min(first, second, key=lambda each: each.since)
    ends = (first.until, second.until)
    until = None if None in ends else max(end for end in ends if end is not None)
    return replace(earlier, until=until)


def _former_beside(names: Iterable[Name], person: Person) -> Iterator[Name]:
    """The other record's names: none of them is in use beside one that is."""
    for each in names:
        taken = person.name and each.until is None and each.text != person.name
        yield replace(each, until=each.since) if taken else each


def _joined(first: tuple[_Part, ...], second: tuple[_Part, ...]) -> tuple[_Part, ...]:
    return first + tuple(each for each in second if each not in first)
