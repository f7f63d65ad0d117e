"""A message as it may be kept: without personal identity codes (the notice, section 8).

What leaves is never changed; this is done to the copy that is recorded.  Octets without
a code are kept as they are, one for one.  Text parts in base64 or quoted-printable are
read, and written anew where one holds a code; attachments of other kinds are not looked
into.
"""

from __future__ import annotations

from email.header import Header, decode_header, make_header
from email.message import Message
from email.parser import BytesParser
from email.policy import compat32
from typing import Final

from gateway.contacts.identity_code import (
    holds_code,
    mask,
    mask_octets,
)

READ_MOST: Final = 256 << 10
"""Octets of a message of which the encoded parts are read; of what follows, only what is
written out."""
_ENCODED: Final = (b"base64", b"quoted-printable")


def masked_headers(section: bytes) -> bytes:
    """A header section without identity codes, encoded words read (RFC 2047)."""
    section = mask_octets(section)
    if b"=?" not in section:
        return section
    lines = section.split(b"\r\n")
    kept: list[bytes] = []
    for field in _fields(lines):
        name, colon, value = field.partition(b":")
        text = _read(value) if b"=?" in value else None
        if text is None or not holds_code(text):
            kept.append(field)
            continue
        header = Header(mask(text), "utf-8", header_name=name.decode("ascii", "replace"))
        written = header.encode(linesep="\r\n").encode("ascii", "replace")
        kept.append(name + colon + b" " + written)
    return b"\r\n".join(kept)


def _fields(lines: list[bytes]) -> list[bytes]:
    """The fields, each with the lines that continue it."""
    fields: list[bytes] = []
    for line in lines:
        if line[:1] in (b" ", b"\t") and fields:
            fields[-1] += b"\r\n" + line
        else:
            fields.append(line)
    return fields


def _read(value: bytes) -> str | None:
    try:
        return str(make_header(decode_header(value.decode("ascii", "replace").replace("\r\n", ""))))
    except (ValueError, LookupError):
        return None


def masked_message(octets: bytes) -> bytes:
    """A whole message without identity codes."""
    head, empty, body = octets.partition(b"\r\n\r\n")
    plain = masked_headers(head) + empty + mask_octets(body)
    folded = plain.lower()
    if not any(word in folded for word in _ENCODED):
        return plain
    try:
        message = BytesParser(policy=compat32).parsebytes(plain)
        changed = [_mask(part) for part in message.walk() if part.get_content_maintype() == "text"]
        if any(changed):
            return message.as_bytes().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    except (ValueError, LookupError, TypeError, AttributeError):
        # Too odd to be read is too odd to be changed.
        return plain
    return plain


def _mask(part: Message) -> bool:
    """Mask a text part; whether it held a code."""
    encoding = str(part.get("Content-Transfer-Encoding", "")).strip().lower()
    if encoding.encode() not in _ENCODED:
        return False
    decoded = part.get_payload(decode=True)
    if not isinstance(decoded, bytes):
        return False
    charset = part.get_content_charset("utf-8")
    try:
        text = decoded.decode(charset)
    except (UnicodeDecodeError, LookupError):
        charset = "latin-1"
        text = decoded.decode(charset)
    masked = mask(text)
    if masked == text:
        return False
    del part["Content-Transfer-Encoding"]
    part.set_payload(masked, charset)
    return True


class Masking:
    """Masks a message that comes in pieces.

    The first :data:`READ_MOST` octets are kept together and read as a message; what
    follows is looked at as it stands, with a code across two pieces found.
    """

    def __init__(self) -> None:
        self._held = bytearray()
        self._whole = True

    def feed(self, piece: bytes) -> bytes:
        """What may be kept by now."""
        self._held += piece
        if self._whole and len(self._held) <= READ_MOST:
            return b""
        self._whole = False
        # A code has eleven octets; one more tells where it ends.
        ready = bytes(self._held[:-12])
        ends = len(ready)
        masked = mask_octets(bytes(self._held))
        if masked == self._held:
            del self._held[:ends]
            return ready
        self._held.clear()
        self._held += masked[-12:]
        return masked[:-12]

    def end(self) -> bytes:
        """What is left."""
        rest = bytes(self._held)
        self._held.clear()
        return masked_message(rest) if self._whole else mask_octets(rest)
