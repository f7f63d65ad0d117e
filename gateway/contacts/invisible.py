"""Characters that nobody sees, which would make two spellings look like one.

A ban on an address must not be walked around by an address that looks the same.
Such characters are refused by name rather than removed: whoever pasted them can
then see what is wrong, and nothing is guessed.
"""

from __future__ import annotations

import unicodedata

from gateway.contacts.contact import ContactError

# Default_Ignorable_Code_Point (Unicode DerivedCoreProperties) outside the general
# categories C and Z, and the blank Braille pattern: letters and marks without ink.
_INKLESS = frozenset(
    [
        0x034F,
        0x115F,
        0x1160,
        0x17B4,
        0x17B5,
        0x2800,
        0x3164,
        0xFFA0,
        *range(0x180B, 0x1810),
        *range(0xFE00, 0xFE10),
        *range(0xE0100, 0xE01F0),
    ]
)


def refuse_invisible(text: str) -> None:
    """Refuse a text with a character that cannot be seen, naming the character.

    Refused are the general categories C (controls, bidi marks, zero-width
    characters, BOM, surrogates, private use, unassigned) and Z (NBSP and its kin)
    except the ASCII space, and the letters and marks without ink.

    Raises:
        ContactError: the text has such a character; the cause names the code point.
    """
    if text.isascii() and text.isprintable():
        return
    for char in text:
        if char == " ":
            continue
        if unicodedata.category(char)[0] in "CZ" or ord(char) in _INKLESS:
            raise ContactError(
                f"an invisible character, {_name(char)}, is in the address or number;"
                " write it without"
            )


def _name(char: str) -> str:
    name = unicodedata.name(char, "")
    return f"U+{ord(char):04X} {name}".rstrip()
