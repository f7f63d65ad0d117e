"""The charsets that mail may name (RFC 2978), and text read by them.

The interpreter keeps every name that it was ever asked about, known or not, for the life
of the process; whoever writes a message chooses hundreds.  So only names of a fixed set
are asked about, each in one spelling.
"""

from __future__ import annotations

from email.header import decode_header, make_header
from encodings import normalize_encoding
from encodings.aliases import aliases
from typing import Final

# The library's list leaves those out that have one name only.  Not here: what is no
# charset of text (rot13, zlib), and idna and punycode, which take time by the square.
_ONLY_NAMES: Final = (
    *("cp1006", "cp720", "cp737", "cp856", "cp874", "cp875", "koi8_t", "koi8_u"),
    *("mac_arabic", "mac_croatian", "mac_farsi", "mac_romanian", "utf_8_sig"),
)
_NO_TEXT: Final = frozenset(
    {"base64_codec", "bz2_codec", "hex_codec", "mbcs", "quopri_codec", "rot_13", "uu_codec"}
    | {"zlib_codec"}
)
_NAMES: Final = {
    **{codec: codec for codec in (*aliases.values(), *_ONLY_NAMES) if codec not in _NO_TEXT},
    **{name: codec for name, codec in aliases.items() if codec not in _NO_TEXT},
}
_LONGEST: Final = 40
"""Characters of a name; the longest known has half of it."""


def known(name: str) -> str:
    """The codec of a charset's name, in the one spelling that may be asked about.

    Raises:
        LookupError: nobody knows it.

    """
    return _NAMES[normalize_encoding(name[:_LONGEST]).lower()]


def decode(octets: bytes, name: str) -> str:
    """The text that octets are in this charset, or in UTF-8 where nobody knows it."""
    try:
        return octets.decode(known(name), "replace")
    except (LookupError, ValueError):
        return octets.decode("utf-8", "replace")


def words(value: str) -> str:
    """A header value with its encoded words read (RFC 2047).

    Raises:
        LookupError: a charset that nobody knows.
        ValueError: octets that are no text in their charset.
        email.errors.MessageError: no encoded words.

    """
    chunks = decode_header(value)
    return str(make_header([(text, charset and known(charset)) for text, charset in chunks]))
