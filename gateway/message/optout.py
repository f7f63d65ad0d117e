"""The means to refuse that a message offers (917/2014 §§ 200(3), 202, 203).

``List-Unsubscribe`` (RFC 2369) with a usable URI is the first; failing that, words
in the readable text do, as a mail with a link "Peruuta tilaus" offers it as well.
"""

from __future__ import annotations

import email.policy
import re
from collections.abc import Sequence
from email.errors import MessageError
from email.message import Message
from email.parser import BytesParser

from gateway.message.charset import decode
from gateway.message.headers import HeaderSection

_URI = re.compile(r"<\s*(https?|mailto):[^<>\s]+\s*>", re.IGNORECASE)
_SPACE = re.compile(r"\s+")
# Neither bracket inside: otherwise a text of nothing but "<" takes quadratic time.
_TAG = re.compile(r"<[^<>]*>")
# What the library's parser raises for text that is no message; deep nesting included.
_UNREADABLE = (MessageError, ValueError, LookupError, TypeError, AttributeError, RecursionError)

READABLE = 256 * 1024
"""Bytes of a message that are searched for opt-out words."""


def list_unsubscribe(headers: HeaderSection) -> str:
    """The kinds of URI offered by ``List-Unsubscribe``: ``https``, ``mailto``… or ``""``."""
    if b"list-unsubscribe" not in headers:
        return ""
    values = headers.values(b"list-unsubscribe")
    kinds = {kind.lower() for value in values for kind in _URI.findall(value)}
    if not kinds:
        return ""
    one_click = b"list-unsubscribe-post" in headers
    return "+".join(sorted(kinds)) + (" one-click" if one_click else "")


def in_text(message: bytes, words: Sequence[str]) -> str:
    """The first of ``words`` that the readable text shows, or ``""``.

    ``message`` is the un-stuffed message, or its first :data:`READABLE` bytes.  The
    text is decoded (transfer encoding, charset) and HTML tags are dropped, but not the
    text of links, which is where such words stand.  What cannot be read shows none.
    """
    wanted = [word.casefold() for word in words]
    try:
        parsed = BytesParser(policy=email.policy.compat32).parsebytes(message)
        for part in parsed.walk():
            text = _text_of(part)
            for word in wanted:
                if word in text:
                    return word
    except _UNREADABLE:
        return ""
    return ""


def _text_of(part: Message) -> str:
    """The folded text of a part; empty where it is none."""
    if part.get_content_maintype() != "text":
        return ""
    payload = part.get_payload(decode=True)
    if not isinstance(payload, bytes):
        return ""
    text = decode(payload, part.get_content_charset("utf-8"))
    if part.get_content_subtype() == "html":
        text = _TAG.sub(" ", text)
    return _SPACE.sub(" ", text).casefold()
