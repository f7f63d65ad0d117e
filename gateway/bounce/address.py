r"""The addresses that a report names, as its writer meant them.

A field of a notification is ``type; address`` (RFC 3464 section 2.3.1).  Types that name
mailboxes are ``rfc822`` and ``utf-8`` (RFC 6533 section 3: raw or as ``\x{E4}``); others, as
``x400``, name nothing that mail was sent to.  The xtext of ORCPT (RFC 3461 section 4) should
have been undone by whoever wrote the field, and often has not.
"""

from __future__ import annotations

import re
from typing import Final

LONGEST: Final = 320
"""Characters of an address: 64 and 255 around the ``@`` (RFC 5321 section 4.5.3.1)."""

_TYPES: Final = frozenset({"rfc822", "utf-8", "utf8", "smtp", ""})
_FIELD: Final = 1024
_typed = re.compile(r"\s*(?:([A-Za-z0-9-]{1,40})\s*;)?\s*(.*)", re.DOTALL).match
_mailbox = re.compile(r'(?:"(?:[^"\\]|\\.)*+"|[^\s<>@,;:()"]++)@[^\s<>,;:()"@]++')
_embedded = re.compile(r"\\x\{([0-9A-Fa-f]{2,6})\}")
_plus = re.compile(r"\+(..)?")
# What an address can have that xtext must write so, and no tag is likely to begin with.
_XTEXT: Final = {"2B": "+", "3D": "="}


def typed_address(field: str) -> str:
    """The address in a field's value; "" where it names no mailbox."""
    match = _typed(field[:_FIELD])
    if match is None or (match[1] or "").lower() not in _TYPES:
        return ""
    return bare_address(_embedded.sub(_character, match[2]))


def bare_address(text: str) -> str:
    """The one address in a text that may have brackets or a comment around it; else ""."""
    text = text[:_FIELD].strip()
    if text.startswith("<"):
        text = text[1:]
    match = _mailbox.match(text)
    if match is None or len(match[0]) > LONGEST:
        return ""
    return match[0]


def without_xtext(address: str) -> str:
    """The address, xtext undone where every ``+`` in it begins a code that xtext needs.

    ``user+2Btag`` is ``user+tag``; a plus tag of the address's own (``user+AB``) stays.
    For a field that repeats ORCPT alone: elsewhere ``user+2B`` is what it says.
    """
    if "+" in address and all(code in _XTEXT for code in _plus.findall(address)):
        return _plus.sub(lambda match: _XTEXT[match[1]], address)
    return address


def _character(match: re.Match[str]) -> str:
    number = int(match[1], 16)
    return chr(number) if number <= 0x10FFFF and not 0xD800 <= number <= 0xDFFF else match[0]
