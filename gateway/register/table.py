"""The rows of a CSV or NDJSON file, with their line numbers, read in one stream."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import orjson

from gateway.contacts.identity_code import holds_code
from gateway.failure import InputError
from gateway.register.refused import CODE, code_column, refused
from gateway.register.rows import ALIASES, COLUMNS, CONTACT_COLUMNS, RowError

_BOM = b"\xef\xbb\xbf"
_DELIMITERS = ",;\t"
_LINE_OCTETS = 1_048_576


@dataclass(frozen=True, slots=True)
class Line:
    """One row: where it begins, and its cells by our column names, or what is wrong."""

    number: int
    cells: dict[str, str] | None
    error: RowError | None = None


@dataclass(slots=True)
class Table:
    """One reading of a file; ``octets`` and ``warnings`` grow as it is read.

    ``mapping`` gives the file's header for our column names; other headers are taken
    by our own names, whatever their letter case.
    """

    path: Path
    mapping: Mapping[str, str] = field(default_factory=dict)
    octets: int = 0
    warnings: list[str] = field(default_factory=list)
    _columns: dict[str, str] = field(default_factory=dict)
    _seen: set[str] = field(default_factory=set)

    def lines(self) -> Iterator[Line]:
        """Yield the file's rows.

        Raises InputError, naming the line, for a file that is not UTF-8 or whose
        header lacks a contact column, and for a column that is never imported; a
        damaged row, or one with a personal identity code, is yielded as an error.
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
                    yield from self._cells(first, texts)
        except OSError as error:
            raise InputError(f"{self.path}: cannot be read ({error.strerror})") from error

    def _texts(self, file: BinaryIO) -> Iterator[tuple[int, str]]:
        number = 0
        while octets := file.readline(_LINE_OCTETS):
            number += 1
            self.octets += len(octets)
            if len(octets) == _LINE_OCTETS:
                raise InputError(f"{self.path}, line {number}: longer than a megabyte")
            if number == 1:
                octets = octets.removeprefix(_BOM)
            try:
                text = octets.decode()
            except UnicodeDecodeError:
                raise InputError(
                    f"{self.path}, line {number}: not UTF-8; save the file as UTF-8"
                ) from None
            yield number, text

    def _cells(self, first: tuple[int, str], texts: Iterator[tuple[int, str]]) -> Iterator[Line]:
        line = first[0]

        def count() -> Iterator[str]:
            nonlocal line
            yield first[1]
            for number, text in texts:
                line = number
                yield text

        delimiter = max(_DELIMITERS, key=first[1].count)
        reader = csv.reader(count(), delimiter=delimiter, strict=True)
        try:
            headers = next(reader)
            names = self._header(headers)
        except csv.Error:
            raise InputError(f"{self.path}, line {first[0]}: the header cannot be read") from None
        while True:
            begin = line + 1
            try:
                row = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                cause = f"not a CSV row ({error})"
                yield Line(begin, None, RowError("row", cause))
                continue
            if not any(cell.strip() for cell in row):
                continue
            if len(row) != len(names):
                cause = f"it has {len(row)} cells, the header {len(names)}"
                yield Line(begin, None, RowError("row", cause))
                continue
            if (column := code_column(headers, row)) is not None:
                yield Line(begin, None, RowError(column, CODE))
                continue
            yield Line(
                begin,
                {
                    name: cell.strip()
                    for name, cell in zip(names, row, strict=True)
                    if name is not None
                },
            )

    def _header(self, headers: list[str]) -> list[str | None]:
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
        return names

    def _name(self, header: str) -> str | None:
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

    def _objects(self, first: tuple[int, str], texts: Iterator[tuple[int, str]]) -> Iterator[Line]:
        yield self._object(*first)
        for number, text in texts:
            if text.strip():
                yield self._object(number, text)

    def _object(self, number: int, text: str) -> Line:
        try:
            members = orjson.loads(text)
        except ValueError:
            return Line(number, None, RowError("row", "not JSON"))
        if not isinstance(members, dict):
            return Line(number, None, RowError("row", "not a JSON object"))
        if holds_code(text):
            column = code_column(list(members), list(map(_text, members.values())))
            return Line(number, None, RowError(column or "row", CODE))
        cells = {}
        for header, value in members.items():
            name = self._name(header)
            if name is None:
                continue
            if name in cells:
                return Line(number, None, RowError(name, "stated twice"))
            cells[name] = _text(value)
        return Line(number, cells)


def _text(value: object) -> str:
    """Return a JSON value as a cell's text."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ";".join(_text(each) for each in value)
    return str(value).strip()
