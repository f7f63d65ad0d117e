"""What the settings of a tool lack, in words for whoever writes them."""

from __future__ import annotations

from gateway.connector.connector import Place
from gateway.failure import InputError


def setting(place: Place, name: str) -> str:
    """How the operator finds a setting of the tool."""
    return f"sync.tools {place.name}: {name}"


def lacking(place: Place, name: str, what: str) -> InputError:
    """The error of a setting that is missing or wrong; ``what`` to write."""
    return InputError(f"{setting(place, name)}: {what}")


def need(place: Place, name: str, value: str, what: str) -> None:
    """Raise InputError where a setting that the tool cannot do without is empty."""
    if not value:
        raise InputError(f"{setting(place, name)} is not set; write {what}")
