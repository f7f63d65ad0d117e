"""From headers to the facts a message brings to the decision.

The kind: a client's fixed kind, or the one the message declares.  Marks of bulk
mail on a message that is not marketing make it marketing (a promotion inside makes
the whole message marketing), never the other way round.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection
from email.errors import MessageError
from typing import NamedTuple

from gateway.contacts.contact import Channel
from gateway.decision.facts import Kind
from gateway.message.charset import words
from gateway.message.headers import HeaderSection
from gateway.message.optout import list_unsubscribe
from gateway.message.sender import authorised, sender_domains

KIND_HEADER = b"x-gateway-kind"
TOPIC_HEADER = b"x-gateway-topic"
CONTROL_HEADERS = frozenset({KIND_HEADER, TOPIC_HEADER})
"""Fields that speak to the gateway and are removed before a message leaves."""

_READ_OF_VALUE = 2000
"""Characters of a header value that are decoded."""

# Octets that are no text, and what some charsets of encoded words make of others: no
# record could hold a NUL or half a surrogate pair.
_UNREADABLE = re.compile("[\0\ud800-\udfff\ufffd]").search

_DECLARABLE = {
    kind.value: kind for kind in (Kind.MARKETING, Kind.SERVICE, Kind.TRANSACTIONAL, Kind.NOTICE)
}


class Traits(NamedTuple):
    """What one message brings to the decision, the same for all its recipients."""

    kind: Kind
    channel: Channel = Channel.EMAIL
    topic: str | None = None
    product_group: str | None = None
    sender_authorised: bool = True
    sender_domains: tuple[str, ...] = ()
    opt_out: str = "assumed"
    """The means to refuse that the message offers; empty when there are none."""
    recognisable: bool = True
    own_product: bool = True
    quiet_hours: bool = False
    urgent: bool = False
    kind_declared: str = ""
    """What the message said of its kind, verbatim and cut, for the record."""
    turned_marketing_by: str = ""
    """The mark that made a message of another kind marketing."""


def favourable(kind: Kind, topic: str | None, product_group: str | None) -> Traits:
    """The traits before the headers are known: everything not known yet is good.

    A recipient that is suppressed even so is suppressed for certain.
    """
    return Traits(kind=kind, topic=topic, product_group=product_group)


def declared_kind(value: str) -> tuple[Kind, str]:
    """The kind that a text message's header declares, and what it said, for the record."""
    said = value.strip().lower()[:64]
    return _DECLARABLE.get(said, Kind.UNCLEAR), said


def _declared(headers: HeaderSection) -> tuple[Kind, str]:
    if KIND_HEADER not in headers:
        return Kind.UNCLEAR, ""
    values = {value.strip().lower() for value in headers.values(KIND_HEADER)}
    said = ", ".join(sorted(values))[:64]
    if len(values) != 1:
        return Kind.UNCLEAR, said
    return _DECLARABLE.get(values.pop(), Kind.UNCLEAR), said


def _bulk_mark(headers: HeaderSection) -> str:
    if b"list-unsubscribe" in headers:
        return "List-Unsubscribe"
    if b"feedback-id" in headers:
        return "Feedback-ID"
    for value in headers.values(b"precedence"):
        if value.strip().lower() == "bulk":
            return "Precedence: bulk"
    return ""


def _shows_mark(headers: HeaderSection, marks: Collection[str]) -> bool:
    if not marks:
        return True
    folded = (decoded(headers.first(b"subject") or "") or "").casefold()
    return any(mark.casefold() in folded for mark in marks)


def decoded(value: str) -> str | None:
    """A header value with its encoded words read (RFC 2047); None where it has no reading."""
    if "=?" in value:
        try:
            value = words(value[:_READ_OF_VALUE])
        except (MessageError, ValueError, LookupError):
            return None
    return None if _UNREADABLE(value) else value


def _of_no_group(_topic: str | None) -> None:
    return None


def read_traits(
    headers: HeaderSection,
    *,
    fixed_kind: Kind | None,
    fixed_topic: str | None,
    owned_domains: Collection[str],
    recognisable_marks: Collection[str] = (),
    product_group: Callable[[str | None], str | None] = _of_no_group,
) -> Traits:
    """The traits that the headers of a message show.

    ``fixed_kind`` None means that each message declares its own.  A declared topic
    counts only for such a client or where the client has no topic of its own.
    ``product_group`` tells what group a topic's messages market.
    ``opt_out`` holds what ``List-Unsubscribe`` offers; the text is searched by the
    caller where that is nothing.
    """
    declared, said = _declared(headers)
    kind = declared if fixed_kind is None else fixed_kind
    turned_by = ""
    if fixed_kind is not None and declared is Kind.MARKETING and kind is not Kind.MARKETING:
        kind, turned_by = Kind.MARKETING, "X-Gateway-Kind"
    if kind not in (Kind.MARKETING, Kind.UNCLEAR):
        mark = _bulk_mark(headers)
        if mark:
            kind, turned_by = Kind.MARKETING, mark
    topic = fixed_topic
    if TOPIC_HEADER in headers and (fixed_kind is None or fixed_topic is None):
        topics = {decoded(value) for value in headers.values(TOPIC_HEADER)}
        # Two topics, or one that cannot be read, may be any: every topic ban counts.
        declared_topic = topics.pop() if len(topics) == 1 else None
        topic = (declared_topic or "").strip()[:128] or None
        topic = None if topic == "*" else topic
    domains = sender_domains(headers)
    # By position: this is done for every message.
    return Traits(
        kind,
        Channel.EMAIL,
        topic,
        product_group(topic),
        authorised(domains, owned_domains),
        domains,
        list_unsubscribe(headers),
        _shows_mark(headers, recognisable_marks),
        True,  # own product
        False,  # quiet hours
        False,  # urgent
        said,
        turned_by,
    )
