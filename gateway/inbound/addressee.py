"""Whose mail is taken: the address for unsubscribes, and those for bounces."""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum
from typing import NamedTuple, Self

from gateway.contacts.contact import ContactError
from gateway.contacts.email import parse_email
from gateway.settings import Settings


class Role(Enum):
    """What mail to an address is."""

    UNSUBSCRIBE = "unsubscribe"
    BOUNCE = "bounce"


class Addressees(NamedTuple):
    """The addresses of one configuration, in canonical form."""

    unsubscribe: frozenset[str]
    bounces: frozenset[str]

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Those of the settings."""
        address = settings.unsubscribe.address
        return cls(
            frozenset(map(_canonical, [address] if address else [])),
            frozenset(map(_canonical, settings.inbound.bounces)),
        )

    def find(self, address: str, *, believed: bool) -> tuple[Role, str] | None:
        """The role of a recipient and what stands behind its ``+``; None: none of ours.

        Mail to an address for bounces is taken from those who are ``believed`` only; to
        others it does not exist.
        """
        local, _, domain = address.rpartition("@")
        name, _, tag = local.partition("+")
        try:
            canonical = _canonical(f"{name}@{domain}")
        except ContactError:
            return None
        if canonical in self.unsubscribe:
            return Role.UNSUBSCRIBE, tag
        if believed and canonical in self.bounces:
            return Role.BOUNCE, tag
        return None


def tags_of(found: Iterable[tuple[Role, str]]) -> tuple[str, ...]:
    """What stood behind the ``+`` of these recipients, each once."""
    return tuple(dict.fromkeys(tag for _, tag in found if tag))


def _canonical(address: str) -> str:
    return parse_email(address).canonical
