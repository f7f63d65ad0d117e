"""A message as it may be kept: without personal identity codes (the notice, section 8).

What leaves is never changed; this is done to the copy that is recorded.  Octets without
a code are kept as they are, one for one.  Text parts in base64 or quoted-printable are
read, and masked where one holds a code; attachments of other kinds are not looked into.
"""

from __future__ import annotations

import re
from binascii import a2b_base64, a2b_qp, b2a_base64, b2a_qp
from email.header import Header
from email.parser import Parser
from email.policy import compat32
from typing import Final

from gateway.contacts.identity_code import (
    holds_code,
    mask,
    mask_octets,
)
from gateway.message.charset import known, words

READ_MOST: Final = 256 << 10
"""Octets of a message of which the encoded parts are read; of what follows, only what is
written out."""
_ENCODED: Final = (b"base64", b"quoted-printable")
_letters: Final = re.compile(rb"[A-Za-z0-9+/]+")


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
        return words(value.decode("ascii", "replace").replace("\r\n", ""))
    except (ValueError, LookupError):
        return None


def masked_message(octets: bytes, *, whole: bool = True) -> bytes:
    """A message without identity codes; ``whole``: or else its beginning."""
    head, empty, body = octets.partition(b"\r\n\r\n")
    plain = masked_headers(head) + empty + mask_octets(body)
    folded = plain.lower()
    if not any(word in folded for word in _ENCODED):
        return plain
    try:
        return _masked_parts(plain, whole)
    except (ValueError, LookupError, TypeError, AttributeError):
        # Too odd to be read is too odd to be changed.
        return plain


def _masked_parts(octets: bytes, whole: bool) -> bytes:
    """Encoded text parts masked where they stand; all other octets stay."""
    kept: list[bytes] = []
    at = 0
    # An octet a character: so a part is found again where it stands.
    message = Parser(policy=compat32).parsestr(octets.decode("latin-1"))
    for part in message.walk():
        payload = part.get_payload()
        encoding = str(part.get("Content-Transfer-Encoding", "")).strip().lower().encode("latin-1")
        if not (
            part.get_content_maintype() == "text"
            and encoding in _ENCODED
            and isinstance(payload, str)
        ):
            continue
        raw = payload.encode("latin-1")
        begin = octets.find(raw, at)
        if not raw or begin < 0:
            continue
        end = begin + len(raw)
        if not whole and end == len(octets):  # it goes on: what stands there of it
            raw = raw[: raw.rfind(b"\n") + 1]
        charset = part.get_content_charset("utf-8")
        masked = _base64(raw, charset) if encoding == b"base64" else _quoted(raw, charset)
        kept += [octets[at:begin], masked]
        at = begin + len(raw)
    return b"".join([*kept, octets[at:]])


def _base64(raw: bytes, charset: str) -> bytes:
    """A text in base64 masked letter by letter: as long as before, in the same lines."""
    text, padding, rest = raw.partition(b"=")
    letters = b"".join(_letters.findall(text))
    letters = letters[: len(letters) - (len(letters) % 4 == 1)]
    decoded = a2b_base64(letters + b"=" * (-len(letters) % 4))
    masked = _masked_text(decoded, charset)
    if masked == decoded:
        return raw
    written = b2a_base64(masked, newline=False)
    at = 0

    def next_of(found: re.Match[bytes]) -> bytes:
        nonlocal at
        begin, at = at, at + len(found[0])
        new = written[begin : min(at, len(letters))]
        return new + found[0][len(new) :]

    return _letters.sub(next_of, text) + padding + rest


def _quoted(raw: bytes, charset: str) -> bytes:
    """A text in quoted-printable masked; written anew where it held a code."""
    decoded = a2b_qp(raw)
    masked = _masked_text(decoded, charset)
    if masked == decoded:
        return raw
    return b2a_qp(masked.replace(b"\r\n", b"\n")).replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")


def _masked_text(octets: bytes, charset: str) -> bytes:
    """A text masked; as many octets as before."""
    try:
        codec = known(charset)
        text = octets.decode(codec)
        if not holds_code(text):
            return octets
        masked = mask(text).encode(codec)
    except (UnicodeError, LookupError):
        return mask_octets(octets)
    return masked if len(masked) == len(octets) else mask_octets(octets)


class Masking:
    """Masks a message that comes in pieces.

    The first :data:`READ_MOST` octets are kept together and read as a message, or its
    beginning; what follows is looked at as it stands, with a code across two pieces found.
    """

    def __init__(self) -> None:
        self._held = bytearray()
        self._whole = True

    def feed(self, piece: bytes) -> bytes:
        """What may be kept by now."""
        self._held += piece
        if self._whole and len(self._held) <= READ_MOST:
            return b""
        if self._whole:
            self._whole = False
            self._held = bytearray(masked_message(bytes(self._held), whole=False))
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
