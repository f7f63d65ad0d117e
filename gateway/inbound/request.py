"""What a person writes to the address for unsubscribes: where the token may be, and the words.

Mail programs fold, encode (RFC 2047) and prefix the Subject that a ``mailto:`` link gave
them (``Re:``, ``VS:``); a server on the way may break a long word in two.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from email.errors import HeaderParseError
from email.header import decode_header
from typing import Final, NamedTuple

from gateway.bounce.part import Part, parameters, parts_of, split
from gateway.contacts.identity_code import mask
from gateway.message.charset import decode

WORDS: Final = 500
"""Characters of the person's words that are kept."""
CANDIDATES: Final = 16
"""Texts of one message that are tried as tokens: of all its recipients, and of the Subject."""

_SUBJECT: Final = 8192
_BODY: Final = 8192
_LOOKED_AT: Final = 2000
"""Characters of the words before addresses are taken out of them."""
_candidate = re.compile(r"[A-Za-z0-9_-]{30,2048}")
_address = re.compile(r"[^\s<>@]+@[^\s<>@]+")
_tag = re.compile(r"<[^<>]*>")
_blank = re.compile(r"\s+")


class Request(NamedTuple):
    """One message, read."""

    tokens: tuple[str, ...]
    """What may be the token of a link."""
    words: str
    """Subject and text on lines of their own, without tokens, addresses and identity codes."""


def read_request(message: bytes, tags: Sequence[str]) -> Request:
    """Read a message to the address; ``tags`` stood behind the ``+`` of it.  Never raises."""
    parts = parts_of(message)
    subject = _subject(message)
    found = dict.fromkeys(
        (*tags, *_candidate.findall(subject), *_candidate.findall(_blank.sub("", subject)))
    )
    return Request(tuple(found)[:CANDIDATES], _words(subject, _text(parts)))


def _subject(message: bytes) -> str:
    """The Subject, decoded; what cannot be decoded stays as it is."""
    headers, _ = split(message.replace(b"\r\n", b"\n"))
    raw = (headers.first(b"subject") or "")[:_SUBJECT]
    try:
        chunks = decode_header(raw)
    except (HeaderParseError, ValueError):
        return raw
    return "".join(
        chunk if isinstance(chunk, str) else decode(chunk, charset or "ascii")
        for chunk, charset in chunks
    )


def _text(parts: Sequence[Part]) -> str:
    """The first text for people, as one would read it."""
    texts = [part for part in parts if part.content_type in ("text/plain", "text/html")]
    texts.sort(key=lambda part: part.content_type != "text/plain")
    if not texts:
        return ""
    part = texts[0]
    charset = parameters(part.headers.first(b"content-type") or "").get("charset", "utf-8")
    text = decode(part.body[:_BODY], charset)
    return text if part.content_type == "text/plain" else _tag.sub(" ", text)


def _words(subject: str, text: str) -> str:
    lines = [" ".join(_candidate.sub("", part).split()) for part in (subject, text)]
    said = _address.sub("[address]", "\n".join(filter(None, lines))[:_LOOKED_AT])
    kept = mask(said.replace("\0", ""))[:WORDS]
    return kept.encode("utf-8", "replace").decode()
