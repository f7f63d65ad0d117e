"""What a bounce tells people of one recipient: the line of the address, and what follows it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from gateway.bounce.part import Part

_TEXT: Final = 64 * 1024
_SEGMENT: Final = 1500
# From here on it is the message that came back, whose words are not the server's.
_copy = re.compile(
    r"^(?:-{2,}+ ?+.*(?:copy|original|message|header|body|below).*|(?:received|return-path|from):.*"
    r"|.*(?:below this line|copy of the (?:original )?message|original message follows).*)$",
    re.IGNORECASE | re.MULTILINE,
)
_another = re.compile(r"(?<![^\s<>@:\"])[^\s<>@:\"]++@[^\s<>@:\"]+\.[^\s<>@:\"]+")


def told_of(text: str, address: str) -> str:
    """What :func:`words_of` says about an address, up to the next one; "" for nothing."""
    at = text.lower().find(address.lower()) if address else -1
    if at < 0:
        return ""
    begin = text.rfind("\n", 0, at) + 1
    line, segment = text[begin:at], text[at + len(address) : at + len(address) + _SEGMENT]
    return f"{line} {_own(segment, address)}"


def _own(segment: str, address: str) -> str:
    """What follows an address, up to the line that begins with another."""
    # A server repeats the address in its refusal: only another one begins a new paragraph.
    for match in _another.finditer(segment):
        begin = segment.rfind("\n", 0, match.start()) + 1
        if match[0].lower() != address.lower() and _begins(segment[begin : match.start()]):
            return segment[:begin]
    return segment


def words_of(parts: Sequence[Part]) -> str:
    """The text that is for people, without the message that came back."""
    for part in parts:
        if part.content_type.startswith("text/") and part.content_type != "text/rfc822-headers":
            text = part.body[:_TEXT].decode("utf-8", "replace")
            match = _copy.search(text)
            return text[: match.start()] if match else text
    return ""


def _begins(before: str) -> bool:
    """Whether nothing but marks stands before an address on its line."""
    return not before.strip(" \t<\"'*-:")
