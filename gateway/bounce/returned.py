"""The message that came back, as far as a report returns it: its header section."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final
from urllib.parse import parse_qs, unquote, urlsplit

from gateway.bounce.part import HEADER, Part, split
from gateway.message.headers import HeaderSection

_TYPES: Final = frozenset(
    {
        "message/rfc822",
        "text/rfc822-headers",
        "message/rfc822-headers",
        "message/global",
        "message/global-headers",
    }
)
_LINKS: Final = 8
_FIELD: Final = 8192
_NONE: Final = HeaderSection(b"")
_uri = re.compile(r"<([^<>]{1,4000})>")
_is_token = re.compile(r"[A-Za-z0-9_-]{20,2048}").fullmatch
_is_id = re.compile(r"<?([^<>\s]{1,250})>?").fullmatch


def returned(parts: Iterable[Part]) -> HeaderSection:
    """The header section that the report returns; an empty one where it returns none."""
    for part in parts:
        if part.content_type in _TYPES:
            return split(part.body[:HEADER].lstrip(b"\n"))[0]
    return _NONE


def message_id(headers: HeaderSection) -> str:
    """The Message-ID without its brackets; "" where there is none."""
    match = _is_id((headers.first(b"message-id") or "").strip())
    return match[1] if match else ""


def link_tokens(headers: HeaderSection) -> tuple[str, ...]:
    """What may be tokens of links in List-Unsubscribe (RFC 2369, RFC 8058), each once.

    The last part of a path, or the subject that a ``mailto`` gives.
    """
    field = " ".join(headers.values(b"list-unsubscribe"))[:_FIELD]
    found: dict[str, None] = {}
    for uri in _uri.findall(field)[:_LINKS]:
        token = _token_of("".join(uri.split()))
        if _is_token(token):
            found[token] = None
    return tuple(found)


def _token_of(uri: str) -> str:
    try:
        parts = urlsplit(uri)
        if parts.scheme.lower() == "mailto":
            fields = parse_qs(parts.query, max_num_fields=8)
            subjects = [value for name, value in fields.items() if name.lower() == "subject"]
            return subjects[0][0] if subjects else ""
        return unquote(parts.path.rstrip("/").rpartition("/")[2])
    except ValueError:
        return ""
