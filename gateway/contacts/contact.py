"""The address of a person or an organisation, in the one form everything compares.

A contact is what the register is asked about.  Two spellings that reach the same
mailbox or handset become one ``canonical`` form; spellings that *may* reach the
same mailbox (plus tags, Gmail's dots) share the wider ``base``, which bans match
and consents do not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import StrEnum
from functools import partial
from typing import Any, NamedTuple

from gateway.failure import InputError


class Channel(StrEnum):
    """How a message travels."""

    EMAIL = "email"
    SMS = "sms"


class Tier(StrEnum):
    """By which spelling an entry of the register was matched."""

    EXACT = "exact"
    BASE = "base"
    HASHED = "hashed"
    """By a hash of the address, of a list whose addresses nobody knows."""
    ORGANISATION = "organisation"


class ContactError(InputError):
    """A text is not an address or number that the register could be asked about."""

    code = 553
    status = "5.1.3"
    line = "Bad recipient address syntax"


class Contact(NamedTuple):
    """One canonical address or number.

    ``canonical``: e-mail ``local@domain`` (NFC, folded local part, IDNA A-label
    domain), or an E.164 number ``+358401234567``.
    ``base``: the wider spelling that bans also match; equals ``canonical`` where
    there is none.
    ``organisations``: for e-mail the domain and its parents of at least two
    labels, the most specific first (at most four); empty for numbers.
    """

    channel: Channel
    canonical: str
    base: str
    organisations: tuple[str, ...] = ()


make_contact: Callable[[Iterable[Any]], Contact] = partial(tuple.__new__, Contact)
"""Makes a contact of all its members in order, without a call in Python."""
