"""Where in a rule file something stands.

``tomllib`` gives values without their lines, and an error without its line sends a
lawyer searching.  This finds the lines again by the headers and keys that a rule
file is made of; where a thing cannot be found, its table's line is given instead.
"""

from __future__ import annotations

import re
from itertools import pairwise

_header = re.compile(r"\s*\[\[?\s*([A-Za-z0-9_.-]+)\s*\]?\]")
_string = re.compile(r'"""|\'\'\'|"(?:\\.|[^"\\])*"|\'[^\']*\'|#.*')


class Lines:
    """The lines of one rule file, counted from 1."""

    def __init__(self, text: str) -> None:
        self._lines = [""]
        quote = ""
        for line in text.split("\n"):
            bare, quote = _without_strings(line, quote)
            self._lines.append(bare)
        self._rules = [
            number
            for number, line in enumerate(self._lines)
            if (found := _header.match(line)) and found[1] == "rules" and "[[" in line
        ]

    def rule(self, index: int) -> int:
        """The line of the ``[[rules]]`` that begins the rule of this index."""
        return self._rules[index] if index < len(self._rules) else 1

    def key(self, index: int | None, *keys: str) -> int:
        """The line of a key, one word after the other, in a rule (or before all rules)."""
        first, last = self._span(index)
        at = first
        for key in keys:
            word = re.compile(rf"(?<![A-Za-z0-9_-]){re.escape(key)}(?![A-Za-z0-9_-])")
            found = (number for number in range(at, last) if word.search(self._lines[number]))
            number = next(found, None)
            if number is None:
                break
            at = number
        return at

    def example(self, index: int, place: int) -> int:
        """The line of the example of this place (from 0) in a rule."""
        _, last = self._span(index)
        at = self.key(index, "examples")
        starts = [
            number
            for number in range(at, last)
            if "{" in self._lines[number] or "[[rules.examples]]" in self._lines[number]
        ]
        return starts[place] if place < len(starts) else at

    def _span(self, index: int | None) -> tuple[int, int]:
        bounds = [1, *self._rules, len(self._lines)]
        spans = list(pairwise(bounds))
        return spans[0 if index is None else min(index + 1, len(spans) - 1)]


def _without_strings(line: str, quote: str) -> tuple[str, str]:
    """The line without its strings and comments, and the quote still open after it.

    Strings that are keys in no sense would otherwise be found as keys.
    """
    kept = []
    rest = line
    while rest:
        if quote:
            _, end, rest = rest.partition(quote)
            quote = "" if end else quote
            continue
        found = _string.search(rest)
        if found is None:
            kept.append(rest)
            break
        kept.append(rest[: found.start()])
        rest = rest[found.end() :]
        if found[0] in ('"""', "'''"):
            quote = found[0]
    return "".join(kept), quote
