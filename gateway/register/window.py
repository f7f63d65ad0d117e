"""A run of an import's rows as they are written: those that are alike in groups.

Most rows name one contact and say what thousands of others say: they share a
template.  Every other row is read by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from gateway.contacts.contact import Contact, ContactError
from gateway.contacts.email import plain_emails
from gateway.contacts.parse import parse_domain, parse_email, parse_phone
from gateway.register.rows import CONTACT_COLUMNS, Importer, Row, RowError, moment
from gateway.register.table import Block
from gateway.register.template import DATED, UNDATED, Template, Templates

ROWS = 16_384
"""Rows in a window at the most."""
_AT_ONCE = 1024
_BAN_AT = "ban_at"
_moment = lru_cache(maxsize=65_536)(moment)

Spelling = tuple[str, str]
"""The canonical form and the base; they are equal where there is no wider spelling."""


@dataclass(slots=True)
class Group:
    """Rows that name a contact in one column, and nobody else; all lists are as long.

    ``names`` are the canonical addresses, numbers or domains, ``bases`` their wider
    spellings, which are the same where there is none.
    """

    column: str
    numbers: list[int] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    bases: list[str] = field(default_factory=list)
    templates: list[Template] = field(default_factory=list)
    times: list[int] = field(default_factory=list)
    """What the rows give as the time of their bans; 0 where they give none."""

    def row(self, place: int) -> Row:
        """Return one of the rows as if it had been read by itself."""
        name = self.names[place]
        events = self.templates[place].events_at(self.times[place])
        if self.column == "organisation":
            return Row((), (), name, events)
        return Row((parse_phone(name) if self.column == "phone" else parse_email(name),), events)


@dataclass(slots=True)
class Window:
    """Rows in groups, rows by themselves, and rows that cannot be imported.

    Each is in the order of the file, with its line.
    """

    groups: dict[str, Group] = field(default_factory=dict)
    rows: list[tuple[int, Row]] = field(default_factory=list)
    errors: list[tuple[int, RowError]] = field(default_factory=list)

    def group(self, column: str) -> Group:
        """Return the group of a column."""
        if column not in self.groups:
            self.groups[column] = Group(column)
        return self.groups[column]


class Windows:
    """Makes windows of blocks, for one import."""

    def __init__(self, importer: Importer, *, sealed: bool) -> None:
        """Take what all rows have in common, and whether addresses are sealed."""
        self._importer = importer
        self._templates = Templates(importer, sealed=sealed)

    def of(self, block: Block) -> Iterator[Window]:
        """Yield a block's windows, at least one."""
        errors = list(block.errors)
        for start in range(0, len(block.rows) or 1, ROWS):
            window = Window(errors=errors)
            stop = min(start + ROWS, len(block.rows))
            for first in range(start, stop, _AT_ONCE):
                self._fill(window, block, range(first, min(first + _AT_ONCE, stop)))
            window.rows.sort(key=lambda row: row[0])
            window.errors.sort(key=lambda error: error[0])
            yield window
            errors = []

    def _fill(self, window: Window, block: Block, places: range) -> None:
        columns: list[tuple[str, ...]] = list(
            zip(*block.rows[places.start : places.stop], strict=True)
        )
        contacts = {
            name: columns[at] for at, name in enumerate(block.names) if name in CONTACT_COLUMNS
        }
        others = [
            (name, columns[at])
            for at, name in enumerate(block.names)
            if name is not None and name not in contacts
        ]
        names = tuple(name for name, _ in others)
        times: list[int] = [0] * len(places)
        if _BAN_AT in names:
            dated = names.index(_BAN_AT)
            times = list(map(self._time, others[dated][1]))
            others[dated] = _BAN_AT, tuple([DATED if time else UNDATED for time in times])
        said: list[tuple[str, ...]] = [()] * len(places)
        if others:
            said = list(zip(*(cells for _, cells in others), strict=True))
        if len(contacts) == 1:
            ((column, texts),) = contacts.items()
            if column is not None:
                self._take(window, block, places, column, names, texts, said, times)
            return
        chosen: dict[str | None, list[int]] = {}
        for place, cells in enumerate(zip(*contacts.values(), strict=True)):
            given = [name for name, cell in zip(contacts, cells, strict=True) if cell.strip()]
            chosen.setdefault(given[0] if len(given) == 1 else None, []).append(place)
        for own, ours in chosen.items():
            at = [places[place] for place in ours]
            if own is None:
                self._alone(window, block, at)
                continue
            own_texts = [contacts[own][place] for place in ours]
            own_said = [said[place] for place in ours]
            own_times = [times[place] for place in ours]
            self._take(window, block, at, own, names, own_texts, own_said, own_times)

    def _take(
        self,
        window: Window,
        block: Block,
        places: Sequence[int],
        column: str,
        names: tuple[str, ...],
        texts: Sequence[str],
        said: Sequence[tuple[str, ...]],
        times: Sequence[int],
    ) -> None:
        """Put rows that name a contact in one column into its group, where they fit."""
        find = self._templates.find
        found = {each: find(column, names, each) for each in set(said)}
        templates = list(map(found.__getitem__, said))
        group = window.group(column)
        plain = plain_emails(texts) if column == "email" else None
        if plain is not None and None not in found.values() and min(times) >= 0:
            group.numbers += [block.numbers[place] for place in places]
            group.names += plain[0]
            group.bases += plain[1]
            group.templates += [template for template in templates if template is not None]
            group.times += times
            return
        read = self._reader(column)
        rest = []
        for place, text, template, time in zip(places, texts, templates, times, strict=True):
            spelling = None if template is None or time < 0 else read(text)
            if template is None or spelling is None:
                rest.append(place)
                continue
            group.numbers.append(block.numbers[place])
            group.names.append(spelling[0])
            group.bases.append(spelling[1])
            group.templates.append(template)
            group.times.append(time)
        self._alone(window, block, rest)

    def _time(self, cell: str) -> int:
        """Return when a cell says that a ban was made; 0: not at all, -1: to be read by itself."""
        text = cell.strip()
        if not text:
            return 0
        try:
            at = _moment(text)
        except ValueError:
            return -1
        return at if 0 < at <= self._importer.now else -1

    def _alone(self, window: Window, block: Block, places: Sequence[int]) -> None:
        """Read rows by themselves."""
        for place in places:
            if not any(cell.strip() for cell in block.rows[place]):
                continue
            try:
                row = self._importer.row(block.cells(place))
            except RowError as error:
                window.errors.append((block.numbers[place], error))
            else:
                window.rows.append((block.numbers[place], row))

    def _reader(self, column: str) -> Callable[[str], Spelling | None]:
        if column == "organisation":
            return _domain
        region = self._importer.region
        return _email if column == "email" else lambda text: _phone(text, region)


def _email(text: str) -> Spelling | None:
    return _spelling(parse_email, text)


def _phone(text: str, region: str | None) -> Spelling | None:
    return _spelling(lambda stripped: parse_phone(stripped, region), text)


def _domain(text: str) -> Spelling | None:
    try:
        name = parse_domain(text.strip())
    except ContactError:
        return None
    return name, name


def _spelling(parse: Callable[[str], Contact], text: str) -> Spelling | None:
    try:
        contact = parse(text.strip())
    except ContactError:
        return None
    return contact.canonical, contact.base
