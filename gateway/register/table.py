"""The rows of a CSV or NDJSON file, with their line numbers, read in one stream.

A piece of the file is parsed at once, where each of its rows is a line; a piece with
a row of several lines, or with a damaged one, is read line by line.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import BinaryIO, Literal

import orjson

from gateway.contacts.identity_code import holds_code
from gateway.failure import InputError
from gateway.register.refused import CODE, code_column, refused
from gateway.register.rows import ALIASES, COLUMNS, CONTACT_COLUMNS, RowError

_BOM = b"\xef\xbb\xbf"
_DELIMITERS = ",;\t"
_LINE_OCTETS = 1_048_576
_PIECE_OCTETS = 524_288
_OBJECTS = 4096

Name = str | None
"""Our name of a column; None: it is left out."""


@dataclass(frozen=True, slots=True)
class Given:
    """A list that is no file: it was handed over, and is in memory."""

    name: str
    octets: bytes = field(repr=False)

    def open(self, _mode: Literal["rb"]) -> BinaryIO:
        """A reading of it."""
        return io.BytesIO(self.octets)

    def __str__(self) -> str:
        """What failures call it."""
        return self.name


@dataclass(frozen=True, slots=True)
class Block:
    """Rows that follow each other, in order; each has a cell for each name.

    ``numbers`` are the lines at which the rows begin, counted from 1.  ``errors`` are
    damaged rows between them, by their lines.  Cells may have whitespace around.
    """

    names: tuple[Name, ...]
    numbers: Sequence[int]
    rows: Sequence[Sequence[str]]
    errors: Sequence[tuple[int, RowError]] = ()

    def cells(self, place: int) -> dict[str, str]:
        """Return a row's cells by our column names, stripped."""
        pairs = zip(self.names, self.rows[place], strict=True)
        return {name: cell.strip() for name, cell in pairs if name is not None}


@dataclass(slots=True)
class Table:
    """One reading of a file; ``octets`` and ``warnings`` grow as it is read.

    ``mapping`` gives the file's header for our column names; other headers are taken
    by our own names, whatever their letter case.
    """

    path: Path | Given
    mapping: Mapping[str, str] = field(default_factory=dict)
    octets: int = 0
    warnings: list[str] = field(default_factory=list)
    _columns: dict[str, str] = field(default_factory=dict)
    _seen: set[str] = field(default_factory=set)

    def blocks(self) -> Iterator[Block]:
        """Yield the file's rows.

        Raises InputError, naming the line, for a file that is not UTF-8 or whose
        header lacks a contact column, and for a column that is never imported.
        """
        for name in self.mapping:
            if name not in COLUMNS:
                raise InputError(f"{self.path}: the mapping names an unknown column: {name}")
        self._columns = {header.strip().casefold(): name for name, header in self.mapping.items()}
        try:
            with self.path.open("rb") as file:
                texts = self._texts(file)
                first = next(((n, text) for n, text in texts if text.strip()), None)
                if first is None:
                    raise InputError(f"{self.path}: the file is empty")
                if first[1].lstrip().startswith("{"):
                    yield from self._objects(first, texts)
                else:
                    yield from _Cells(self, file, first).blocks(texts)
        except OSError as error:
            raise InputError(f"{self.path}: cannot be read ({error.strerror})") from error

    def text(self, octets: bytes, number: int) -> str:
        """Return what the octets of whole lines from a number on say.

        Raises InputError for a line that is too long, or not UTF-8.
        """
        self.octets += len(octets)
        last = octets.rfind(b"\n", 0, -1) + 1
        if len(octets) - last >= _LINE_OCTETS:
            number += octets.count(b"\n", 0, last)
            raise InputError(f"{self.path}, line {number}: longer than a megabyte")
        try:
            return octets.decode()
        except UnicodeDecodeError as error:
            number += octets.count(b"\n", 0, error.start)
            raise InputError(
                f"{self.path}, line {number}: not UTF-8; save the file as UTF-8"
            ) from None

    def header(self, headers: Sequence[str]) -> tuple[Name, ...]:
        """Return our names of a header's columns; raises InputError."""
        names = [self._name(header) for header in headers]
        known = [name for name in names if name is not None]
        for name, header in self.mapping.items():
            if name not in known:
                raise InputError(
                    f"{self.path}: no column is called {header!r}, which the mapping names"
                )
        if len(known) != len(set(known)):
            raise InputError(f"{self.path}: a column appears twice in the header")
        if not set(known) & set(CONTACT_COLUMNS):
            raise InputError(
                f"{self.path}: the header has no contact column ({', '.join(CONTACT_COLUMNS)}); "
                "name one, or map it"
            )
        return tuple(names)

    def _texts(self, file: BinaryIO) -> Iterator[tuple[int, str]]:
        number = 0
        while octets := file.readline(_LINE_OCTETS):
            number += 1
            text = self.text(octets, number)
            yield number, text.removeprefix(_MARK) if number == 1 else text

    def _name(self, header: str) -> Name:
        """Return our name of a header; warn once of one that is unknown.

        Raises InputError for what is never imported, under whatever name.
        """
        plain = header.strip().casefold()
        if plain not in self._seen and plain not in COLUMNS:
            cause = refused(header)
            if cause is not None:
                raise InputError(
                    f"{self.path}: the column {header.strip()!r} is for {cause}; "
                    "take it out of the file"
                )
        if plain in self._columns:
            return self._columns[plain]
        name = ALIASES.get(plain, plain)
        if name in COLUMNS and name not in self.mapping:
            return name
        if plain not in self._seen:
            self._seen.add(plain)
            self.warnings.append(f"the column {header.strip()!r} is not known and is left out")
        return None

    def _objects(self, first: tuple[int, str], texts: Iterator[tuple[int, str]]) -> Iterator[Block]:
        batch = [first]
        while batch:
            numbers, rows, errors = [], [], []
            for number, text in batch:
                if not text.strip():
                    continue
                try:
                    rows.append(self._object(text))
                    numbers.append(number)
                except RowError as error:
                    errors.append((number, error))
            yield Block(COLUMNS, numbers, rows, errors)
            batch = list(islice(texts, _OBJECTS))

    def _object(self, text: str) -> list[str]:
        """Return an object's cells, one for each of the columns; raises RowError."""
        try:
            members = orjson.loads(text)
        except ValueError:
            raise RowError("row", "not JSON") from None
        if not isinstance(members, dict):
            raise RowError("row", "not a JSON object")
        if holds_code(text):
            column = code_column(list(members), list(map(_text, members.values())))
            raise RowError(column or "row", CODE)
        cells: dict[str, str] = {}
        for header, value in members.items():
            name = self._name(header)
            if name is None:
                continue
            if name in cells:
                raise RowError(name, "stated twice")
            cells[name] = _text(value)
        return [cells.get(name, "") for name in COLUMNS]


