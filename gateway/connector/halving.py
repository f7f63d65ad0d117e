"""Putting many entries at once where a tool refuses all of them for the sake of one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, TypeVar

from gateway.connector.connector import Exchange, Put

_Item = TypeVar("_Item")

_REFUSED: Final = 50
"""Entries that are looked for, one by one: where more are refused, the fault is another."""


def put_halving(
    items: Sequence[_Item], ask: Callable[[Sequence[_Item]], Exchange[list[Put] | None]], cause: str
) -> Exchange[list[Put]]:
    """Put items, and where the tool refuses them all, each half of them.

    ``ask`` puts some and gives one result for each, or None where the tool refuses the
    whole.  ``cause`` is why an item that is refused alone is not put.
    """
    results: list[Put] = []
    refused = 0
    waiting = [items] if items else []
    while waiting:
        part = waiting.pop()
        if refused >= _REFUSED:
            results += [Put(False, "the tool refuses one entry after the other")] * len(part)
            continue
        found = yield from ask(part)
        if found is not None:
            results += found
        elif len(part) == 1:
            refused += 1
            results.append(Put(False, cause, final=True))
        else:
            half = len(part) // 2
            waiting += [part[half:], part[:half]]
    return results
