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
from collections.abc import Collection, Iterator
from dataclasses import dataclass

_FIELD = re.compile(rb"([!-9;-~]+)[ \t]*:([^\n]*(?:\n[ \t][^\n]*)*)\n")
_FOLD = re.compile(rb"\r\n(?=[ \t])")
# "unix From" lines and other oddities in front of the first field are not fields.


@dataclass(frozen=True, slots=True)
class Field:
    """One header field: its name in lower case, its raw value, where it stands."""

    name: bytes
    raw: bytes
    start: int
    end: int

    @property
    def value(self) -> str:
        """The unfolded value; bytes outside UTF-8 become replacement characters."""
        return _FOLD.sub(b"", self.raw).strip().decode("utf-8", "replace")


class HeaderSection:
    """The fields of a header section, in order.

    ``octets`` is the section in wire form without the empty line that ends it.
    """

    __slots__ = ("_fields", "end", "octets")

    def __init__(self, octets: bytes) -> None:
        self.octets = octets
        self._fields: list[Field] = []
        position = 0
        size = len(octets)
        while position < size:
            match = _FIELD.match(octets, position)
            if match is None:
                break
            self._fields.append(
                Field(match[1].lower(), match[2].rstrip(b"\r"), position, match.end())
            )
            position = match.end()
        self.end = position
        """Where the fields end; bytes from here on are body that has no empty line before it."""

    def __iter__(self) -> Iterator[Field]:
        return iter(self._fields)

    def __contains__(self, name: bytes) -> bool:
        return any(field.name == name for field in self._fields)

    def all(self, name: bytes) -> list[Field]:
        """Every field of this name (lower case), in order."""
        return [field for field in self._fields if field.name == name]

    def first(self, name: bytes) -> str | None:
        """The first value of this name (lower case), unfolded."""
        for field in self._fields:
            if field.name == name:
                return field.value
        return None

    def without(self, names: Collection[bytes]) -> bytes:
        """The section's bytes less the fields of these names (lower case)."""
        kept = []
        position = 0
        for field in self._fields:
            if field.name in names:
                kept.append(self.octets[position : field.start])
                position = field.end
        if not kept:
            return self.octets
        kept.append(self.octets[position:])
        return b"".join(kept)
