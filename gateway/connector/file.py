"""CSV files that other systems drop into a folder, and those that they fetch.

Pure: the folder itself (``gateway.sync.folder``) is asked like a tool, by two paths.
``GET /in?after=CURSOR`` is answered with the next rows of a file that was found to be
good, or 204 where there is none; ``POST /out`` writes a file.

A file has a line of names, of :data:`~gateway.connector.row.COLUMNS` in any order, of
which ``contact`` is needed; or no names and one column, of addresses or numbers, each of
which objects to all marketing.  UTF-8 with or without a byte order mark, lines ending in
LF or CRLF, commas, semicolons or tabs between the columns, quotes as in RFC 4180.
Complaints name the line and the column, and never what stands there.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Any, ClassVar, Final, NamedTuple
from urllib.parse import urlencode

from gateway.connector.answer import object_in, objects_at
from gateway.connector.asking import sent
from gateway.connector.connector import Connector, Exchange, Holds, Page, Place, Put
from gateway.connector.row import COLUMNS, RowError, change_of, row_of
from gateway.connector.saying import text
from gateway.connector.suppression import DELIVERY, Change, Suppression
from gateway.connector.topics import Topics
from gateway.contacts.contact import Channel
from gateway.provider.request import Request

IN: Final = "/in"
OUT: Final = "/out"
COMPLAINTS: Final = 100
"""Complaints of one file that are told; the others are counted."""

_MARK = "\ufeff"
_CONTACT: Final = ("contact", "email", "phone")
"""What the column of contacts may be called."""
_DELIMITERS: Final = (",", ";", "\t")


class Complaint(NamedTuple):
    """What is wrong with a line."""

    line: int
    text: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.text}"


class SheetError(ValueError):
    """A file cannot be read any further."""

    def __init__(self, line: int, text: str) -> None:
        self.complaint = Complaint(line, text)
        super().__init__(str(self.complaint))


class File(Connector):
    """``topics`` are what the files call the register's topics."""

    kind: ClassVar[str] = "file"
    title: ClassVar[str] = "the folder"
    url = ""
    most: ClassVar[int] = 1000

    def __init__(self, place: Place) -> None:
        super().__init__(place)
        self.topics = Topics(place)

    @property
    def holds(self) -> Holds:
        """Everything but the topics that the settings do not name; no whole list."""
        return Holds(
            self.topics.scopes,
            frozenset(Channel),
            self.topics.names,
            lists=False,
            hooks=False,
            delivery=DELIVERY,
        )

    def warnings(self) -> list[str]:
        """What files cannot do."""
        return [
            "files tell only what is new: what is missing in one is not missed",
            "files that were taken in stay in in/done with the addresses in them until somebody "
            "takes them away",
        ]

    def changes(self, cursor: str) -> Exchange[Page]:
        """The next rows of the oldest file; the file is done with when more are asked for."""
        answer = yield Request("GET", IN, urlencode([("after", cursor)]))
        if answer.status == 204:
            return Page((), "", more=False)
        document = object_in(answer, self)
        found: list[Change] = []
        bad = 0
        for row in objects_at(document, "rows", self):
            try:
                found.append(change_of(row, self.topics))
            except RowError:
                bad += 1
        return Page(tuple(found), text(document, "cursor"), True, bad)

    def listing(self, cursor: str) -> Exchange[Page]:
        """Nothing: there is no whole list."""
        yield from ()
        return Page((), cursor, more=False)

    def put(self, entries: Sequence[Suppression]) -> Exchange[Sequence[Put]]:
        """One file of all of them."""
        results: list[Put] = []
        rows = []
        for entry in entries:
            try:
                rows.append(row_of(entry, self.topics))
                results.append(Put(True))
            except RowError as error:
                results.append(Put(False, str(error), final=True))
        if rows:
            answer = yield sent("POST", OUT, {"entries": rows})
            object_in(answer, self)
        return results


def rows_in(lines: Iterable[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """The rows of a file with the numbers of their last lines; raises SheetError.

    ``lines`` with their ends, as a file gives them that was opened with ``newline=""``.
    """
    reader, names = _opened(iter(lines))
    for cells in _read(reader):
        if not any(cells):
            continue
        line = reader.line_num
        while len(cells) > len(names) and not cells[-1]:
            cells.pop()
        if len(cells) != len(names):
            raise SheetError(line, f"{len(cells)} columns, and {len(names)} are expected")
        yield line, dict(zip(names, cells, strict=True))


def complaints_of(lines: Iterable[str], topics: Topics) -> tuple[list[Complaint], int]:
    """What is wrong with a file, the first of it; and how many complaints there are."""
    told: list[Complaint] = []
    count = 0
    try:
        for line, row in rows_in(lines):
            try:
                change_of(row, topics)
            except RowError as error:
                count += 1
                if len(told) < COMPLAINTS:
                    told.append(Complaint(line, str(error)))
    except SheetError as error:
        count += 1
        told.append(error.complaint)
    return told, count


def sheet_of(rows: Iterable[dict[str, Any]]) -> str:
    """Rows as a file's text."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, COLUMNS, restval="", extrasaction="ignore")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _opened(lines: Iterator[str]) -> tuple[Any, tuple[str, ...]]:
    """A reader that stands before the first row, and the columns' names."""
    try:
        first = next(lines, "").removeprefix(_MARK)
    except UnicodeDecodeError:
        raise SheetError(1, "not UTF-8; save it as CSV in UTF-8") from None
    delimiter = max(_DELIMITERS, key=lambda one: (first.count(one), one == ","))
    reader = csv.reader(chain([first], lines), delimiter=delimiter, strict=True)
    names = _names(first, delimiter)
    if names is not None:
        next(reader)
        return reader, names
    if delimiter in first.strip().strip(delimiter):
        raise SheetError(1, "the first line does not name a column contact")
    return reader, ("contact",)


def _names(first: str, delimiter: str) -> tuple[str, ...] | None:
    """The columns' names; None where the first line has no column of contacts."""
    try:
        [cells] = csv.reader([first], delimiter=delimiter, strict=True)
    except (csv.Error, ValueError):
        return None
    names = [cell.strip().lower() for cell in cells]
    while names and not names[-1]:
        names.pop()
    if not set(names) & set(_CONTACT):
        return None
    names = ["contact" if name in _CONTACT else name for name in names]
    for number, name in enumerate(names, start=1):
        if name not in COLUMNS:
            raise SheetError(1, f"column {number} is none of {', '.join(COLUMNS)}")
        if name in names[: number - 1]:
            raise SheetError(1, f"column {number} is there twice: {name}")
    return tuple(names)


def _read(reader: Any) -> Iterator[list[str]]:  # noqa: ANN401 - csv's own type has no name
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error:
            raise SheetError(reader.line_num, "the quotes are not those of CSV") from None
        except UnicodeDecodeError:
            raise SheetError(reader.line_num + 1, "not UTF-8; save it as CSV in UTF-8") from None
        yield [cell.strip() for cell in cells]
