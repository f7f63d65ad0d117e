"""The visible sender: the domains in ``From`` (RFC 5322 section 3.6.2).

Marketing must show who sends it (917/2014 § 203), so each address in ``From`` has
to lie in a domain of the controller's, or below one.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from email.errors import MessageError
from email.headerregistry import Address, HeaderRegistry
from functools import lru_cache

from gateway.contacts.contact import ContactError
from gateway.contacts.parse import parse_domain
from gateway.message.headers import HeaderSection

# The common forms: addr-spec alone, or one display name without quotes, commas,
# comments or brackets before <addr-spec>.  All else takes the library's parser.
_PLAIN = re.compile(
    r'(?:[^"(),:;<>@\[\]\\]*<[^\s"(),:;<>@\[\]\\]+@([A-Za-z0-9.-]+)>'
    r'|[^\s"(),:;<>@\[\]\\]+@([A-Za-z0-9.-]+))\s*\Z'
)

_REGISTRY = HeaderRegistry()
# A tool sends from a handful of domains, message after message.
_canonical = lru_cache(maxsize=1024)(parse_domain)


def sender_domains(headers: HeaderSection) -> tuple[str, ...]:
    """The canonical domains shown in ``From``; empty where it is missing or defective.

    Several ``From`` fields, an address without a domain and unparsable text are all
    defective: nobody can say which sender the reader will be shown.
    """
    fields = headers.all(b"from")
    if len(fields) != 1:
        return ()
    value = fields[0].value
    match = _PLAIN.match(value)
    domains = _parsed(value) if match is None else [match[1] or match[2]]
    if not domains:
        return ()
    try:
        return tuple(dict.fromkeys(_canonical(domain) for domain in domains))
    except ContactError:
        return ()


def _parsed(value: str) -> list[str]:
    """The domains by the library's parser; empty for whatever it finds wrong."""
    try:
        header = _REGISTRY("from", value)
        # The registry's header types are made at run time; that of From has addresses.
        addresses: tuple[Address, ...] = getattr(header, "addresses", ())
    except (MessageError, ValueError, IndexError, AttributeError):
        return []
    if header.defects or not all(address.domain for address in addresses):
        return []
    return [address.domain for address in addresses]


def is_within(domain: str, owned: Collection[str]) -> bool:
    """Whether a canonical domain is one of ``owned`` or a subdomain of one."""
    while domain:
        if domain in owned:
            return True
        _, _, domain = domain.partition(".")
    return False


def authorised(domains: tuple[str, ...], owned: Collection[str]) -> bool:
    """Whether all the visible sender's domains are the controller's own."""
    return bool(domains) and all(is_within(domain, owned) for domain in domains)
