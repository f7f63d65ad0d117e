r"""The header section of a message, as bytes and positions (RFC 5322 section 2.2).

Nothing here rewrites a byte: fields are found by position, so that what leaves is
what came, but for the lines that are named to be left out.

One reading: a field is ``name ":"`` at the start of a line and every following
line that begins with a space or tab.  The section ends at the first empty line, or
at the first line that is neither field nor continuation (there the body begins, as
for every mail server that repairs such a message).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

_FIELD = re.compile(rb"([!-9;-~]+)[ \t]*:([^\n]*(?:\n[ \t][^\n]*)*)\n")
_FOLD = re.compile(rb"\r\n(?=[ \t])")
# "unix From" lines and other oddities in front of the first field are not fields.


def unfolded(raw: bytes) -> str:
    """A field's value on one line; octets outside UTF-8 become replacement characters."""
    line = _FOLD.sub(b"", raw) if b"\n" in raw else raw
    return line.strip().decode("utf-8", "replace")


class Field(NamedTuple):
    """One header field: its name in lower case, its raw value, where it stands."""

    name: bytes
    raw: bytes
    start: int
    end: int

    @property
    def value(self) -> str:
        """The unfolded value; bytes outside UTF-8 become replacement characters."""
        return unfolded(self.raw)


class HeaderSection:
    """The fields of a header section, in order.

    ``octets`` is the section in wire form without the empty line that ends it.
    """

    __slots__ = ("_by_name", "_fields", "end", "octets")

    def __init__(self, octets: bytes) -> None:
        self.octets = octets
        self._fields: list[Field] = []
        self._by_name: dict[bytes, list[Field]] = {}
        position = 0
        size = len(octets)
        while position < size:
            match = _FIELD.match(octets, position)
            if match is None:
                break
            name, raw = match.groups()
            name = name.lower()
            start, position = position, match.end()
            field = Field(name, raw.rstrip(b"\r"), start, position)
            self._fields.append(field)
            self._by_name.setdefault(name, []).append(field)
        self.end = position
        """Where the fields end; bytes from here on are body that has no empty line before it."""

    def __iter__(self) -> Iterator[Field]:
        return iter(self._fields)

    def __contains__(self, name: bytes) -> bool:
        return name in self._by_name

    def all(self, name: bytes) -> Sequence[Field]:
        """Every field of this name (lower case), in order."""
        return self._by_name.get(name, ())

    def first(self, name: bytes) -> str | None:
        """The first value of this name (lower case), unfolded."""
        found = self._by_name.get(name)
        return found[0].value if found else None

    def without(self, names: Collection[bytes]) -> bytes:
        """The section's bytes less the fields of these names (lower case)."""
        if self._by_name.keys().isdisjoint(names):
            return self.octets
        kept = []
        position = 0
        for field in self._fields:
            if field.name in names:
                kept.append(self.octets[position : field.start])
                position = field.end
        kept.append(self.octets[position:])
        return b"".join(kept)
