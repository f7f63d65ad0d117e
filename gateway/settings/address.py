"""Addresses that are listened on: each belongs to one setting."""

from __future__ import annotations

from collections.abc import Iterable


def apart(addresses: Iterable[tuple[str, Iterable[str]]]) -> None:
    """See that no ``host:port`` stands under two settings, each given with its addresses.

    Port 0 is any free one, so it may stand everywhere.  Raises ValueError, which names
    both settings.
    """
    owners: dict[str, str] = {}
    for setting, listed in addresses:
        for address in listed:
            owner = owners.setdefault(address, setting)
            if owner != setting and not address.endswith(":0"):
                raise ValueError(f"{setting}: {address} is listened on by {owner} already")
