"""The closed set of values that each fact can have.

Read off the fields of :class:`~gateway.decision.facts.Facts`, so that a new fact or
value is at once known to the loader, the engine and the tests over the full product.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from math import prod
from types import MappingProxyType
from typing import TypeAlias, get_type_hints

from gateway.decision.facts import Facts

Value: TypeAlias = bool | StrEnum
"""A fact's value: a yes or no, or a member of the fact's enum."""


def _values(kind: type) -> tuple[Value, ...]:
    if kind is bool:
        return (False, True)
    if issubclass(kind, StrEnum):
        return tuple(kind)
    raise TypeError(f"a fact of type {kind.__name__} has no closed set of values")


DOMAINS: Mapping[str, tuple[Value, ...]] = MappingProxyType(
    {name: _values(kind) for name, kind in get_type_hints(Facts).items()}
)
"""For each fact, every value it can have."""

SIZE = prod(len(values) for values in DOMAINS.values())
"""How many different combinations of facts there are."""
