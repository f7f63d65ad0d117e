"""The parts of a MIME message (RFC 2045, 2046), read in bounded time.

The standard library's parser asks every open boundary of every line and recurses with the
nesting; whoever sends the message chooses both.  Here each level is one search, there are
few levels, and of a returned message only the header section is looked at.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from gateway.message.headers import HeaderSection

DEEPEST: Final = 4
"""Levels of multiparts that are opened; a report has one, a list's footer adds one."""
MOST: Final = 64
"""Parts of one message that are looked at."""
HEADER: Final = 128 * 1024
"""Octets of a header section that are looked at: a search for its fields stops all else."""

_VALUE: Final = 2048
_type = re.compile(r"\s*([A-Za-z0-9!#$&^_.+-]{1,80}/[A-Za-z0-9!#$&^_.+-]{1,80})").match
_parameter = re.compile(r';\s*([A-Za-z0-9-]{1,40})\s*=\s*(?:"((?:[^"\\]|\\.)*+)"|([^\s;"]++))')
_escape = re.compile(r"\\(.)")


@dataclass(frozen=True, slots=True)
class Part:
    """One part that is no multipart; line ends are LF."""

    content_type: str
    """Type and subtype in lower case."""
    headers: HeaderSection
    body: bytes
    """Its octets, the transfer encoding undone."""


def parts_of(message: bytes) -> list[Part]:
    """The message's parts in order, the multiparts opened; never raises."""
    plain = message.replace(b"\r\n", b"\n")
    found: list[Part] = []
    for part in _opened(plain, 0):
        found.append(part)
        if len(found) == MOST:
            break
    return found


def split(octets: bytes) -> tuple[HeaderSection, bytes]:
    """Header section and body of a message whose line ends are LF.

    The line that a mailbox file has before a message (``From `` or ``>From ``) is no field.
    """
    if octets.startswith((b"From ", b">From ")):
        octets = octets[octets.find(b"\n") + 1 :]
    if octets[:1] == b"\n":
        return HeaderSection(b""), octets[1:]
    end = octets.find(b"\n\n")
    section, body = (octets, b"") if end < 0 else (octets[: end + 1], octets[end + 2 :])
    section = section[:HEADER]
    return HeaderSection(section if section.endswith(b"\n") else section + b"\n"), body


def parameters(value: str) -> dict[str, str]:
    """The parameters of a Content-Type field by lower-case name; the first of each."""
    found: dict[str, str] = {}
    for match in _parameter.finditer(value[:_VALUE]):
        name, quoted, bare = match.groups()
        text = bare if quoted is None else _escape.sub(r"\1", quoted)
        found.setdefault(name.lower(), text)
    return found


def _opened(octets: bytes, depth: int) -> Iterator[Part]:
    headers, body = split(octets)
    value = headers.first(b"content-type") or ""
    match = _type(value[:_VALUE])
    content_type = match[1].lower() if match else "text/plain"
    boundary = parameters(value).get("boundary", "").rstrip() if match else ""
    if content_type.startswith("multipart/") and boundary and depth < DEEPEST:
        for inner in _between(body, boundary):
            yield from _opened(inner, depth + 1)
        return
    yield Part(content_type, headers, _decoded(headers, body))


def _between(body: bytes, boundary: str) -> Iterator[bytes]:
    """What stands between the boundary's lines (RFC 2046 section 5.1.1)."""
    line = re.compile(rb"^--" + re.escape(boundary.encode("utf-8")) + rb"(--)?[ \t\r]*$", re.M)
    begin: int | None = None
    for number, match in enumerate(line.finditer(body)):
        if begin is not None:
            yield body[begin : max(begin, match.start() - 1)]
        begin = match.end() + 1
        if match[1] or number == MOST:
            return
    if begin is not None:
        yield body[begin:]


def _decoded(headers: HeaderSection, body: bytes) -> bytes:
    encoding = (headers.first(b"content-transfer-encoding") or "").strip().lower()
    try:
        if encoding == "base64":
            return binascii.a2b_base64(body).replace(b"\r\n", b"\n")
        if encoding == "quoted-printable":
            return binascii.a2b_qp(body).replace(b"\r\n", b"\n")
    except binascii.Error:
        pass
    return body
