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

from gateway.entry.codec import decode, encode
from gateway.entry.entry import EMPTY, ORIGIN_SIZE, Entry
from gateway.entry.event import TIGHTENING, Event
from gateway.entry.projection import project
from gateway.register.rows import CONTACT_COLUMNS, Importer, RowError

_KEPT = 4096
_STAND_INS = {"email": "a@example.com", "phone": "+358401234567", "organisation": "example.com"}
_RECORDED = 8_888_888_888_888_888
"""Stands for the time of recording, and is none."""


@dataclass(frozen=True, slots=True)
class Text:
    """An event's JSON in pieces; between them goes what differs, in order.

    The second gap takes the time of recording.
    """

    pieces: tuple[bytes, ...]

    def form(self, recorded: int) -> bytes:
        """Return a format (``%``) of octets, which takes all but the time of recording."""
        first, second, third, *rest = (piece.replace(b"%", b"%%") for piece in self.pieces)
        return b"%b".join([first, b"%b%d%b" % (second, recorded, third), *rest])


@dataclass(frozen=True, slots=True)
class Template:
    """What all rows with the same cells say, whoever they are about.

    ``events`` are the row's, ``texts`` the same in JSON, with gaps for id, time, subject
    and, where addresses are sealed, the sealed address.  ``value`` is the entry they
    make of an unknown contact.  The events at ``heirs`` are inherited by a wider
    spelling: ``base`` is its entry, in pieces between which goes the origin, and
    ``base_texts`` its events, with gaps for id, time, subject, cause and origin.
    """

    events: tuple[Event, ...]
    texts: tuple[Text, ...]
    value: bytes
    heirs: tuple[int, ...]
    base_texts: tuple[Text, ...]
    base: tuple[bytes, ...]
    _known: dict[bytes, bool] = field(default_factory=dict)

    def changes(self, old: bytes) -> bool:
        """Whether a row changes a contact whose entry is ``old``.

        Raises CodecError for octets that are no entry.
        """
        found = self._known.get(old)
        if found is None:
            if len(self._known) >= _KEPT:
                self._known.clear()
            found = self._known[old] = _changes(self.events, old)
        return found

    def changes_base(self, old: bytes, origin: bytes) -> bool:
        """:meth:`changes` of a wider spelling, for a ban that comes from ``origin``."""
        return _changes(_inherited(self.events, origin), old)


class Templates:
    """The templates of one import, by what its rows say; bounded."""

    def __init__(self, importer: Importer, *, sealed: bool) -> None:
        """Take what all rows have in common, and whether addresses are sealed."""
        self._importer = importer
        self._sealed = sealed
        self._found: dict[tuple[str, tuple[str, ...]], Template | None] = {}

    def find(self, column: str, names: Sequence[str], said: tuple[str, ...]) -> Template | None:
        """Return the template of rows that name a contact in ``column`` alone.

        ``said`` are the other cells, whose columns ``names`` are.  None: such a row is
        to be read by itself, for it is bad, or fits no template.
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
        try:
            row = self._importer.row({**stripped, column: _STAND_INS[column]})
        except RowError:
            return None
        return make_template(row.domain_events if row.domain else row.events, sealed=self._sealed)


def make_template(events: Sequence[Event], *, sealed: bool) -> Template | None:
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
    texts = [_text(event, [*gaps, *ends]) for event in logged]
    base_texts = [_text(event, [*gaps, cause, origin.hex()]) for event in logged_wider]
    base = tuple(encode(wider).split(origin)) if logged_wider else ()
    if None in texts or None in base_texts or len(base) > len(wider.bans) + 1:
        return None  # a token of ours stands in the row
    return Template(
        events=tuple(events),
        texts=tuple(text for text in texts if text is not None),
        value=encode(entry) if logged else b"",
        heirs=tuple(at for at, event in enumerate(events) if event.kind in TIGHTENING),
        base_texts=tuple(text for text in base_texts if text is not None),
        base=base,
    )


def _inherited(events: Sequence[Event], origin: bytes) -> list[Event]:
    return [replace(event, origin=origin) for event in events if event.kind in TIGHTENING]


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


def _text(event: Event, gaps: Sequence[str]) -> Text | None:
    """Return the event's JSON parted at the gaps; None unless each is there once."""
    pieces = []
    rest = event.to_json()
    for gap in gaps:
        token = gap.encode()
        if rest.count(token) != 1:
            return None
        piece, _, rest = rest.partition(token)
        pieces.append(piece)
    return Text((*pieces, rest))
