"""The facts of decisions, kept once: thousands of records rest on the very same ones.

A record names its facts by a hash, ``#`` and the first 32 digits of the SHA-256 of their
JSON.  The facts themselves are a row of the journal, so that the chain proves both.
Records of before schema 4 hold their facts themselves.
"""

from __future__ import annotations

from functools import lru_cache
from hashlib import sha256
from typing import Final

from gateway.records.line import Line, line_of

_MARK: Final = "#"
_DIGITS: Final = 32


@lru_cache(maxsize=4096)
def name_of(facts: str) -> str:
    """What a record calls these facts, which are JSON with sorted names."""
    return _MARK + sha256(facts.encode("utf-8", "surrogatepass")).hexdigest()[:_DIGITS]


def is_name(text: str) -> bool:
    """Whether a record's facts are named, and not the facts themselves."""
    return text.startswith(_MARK)


@lru_cache(maxsize=4096)
def ground_line(facts: str) -> Line:
    """The journal's row of facts; raises RecordError."""
    return line_of("ground", {"id": name_of(facts), "facts": facts})
