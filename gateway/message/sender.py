"""The visible sender: the domains in ``From`` (RFC 5322 section 3.6.2).

Marketing must show who sends it (917/2014 § 203), so each address in ``From`` has
to lie in a domain of the controller's, or below one.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from functools import lru_cache

from gateway.contacts.contact import ContactError
from gateway.contacts.parse import parse_domain
from gateway.message.headers import HeaderSection, unfolded

# A tool sends from a handful of domains, message after message.
_canonical = lru_cache(maxsize=1024)(parse_domain)

# Quoted strings, escapes, the characters that mean something, and runs of the others;
# each octet is read once, so that no value can take long.
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*+"|\\.|[()<>,:;"\\]|[^"\\()<>,:;]++', re.DOTALL)
_SPECIAL = frozenset('()<>,:;"\\')
_QUOTED = "\0"
"""Stands for a quoted string: its content is never read, only that one is there."""
_ADDRESS = re.compile(r"\s*(?:[^\s@\[\]\0]+|\0)@([^\s@\[\]\0]+)\s*")
_CACHED_OCTETS = 512
_PHRASE = re.compile(r"[^@\[\]]*")


def sender_domains(headers: HeaderSection) -> tuple[str, ...]:
    """The canonical domains shown in ``From``; empty where it is missing or defective.

    Several ``From`` fields, groups, an address without a domain or with a literal one,
    and whatever else is not a list of mailboxes are all defective: nobody can say which
    sender the reader will be shown.
    """
    written = headers.raw(b"from")
    if len(written) != 1:
        return ()
    raw = written[0]
    return _shown(raw) if len(raw) <= _CACHED_OCTETS else _domains(unfolded(raw))


def _domains(value: str) -> tuple[str, ...]:
    domains = _mailboxes(value)
    if not domains:
        return ()
    try:
        return tuple(dict.fromkeys(_canonical(domain) for domain in domains))
    except ContactError:
        return ()


@lru_cache(maxsize=1024)
def _shown(raw: bytes) -> tuple[str, ...]:
    """A campaign's thousands of messages have one From."""
    return _domains(unfolded(raw))


def _mailboxes(value: str) -> list[str]:
    """The domain of each mailbox of a list (RFC 5322 section 3.4); empty if it is none."""
    domains: list[str] = []
    outside: list[str] = []
    inside: list[str] | None = None
    closed = False
    comments = 0
    for piece in (*_TOKEN.findall(value), ","):
        if piece == "(":
            comments += 1
        elif comments:
            comments -= piece == ")"
        elif piece == "<" and inside is None:
            inside = []
        elif piece == ">" and inside is not None and not closed:
            closed = True
        elif piece == "," and (inside is None or closed):
            domain = _domain("".join(outside), None if inside is None else "".join(inside))
            if domain is None:
                return []
            domains.append(domain)
            outside, inside, closed = [], None, False
        elif piece in _SPECIAL or piece[0] == "\\" or (closed and piece.strip()):
            return []
        elif not closed:
            (outside if inside is None else inside).append(_QUOTED if piece[0] == '"' else piece)
    return [] if comments or inside is not None else domains


def _domain(outside: str, inside: str | None) -> str | None:
    """The domain of ``outside`` alone, or of ``inside`` behind the phrase ``outside``."""
    if inside is not None and not _PHRASE.fullmatch(outside):
        return None
    match = _ADDRESS.fullmatch(outside if inside is None else inside)
    return match[1] if match is not None else None


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
