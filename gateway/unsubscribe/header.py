"""The fields by which a mail offers to refuse: when they are added, where they stand.

``List-Unsubscribe`` (RFC 2369) with a link that is the recipient's own, and
``List-Unsubscribe-Post`` (RFC 8058), by which the reader's mail program refuses with one
click.  A message is one text for all who get it, so a link is added only where there is one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, NamedTuple
from urllib.parse import quote

from gateway.contacts.contact import Contact
from gateway.decision.facts import Kind
from gateway.failure import InputError
from gateway.message.headers import HeaderSection
from gateway.message.signature import SigningKey, signed_names
from gateway.message.traits import CONTROL_HEADERS, Traits
from gateway.unsubscribe.link import Link, Links, Purpose, url_of

LIST_UNSUBSCRIBE: Final = b"list-unsubscribe"
LIST_UNSUBSCRIBE_POST: Final = b"list-unsubscribe-post"
_OFFERS: Final = frozenset({LIST_UNSUBSCRIBE, LIST_UNSUBSCRIBE_POST})
_SIGNATURE: Final = b"dkim-signature"
_is_language = re.compile(r"([A-Za-z]{2,3})(?:-[A-Za-z0-9-]*)?").fullmatch

_LONGEST_LINE: Final = 998
"""Octets of a line, without its end (RFC 5322 section 2.1.1)."""
# Neither what ends a URI in the field nor what separates two.
_is_plain_url = re.compile(r"https?://[!#-+\--;=?-~]+").fullmatch
# What a server on the way puts in front of a message belongs together (RFC 5322 section 3.6).
_TRACE = re.compile(
    rb"(?:(?:received|return-path|authentication-results|dkim-signature|arc-[a-z-]+)[ \t]*+:"
    rb"[^\n]*+(?:\n[ \t][^\n]*+)*\n)*+",
    re.IGNORECASE,
).match


class Addition(NamedTuple):
    """What is added to one message."""

    fields: bytes
    """The field lines, each with its line end."""
    told: str
    """What the message offers with them, for the record."""
    key: SigningKey | None
    """What the message is to be signed with; None: it is not signed."""


class Offer:
    """The means to refuse that the gateway adds."""

    __slots__ = ("_address", "_keys", "_links", "_told", "_url")

    def __init__(
        self, links: Links, url: str, address: str, keys: Mapping[str, SigningKey]
    ) -> None:
        """Take the settings ``public.url`` and ``unsubscribe.address``, and keys by domain.

        Raises:
            InputError: the URL holds what cannot stand in a field.

        """
        if not _is_plain_url(url):
            raise InputError(
                "public.url: links in mail need ASCII without spaces, quotes, commas and angle "
                "brackets; write an international name as xn--"
            )
        self._links = links
        self._url = url
        self._address = quote(address, safe="@!$'*+-._~") if address else ""
        self._keys = keys
        # RFC 8058 knows no other scheme.
        self._told = "https+mailto one-click" if address else "https one-click"
        if not url.startswith("https:"):
            self._told = "http+mailto" if address else "http"

    def addition(
        self, headers: HeaderSection, traits: Traits, contact: Contact, now: int
    ) -> Addition | None:
        """What is added to a message to this one contact; None: it stays as it is.

        It stays unless it is marketing that offers nothing in its header section yet.  It
        stays where the section cannot be read to its end, for nobody knows what a
        reader would make of it; and where somebody else has signed it, for no signature
        would cover the fields, unless the gateway signs for the domain in ``From``.
        ``now`` is in ms since 1970.
        """
        if traits.kind is not Kind.MARKETING or not _OFFERS.isdisjoint(headers):
            return None
        if not headers.end or headers.end != len(headers.octets):
            return None
        domains = traits.sender_domains
        key = self._keys.get(domains[0]) if len(domains) == 1 else None
        for signature in headers.raw(_SIGNATURE):
            # One that names the fields, though they are not there, would be broken.
            if key is None or not _OFFERS.isdisjoint(signed_names(signature)):
                return None
        try:
            link = Link(contact, Purpose.REFUSE, traits.topic, now, _language(headers))
            token = self._links.seal(link)
        except ValueError:
            return None
        lines = [f"List-Unsubscribe: <{url_of(self._url, Purpose.REFUSE, token)}>"]
        if self._address:
            lines[0] += ","
            lines.append(f"\t<mailto:{self._address}?subject={token}>")
        if self._told.endswith("one-click"):
            lines.append("List-Unsubscribe-Post: List-Unsubscribe=One-Click")
        if max(map(len, lines)) > _LONGEST_LINE:
            return None
        fields = "".join(f"{line}\r\n" for line in lines).encode("ascii")
        return Addition(fields, f"{self._told} added", key)


def _language(headers: HeaderSection) -> str:
    """The language that the mail says it is written in (RFC 3282), in short; "" for none."""
    found = _is_language((headers.first(b"content-language") or "").strip())
    return found[1].lower() if found else ""


def leaving(headers: HeaderSection, fields: bytes = b"") -> bytes:
    """The header section as it leaves: without what speaks to the gateway, with ``fields``.

    They stand before all but the fields that servers on the way have put in front.
    """
    section = headers.without(CONTROL_HEADERS)
    if not fields:
        return section
    found = _TRACE(section)
    place = found.end() if found is not None else 0
    return section[:place] + fields + section[place:]
