"""A row of the journal on its way into the archive: its values and its digest.

A row's digest is SHA-256 over its kind and canonical JSON (keys sorted, octets in
hex); a link's hash is SHA-256 over the previous link's hash and the digests of its rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from itertools import product
from typing import Any, Final

import orjson

from gateway.records import schema
from gateway.records.record import RecordError

KINDS: Final = ("rule_set", "message", "record", "outcome", "event", "act", "ground")
"""The journal tables, in the order their rows of one batch are chained."""
DERIVED: Final = {kind: frozenset[str]() for kind in KINDS} | {
    "record": frozenset({"result", "result_at"})
}
"""Columns of each journal table that are no part of the chain."""
INT_MOST: Final = 2**63 - 1
"""The largest integer that a column takes; the smallest is ``-INT_MOST``."""

DIGEST: Final = 32
"""Octets of a digest."""

Row = dict[str, Any]
"""A row by its columns' names, as it is read."""
Line = tuple[tuple[Any, ...], bytes]
"""A row as it is added: the values of :data:`COLUMNS` in order (the id is the first), its digest.

Plain tuples: thousands of them are made every second.
"""

_TAKES: Final[dict[str, dict[str, tuple[type, ...]]]] = {
    kind: {
        column.name: (column.type.python_type, *([type(None)] if column.nullable else []))
        for column in schema.metadata.tables[kind].columns
        if column.name not in DERIVED[kind]
    }
    for kind in KINDS
}

COLUMNS: Final = {kind: tuple(takes) for kind, takes in _TAKES.items()}
"""The columns of each journal table that are part of the chain, in the table's order."""

TYPES: Final = {kind: frozenset(product(*takes.values())) for kind, takes in _TAKES.items()}
"""The types that the values of a row may have together."""


def line_of(kind: str, row: Row) -> Line:
    """The line of a row with all its columns.

    Raises RecordError for what a database would refuse, or give back otherwise than
    it got it: one bad row must not stop all that follow.
    """
    for name, takes in _TAKES[kind].items():
        value = row[name]
        if type(value) not in takes:
            raise RecordError(f"{name} is a {type(value).__name__}")
        if isinstance(value, str):
            if "\0" in value:
                raise RecordError(f"NUL in {name}")
        elif isinstance(value, int) and not -INT_MOST <= value <= INT_MOST:
            raise RecordError(f"{name} is out of range")
    return tuple([row[name] for name in COLUMNS[kind]]), digest_of(kind, row)


def digest_of(kind: str, row: Mapping[str, Any]) -> bytes:
    """The digest of a journal row, as the archive gave or got it."""
    # A column's name may come as a subclass of str, which the encoder refuses as a key.
    plain = {str(name): value for name, value in row.items() if name not in DERIVED[kind]}
    text = orjson.dumps(plain, default=_hex, option=orjson.OPT_SORT_KEYS)
    return sha256(kind.encode() + b"\n" + text).digest()


def link(previous: bytes, digests: bytes) -> bytes:
    """The hash of the next link, of the digests of a run of rows, one after the other."""
    return sha256(previous + digests).digest()


def _hex(value: object) -> str:
    if isinstance(value, bytes | memoryview):
        return value.hex()
    raise TypeError(type(value).__name__)
