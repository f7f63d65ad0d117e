"""What rows with the same cells have in common: all but whom they are about.

A list of a million suppressed addresses says the same of each of them.  So a row's
events, the entry that they make of an unknown contact, and the text of its log
entries are worked out once for all rows that say the same; only ids, digests and
sealed addresses are put in for each.
"""

from __future__ import annotations

import secrets
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import lru_cache
from itertools import chain

from gateway.entry.codec import decode, encode, leb128
from gateway.entry.entry import EMPTY, ORIGIN_SIZE, Entry
from gateway.entry.event import Event, EventKind, heritable
from gateway.entry.projection import project
from gateway.register.rows import CONTACT_COLUMNS, Importer, RowError

_KEPT = 4096
_STAND_INS = {"email": "a@example.com", "phone": "+358401234567", "organisation": "example.com"}
_RECORDED = 8_888_888_888_888_888
"""Stands for the time of recording, and is none."""
_BANNED = 1_111_111_111_000
"""Stands for the time that a row gives a ban."""
DATED, UNDATED = "dated", ""
"""What stands for the time of a ban among what rows say."""
_number = lru_cache(maxsize=65_536)(leb128)


@dataclass(frozen=True, slots=True)
class Text:
    """An event's JSON in pieces; between them goes what differs, in order.

    First the time of the ban, where it is ``dated``; then id, time of recording, subject.
    """

    pieces: tuple[bytes, ...]
    dated: bool = False

    def form(self, recorded: int) -> bytes:
        """Return a format (``%``) of octets, which takes all but the time of recording."""
        pieces = [piece.replace(b"%", b"%%") for piece in self.pieces]
        gaps = [b"%b"] * (len(pieces) - 1)
        gaps[1 + self.dated] = b"%d" % recorded
        return b"".join(chain(*zip(pieces, gaps, strict=False), pieces[-1:]))


@dataclass(frozen=True, slots=True)
class Template:
    """What all rows with the same cells say, whoever they are about.

    ``events`` are the row's, ``texts`` the same in JSON, with gaps for id, time, subject
    and, where addresses are sealed, the sealed address.  ``value`` is the entry they
    make of an unknown contact.  The events at ``heirs`` are inherited by a wider
    spelling: ``base`` is its entry, in pieces between which goes the origin, and
    ``base_texts`` its events, with gaps for id, time, subject, cause and origin.
    The times of bans are given for each row, where it is ``dated``: entries are in pieces
    between which they go.
    """

    events: tuple[Event, ...]
    texts: tuple[Text, ...]
    value: tuple[bytes, ...]
    heirs: tuple[int, ...]
    base_texts: tuple[Text, ...]
    base: tuple[tuple[bytes, ...], ...]
    dated: bool = False
    _known: dict[bytes, bool] = field(default_factory=dict)

    def events_at(self, at: int) -> tuple[Event, ...]:
        """Return the events of a row that gives its bans this time."""
        if not self.dated:
            return self.events
        return tuple(replace(event, at=at) if _takes(event) else event for event in self.events)

    def value_at(self, at: int) -> bytes:
        """Return the entry that such a row makes of an unknown contact."""
        return _number(at).join(self.value) if self.dated else self.value[0]

    def base_at(self, at: int, origin: bytes) -> bytes:
        """Return the entry that it makes of an unknown wider spelling."""
        if not self.dated:
            return origin.join([piece for (piece,) in self.base])
        return origin.join([_number(at).join(pieces) for pieces in self.base])

    def changes(self, old: bytes, at: int) -> bool:
        """Whether such a row changes a contact whose entry is ``old``.

        Raises CodecError for octets that are no entry.
        """
        if self.dated:
            return old != self.value_at(at) and _changes(self.events_at(at), old)
        found = self._known.get(old)
        if found is None:
            if len(self._known) >= _KEPT:
                self._known.clear()
            found = self._known[old] = _changes(self.events, old)
        return found

    def changes_base(self, old: bytes, at: int, origin: bytes) -> bool:
        """:meth:`changes` of a wider spelling, for a ban that comes from ``origin``."""
        return _changes(_inherited(self.events_at(at), origin), old)


