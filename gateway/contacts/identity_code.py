"""Finnish personal identity codes (HETU) in text: found, and masked.

The register and the records keep none (the notice, section 8), but people write them
into messages and lists.  A code is ``DDMMYY``, a sign of the century, three digits and
a check character; since 2023 the signs are ``+``, ``- U V W X Y`` and ``A B C D E F``.
What only looks like one (no such day, wrong check character) is left alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

# Dashes that word processors make of a hyphen.
_DASHES = "\u2010\u2011\u2012\u2013\u2212"
_CHECK = "[0-9A-FHJ-NPR-Ya-fhj-npr-y]"
_BIRTH = "[0-3][0-9][01][0-9]{3}"
# Beside a sign that is a letter no letter may stand: hex and base64 are full of those.
_code = re.compile(
    rf"(?<![0-9]){_BIRTH}[-+{_DASHES}][0-9]{{3}}{_CHECK}(?![0-9])"
    rf"|(?<![0-9A-Za-z]){_BIRTH}[A-FU-Ya-fu-y][0-9]{{3}}{_CHECK}(?![0-9A-Za-z])"
)
# Begins with what the engine skips to quickly; most texts end here.
_like = re.compile(rf"[0-3][0-9][01][0-9]{{3}}[-+A-FU-Ya-fu-y{_DASHES}][0-9]{{3}}").search
_like_octets = re.compile(
    r"[0-3][0-9][01][0-9]{3}(?:[-+A-FU-Ya-fu-y]|\xe2..)[0-9]{3}".encode("latin-1"), re.DOTALL
).search
_HYPHEN = str.maketrans(dict.fromkeys(_DASHES, "-"))
_octets = re.compile(
    (
        rf"(?<![0-9]){_BIRTH}(?:[-+]|\xe2\x80[\x90-\x93]|\xe2\x88\x92)[0-9]{{3}}{_CHECK}(?![0-9])"
        rf"|(?<![0-9A-Za-z]){_BIRTH}[A-FU-Ya-fu-y][0-9]{{3}}{_CHECK}(?![0-9A-Za-z])"
    ).encode()
)


def holds_code(text: str) -> bool:
    """Whether a valid code stands in a text; fast for long texts without one."""
    return _like(text) is not None and next(spans(text), None) is not None


def spans(text: str) -> Iterator[tuple[int, int]]:
    """Where valid codes stand, as begin and end."""
    for found in _code.finditer(text):
        if _valid(found[0].translate(_HYPHEN)):
            yield found.span()


def mask(text: str) -> str:
    """The text with a ``*`` for each character of a valid code."""
    if _like(text) is None:
        return text
    return _code.sub(_masked, text)


def mask_octets(octets: bytes) -> bytes:
    """:func:`mask` for a text in UTF-8 or any encoding that holds ASCII; as long as before."""
    if _like_octets(octets) is None:
        return octets
    return _octets.sub(_masked_octets, octets)


def _masked(found: re.Match[str]) -> str:
    return "*" * len(found[0]) if _valid(found[0].translate(_HYPHEN)) else found[0]


def _masked_octets(found: re.Match[bytes]) -> bytes:
    text = found[0].decode("utf-8", "replace").translate(_HYPHEN)
    return b"*" * len(found[0]) if _valid(text) else found[0]


def _valid(code: str) -> bool:
    # Late: only what looks like a code needs the library.
    from stdnum.exceptions import ValidationError
    from stdnum.fi import hetu

    try:
        hetu.validate(code, allow_temporary=True)
    except ValidationError:
        return False
    return True
