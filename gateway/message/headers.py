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

_NAME = rb"[!-9;-~]++"
_VALUE = rb"[^\n]*+(?:\n[ \t][^\n]*+)*"
_FIELDS = re.compile(rb"(?:" + _NAME + rb"[ \t]*+:" + _VALUE + rb"\n)*+").match
_FIELD = re.compile(rb"(" + _NAME + rb")[ \t]*+:(" + _VALUE + rb")\n")
_FOLD = re.compile(rb"\r\n(?=[ \t])")
# "unix From" lines and other oddities in front of the first field are not fields.


def unfolded(raw: bytes) -> str:
    """A field's value on one line; octets outside UTF-8 become replacement characters."""
    raw = raw.strip()
    line = _FOLD.sub(b"", raw) if b"\n" in raw else raw
    return line.decode("utf-8", "replace")


class HeaderSection:
    """The fields of a header section by name (lower case), each name's in order.

    ``octets`` is the section in wire form without the empty line that ends it.
    """

    __slots__ = ("_raw", "end", "octets")

    def __init__(self, octets: bytes) -> None:
        self.octets = octets
        found = _FIELDS(octets)
        self.end = end = found.end() if found is not None else 0
        """Where the fields end; bytes from here on are body that has no empty line before it."""
        self._raw: dict[bytes, list[bytes]] = {}
        raws = self._raw
        for name, raw in _FIELD.findall(octets, 0, end):
            key = name.lower()
            if key in raws:
                raws[key].append(raw)
            else:
                raws[key] = [raw]

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._raw)

    def __contains__(self, name: bytes) -> bool:
        return name in self._raw

    def raw(self, name: bytes) -> Sequence[bytes]:
        """Every value of this name (lower case) as it is written, in order."""
        return self._raw.get(name, ())

    def values(self, name: bytes) -> list[str]:
        """Every value of this name (lower case), unfolded, in order."""
        return [unfolded(raw) for raw in self._raw.get(name, ())]

    def first(self, name: bytes) -> str | None:
        """The first value of this name (lower case), unfolded."""
        found = self._raw.get(name)
        return unfolded(found[0]) if found else None

    def without(self, names: Collection[bytes]) -> bytes:
        """The section's bytes less the fields of these names (lower case)."""
        if self._raw.keys().isdisjoint(names):
            return self.octets
        kept = []
        position = 0
        for field in _FIELD.finditer(self.octets, 0, self.end):
            if field[1].lower() in names:
                kept.append(self.octets[position : field.start()])
                position = field.end()
        kept.append(self.octets[position:])
        return b"".join(kept)