class Templates:
    """The templates of one import, by what its rows say; bounded."""

    def __init__(self, importer: Importer, *, sealed: bool) -> None:
        """Take what all rows have in common, and whether addresses are sealed."""
        self._importer = importer
        self._sealed = sealed
        self._found: dict[tuple[str, tuple[str, ...]], Template | None] = {}

    def find(self, column: str, names: Sequence[str], said: tuple[str, ...]) -> Template | None:
        """Return the template of rows that name a contact in ``column`` alone.

        ``said`` are the other cells, whose columns ``names`` are; ``ban_at`` only says
        whether it is :data:`DATED`.  None: such a row is to be read by itself, for it is
        bad, or fits no template.
        """
        key = (column, said)
        try:
            return self._found[key]
        except KeyError:
            if len(self._found) >= _KEPT:
                self._found.clear()
            made = self._found[key] = self._made(column, dict(zip(names, said, strict=True)))
            return made

    def _made(self, column: str, cells: Mapping[str, str]) -> Template | None:
        stripped = {name: cell.strip() for name, cell in cells.items()}
        if any(stripped.get(name) for name in CONTACT_COLUMNS):
            return None
        dated = stripped.get("ban_at") == DATED
        if dated:
            stripped["ban_at"] = datetime.fromtimestamp(_BANNED / 1000, UTC).isoformat()
        try:
            row = self._importer.row({**stripped, column: _STAND_INS[column]})
        except RowError:
            return None
        events = row.domain_events if row.domain else row.events
        return make_template(events, sealed=self._sealed, dated=dated)


def make_template(events: Sequence[Event], *, sealed: bool, dated: bool) -> Template | None:
    """Return the template of a row's events; None where they fit none."""
    identity, subject, cause = (secrets.token_hex(12) for _ in range(3))
    origin = secrets.token_bytes(ORIGIN_SIZE)
    address = secrets.token_bytes(24) if sealed else None
    drafts = [
        replace(event, id=identity, recorded=_RECORDED, subject=subject, sealed=address)
        for event in events
    ]
    inherited = [replace(each, cause=cause, sealed=None) for each in _inherited(drafts, origin)]
    entry, logged = _projected(EMPTY, drafts)
    wider, logged_wider = _projected(EMPTY, inherited)
    if len(logged) < len(drafts) or len(logged_wider) < len(inherited):
        return None  # the row says something twice
    gaps = [identity, str(_RECORDED), subject]
    ends = [] if address is None else [b64encode(address).decode()]
    texts = [_text(event, [*gaps, *ends], dated=dated) for event in logged]
    base_texts = [_text(event, [*gaps, cause, origin.hex()], dated=dated) for event in logged_wider]
    value = _parted(encode(entry) if logged else b"", entry, dated=dated)
    pieces = encode(wider).split(origin) if logged_wider else []
    base = [_parted(piece, wider, dated=dated) for piece in pieces]
    if None in texts or None in base_texts or len(pieces) > len(wider.bans) + 1:
        return None  # a token of ours stands in the row
    if sum(len(each) - 1 for each in base) != _dated(wider, dated=dated):
        return None
    if len(value) - 1 != _dated(entry, dated=dated):
        return None
    return Template(
        events=tuple(events),
        texts=tuple(text for text in texts if text is not None),
        value=value,
        heirs=tuple(at for at, event in enumerate(events) if heritable(event)),
        base_texts=tuple(text for text in base_texts if text is not None),
        base=tuple(base),
        dated=dated,
    )


def _takes(event: Event) -> bool:
    """Whether the event takes the time that a row gives its bans."""
    return event.kind is EventKind.BAN and event.at == _BANNED


def _dated(entry: Entry, *, dated: bool) -> int:
    """Return how many bans of the entry take the time that a row gives."""
    return sum(ban.at == _BANNED for ban in entry.bans) if dated else 0


def _parted(octets: bytes, entry: Entry, *, dated: bool) -> tuple[bytes, ...]:
    """Return an entry's octets in pieces, between which the times of its bans go."""
    return tuple(octets.split(_number(_BANNED))) if dated and entry.bans else (octets,)


def _inherited(events: Sequence[Event], origin: bytes) -> list[Event]:
    return [replace(event, origin=origin) for event in events if heritable(event)]


def _projected(entry: Entry, events: Sequence[Event]) -> tuple[Entry, list[Event]]:
    """Return the entry after the events, and those that changed it."""
    logged = []
    for event in events:
        changed = project(entry, event)
        if changed is not entry:
            logged.append(event)
        entry = changed
    return entry, logged


def _changes(events: Sequence[Event], old: bytes) -> bool:
    return bool(_projected(decode(old), events)[1])


def _text(event: Event, gaps: Sequence[str], *, dated: bool) -> Text | None:
    """Return the event's JSON parted at the gaps; None unless each is there once."""
    pieces = []
    rest = event.to_json()
    dated = dated and _takes(event)
    if dated:
        gaps = [str(_BANNED), *gaps]
    for gap in gaps:
        token = gap.encode()
        if rest.count(token) != 1:
            return None
        piece, _, rest = rest.partition(token)
        pieces.append(piece)
    return Text((*pieces, rest), dated)