class _Cells:
    """The rows of a CSV file, whose first line that is not blank has been read."""

    def __init__(self, table: Table, file: BinaryIO, first: tuple[int, str]) -> None:
        self._table = table
        self._file = file
        self._first = first
        self._delimiter = max(_DELIMITERS, key=first[1].count)
        self._headers: list[str] = []
        self._names: tuple[Name, ...] = ()
        self._line = first[0]
        """The last line that was read."""

    def blocks(self, texts: Iterator[tuple[int, str]]) -> Iterator[Block]:
        self._names = self._header(texts)
        while octets := self._file.read(_PIECE_OCTETS):
            text = self._table.text(octets + self._file.readline(_LINE_OCTETS), self._line + 1)
            yield self._at_once(text) or self._by_line(text)

    def _header(self, texts: Iterator[tuple[int, str]]) -> tuple[Name, ...]:
        def lines() -> Iterator[str]:
            yield self._first[1]
            for self._line, text in texts:
                yield text

        try:
            self._headers = next(self._reader(lines()))
            return self._table.header(self._headers)
        except csv.Error:
            raise InputError(
                f"{self._table.path}, line {self._first[0]}: the header cannot be read"
            ) from None

    def _reader(self, lines: Iterator[str]) -> Iterator[list[str]]:
        return csv.reader(lines, delimiter=self._delimiter, strict=True)

    def _at_once(self, text: str) -> Block | None:
        """Return a piece's rows; None where not each of its lines is a row."""
        count = text.count("\n") + (not text.endswith("\n"))
        try:
            rows = list(self._reader(io.StringIO(text, newline="\n")))
        except csv.Error:
            return None
        if len(rows) != count:
            return None
        numbers = range(self._line + 1, self._line + 1 + count)
        self._line += count
        if set(map(len, rows)) == {len(self._names)} and not holds_code(text):
            return Block(self._names, numbers, rows)
        return self._sorted(list(zip(numbers, rows, strict=True)), [])

    def _by_line(self, text: str) -> Block:
        """Return a piece's rows, and the rest of the last where it goes on in the next one."""
        left = text.count("\n") + (not text.endswith("\n"))

        def lines() -> Iterator[str]:
            nonlocal left
            for line in io.StringIO(text, newline="\n"):
                self._line += 1
                left -= 1
                yield line
            while octets := self._file.readline(_LINE_OCTETS):
                self._line += 1
                yield self._table.text(octets, self._line)

        reader = self._reader(lines())
        rows: list[tuple[int, list[str]]] = []
        errors: list[tuple[int, RowError]] = []
        while left:
            begin = self._line + 1
            try:
                row = next(reader)
            except csv.Error as error:
                if self._line > begin:
                    raise self._swallowing(begin) from None
                errors.append((begin, RowError("row", f"not a CSV row ({error})")))
                continue
            if self._line > begin and self._is_broken(row):
                raise self._swallowing(begin)
            rows.append((begin, row))
        return self._sorted(rows, errors)

    def _is_broken(self, row: Sequence[str]) -> bool:
        """Whether a row of several lines is none, or goes on in whom it is about."""
        return len(row) != len(self._names) or any(
            "\n" in cell.strip()
            for name, cell in zip(self._names, row, strict=True)
            if name in CONTACT_COLUMNS
        )

    def _swallowing(self, begin: int) -> InputError:
        """A row that takes others with it; left out as one bad row, their bans would be lost."""
        return InputError(
            f"{self._table.path}, line {begin}: a quote is not closed, so that what follows, up "
            f"to line {self._line}, would be lost with it; nothing is applied: close the quote"
        )

    def _sorted(
        self, rows: Sequence[tuple[int, list[str]]], errors: list[tuple[int, RowError]]
    ) -> Block:
        """Return the rows that are whole and without personal identity codes."""
        numbers, whole, wanted = [], [], len(self._names)
        for number, row in rows:
            if len(row) == wanted:
                if (column := code_column(self._headers, row)) is not None:
                    errors.append((number, RowError(column, CODE)))
                else:
                    numbers.append(number)
                    whole.append(row)
            elif any(cell.strip() for cell in row):
                cause = f"it has {len(row)} cells, the header {wanted}"
                errors.append((number, RowError("row", cause)))
        return Block(self._names, numbers, whole, errors)


_MARK = _BOM.decode()


def _text(value: object) -> str:
    """Return a JSON value as a cell's text."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ";".join(_text(each) for each in value)
    return str(value).strip()
